"""The SOCKS handshake of a client, as a SOCKS5 server sees it (no I/O).

RFC 1928 with CONNECT only, and RFC 1929 where a login is wanted.  Bytes go in by `receive`; what is
to be sent comes out of `take_output`.  When the client has said where it wants to go, `target` is
that place as text; names are left as they are, because the far side looks them up.  Where the
client is refused, `failure` says why in words, and what is left to send tells the client.

Clients that speak something else are told what they found: SOCKS4 and 4a by its own refusal, HTTP
by an HTTP answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tunnelkit.errors import NOT_ALLOWED, ErrorCode

from .allow import parse_host

__all__ = ["Login", "Reply", "SocksHandshake", "reply_bytes", "reply_for"]

_VERSION: Final = 5
_SOCKS4: Final = 4
_LOGIN_VERSION: Final = 1
_NO_LOGIN: Final = 0
_BY_LOGIN: Final = 2
_NOTHING_FITS: Final = 0xFF
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

_SOCKS4_REFUSAL: Final = bytes([0, 91, 0, 0, 0, 0, 0, 0])
_HTTP_TEXT: Final = b"This is a SOCKS5 proxy, not an HTTP proxy: use socks5h://HOST:PORT.\n"
_HTTP_REFUSAL: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP_TEXT), _HTTP_TEXT)
)


class Reply(IntEnum):
    """What a SOCKS5 server answers to a request (RFC 1928 §6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TIMED_OUT = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


_REPLIES: Final[dict[int, Reply]] = {
    ErrorCode.NONE: Reply.SUCCEEDED,
    **dict.fromkeys(NOT_ALLOWED, Reply.NOT_ALLOWED),
    ErrorCode.UNKNOWN_PEER: Reply.NETWORK_UNREACHABLE,
    ErrorCode.PEER_GONE: Reply.NETWORK_UNREACHABLE,
    ErrorCode.TARGET_UNREACHABLE: Reply.HOST_UNREACHABLE,
    ErrorCode.TARGET_REFUSED: Reply.CONNECTION_REFUSED,
    ErrorCode.OPEN_TIMEOUT: Reply.TIMED_OUT,
}


def reply_for(code: int) -> Reply:
    """Return the reply that tells a client of *code*."""
    return _REPLIES.get(code, Reply.GENERAL_FAILURE)


def reply_bytes(reply: Reply) -> bytes:
    """Return a reply; the address in it is always 0.0.0.0:0, for ours means nothing there."""
    return bytes([_VERSION, reply, 0, _IPV4, 0, 0, 0, 0, 0, 0])


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Name and password that clients have to give."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return "<Login>"

    def fits(self, name: bytes, password: bytes) -> bool:
        """Whether they are the right ones; takes the same time for all of one length."""
        return hmac.compare_digest(self.name, name) & hmac.compare_digest(self.password, password)


class _Refused(Exception):
    """The client cannot be served."""


class SocksHandshake:
    """One client's handshake.

    Args:
        login: what the client has to give; None: nothing is asked for.
    """

    def __init__(self, login: Login | None = None) -> None:
        self.target: str | None = None
        """Where the client wants to go, ``HOST:PORT``, once it has said so."""
        self.failure = ""
        """Why the client is not served; empty as long as it may be."""
        self.received = bytearray()
        """Bytes that were not used; when `target` is known, those that the client sent early."""
        self._login = login
        self._output = bytearray()
        self._step: Callable[[], bool] = self._greeting

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes of the client; those after the request stay in `received`."""
        self.received += data
        try:
            while self.target is None and not self.failure and self._step():
                pass
        except _Refused as refused:
            self.failure = str(refused)
        if self.failure:
            self.received.clear()

    def take_output(self) -> bytes:
        """Return what is to be sent to the client now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def _refuse(self, output: bytes, why: str) -> _Refused:
        self._output += output
        return _Refused(why)

    def _take(self, size: int) -> bytes:
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    # --- steps: each returns whether it had all that it needs ---------------------------------

    def _greeting(self) -> bool:
        """VER, NMETHODS, METHODS."""
        received = self.received
        if not received:
            return False
        if received[0] != _VERSION:
            raise self._not_socks5(received[0])
        if len(received) < 2 or len(received) < 2 + received[1]:
            return False
        methods = self._take(2 + received[1])[2:]
        wanted = _NO_LOGIN if self._login is None else _BY_LOGIN
        if wanted not in methods:
            why = "asks for a login" if self._login is None else "gives no login"
            raise self._refuse(bytes([_VERSION, _NOTHING_FITS]), f"the client {why}")
        self._output += bytes([_VERSION, wanted])
        self._step = self._request if self._login is None else self._check_login
        return True

    def _not_socks5(self, first: int) -> _Refused:
        if first == _SOCKS4:
            return self._refuse(_SOCKS4_REFUSAL, "the client speaks SOCKS4, and not SOCKS5")
        if chr(first).isascii() and chr(first).isalpha():
            return self._refuse(_HTTP_REFUSAL, "the client speaks HTTP, and not SOCKS5")
        return self._refuse(b"", "the client does not speak SOCKS5")

    def _check_login(self) -> bool:
        """VER, ULEN, UNAME, PLEN, PASSWD (RFC 1929)."""
        received, login = self.received, self._login
        assert login is not None  # it was asked for
        if received and received[0] != _LOGIN_VERSION:
            raise self._refuse(b"", "the client's login is malformed")
        if len(received) < 2 or len(received) < 3 + received[1]:
            return False
        middle = 2 + received[1]
        if len(received) < middle + 1 + received[middle]:
            return False
        whole = self._take(middle + 1 + received[middle])
        if not login.fits(whole[2:middle], whole[middle + 1 :]):
            raise self._refuse(bytes([_LOGIN_VERSION, 1]), "the client's login is wrong")
        self._output += bytes([_LOGIN_VERSION, 0])
        self._step = self._request
        return True

    def _request(self) -> bool:
        """VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT."""
        received = self.received
        if received and received[0] != _VERSION:
            raise self._fail(Reply.GENERAL_FAILURE, "the client's request is malformed")
        if len(received) >= 2 and received[1] != _CONNECT:
            text = f"the client asks for command {received[1]}; there is only CONNECT (1)"
            raise self._fail(Reply.COMMAND_NOT_SUPPORTED, text)
        if len(received) < 5:
            return False
        kind, start = received[3], 4
        sizes = {_IPV4: 4, _IPV6: 16, _NAME: received[4]}
        if kind not in sizes:
            text = f"the client gives an address of type {kind}; there are 1, 3 and 4"
            raise self._fail(Reply.ADDRESS_TYPE_NOT_SUPPORTED, text)
        if kind == _NAME:
            start = 5
        if len(received) < start + sizes[kind] + 2:
            return False
        whole = self._take(start + sizes[kind] + 2)
        self.target = self._read_target(kind, whole[start:-2], int.from_bytes(whole[-2:], "big"))
        return True

    def _read_target(self, kind: int, host: bytes, port: int) -> str:
        try:
            if kind == _NAME:
                # Some clients send an IPv6 address in brackets, as in a URL.
                text = host.decode("ascii")
                is_bracketed = text.startswith("[") and text.endswith("]")
                return str(parse_host(text[1:-1] if is_bracketed else text, port))
            address = IPv4Address(host) if kind == _IPV4 else IPv6Address(host)
            return str(parse_host(str(address), port))
        except ValueError:
            text = "the client asks for something that is no host and port"
            raise self._fail(Reply.GENERAL_FAILURE, text) from None

    def _fail(self, reply: Reply, why: str) -> _Refused:
        return self._refuse(reply_bytes(reply), why)
