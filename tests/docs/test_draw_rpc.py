"""The page of remote calls says what the declarations say."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import attrs
import pytest

from docs.draw_rpc import notes_of, records, sections_of, type_text
from tests.docs.pages import ROOT
from tunnelkit.contracts import CONTRACTS
from tunnelkit.contracts.records import PortMapping
from tunnelkit.contracts.units import EnvironmentId, Port, Time
from tunnelkit.rpc.describe import describe

PAGE = (ROOT / "docs" / "reference" / "rpc.md").read_text()


@attrs.frozen
class Thing:
    """A thing."""

    plain: int
    told: str
    """What is
    told."""


class Colour(StrEnum):
    RED = "Red"
    """Like a rose."""
    BLUE = "Blue"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (str, "string"),
        (EnvironmentId, "EnvironmentId"),
        (Time | None, "time or null"),
        (list[bytes], "list of bytes"),
        (dict[Port, str], "map of port to string"),
        (PortMapping | None, "[PortMapping](#portmapping) or null"),
    ],
)
def test_type_in_words(wanted: Any, words: str) -> None:
    assert type_text(wanted) == words


def test_type_without_words_is_refused() -> None:
    with pytest.raises(TypeError, match="no words"):
        type_text(Literal["a"])


def test_notes_below_members() -> None:
    assert notes_of(Thing) == {"told": "What is told."}
    assert notes_of(Colour) == {"RED": "Like a rose."}


def test_sections_of_a_docstring() -> None:
    sections = sections_of(
        "Do it.\n\nArgs:\n    x: this,\n        and that.\n\nRaises:\n    E: no."
    )
    assert (sections[""], sections["Raises"].strip()) == ("Do it.\n\n", "E: no.")
    assert sections["Args"].strip() == "x: this,\n    and that."


def test_page_has_the_records_of_the_description() -> None:
    names = {record.__name__ for record in records()}
    assert names == set(describe(CONTRACTS).components.schemas)
    assert all(f"\n### {name}\n" in PAGE for name in names)


def test_page_speaks_of_null() -> None:
    assert "None" not in PAGE
