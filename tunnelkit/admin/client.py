"""The calling side of the admin socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import trio

from tunnelkit.errors import ConfigurationError, TunnelError

__all__ = ["AdminError", "call_admin"]

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
                line = await _receive_line(stream)
    except trio.TooSlowError:
        raise AdminError(0, f"no answer from {path} within {timeout:g} s: is it stopped?") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise ConfigurationError(_explain(path, error)) from error
    return _result(line, path)


async def _receive_line(stream: trio.SocketStream) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n") and len(line) <= MAX_ANSWER_BYTES:
        data = await stream.receive_some(64 * 1024)
        if not data:
            break
        line += data
    return bytes(line)


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
