"""Links from a page to itself: what is shown lives in the query of its address."""

from django.http import QueryDict


def with_changes(query: QueryDict, **values: str | None) -> str:
    """Return the query with some values set, or with None left out; never empty: `?…`."""
    wanted = query.copy()
    for name, value in values.items():
        wanted.pop(name, None)
        if value is not None:
            wanted[name] = value
    return f"?{wanted.urlencode()}"
