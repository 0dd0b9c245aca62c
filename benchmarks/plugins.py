"""Methods of other packages, by the entry points that these declare; a package is imported when its method is used."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from dpq.errors import InputError
from dpq.registry import GROUP, NAME, MethodEntry

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plugin:
    """A method of another package.

    Attributes:
        entry: as the package offers it.
        package: normalised name.
        version: of the package.
    """

    entry: MethodEntry
    package: str
    version: str

    @property
    def origin(self) -> dict[str, str]:
        """What a record says of it."""
        return {"package": self.package, "version": self.version}


@cache
def declared() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of the installed packages by method name; nothing is imported."""
    points: dict[str, tuple[EntryPoint, ...]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, *origin_of(point))):
        points[point.name] = (*points.get(point.name, ()), point)
    return points


def origin_of(point: EntryPoint) -> tuple[str, str]:
    """Normalised name and version of the package that declares an entry point."""
    if point.dist is None:
        return "unknown", "unknown"
    return re.sub(r"[-_.]+", "-", str(point.dist.name)).lower(), str(point.dist.version)


@cache
def load(name: str) -> Plugin:
    """Import a declared method.

    Raises:
        InputError: several packages declare it, or its package is broken; names the package.
    """
    points = declared()[name]
    if len(points) > 1:
        several = " and ".join(" ".join(origin_of(point)) for point in points)
        raise InputError(f"method {name!r} is declared by {several}; uninstall all but one")
    package, version = origin_of(points[0])
    try:
        entry = points[0].load()
    except (Exception, SystemExit) as error:  # whatever another package does
        raise _broken(name, package, version, f"{type(error).__name__}: {error}") from error
    if not isinstance(entry, MethodEntry):
        raise _broken(name, package, version, f"{points[0].value} is no dpq.registry.MethodEntry")
    return Plugin(entry, package, version)


def _broken(name: str, package: str, version: str, fault: str) -> InputError:
    fault = " ".join(fault.split())[:300]
    return InputError(
        f"method {name!r} of {package} {version} is unusable ({fault}); correct or uninstall that package"
    )


class Registry(Mapping[str, T]):
    """Methods by name: the project's own, then those of other packages, each imported when it is looked up.

    Args:
        own: the project's; may change later.
        adapt: makes of a name and another package's method what the project's own are.
        reserved: further names that no package may take.
    """

    def __init__(self, own: Mapping[str, T], adapt: Callable[[str, Plugin], T], reserved: Sequence[str]) -> None:
        self._own, self._adapt, self._reserved = own, adapt, reserved
        self._said: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of tables; nothing is imported."""
        return iter((*self._own, *self._others()))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._own) + len(self._others())

    def __contains__(self, name: object) -> bool:
        """Whether there is such a method; its package may still be broken."""
        return name in self._own or name in self._others()

    def __getitem__(self, name: str) -> T:
        """The method of this name.

        Raises:
            InputError: there is none, or its package is broken.
        """
        if name in self._own:
            return self._own[name]
        if name not in self._others():
            raise InputError(
                f"unknown method {name!r}; choose from {', '.join(self)}, or install the package that has it"
            )
        return self._adapt(name, load(name))

    def _others(self) -> list[str]:
        """Names of other packages' methods; one that is taken or that no file could have is refused, and said once."""
        kept = []
        for name, points in declared().items():
            if name not in (*self._own, *self._reserved) and NAME.fullmatch(name):
                kept.append(name)
            elif name not in self._said:
                self._said.add(name)
                why = "is taken" if NAME.fullmatch(name) else "must be lower-case letters, digits and single hyphens"
                package, version = origin_of(points[0])
                log.warning("method %r of %s %s is left out: its name %s", name, package, version, why)
        return kept
