"""A small writer of SVG: a picture, and what is drawn on it.

Text stays text, colours are classes, and a reader's dark mode has colours of its own.  Coordinates
are whole pixels or tenths, so that the same figures yield the same file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Final

__all__ = ["SERIES", "WIDTH", "Canvas", "short_number"]

WIDTH: Final = 860
"""As wide as the other pictures of the documentation."""

# Name: colour on a light ground, and on a dark one.
COLOURS: Final = {
    "card": ("#ffffff", "#0d1117"),
    "edge": ("#d0d7de", "#30363d"),
    "ink": ("#1f2328", "#e6edf3"),
    "dim": ("#57606a", "#9198a1"),
    "ours": ("#1f6feb", "#58a6ff"),
    "other": ("#afb8c1", "#57606a"),
    "ceiling": ("#e2e6ea", "#2d333b"),
    "s0": ("#bc4c00", "#f0883e"),
    "s1": ("#1a7f37", "#3fb950"),
    "s2": ("#8250df", "#b083f0"),
    "s3": ("#cf222e", "#ff7b72"),
    "s4": ("#9a6700", "#d29922"),
    "s5": ("#bf3989", "#f778ba"),
    "s6": ("#0a7c8c", "#39c5cf"),
    "s7": ("#57606a", "#9198a1"),
}
SERIES: Final = 8
"""How many colours there are for lines; the next ones are dashed."""


def _style() -> str:
    rules = [
        "text{font:14px Helvetica,Arial,sans-serif}",
        ".small{font-size:12px}",
        ".title{font-size:17px}",
        ".bold{font-weight:bold}",
        "path,polyline{fill:none}",
        ".soft{fill-opacity:.4}",
    ]
    for index in (0, 1):
        found = [
            f".{name}{{fill:{pair[index]}}}.l-{name}{{stroke:{pair[index]}}}"
            for name, pair in COLOURS.items()
        ]
        text = "".join(found)
        rules.append(text if not index else f"@media(prefers-color-scheme:dark){{{text}}}")
    return "\n    ".join(rules)


def short_number(value: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


@dataclass(slots=True)
class Canvas:
    """A picture that grows by what is drawn on it."""

    title: str
    about: str
    """What a reader who does not see the picture is told."""
    height: int
    body: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, words: str, kinds: str = "ink", anchor: str = "start"
    ) -> None:
        """Write words with their baseline at y."""
        place = f'x="{short_number(x)}" y="{short_number(y)}"'
        side = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.body.append(f'<text {place}{side} class="{kinds}">{escape(words)}</text>')

    def line(self, x: float, y: float, to: str, kind: str = "edge", more: str = "") -> None:
        """Draw a path that begins at (x, y)."""
        path = f"M{short_number(x)} {short_number(y)} {to}"
        self.body.append(f'<path d="{path}" class="l-{kind}"{more}/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """Fill a rectangle."""
        place = f'x="{short_number(x)}" y="{short_number(y)}"'
        size = f'width="{short_number(width)}" height="{short_number(height)}"'
        self.body.append(f'<rect {place} {size} rx="2" class="{kind}"/>')

    def tile(self, x: float, y: float, width: float, height: float, kind: str, hint: str) -> None:
        """Fill a rectangle in a pale colour; *hint* is shown to a pointer that rests on it."""
        place = f'x="{short_number(x)}" y="{short_number(y)}"'
        size = f'width="{short_number(width)}" height="{short_number(height)}"'
        title = f"<title>{escape(hint)}</title>"
        self.body.append(f'<rect {place} {size} class="{kind} soft">{title}</rect>')

    def render(self) -> str:
        """Return the file."""
        body = "\n  ".join(self.body)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"
     width="{WIDTH}" height="{self.height}" role="img" aria-labelledby="title desc">
  <title id="title">{escape(self.title)}</title>
  <desc id="desc">{escape(self.about)}</desc>
  <style>
    {_style()}
  </style>
  <rect width="{WIDTH}" height="{self.height}" rx="10" class="card l-edge"/>
  <text x="24" y="34" class="ink title">{escape(self.title)}</text>
  {body}
</svg>
"""
