"""The serving side of the admin socket: an ordinary Trio server with bounds."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import trio

from tunnelkit.errors import ConfigurationError

from .rpc import Code, Feed, Method, answer, error_line, event_line

__all__ = ["serve_admin"]

MAX_CONNECTIONS: Final = 16
"""Most connections at once.  Stops: a caller that never closes taking all descriptors."""

MAX_FEEDS: Final = 8
"""Most connections at once that events are sent on.  Stops: watchers that leave no connection for
those who want to steer."""

MAX_LINE_BYTES: Final = 64 * 1024
"""Longest request, bytes.  Stops: a line that never ends filling the memory."""

MAX_PATH_BYTES: Final = 107
"""Longest path of a unix socket, bytes; the kernel's own limit."""

QUIET_SECONDS: Final = 300.0
"""A connection without a request for so long is closed, seconds."""

ANSWER_SECONDS: Final = 30.0
"""A method or a write that takes longer is given up, seconds."""


async def serve_admin(
    path: str,
    methods: Mapping[str, Method],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *methods* on the unix socket *path* until cancelled.

    Raises:
        ConfigurationError: the path cannot be used; says what to change.
    Cancellation: atomic; connections are closed and the socket file is removed.
    """
    _check_folder(Path(path))
    listening = _listen(path)
    mark = _identity_of(path)
    try:
        async with trio.open_nursery() as nursery:
            server = _Server(methods)
            listener = trio.SocketListener(listening)
            nursery.start_soon(trio.serve_listeners, server.talk, [listener])
            task_status.started()
    finally:
        listening.close()
        if mark is not None and _identity_of(path) == mark:
            with contextlib.suppress(OSError):
                os.unlink(path)


class _Server:
    """What the connections of one socket share."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
        self._connections = 0
        self._feeds = 0

    async def talk(self, stream: trio.SocketStream) -> None:
        """Answer one connection's requests in turn."""
        self._connections += 1
        try:
            if self._connections > MAX_CONNECTIONS:
                text = f"more than {MAX_CONNECTIONS} connections: close some and try again"
                await _send(stream, error_line(Code.BUSY, text))
            else:
                await self._answer_lines(stream)
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # the caller has gone, or does not read
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def _answer_lines(self, stream: trio.SocketStream) -> None:
        waiting = bytearray()
        while True:
            while (end := waiting.find(b"\n")) >= 0:
                line = bytes(waiting[:end])
                del waiting[: end + 1]
                if line.strip():
                    feed = await self._answer_line(stream, line)
                    if feed is not None:
                        await self._send_events(stream, feed)
                        return
            if len(waiting) > MAX_LINE_BYTES:
                text = f"a request has at most {MAX_LINE_BYTES} bytes"
                await _send(stream, error_line(Code.INVALID_REQUEST, text))
                return
            with trio.fail_after(QUIET_SECONDS):
                data = await stream.receive_some(16 * 1024)
            if not data:
                return
            waiting += data

    async def _answer_line(self, stream: trio.SocketStream, line: bytes) -> Feed | None:
        """Answer one request; return the feed that it asked for."""
        reply: bytes | None = None
        feeds: list[Feed] = []

        def follow(feed: Feed) -> bool:
            if self._feeds < MAX_FEEDS:
                feeds.append(feed)
            return bool(feeds)

        with trio.move_on_after(ANSWER_SECONDS) as scope:
            reply = await answer(line, self._methods, follow)
        if scope.cancelled_caught:
            reply = error_line(Code.BUSY, f"no result within {ANSWER_SECONDS:g} s")
        if reply is not None:
            await _send(stream, reply)
        return feeds[0] if feeds else None

    async def _send_events(self, stream: trio.SocketStream, feed: Feed) -> None:
        """Send events until the caller closes, says anything more, or does not read."""
        self._feeds += 1
        try:
            async with trio.open_nursery() as nursery, feed.watch() as events:
                nursery.start_soon(_cancel_when_heard, stream, nursery.cancel_scope)
                try:
                    async for event in events:
                        await _send(stream, event_line(event))
                except (trio.BrokenResourceError, trio.TooSlowError):
                    pass  # the caller has gone, or does not read
                nursery.cancel_scope.cancel()
        finally:
            self._feeds -= 1


async def _cancel_when_heard(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.receive_some(1)
    scope.cancel()


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(ANSWER_SECONDS):
        await stream.send_all(line)


# --- the socket file -----------------------------------------------------------------------


def _check_folder(path: Path) -> None:
    """See to a folder that only this user can enter."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise ConfigurationError(
            f"admin socket {path}: cannot use folder {folder}: {(error.strerror or '').lower()}; "
            "choose a folder that exists"
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"admin socket {path}: {folder} is not a folder")
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(
            f"admin socket {path}: other users can enter folder {folder}: use a folder of its own "
            f"(one that does not exist yet is made), or run `chmod 700 {folder}`"
        )


def _listen(path: str) -> trio.socket.SocketType:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigurationError(
            f"admin socket {path}: the path is longer than {MAX_PATH_BYTES} bytes: shorten it"
        )
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(MAX_CONNECTIONS)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"admin socket {path}: {(error.strerror or str(error)).lower()}: choose another path"
        ) from error
    return trio.socket.from_stdlib_socket(made)


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on any more; leave all else for `bind` to refuse."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            code = probe.connect_ex(path)
        except OSError:
            return
    if code == errno.ECONNREFUSED:
        with contextlib.suppress(OSError):
            os.unlink(path)
    elif code == 0:
        raise ConfigurationError(
            f"admin socket {path}: another process answers there: stop it, or choose another path"
        )


def _identity_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
