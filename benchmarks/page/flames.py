"""Flame graphs: how often each function was met on the stack, by who called it (no I/O).

The outermost function is at the top.  A box is as wide as its function was met often, callees stand
below their caller; what all stacks have in common at their top is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.page.svg import WIDTH, Canvas
from benchmarks.records import Json

__all__ = ["Node", "flame", "kind_of", "tree_of"]

ROW: Final = 18
LEFT: Final = 24
LETTER: Final = 6.3
"""How wide a letter of a small text is, about."""

LEAST_WIDTH: Final = 1.5
"""Narrower boxes are left out."""

LEAST_TEXT: Final = 34
"""Narrower boxes have no name in them."""

COMMON_SHARE: Final = 0.97
"""A function that so many stacks begin with says nothing."""

KINDS: Final = {
    "tunnelkit/pump/": ("s1", "pump"),
    "tunnelkit/carriers/": ("s0", "sockets: the system calls"),
    "tunnelkit/wire/": ("s2", "session and stream"),
    "tunnelkit/": ("ours", "link, splice and the rest of ours"),
    "trio ": ("s4", "Trio"),
    "": ("other", "Python's library"),
}
"""By how a place begins: its colour, and what it is called in the legend."""


@dataclass(slots=True)
class Node:
    """A function below its callers."""

    name: str
    count: int = 0
    below: dict[str, Node] = field(default_factory=dict)


def tree_of(stacks: Mapping[str, int]) -> Node:
    """Return the tree of stacks, ``frame;frame`` each; its root is the last they all have."""
    root = Node("")
    for stack, count in stacks.items():
        node = root
        node.count += count
        for name in filter(None, stack.split(";")):
            node = node.below.setdefault(name, Node(name))
            node.count += count
    while len(root.below) and max(n.count for n in root.below.values()) >= (
        COMMON_SHARE * root.count
    ):
        child = max(root.below.values(), key=lambda node: node.count)
        if not child.below:
            break
        root = child
    return root


def kind_of(name: str) -> str:
    """Return the colour of a function."""
    return next(kind for begin, (kind, _) in KINDS.items() if name.startswith(begin))


def flame(title: str, processes: Mapping[str, Json]) -> Canvas:
    """Draw one graph for each process, one below the other."""
    trees = {name: tree_of(one["stacks"]) for name, one in processes.items()}
    heights = {name: ROW * _depth(tree) + 40 for name, tree in trees.items()}
    about = "Flame graphs: the wider a box, the more of the processor time is spent in it."
    canvas = Canvas(title, about, 60 + sum(heights.values()) + 34)
    top = 62.0
    for name, tree in trees.items():
        one = processes[name]
        user, system = (f"{one[key]:.3g}" for key in ("user_us", "system_us"))
        words = f"{name}: {user} µs user and {system} µs system time for one {one['unit']}"
        canvas.text(LEFT, top, words, "ink small bold")
        for box in _boxes(tree, LEFT, top + 8, WIDTH - 2 * LEFT):
            _draw(canvas, box, tree.count)
        top += heights[name]
    _legend(canvas, top)
    return canvas


@dataclass(frozen=True, slots=True)
class _Box:
    node: Node
    x: float
    y: float
    width: float


def _depth(node: Node) -> int:
    return 1 + max(map(_depth, node.below.values()), default=0)


def _boxes(node: Node, x: float, y: float, width: float) -> Iterator[_Box]:
    yield _Box(node, x, y, width)
    for child in sorted(node.below.values(), key=lambda one: (-one.count, one.name)):
        share = width * child.count / node.count
        if share >= LEAST_WIDTH:
            yield from _boxes(child, x, y + ROW, share)
        x += share


def _draw(canvas: Canvas, box: _Box, total: int) -> None:
    place, _, function = box.node.name.rpartition(" ")
    hint = f"{function} ({place}): {box.node.count / total:.1%}"
    gap = 0.6
    canvas.tile(box.x, box.y, box.width - gap, ROW - gap, kind_of(box.node.name), hint)
    if box.width >= LEAST_TEXT:
        letters = int((box.width - 6) / LETTER)
        text = function if len(function) <= letters else f"{function[: max(1, letters - 1)]}…"
        canvas.text(box.x + 3, box.y + 13, text, "ink small")


def _legend(canvas: Canvas, y: float) -> None:
    x = float(LEFT)
    for kind, words in KINDS.values():
        canvas.tile(x, y, 12, 12, kind, words)
        canvas.text(x + 17, y + 10.5, words, "dim small")
        x += 17 + LETTER * len(words) + 18
