"""`manage.py verify_audit`: whether the audit log is what was once written."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from accounts.audit_chain import Anchors, Finding, Head, examine
from accounts.audit_rows import NIL, Chain, chains, links, one_moment, unchained
from nexus.logs import one_line
from nexus.private_files import write_private

BROKEN, UNKNOWN = 1, 2  # exit codes


class Command(BaseCommand):
    help = (
        "Find audit rows that were changed, taken, added, moved or dated back, and tell which. "
        "Exit code 0: the log is whole; 1: it is not; 2: that could not be found out."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenant", metavar="SLUG", help="one tenant's chain only: its slug or, once deleted, its id"
        )
        parser.add_argument(
            "--anchors",
            type=Path,
            metavar="FILE",
            help="compare with the ends of the chains in this file, empty at first, and write the present ones there "
            "if all is well; kept away from the database, it shows a chain that was cut or rewritten as a whole, too",
        )

    def handle(self, *, tenant: str | None, anchors: Path | None, **options: Any) -> None:
        try:
            self._verify(tenant, anchors)
        except OperationalError as error:
            raise CommandError(f"The database could not be asked: {error}", returncode=UNKNOWN) from error

    def _verify(self, tenant: str | None, anchors: Path | None) -> None:
        known = _anchors(anchors)
        broken = 0
        with one_moment():
            chosen = _chosen(chains(), tenant, known)
            for chain in chosen:
                findings = 0
                for finding in _findings(chain, known.get(str(chain.id))):
                    findings += 1
                    self.stdout.write(f"{chain.name}: {_told(finding)}")
                self.stdout.write(f"{chain.name}: {chain.head.length} rows, {_verdict(findings, chain.head)}")
                broken += bool(findings)
        if broken:
            raise CommandError(f"{broken} of {len(chosen)} chains of the audit log are broken.", returncode=BROKEN)
        if anchors is not None:
            heads = {**known, **{str(chain.id): chain.head for chain in chosen}}
            write_private(anchors, Anchors(heads).text())


def _chosen(found: list[Chain], tenant: str | None, known: Mapping[str, Head]) -> list[Chain]:
    present = {str(chain.id) for chain in found}
    # A chain that has been seen once and is gone altogether is as broken as can be.
    found = [*found, *(Chain(UUID(name), "", Head()) for name in known if name not in present)]
    if tenant is None:
        return found
    chosen = [chain for chain in found if chain.id != NIL and tenant in (chain.slug, str(chain.id))]
    if not chosen:
        raise CommandError(f"There is no audit log of a tenant {tenant}.", returncode=UNKNOWN)
    return chosen


def _anchors(path: Path | None) -> Mapping[str, Head]:
    if path is None:
        return {}
    if not path.is_file():
        # Not taken for a first time: an attacker who removes the file, or a disk that is not there, would go unnoticed.
        raise CommandError(f"There is no file {path}. For the first time, make an empty one.", returncode=UNKNOWN)
    try:
        known = Anchors.parse(path.read_text()).heads
        return {str(UUID(chain)): head for chain, head in known.items()}
    except ValueError:
        raise CommandError(f"{path} is no file of anchors.", returncode=UNKNOWN) from None


def _findings(chain: Chain, anchor: Head | None) -> Iterator[Finding]:
    yield from examine(links(chain), head=chain.head, anchor=anchor)
    for event_id, said in unchained(chain):
        yield Finding(0, event_id, f"is in the log without a place in the chain: {said}")


def _told(finding: Finding) -> str:
    row = " ".join(filter(None, (f"row {finding.place}" if finding.place else "a row", finding.event_id)))
    return one_line(f"{row} {finding.what}")  # who named a key must not write lines of ours


def _verdict(findings: int, head: Head) -> str:
    return f"BROKEN: {findings} findings" if findings else f"whole, ends in {head.hash}"
