"""The calling side of the admin socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import trio

from tunnelkit.errors import ConfigurationError, TunnelError

__all__ = ["AdminError", "AdminEvents", "call_admin", "watch_admin"]

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Longest answer that is read, bytes.  Stops: a wrong socket that talks without end."""

CALL_SECONDS: Final = 10.0
"""How long a call may take unless told otherwise, seconds."""


class AdminError(TunnelError):
    """The program answered a call with an error; `code` is JSON-RPC's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _ErrorObject(msgspec.Struct):
    code: int
    message: str


class _Response(msgspec.Struct):
    jsonrpc: str
    id: int | str | None = None
    result: object = None
    error: _ErrorObject | None = None


async def call_admin(
    path: str,
    method: str,
    params: Mapping[str, object] | None = None,
    *,
    timeout: float = CALL_SECONDS,
) -> object:
    """Call one method of the program that listens on *path*; return its result.

    Args:
        timeout: for the whole call, seconds.

    Raises:
        ConfigurationError: nobody listens there.
        AdminError: the method refused, failed, or did not answer in time.
    Cancellation: atomic here; the program may have carried out the call.
    """
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}
    try:
        with trio.fail_after(timeout):
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(msgspec.json.encode(request) + b"\n")
                line = await _Lines(stream).receive()
    except trio.TooSlowError:
        raise AdminError(0, f"no answer from {path} within {timeout:g} s: is it stopped?") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise ConfigurationError(_explain(path, error)) from error
    return _result(line, path)


class _Notification(msgspec.Struct):
    method: str
    params: dict[str, object]


class AdminEvents:
    """Events of another program, to be read with ``async for``; made by `watch_admin`.

    The iteration ends when the program closes the connection.
    """

    def __init__(self, lines: _Lines, path: str) -> None:
        self._lines = lines
        self._path = path

    def __aiter__(self) -> AdminEvents:
        return self

    async def __anext__(self) -> dict[str, object]:
        """Return the next event, as `tunnelkit.events.Event.as_dict` made it.

        Raises:
            AdminError: what arrived is no event.
        Cancellation: keeps.
        """
        try:
            line = await self._lines.receive()
        except trio.BrokenResourceError:
            raise StopAsyncIteration from None
        if not line.endswith(b"\n"):
            raise StopAsyncIteration
        try:
            notification = msgspec.json.decode(line, type=_Notification)
        except (ValueError, RecursionError):
            raise AdminError(0, f"{self._path} sent something that is no event") from None
        return notification.params


@asynccontextmanager
async def watch_admin(path: str, *, timeout: float = CALL_SECONDS) -> AsyncGenerator[AdminEvents]:
    """Watch the links and sessions of the program that listens on *path*.

    The first events, with ``is_snapshot``, say what there is; then come changes.

    Args:
        timeout: until the program has answered, seconds.

    Raises:
        ConfigurationError: nobody listens there.
        AdminError: the program refused, or did not answer in time.
    """
    request = {"jsonrpc": "2.0", "id": 1, "method": "watch"}
    try:
        with trio.fail_after(timeout):
            stream = await trio.open_unix_socket(path)
    except (OSError, trio.TooSlowError) as error:
        raise ConfigurationError(_explain(path, error)) from error
    async with stream:
        lines = _Lines(stream)
        try:
            with trio.fail_after(timeout):
                await stream.send_all(msgspec.json.encode(request) + b"\n")
                answer = await lines.receive()
        except trio.TooSlowError:
            text = f"no answer from {path} within {timeout:g} s: is it stopped?"
            raise AdminError(0, text) from None
        except trio.BrokenResourceError as error:
            raise ConfigurationError(_explain(path, error)) from error
        _result(answer, path)
        yield AdminEvents(lines, path)


class _Lines:
    """The lines that arrive on a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._waiting = bytearray()

    async def receive(self) -> bytes:
        """Return the next line with its end; without it, the stream ended or the line is too long.

        Cancellation: keeps.
        """
        searched = 0
        while (end := self._waiting.find(b"\n", searched)) < 0:
            searched = len(self._waiting)
            data = b""
            if searched <= MAX_ANSWER_BYTES:
                data = await self._stream.receive_some(64 * 1024)
            if not data:
                end = searched - 1
                break
            self._waiting += data
        line = bytes(self._waiting[: end + 1])
        del self._waiting[: end + 1]
        return line


def _result(line: bytes, path: str) -> object:
    try:
        response = msgspec.json.decode(line, type=_Response)
    except (ValueError, RecursionError):
        raise AdminError(0, f"{path} gave no JSON-RPC answer: is it an admin socket?") from None
    if response.error is not None:
        raise AdminError(response.error.code, response.error.message)
    return response.result


def _explain(path: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no admin socket {path}: start the program with --admin {path}"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on admin socket {path}: the program that made it has gone"
    if isinstance(error, PermissionError):
        return f"admin socket {path} belongs to another user: call as that user"
    return f"cannot talk to admin socket {path}: {getattr(error, 'strerror', None) or error}"
