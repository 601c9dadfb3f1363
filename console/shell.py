"""What the frame around every signed-in page shows. Plain values, so that the UI kit can make them up."""

from dataclasses import dataclass

from console.formats import initials
from console.navigation import NavBadge


@dataclass(frozen=True, slots=True)
class NavItem:
    """One link of the sidebar."""

    label: str
    icon: str
    url: str
    current: bool = False
    key: str = ""
    badge: NavBadge | None = None


@dataclass(frozen=True, slots=True)
class NavGroup:
    name: str
    items: tuple[NavItem, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant of the person's, to switch to."""

    name: str
    slug: str
    role: str
    url: str


@dataclass(frozen=True, slots=True)
class Shell:
    """The frame: where one is, who one is, where one can go."""

    tenant: Workspace
    workspaces: tuple[Workspace, ...]
    person: str
    email: str
    groups: tuple[NavGroup, ...]
    palette_url: str
    is_demo: bool = False
    read_only: bool = False

    @property
    def layout(self) -> str:
        """The template that a page within the frame extends."""
        return "console.html"

    @property
    def initials(self) -> str:
        return initials(self.person)
