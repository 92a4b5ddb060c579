"""A program that runs out of descriptors says so in a line, seldom, without a traceback."""

from __future__ import annotations

import errno
import io
import logging
import socket
from collections.abc import Generator

import pytest
import trio

from tunnelkit.addresses import parse_address
from tunnelkit.carriers import SocketNetwork
from tunnelkit.programs.logs import configure_logging
from tunnelkit.pump import acquire_pump, release_pump

LOGGERS = ("tunnelkit", "trio.serve_listeners")


@pytest.fixture
def log() -> Generator[io.StringIO]:
    """What a program logs; logging is as before afterwards."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(x.handlers[:], x.filters[:], x.level, x.propagate) for x in loggers]
    raising = logging.raiseExceptions
    stream = io.StringIO()
    configure_logging("human", "info", stream)
    yield stream
    logging.raiseExceptions = raising
    for x, old in zip(loggers, before, strict=True):
        x.handlers[:], x.filters[:], x.level, x.propagate = old


def no_descriptor(_: socket.socket) -> tuple[socket.socket, object]:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_listener_says_once_why_it_does_not_accept(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = acquire_pump()
    at = parse_address("tcp://127.0.0.1:0")
    listener = await SocketNetwork().listen(at, pump, lambda pipe: pipe.reset())
    with monkeypatch.context() as patch, socket.socket() as client:
        patch.setattr(socket.socket, "_accept", no_descriptor, raising=False)
        client.connect((listener.address.host, listener.address.port))
        await trio.sleep(0.25)  # longer than two of the listener's pauses
    listener.close()
    await release_pump(pump)
    assert log.getvalue().count("\n") == 1
    assert f"cannot accept on {listener.address}: too many open files" in log.getvalue()


def test_admin_socket_says_it_once_and_without_a_traceback(log: io.StringIO) -> None:
    for _ in range(3):
        error = OSError(errno.EMFILE, "Too many open files")
        logging.getLogger(LOGGERS[1]).error("accept returned EMFILE", exc_info=error)
    assert log.getvalue().count("\n") == 1
    assert "Traceback" not in log.getvalue()
