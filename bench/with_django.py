"""Runs a part of the benchmark that needs Django, as a process of its own: `python -m bench.with_django PART ...`.

The settings are read from the environment when Django is set up, and the benchmark knows them only once its servers
run. A part's `main` takes the arguments and returns what is printed as one line of JSON.
"""

import importlib
import sys

import django
import msgspec

PARTS = ("translation", "ingest", "dashboards", "logged")


def main(part: str, arguments: list[str]) -> None:
    if part not in PARTS:
        raise SystemExit(f"{part!r} is none of {', '.join(PARTS)}.")
    django.setup()
    result = importlib.import_module(f"bench.{part}").main(arguments)
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
