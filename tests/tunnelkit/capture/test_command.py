"""``python -m tunnelkit.capture``: what it prints, and with which status it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.tunnelkit.capture.hars import entry, har, pairs
from tests.tunnelkit.capture.targets import Server, plain, serve
from tunnelkit.capture import __main__ as command

COMMAND = [sys.executable, "-m", "tunnelkit.capture"]


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def write(*entries: object, name: str = "a.har") -> str:
        path = tmp_path / name
        path.write_bytes(har(*entries))
        return str(path)

    return write


async def replayed(server: Server, *arguments: str) -> tuple[int, str, str]:
    """Run the command against a server; return its status and what it printed."""
    words = [*COMMAND, "replay", "--target", server.url, *arguments]
    done = await trio.run_process(words, capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# --- replay ---------------------------------------------------------------------------------


async def test_replay_of_what_is_the_same(save: Callable[..., str]) -> None:
    async with serve(lambda asked: plain()) as server:
        status, out, err = await replayed(server, save(entry("http://shop/a")))
    assert (status, out, err) == (0, "1 GET /a: same (200)\n1 the same\n", "")


async def test_replay_of_what_is_different(save: Callable[..., str]) -> None:
    file = save(entry("http://shop/a"), entry("ws://shop/b"))
    async with serve(lambda asked: plain(status="500 No")) as server:
        status, out, _ = await replayed(server, file)
    assert status == 1
    assert out.splitlines() == [
        "1 GET /a: differs (500)",
        "    status: was 200, is 500",
        "2 GET /b: not sent: ws is no http",
        "1 different, 1 not sent",
    ]


async def test_replay_as_json(save: Callable[..., str]) -> None:
    async with serve(lambda asked: plain(b"no")) as server:
        status, out, _ = await replayed(server, save(entry()), "--json")
    assert status == 1
    (found,) = json.loads(out)
    assert (found["status"], found["is_same"], found["error"]) == (200, False, "")
    assert found["differences"][0]["what"] == "body at byte 0"


async def test_replay_tells_what_it_left_out_unless_that_is_given(save: Callable[..., str]) -> None:
    file = save(entry(request={"headers": pairs(Authorization="Bearer [redacted]")}))
    async with serve(lambda asked: plain()) as server:
        _, without, _ = await replayed(server, file)
        _, given, _ = await replayed(server, file, "--header", "authorization: Bearer x")
    assert "    left out, as it was redacted: Authorization\n" in without
    assert "left out" not in given
    assert [asked.fields.get("authorization") for asked in server.asked] == [None, "Bearer x"]


async def test_header_is_not_compared_where_that_is_asked_for(save: Callable[..., str]) -> None:
    async with serve(lambda asked: plain(b"ok", "X-A: 1")) as server:
        status, _, _ = await replayed(server, save(entry()), "--ignore-header", "x-A")
    assert status == 0


@pytest.mark.parametrize(
    ("only", "targets"),
    [
        (["2"], ["/b"]),
        (["1-2"], ["/a", "/b"]),
        (["/b"], ["/b", "/bc"]),
        (["POST"], ["/bc"]),
        (["1", "POST"], ["/a", "/bc"]),
    ],
)
async def test_only_some_are_replayed(
    save: Callable[..., str], only: list[str], targets: list[str]
) -> None:
    file = save(entry("http://s/a"), entry("http://s/b"), entry("http://s/bc", "POST"))
    flags = [word for what in only for word in ("--only", what)]
    async with serve(lambda asked: plain()) as server:
        await replayed(server, file, *flags)
    assert [asked.target for asked in server.asked] == targets


async def test_long_replay_tells_how_far_it_is(save: Callable[..., str]) -> None:
    async with serve(lambda asked: None) as server:
        status, _, err = await replayed(server, save(entry()), "--timeout", "1.5")
    assert status == 1
    assert err.startswith("replayed 0 of 1\n")


async def test_interrupted_replay_has_the_status_of_one(save: Callable[..., str]) -> None:
    asked = trio.Event()
    async with serve(lambda request: asked.set()) as server:
        words = [*COMMAND, "replay", save(entry()), "--target", server.url]
        async with trio.open_nursery() as nursery:
            start: Any = trio.run_process
            process = await nursery.start(
                lambda task_status: start(
                    words, check=False, capture_stderr=True, task_status=task_status
                )
            )
            await asked.wait()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130


# --- wrong command lines --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "required: COMMAND"),
        (["replay", "FILE"], "required: --target"),
        (["replay", "FILE", "--target", "shop"], "'shop' is no target"),
        (["replay", "FILE", "--target", "http://a", "--header", "a"], "is not 'NAME: VALUE'"),
        (["replay", "FILE", "--target", "http://a", "--header", "a: \nb"], "is not 'NAME: VALUE'"),
        (["replay", "FILE", "--target", "http://a", "--only", "what"], "'what' is no number"),
        (["replay", "FILE", "--target", "http://a", "--concurrency", "0"], "from 1 to"),
        (["replay", "FILE", "--target", "http://a", "--timeout", "0"], "seconds above 0"),
        (["replay", "FILE", "--target", "http://a", "--ca", "none"], "certificates in none"),
        (["replay", "FILE", "--target", "http://a", "--only", "9"], "nothing to replay"),
        (["show", "/nowhere.har"], "cannot read /nowhere.har: No such file"),
        (["show", "/"], "cannot read /: Is a directory"),
        (["diff", "FILE", "BROKEN"], "is no JSON"),
    ],
)
def test_wrong_command_line(
    arguments: list[str],
    why: str,
    save: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.har").write_bytes(b"{")
    files = {"FILE": save(entry()), "BROKEN": str(tmp_path / "broken.har")}
    assert command.main([files.get(word, word) for word in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert why in err


def test_file_with_nothing_to_send_is_an_error(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["replay", save(entry("ws://s/")), "--target", "http://a"]) == 2
    assert "nothing to replay: ws is no http" in capsys.readouterr().err


# --- show and diff --------------------------------------------------------------------------


def test_show(save: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"headers": pairs(Content_Type="text/plain; charset=utf-8")}
    file = save(
        entry("http://shop/a", response=answer, comment="rule alice"),
        entry("http://shop/\x1b[2J" + "b" * 200, "POST", response={"status": 0}),
    )
    assert command.main(["show", file]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["status", "method", "target", "type", "size", "time", "remark"]
    assert first.split(maxsplit=7) == [
        "1",
        "200",
        "GET",
        "/a",
        "text/plain",
        "2",
        "2",
        "ms  rule alice",
    ]
    assert "not replayed: it had no answer" in second
    assert "\x1b" not in second
    assert len(second) < 200


def test_show_on_a_terminal(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert command.main(["show", save(entry("http://shop/[bold]\x1b[2J"))]) == 0
    out = capsys.readouterr().out
    assert "/[bold]" in out
    assert "\x1b[2J" not in out


def test_show_as_json(save: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["show", save(entry()), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["number"], found["status"], found["size"]) == (1, 200, 2)


def test_show_of_an_empty_file(
    save: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["show", save()]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_diff(save: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    left = save(entry("http://shop/a"), entry("http://shop/b"))
    right = save(
        entry("http://shop/a"), entry("http://shop/b", response={"status": 404}), name="b.har"
    )
    assert command.main(["diff", left, right]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "2 GET /b",
        "    status: was 200, is 404",
        "1 the same, 1 different",
    ]
    assert command.main(["diff", left, left]) == 0


def test_diff_as_json(save: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    file = save(entry())
    assert command.main(["diff", file, file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"left": 1, "right": 1, "method": "GET", "target": "/", "differences": []}
    ]


def test_reader_that_leaves_is_no_error(save: Callable[..., str]) -> None:
    file = save(*(entry(f"http://shop/{n}") for n in range(5000)))
    with subprocess.Popen([*COMMAND, "show", file], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 0


async def test_reader_that_leaves_a_replay_is_no_error(save: Callable[..., str]) -> None:
    file = save(*(entry(f"http://shop/{n}") for n in range(300)))
    async with serve(lambda asked: plain()) as server:
        words = [*COMMAND, "replay", file, "--target", server.url]
        process = await trio.lowlevel.open_process(words, stdout=subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.receive_some(1)
        await process.stdout.aclose()
        assert await process.wait() == 0


def test_command_runs_without_rich(save: Callable[..., str]) -> None:
    program = (
        "import sys; sys.modules['rich'] = None; "
        f"from tunnelkit.capture.__main__ import main; sys.exit(main(['show', {save(entry())!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.startswith(b"   status")
