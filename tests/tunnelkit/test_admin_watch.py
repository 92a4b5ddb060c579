"""Events over the admin socket, and the live screen that shows them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console

from tests.tunnelkit.pairs import wait_until
from tunnelkit.admin import AdminError, Feed, call_admin, serve_admin, watch_admin
from tunnelkit.admin import __main__ as command
from tunnelkit.admin.live import line_of, print_events
from tunnelkit.admin.rpc import Method, answer
from tunnelkit.admin.screen import EVENTS_KEPT, View, draw, fit
from tunnelkit.admin.server import MAX_CONNECTIONS, MAX_FEEDS
from tunnelkit.admin.tables import Table
from tunnelkit.errors import ConfigurationError
from tunnelkit.events import EventHub, LinkFacts, LinkUp, StrangersRefused, Watcher

LINK = LinkFacts(1, "memory://bob:7", "bob", is_broker=False, dialled=True)
CALL = {"jsonrpc": "2.0", "method": "watch", "id": 1}


def methods_of(hub: EventHub) -> dict[str, Method]:
    """Return the methods of a program with one link."""

    async def watch() -> Feed:
        return Feed(lambda: Watcher(hub, lambda: [LinkUp(link=LINK)]))

    async def status() -> dict[str, object]:
        return {"program": "thing", "subject": "alice"}

    return {"watch": watch, "status": status}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "admin.sock")


@pytest.fixture
async def hub(path: str) -> AsyncGenerator[EventHub]:
    """The hub of a program whose admin socket is served on *path*."""
    hub = EventHub()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_admin, path, methods_of(hub))
        yield hub
        nursery.cancel_scope.cancel()


# --- the stream -----------------------------------------------------------------------------


async def test_events_come_over_the_socket_snapshot_first(path: str, hub: EventHub) -> None:
    async with watch_admin(path) as events:
        first = await anext(events)
        hub.tell(StrangersRefused(why="no hello", count=1))
        second = await anext(events)
    assert (first["kind"], first["is_snapshot"]) == ("link-up", True)
    assert (second["kind"], second["text"]) == ("strangers-refused", "no hello")


async def test_event_is_a_notification(path: str, hub: EventHub) -> None:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(json.dumps(CALL).encode() + b"\n")
        data = b""
        while data.count(b"\n") < 2:
            data += await stream.receive_some()
    reply, event = [json.loads(line) for line in data.splitlines()]
    assert reply == {"jsonrpc": "2.0", "id": 1, "result": {"watching": True}}
    assert (event["method"], "id" in event) == ("event", False)
    assert event["params"]["link"]["peer"] == "bob"


async def test_caller_that_closes_is_not_watched_for(path: str, hub: EventHub) -> None:
    async with watch_admin(path) as events:
        await anext(events)
        assert hub.is_heard
    await wait_until(lambda: not hub.is_heard)


async def test_caller_that_says_more_ends_the_stream(path: str, hub: EventHub) -> None:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(json.dumps(CALL).encode() + b"\n")
        await stream.receive_some()
        await stream.send_all(b"\n")
        with trio.fail_after(5):
            while await stream.receive_some():
                pass
    assert not hub.is_heard


async def test_watchers_leave_connections_for_others(path: str, hub: EventHub) -> None:
    assert MAX_FEEDS < MAX_CONNECTIONS
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_FEEDS):
            await nursery.start(hold_a_watch, path)
        with pytest.raises(AdminError, match="too many others watch"):
            async with watch_admin(path):
                pass
        assert await call_admin(path, "status") == {"program": "thing", "subject": "alice"}
        nursery.cancel_scope.cancel()


async def hold_a_watch(path: str, task_status: trio.TaskStatus[None]) -> None:
    async with watch_admin(path):
        task_status.started()
        await trio.sleep_forever()


async def test_caller_that_does_not_read_is_given_up(
    path: str, hub: EventHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnelkit.admin.server.ANSWER_SECONDS", 0.05)
    async with watch_admin(path) as events:
        await anext(events)
        for _ in range(900):
            hub.tell(StrangersRefused(why="x" * 1000, count=1))
        await wait_until(lambda: not hub.is_heard)


async def test_end_of_the_program_ends_the_iteration(path: str, hub: EventHub) -> None:
    async with watch_admin(path) as events:
        await anext(events)
        hub.close()
        assert [event async for event in events] == []


@pytest.mark.parametrize("line", [json.dumps([CALL]), json.dumps({**CALL, "id": None}) + " "])
async def test_watch_in_a_batch_is_refused(line: str) -> None:
    methods = methods_of(EventHub())
    reply = json.loads(await answer(line.encode(), methods) or b"null")
    (one,) = reply if isinstance(reply, list) else [reply]
    assert one["error"]["code"] == -32600
    assert "connection of their own" in one["error"]["message"]


async def test_watch_as_a_notification_is_not_answered() -> None:
    call = {"jsonrpc": "2.0", "method": "watch"}
    assert await answer(json.dumps(call).encode(), methods_of(EventHub())) is None


async def test_client_says_that_nobody_is_there(path: str) -> None:
    with pytest.raises(ConfigurationError, match="start the program with --admin"):
        async with watch_admin(path):
            pass


@asynccontextmanager
async def program_that_says(path: str, reply: bytes) -> AsyncGenerator[None]:
    """Serve *path* with a program that says *reply* to whoever asks, and closes."""
    os.mkdir(os.path.dirname(path), 0o700)
    made = trio.socket.socket(trio.socket.AF_UNIX)
    await made.bind(path)
    made.listen()

    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(reply)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [trio.SocketListener(made)])
        yield
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-x\n", b'{"result"', b"[]\n"])
async def test_client_does_not_trust_the_answer(path: str, reply: bytes) -> None:
    async with program_that_says(path, reply):
        with pytest.raises(AdminError, match="is it an admin socket"):
            async with watch_admin(path):
                pass


@pytest.mark.parametrize("line", [b"x\n", b"{}\n", b'{"method": "event", "params": 1}\n'])
async def test_client_does_not_trust_the_events(path: str, line: bytes) -> None:
    async with program_that_says(path, b'{"jsonrpc": "2.0", "id": 1, "result": {}}\n' + line):
        async with watch_admin(path) as events:
            with pytest.raises(AdminError, match="no event"):
                await anext(events)


# --- lines ----------------------------------------------------------------------------------


def event(text: str = "link up", **values: object) -> dict[str, Any]:
    return {"kind": "link-up", "text": text, "unix": 1000.0, "is_snapshot": False, **values}


def test_line_has_the_time_and_the_text() -> None:
    assert line_of(event()) == f"{time.strftime('%H:%M:%S', time.localtime(1000))}  link up"
    assert line_of(event(is_snapshot=True)).endswith("  now: link up")


def test_line_cannot_move_the_cursor() -> None:
    assert "\x1b" not in line_of(event("evil\x1b[2J"))


@pytest.mark.parametrize("as_json", [True, False])
async def test_each_event_is_a_line_until_the_program_ends(
    path: str,
    hub: EventHub,
    nursery: trio.Nursery,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    nursery.start_soon(close_when_heard, hub)
    with pytest.raises(AdminError, match="ended: start it"):
        await print_events(path, as_json=as_json)
    (line,) = capsys.readouterr().out.splitlines()
    assert "link to bob" in line
    assert line.startswith("{") is as_json


async def close_when_heard(hub: EventHub) -> None:
    await wait_until(lambda: hub.is_heard)
    hub.close()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["status", "--interval", "2"], "--interval goes with --watch"),
        (["status", "--watch", "--interval", "0"], "not a number of seconds from 0.1 to 3600"),
        (["status", "--watch", "--interval", "nan"], "not a number of seconds"),
        (["version", "--watch"], "--watch"),
    ],
)
def test_wrong_use_of_the_flags_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert command.main(["a.sock", *arguments]) == 2
    assert text in capsys.readouterr().err


# --- the screen -----------------------------------------------------------------------------


def table(title: str, rows: int) -> Table:
    return title, ("name",), [(f"{title} {number}",) for number in range(rows)]


def text_of(view: View, *, width: int = 100, height: int = 24, now: float = 1060.0) -> str:
    """Return the screen as text."""
    console = Console(width=width, height=height)
    lines = console.render_lines(draw(view, now, width, height), pad=False)
    assert len(lines) <= height
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def make_view(**status: object) -> View:
    view = View("run/a.sock", 1.0, {"program": "devbox_proxy", "subject": "alice", **status})
    view.asked_at = 1060.0
    return view


def test_screen_shows_who_what_and_when() -> None:
    view = make_view(peers=["bob"])
    view.events.append(event("link to a broker is up"))
    text = text_of(view)
    assert "devbox_proxy alice  run/a.sock" in text
    assert "bob" in text
    assert "  1 min  link to a broker is up" in text


def test_screen_shows_the_last_events_that_fit() -> None:
    view = make_view()
    view.events.extend(event(f"event {number}.") for number in range(EVENTS_KEPT + 50))
    text = text_of(view, height=12)
    assert f"event {EVENTS_KEPT + 49}." in text
    assert f"event {EVENTS_KEPT + 30}." not in text
    assert len(view.events) == EVENTS_KEPT


def test_screen_says_that_the_program_does_not_answer() -> None:
    assert "no answer" not in text_of(make_view(), now=1061.0)
    assert "no answer for 30 s" in text_of(make_view(), now=1090.0)


def test_screen_cannot_be_moved_by_a_peer() -> None:
    view = make_view(peers=["evil\x1b[2J"])
    view.events.append(event("evil\x1b[2J\r\n"))
    assert "\x1b" not in text_of(view)


@pytest.mark.parametrize(("width", "height"), [(20, 3), (40, 10), (300, 80)])
def test_screen_fits_any_terminal(width: int, height: int) -> None:
    view = make_view(broker={f"number {n}": n for n in range(40)}, failing={"tcp://a:1": "x" * 200})
    view.events.extend(event("e" * 400) for _ in range(9))
    text = text_of(view, width=width, height=height)
    assert all(len(line) <= width for line in text.splitlines())


def test_tables_that_fit_are_left_as_they_are() -> None:
    tables = [table("a", 3), table("b", 2)]
    assert fit(tables, 20) == tables


def test_longest_table_is_cut_first_and_says_so() -> None:
    (long, short) = fit([table("a", 50), table("b", 2)], 20)
    assert long[2][-1] == (f"… and {50 - len(long[2]) + 1} more",)
    assert len(short[2]) == 2
