"""The database's part of a start, as a process of its own: `python -m nexus.preparation [SIMULATOR_URL ...]`.

`manage.py up` has read its settings before the embedded servers run, so the steps that open the database get a fresh
process, one for all of them. Each step is idempotent. With simulators the last line on stdout is the demo's JSON.
"""

import sys
from collections.abc import Sequence

import django
from django.core.management import call_command


def main(simulators: Sequence[str]) -> None:
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    call_command("maintain_partitions", verbosity=0)
    if simulators:
        call_command("seed_demo", "--json", "--simulators", *simulators)


if __name__ == "__main__":
    main(sys.argv[1:])
