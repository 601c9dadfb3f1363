"""The filters of the Requests page: they live in the URL, under the names that the API gives them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from django.http import QueryDict

from accounts.models import ApiKey, Tenant
from console.formats import duration
from console.time_range import TimeRange
from gateway.api_requests import RequestFilter
from gateway.models import ModelRoute
from gateway.request_search import Search, search_of
from nexus.queries import with_changes

NAMES = ("status_class", "status", "provider_id", "model", "key_id", "streamed", "min_duration_ms")
_STATUS_WORDS: Mapping[str, str] = {
    "2xx": "2xx answered",
    "failed": "All that failed",
    "4xx": "4xx refused",
    "5xx": "5xx failed",
}
_SLOW_MS = (1_000, 5_000, 10_000, 30_000)
_MOST_CHOICES = 40


@dataclass(frozen=True, slots=True)
class Choice:
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter: on, with its value and a link without it, or off, with what may be chosen."""

    id: str
    name: str
    value: str = ""
    clear_url: str = ""
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """What the query asks for. `notices` tell what of it could not be read, and is left out."""

    given: Mapping[str, Any]
    notices: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.given)

    def search(self, span: TimeRange, *, now: datetime) -> Search:
        """Return the search within a range. One that ends now has no end, so that what comes meanwhile is in it."""
        until = None if span.preset else span.until
        return replace(search_of({**self.given, "from": span.since}, now=now), until=until)


def read(query: QueryDict) -> Filters:
    """Read the filters as the API does; what it would refuse is left out here, and said."""
    asked = {name: query[name] for name in NAMES if query.get(name)}
    reader = RequestFilter(data=asked)
    notices = []
    if not reader.is_valid():
        for name in reader.errors:
            notices.append(f"“{asked.pop(name)[:40]}” is nothing that {name} can be. This filter is left out.")
        reader = RequestFilter(data=asked)
        reader.is_valid(raise_exception=True)
    return Filters({name: value for name, value in reader.validated_data.items() if name in asked}, tuple(notices))


def chips(
    tenant: Tenant, filters: Filters, query: QueryDict, *, keys: bool, providers: Mapping[str, str]
) -> Iterator[Chip]:
    """Yield a chip for each filter. Two queries at most: models, keys. `providers` are names by ids."""
    given = filters.given

    def chip(name: str, label: str, value: str, choices: Mapping[str, str]) -> Chip:
        if name in given:
            return Chip(f"filter-{name}", label, value, changed(query, **{name: None}))
        offered = (Choice(word, changed(query, **{name: key})) for key, word in choices.items())
        return Chip(f"filter-{name}", label, choices=tuple(offered))

    status = given.get("status_class") or given.get("status")
    if "status" in given:
        yield chip("status", "Status", str(status), {})
    else:
        yield chip("status_class", "Status", _STATUS_WORDS.get(str(status), ""), _STATUS_WORDS)
    wanted = str(given.get("provider_id", ""))
    offered = dict(islice(providers.items(), _MOST_CHOICES))
    yield chip("provider_id", "Provider", providers.get(wanted, wanted[:8]), offered)
    models = ModelRoute.objects.for_tenant(tenant).order_by("public_name").values_list("public_name", flat=True)
    yield chip("model", "Model", given.get("model", ""), {each: each for each in models.distinct()[:_MOST_CHOICES]})
    if keys:
        yield chip("key_id", "Key", *_keys(tenant, str(given.get("key_id", ""))))
    elif "key_id" in given:
        yield chip("key_id", "Key", str(given["key_id"])[:8], {})
    streamed = {"true": "Streamed", "false": "Not streamed"}
    yield chip("streamed", "Answer", streamed.get(str(given.get("streamed")).lower(), ""), streamed)
    slow = given.get("min_duration_ms")
    yield chip(
        "min_duration_ms", "Took", f"≥ {duration(slow)}", {str(each): f"≥ {duration(each)}" for each in _SLOW_MS}
    )


def changed(query: QueryDict, **values: str | None) -> str:
    """Return the query with some values set, or with None left out, and on the first page; never empty: `?…`."""
    return with_changes(query, **{"cursor": None, "open": None, "after": None, **values})


def _keys(tenant: Tenant, wanted: str) -> tuple[str, dict[str, str]]:
    newest = ApiKey.objects.for_tenant(tenant).order_by("-created_at", "-id").values_list("id", "name", "prefix")
    names = {str(id_): f"{name} {prefix}…" for id_, name, prefix in newest[:_MOST_CHOICES]}
    return names.get(wanted, wanted[:8]), names
