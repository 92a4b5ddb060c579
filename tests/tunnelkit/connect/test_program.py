"""``python -m tunnelkit.connect`` as a process: settings, exit status, signals, several at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.examples.started import LAPTOP, Credentials, environment
from tunnelkit.addresses import Address
from tunnelkit.auth import Identity, KeyRing
from tunnelkit.broker import open_broker
from tunnelkit.connect.__main__ import main
from tunnelkit.devbox import open_devbox

CALLER = "user/bob"


@dataclass
class Stage:
    """A broker and a devbox, in this process, for programs that are started."""

    credentials: Credentials
    link: str
    direct: str
    """Where the devbox itself listens for links."""
    port: int
    """Where the devbox finds what it serves as ``echo``."""

    def flags(self, *, is_caller: bool = True) -> list[str]:
        identity = self.credentials.identity(CALLER, is_caller=is_caller)
        return [*identity, "--link", self.link, "--peer", LAPTOP]


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


@pytest.fixture
async def stage(credentials: Credentials, nursery: trio.Nursery) -> AsyncGenerator[Stage]:
    """Serve ``echo``, and addresses of this machine; nobody listens behind ``closed``."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, echo, listeners)
    ring = KeyRing.load(credentials.ring)
    laptop = Identity.issue(credentials.issuer, LAPTOP, peers=["*"], targets=[])
    targets = {"echo": Address("tcp", "127.0.0.1", port), "closed": Address("tcp", "127.0.0.1", 1)}
    async with open_broker(ring, listen=["tcp://127.0.0.1:0"]) as broker:
        link = broker.listeners[0].address
        allow = ["127.0.0.1:*"]
        async with open_devbox(
            laptop, ring, targets=targets, allow=allow, dial=[link], listen=["tcp://127.0.0.1:0"]
        ) as devbox:
            direct = devbox.endpoint.listeners[0].address
            yield Stage(credentials, str(link), str(direct), port)


async def start(*arguments: str) -> trio.Process:
    """Start the program with pipes for all three, as a terminal does: it hears of a hang-up."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` ignores it
    try:
        return await trio.lowlevel.open_process(
            [sys.executable, "-m", "tunnelkit.connect", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGHUP, before)


@dataclass
class Talk:
    """What a process said."""

    status: int
    out: bytes
    errors: str


async def finish(process: trio.Process, said: bytes = b"") -> Talk:
    """End stdin after *said*; return all that comes until the process has ended."""
    assert process.stdin is not None  # `start` asks for all three
    assert process.stdout is not None
    assert process.stderr is not None
    out, errors = bytearray(), bytearray()

    async def collect(source: trio.abc.ReceiveStream, into: bytearray) -> None:
        async for data in source:
            into += data

    async with process.stdout, process.stderr, trio.open_nursery() as nursery:
        nursery.start_soon(collect, process.stdout, out)
        nursery.start_soon(collect, process.stderr, errors)
        await process.stdin.send_all(said)
        await process.stdin.aclose()
        status = await process.wait()
    return Talk(status, bytes(out), errors.decode())


async def say(process: trio.Process, word: bytes) -> bytes:
    """Send a word and return what comes back: from then on the call is open."""
    assert process.stdin is not None  # `start` asks for both
    assert process.stdout is not None
    await process.stdin.send_all(word)
    return bytes(await process.stdout.receive_some())


# --- what it does --------------------------------------------------------------------------


async def test_stream_s_bytes_and_nothing_else_come_out(stage: Stage) -> None:
    talk = await finish(await start("echo", *stage.flags()), b"\0words\n")
    assert talk == Talk(0, b"\0words\n", "")


async def test_address_is_opened_where_the_peer_allows_it(stage: Stage) -> None:
    talk = await finish(await start(f"127.0.0.1:{stage.port}", *stage.flags()), b"words")
    assert talk == Talk(0, b"words", "")


async def test_verbose_tells_of_links(stage: Stage) -> None:
    talk = await finish(await start("echo", "-v", *stage.flags()), b"x")
    assert talk.out == b"x"
    assert "link to a broker" in talk.errors


@pytest.mark.parametrize("way", ["broker", "direct"])
async def test_callers_do_not_displace_each_other(stage: Stage, way: str) -> None:
    if way == "direct":
        stage.link = stage.direct
    flags = stage.flags()
    first, second = await start("echo", *flags), await start("echo", *flags)
    assert (await say(first, b"1"), await say(second, b"2")) == (b"1", b"2")
    assert [await finish(one, b"more") for one in (first, second)] == [Talk(0, b"more", "")] * 2


async def test_second_process_of_another_token_displaces_the_first(stage: Stage) -> None:
    flags = stage.flags(is_caller=False)
    first = await start("echo", *flags)
    assert await say(first, b"1") == b"1"
    second = await start("echo", *flags)
    assert await say(second, b"2") == b"2"
    talk = await finish(first)
    assert talk.status == 3
    assert "--caller" in talk.errors
    assert (await finish(second)).status == 0


async def test_link_that_is_down_does_not_matter_where_another_is_up(stage: Stage) -> None:
    flags = ["--link", "tcp://127.0.0.1:1", *stage.flags()]
    assert await finish(await start("echo", *flags), b"x") == Talk(0, b"x", "")


# --- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["nothing"], 77, "serves no target 'nothing' [unknown-target]"),
        (["closed"], 69, "connection refused [target-refused]"),
        (["echo@devbox/none", "--timeout", "0.3"], 69, "no session with 'devbox/none'"),
    ],
)
async def test_refusal_is_one_line_and_a_status(
    stage: Stage, arguments: list[str], status: int, text: str
) -> None:
    talk = await finish(await start(*stage.flags(), *arguments))
    assert (talk.status, talk.out) == (status, b"")
    assert text in talk.errors
    assert talk.errors.count("\n") == 1


async def test_token_that_no_broker_believes_ends_it_at_once(stage: Stage, tmp_path: Path) -> None:
    flags = Credentials(tmp_path / "strange").identity(CALLER)
    talk = await finish(
        await start(f"echo@{LAPTOP}", *flags, "--link", stage.link, "--timeout", "1000")
    )
    assert talk.status == 77
    assert "key ring" in talk.errors


async def test_broker_that_is_not_there_is_named(credentials: Credentials) -> None:
    flags = [*credentials.identity(CALLER), "--link", "tcp://127.0.0.1:1", "--timeout", "0.1"]
    talk = await finish(await start("echo@a", *flags))
    assert talk.status == 69
    assert "cannot connect to tcp://127.0.0.1:1: connection refused" in talk.errors


# --- signals -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_in_silence(stage: Stage, number: signal.Signals) -> None:
    process = await start("echo", *stage.flags())
    await say(process, b"x")
    process.send_signal(number)
    await process.wait()
    assert await finish_ended(process) == Talk(4, b"", "")


async def test_hangup_ends_it_soon_although_stdin_is_open(stage: Stage) -> None:
    process = await start("echo", *stage.flags())
    await say(process, b"x")
    process.send_signal(signal.SIGHUP)
    await process.wait()
    assert await finish_ended(process) == Talk(4, b"", "")


async def finish_ended(process: trio.Process) -> Talk:
    """Return what a process that has ended said."""
    assert process.stdin is not None  # `start` asks for it
    await process.stdin.aclose()
    process.stdin = None
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout, process.stderr:
        out = await process.stdout.receive_some()
        errors = await process.stderr.receive_some()
    return Talk(await process.wait(), bytes(out), errors.decode())


async def test_reader_that_leaves_ends_it_in_silence(stage: Stage) -> None:
    process = await start("echo", *stage.flags())
    await say(process, b"x")
    assert process.stdin is not None  # `start` asks for all three
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.aclose()
    await process.stdin.send_all(b"y")
    assert await process.wait() == 4
    assert await process.stderr.receive_some() == b""


# --- settings ------------------------------------------------------------------------------


def test_help_says_how_ssh_uses_it_and_every_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"], {})
    shown = capsys.readouterr().out
    assert "ProxyCommand python -m tunnelkit.connect" in shown
    for status in (0, 1, 2, 3, 4, 69, 70, 77):
        assert f"\n  {status:<4}" in shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "TARGET[@PEER]"),
        (["echo"], "--peer"),
        (["echo", "more"], "more"),
        (["@peer"], "target"),
        (["echo@peer", "--timeout", "soon"], "--timeout"),
    ],
)
def test_wrong_setting_is_one_line_and_status_2(
    arguments: list[str],
    text: str,
    credentials: Credentials,
    capsys: pytest.CaptureFixture[str],
    logging_restored: None,
) -> None:
    flags = [*credentials.identity(CALLER), "--link", "tcp://127.0.0.1:1", "--check"]
    assert main([*arguments, *flags], {}) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert text in shown.err


def test_check_says_what_would_be_opened(
    credentials: Credentials, capsys: pytest.CaptureFixture[str], logging_restored: None
) -> None:
    flags = [*credentials.identity(CALLER), "--link", "tcp://127.0.0.1:1", "--check"]
    assert main(["ssh", *flags], {"TUNNELKIT_PEER": LAPTOP}) == 0
    assert f"ssh@{LAPTOP}" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "name"), [(0, "stdin"), (1, "stdout")])
def test_closed_descriptor_is_named(
    number: int, name: str, credentials: Credentials, tmp_path: Path
) -> None:
    flags = [*credentials.identity(CALLER), "--link", "tcp://127.0.0.1:1", "x@y"]
    command = [sys.executable, "-m", "tunnelkit.connect", *flags]
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {number}>&-', "sh", *command],
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {name} is closed".encode())
