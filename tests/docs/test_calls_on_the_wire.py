"""The page for programs that are made with something else says what ours does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tunnelkit.rpc import (
    asking,
    backlog,
    channels,
    flow,
    inflight,
    messages,
    payload,
    sending,
    serving,
    wholes,
)
from tunnelkit.rpc.http_app import BODY_SECONDS

PAGE = (Path(__file__).parents[2] / "docs/reference/calls-on-the-wire.md").read_text()


def names_in(table: str) -> list[str]:
    """Return the names in the first column of the table whose head begins like that."""
    rows = PAGE.partition(f"| {table} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [match[1] for row in rows if (match := re.match(r"\| `([^`]+)`", row))]


def test_members_of_tk() -> None:
    assert set(names_in("member of `tk`")) == {
        f.name for f in msgspec.structs.fields(messages.Extras)
    }


def test_notifications_of_the_protocol() -> None:
    source = "".join(Path(module.__file__ or "").read_text() for module in (serving, asking))
    assert set(names_in("notification")) == set(re.findall(r'"(rpc\.[a-z_]+)"', source))


@pytest.mark.parametrize(
    "number",
    [
        channels.MAX_MESSAGE_BYTES,
        messages.MAX_BATCH,
        messages.MAX_ID_CHARS,
        inflight.MAX_INCOMING,
        backlog.MAX_WAITING_BYTES,
        payload.PIECE_BYTES,
        flow.FIRST_ITEMS,
        flow.ITEMS_AHEAD,
        serving.MAX_NOTIFICATIONS,
        sending.MOST_BYTES,
        wholes.MAX_COLLECTED,
        wholes.MAX_COLLECTED_BYTES,
        int(BODY_SECONDS),
    ],
)
def test_bounds(number: int) -> None:
    assert re.search(rf"\b{number:,}\b", PAGE)
    assert messages.MAX_ID_CHARS == messages.MAX_METHOD_CHARS  # the page has one line for both
