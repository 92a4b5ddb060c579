"""The page about captures says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields

from tests.docs.pages import ROOT
from tunnelkit.capture import Bounds
from tunnelkit.capture.comparing import NOT_COMPARED
from tunnelkit.capture.recorder import DEFAULT_BOUNDS, MIB

PAGE = (ROOT / "docs" / "how-to" / "capture-and-replay.md").read_text()


def test_page_names_every_header_that_is_not_compared() -> None:
    part = PAGE.partition("These headers are not compared")[2].partition("\n\n")[0]
    assert {name.lower() for name in re.findall(r"`([A-Za-z-]+)`", part)} == NOT_COMPARED


def test_page_has_every_bound_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    assert set(rows) == {field.name for field in fields(Bounds)}
    for name, text in rows.items():
        number, _, unit = text.strip().partition(" ")
        assert float(number) * (MIB if unit else 1) == getattr(DEFAULT_BOUNDS, name)
