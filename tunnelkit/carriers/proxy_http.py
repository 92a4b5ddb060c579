"""What is said to an HTTP proxy, and what its answers mean (no I/O).

The request is CONNECT (RFC 9110 §9.3.6) with the host as the user wrote it: the proxy looks it up.
An answer of 2xx opens the tunnel, whatever else its head says; all others are explained, with no
more of the proxy's words than fit in a line.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from tunnelkit._version import __version__
from tunnelkit.addresses import Address

from .exchange import printable
from .proxy_settings import Proxy

__all__ = ["Answer", "AnswerWrong", "connect_request", "explain", "read_answer"]

_HOST_PORT: Final = re.compile(r"[A-Za-z0-9._-]+:\d+|\[[0-9A-Fa-f:.]+\]:\d+")
_BASIC: Final = re.compile(rb"(?:^|,)\s*basic(?:\s|,|$)", re.IGNORECASE)
_LIST: Final = "let it allow that host and port, or name another way (--proxy, NO_PROXY)"


class AnswerWrong(Exception):
    """It is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer of a proxy."""

    status: int
    reason: bytes
    headers: tuple[tuple[bytes, bytes], ...]

    @property
    def is_interim(self) -> bool:
        """Whether the real answer is still to come."""
        return self.status < 200

    @property
    def is_open(self) -> bool:
        """Whether what follows belongs to the tunnel."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return f"HTTP {self.status} {printable(self.reason)}".rstrip()

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header; *name* in small letters."""
        return [value for found, value in self.headers if found == name]


def connect_request(address: Address, login: str = "") -> bytes:
    """Return the request for a tunnel to *address*.

    Args:
        login: "USER:PASSWORD"; "": none.

    Raises:
        UnicodeError: the host is no host name.
    """
    named = address.name
    host = named if named.isascii() else named.encode("idna").decode("ascii")
    target = Address("tcp", host, address.port).host_port
    if not _HOST_PORT.fullmatch(target):
        raise UnicodeError("no host name")
    lines = [
        f"CONNECT {target} HTTP/1.1",
        f"Host: {target}",
        f"User-Agent: tunnelkit/{__version__}",
    ]
    if login:
        lines.append(f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(head: bytes) -> Answer:
    """Return the answer that *head*, with its empty line, is.

    Raises:
        AnswerWrong: it is none.
    """
    import h11  # only where there is a proxy: it takes memory that a plain link need not pay for

    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="CONNECT", target="x:1", headers=[("Host", "x:1")]))
    http.send(h11.EndOfMessage())
    http.receive_data(head)
    try:
        event = http.next_event()
    except h11.RemoteProtocolError as error:
        raise AnswerWrong from error
    if not isinstance(event, (h11.Response, h11.InformationalResponse)):
        raise AnswerWrong
    return Answer(event.status_code, event.reason, tuple(event.headers))


def explain(answer: Answer, proxy: Proxy, address: Address) -> str:
    """Return what an answer that opens no tunnel means, and what to do."""
    target = address.host_port
    status = answer.status
    if status in (401, 407):  # some answer 401 to a login that is wrong
        return _explain_login(answer, proxy)
    if 300 <= status < 400:
        found = [printable(value) for value in answer.values(b"location")]
        where = f" to {found[0]}" if found else ""
        return f"the proxy sends clients on{where} ({answer}): does it want a login in a browser?"
    if status in (403, 451):
        return f"the proxy does not let anybody through to {target} ({answer}): {_LIST}"
    if status in (404, 405, 501):
        return f"this is no proxy for CONNECT ({answer}): look at its host and port"
    if status in (408, 500, 502, 503, 504):
        return (
            f"the proxy does not reach {target} ({answer}): is the tunnel running, and is its name "
            "known there?"
        )
    if status == 429:
        return f"the proxy wants fewer attempts ({answer}): try again later"
    return f"the proxy refuses ({answer}): look at its log"


def _explain_login(answer: Answer, proxy: Proxy) -> str:
    wanted = answer.values(b"proxy-authenticate")
    if wanted and not any(_BASIC.search(value) for value in wanted):
        names = ", ".join(printable(value.split(b" ")[0]) for value in wanted)
        return (
            f"the proxy wants a login by {names} ({answer}), and only Basic is spoken here: "
            "put a proxy of your own between that can do it"
        )
    if proxy.login:
        return f"the proxy does not accept this login ({answer}): look at user name and password"
    form = f"{proxy.scheme}://USER:PASSWORD@{proxy.address.host_port}"
    return f"the proxy wants a login ({answer}): give it as {form}"
