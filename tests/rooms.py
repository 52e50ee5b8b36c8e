"""The picture of the rooms in docs/architecture.md, drawn from the imports themselves.

`python -m tests.rooms` draws it again; tests/test_docs.py fails where it is out of date. A room is a folder with
modules; the files of a package that lie in no folder are one room together. An arrow says that something in one
room imports something in the other. It is left out where a longer way along other arrows leads to the same room.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

import grimp

from federation.origins import PACKAGES
from tests import ROOT

PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- end of rooms -->)", re.DOTALL)
ROOTS = ("federation.cli", "federation")  # the composition roots see everything

Arrows = Mapping[str, Set[str]]


def imports() -> dict[str, set[str]]:
    """From each room to those that it imports, without what lies in the same package's own loose files."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False)
    folders = {module for module in graph.modules if graph.find_children(module)}

    def room(module: str) -> str:
        folder = ".".join(module.split(".")[:2])
        return folder if folder in folders else module.split(".", maxsplit=1)[0]

    arrows: dict[str, set[str]] = {room(module): set() for module in graph.modules - set(PACKAGES)}
    for module in graph.modules - set(PACKAGES):
        for other in graph.find_modules_directly_imported_by(module):
            source, target = room(module), room(other)
            inward = target in ("clients", "simulations") and source.startswith(f"{target}.")
            if source != target and source not in ROOTS and not inward:
                arrows[source].add(target)
    return arrows


def reachable(arrows: Arrows, start: str) -> set[str]:
    """Every room that arrows lead to."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        waiting += (fresh := arrows[waiting.pop()] - found)
        found |= fresh
    return found


def reduced(arrows: Arrows) -> dict[str, set[str]]:
    """The fewest arrows by which the same rooms can be reached. There is no circle."""
    assert not any(room in reachable(arrows, room) for room in arrows)
    return {
        room: {
            target
            for target in targets
            if not any(target in reachable(arrows, other) for other in targets - {target})
        }
        for room, targets in arrows.items()
    }


def picture() -> str:
    """A Mermaid graph, which GitHub draws."""
    arrows = reduced(imports())
    lines = ["```mermaid", "flowchart TD"]
    for package in reversed(PACKAGES):
        lines.append(f'    subgraph in_{package} ["{package}"]')
        inside = sorted(room for room in arrows if room.split(".")[0] == package)
        lines += [f'        {_id(room)}["{_label(room)}"]' for room in inside]
        lines.append("    end")
    lines += [f"    {_id(a)} --> {_id(b)}" for a in sorted(arrows) for b in sorted(arrows[a])]
    return "\n".join([*lines, "```", ""])


def _id(room: str) -> str:
    return room.replace(".", "_")


def _label(room: str) -> str:
    return room.replace(".", "/") + ("" if "." in room else "/*.py")


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda _: picture(), PAGE.read_text("utf-8")), "utf-8")
