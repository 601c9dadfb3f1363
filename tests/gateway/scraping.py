"""Reading /metrics as Prometheus does."""

from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.stack import Server


@dataclass(frozen=True)
class Scrape:
    """One scrape: values by series, and which of the series are counters."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float]
    counters: frozenset[str]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum over the series that have these labels; 0 without any."""
        wanted = set(labels.items())
        return sum(value for (each, has), value in self.values.items() if each == name and wanted <= has)

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(has)[label] for each, has in self.values if each == name and label in dict(has)}


def parse(text: str) -> Scrape:
    families = list(text_string_to_metric_families(text))
    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in values, f"a series twice: {key}"
            values[key] = sample.value
    counting = [family for family in families if family.type in ("counter", "histogram")]
    return Scrape(values, frozenset(sample.name for family in counting for sample in family.samples))


def scrape(server: Server | str, **options: Any) -> Scrape:
    url = server if isinstance(server, str) else server.base_url
    answer = httpx.get(f"{url}/metrics", timeout=10, **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.text)
