"""The hello of a link: who is there, and can it prove it (no I/O).

Four frames (docs/wire-protocol.md §6): the dialer says `hello`, the acceptor answers with a
`challenge`, the dialer proves with its token and a signature over both nonces, the acceptor says
`hello-ok`, or `refuse` at any of its turns.  Until then the peer is a stranger: frames are small,
and whoever makes the first mistake is refused with the reason.

`Dialing` and `Accepting` are the two sides.  `receive` takes a frame and returns the frame to
answer with; `peer` is set when the link is up.  Nonces and times are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import limits
from ._version import __version__
from .auth import Capability, Identity, KeyRing, Trust, hello_message, sign, verify_signature
from .carriers.http_answers import TO_A_LINK, looks_like_http
from .errors import AuthenticationError, ErrorCode, LinkRefused, RemoteProtocolError
from .wire.frames import (
    FLAG_OPTIONAL,
    KNOWN_TYPES,
    MAGIC,
    VERSION,
    FrameType,
    Value,
    decode_fields,
    encode_fields,
    encode_frame,
)
from .wire.states import LINK_ACCEPTOR, LINK_DIALER, LinkState

__all__ = ["AGENT", "Accepting", "Dialing", "NotALink", "Peer", "check_first_bytes"]

AGENT = f"tunnelkit/{__version__}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a link."""

    subject: str
    instance: bytes
    agent: str
    is_broker: bool = False
    capability: Capability | None = None
    """What the peer's token allows; None on the dialling side, which is shown none."""
    transcript: tuple[bytes, bytes, bytes, bytes] | None = field(default=None, repr=False)
    """The nonces and instances of the hello, the dialler's first of each."""


def _refuse(code: int, text: str) -> bytes:
    payload = encode_fields(
        FrameType.REFUSE, code=code, minimum_version=VERSION, maximum_version=VERSION, text=text
    )
    return encode_frame(FrameType.REFUSE, payload)


def _check_magic(values: Mapping[str, Value]) -> None:
    if values["magic"] != MAGIC:
        raise RemoteProtocolError("the peer does not speak the tunnel protocol (wrong magic)")


_TLS = b"\x16\x03"
_TLS_ALERT = b"\x15\x03"


class NotALink(RemoteProtocolError):
    """Somebody speaks another protocol; `answer` is what to tell them in it."""

    def __init__(self, text: str, answer: bytes) -> None:
        super().__init__(text)
        self.answer = answer


def check_first_bytes(data: memoryview) -> None:
    """Refuse what begins as another protocol does; read as a frame it would make no sense.

    Raises:
        NotALink: this is the request of an HTTP client.
        RemoteProtocolError: the text names the protocol.
    """
    start = bytes(data[:8])
    if start[:2] == _TLS:
        raise RemoteProtocolError("this looks like TLS; a plain tunnel link was expected")
    if start[:2] == _TLS_ALERT:
        raise RemoteProtocolError("the other side speaks TLS: dial tls:// instead of tcp://")
    if looks_like_http(start):
        raise NotALink("this looks like HTTP; a tunnel link was expected", TO_A_LINK)
    if start.startswith(b"HTTP/"):
        text = "this looks like HTTP; a tunnel link was expected: if it is a tunnel, dial ws://"
        raise RemoteProtocolError(text)
    if start.startswith(b"SSH-"):
        raise RemoteProtocolError("this looks like SSH; a tunnel link was expected")


def _next_state(
    table: Mapping[tuple[LinkState, FrameType], LinkState], state: LinkState, kind: int
) -> tuple[FrameType, LinkState]:
    if kind not in KNOWN_TYPES:
        raise RemoteProtocolError(f"the first frame has type {kind:#04x}, not a hello")
    frame_type = FrameType(kind)
    after = table.get((state, frame_type))
    if after is None:
        raise RemoteProtocolError(f"{frame_type.name} while waiting ({state.value})")
    return frame_type, after


def _is_skippable(kind: int, flags: int) -> bool:
    return kind not in KNOWN_TYPES and bool(flags & FLAG_OPTIONAL)


class Dialing:
    """The side that made the connection.

    Args:
        identity: whose link it is.
        instance: 16 random bytes of this process.
        nonce: 32 fresh random bytes.
        expected: subject and instance of the only process that anything is proven to; None where
            whoever answers at the address is right.
    """

    def __init__(
        self,
        identity: Identity,
        instance: bytes,
        nonce: bytes,
        expected: tuple[str, bytes] | None = None,
    ) -> None:
        self._identity = identity
        self._expected = expected
        self._instance = instance
        self._nonce = nonce
        self._challenge: Mapping[str, Value] = {}
        self.state = LinkState.CHALLENGE_WAIT
        self.peer: Peer | None = None

    def begin(self) -> bytes:
        """Return the first frame."""
        payload = encode_fields(
            FrameType.HELLO,
            magic=MAGIC,
            minimum_version=VERSION,
            maximum_version=VERSION,
            instance=self._instance,
            nonce=self._nonce,
            features=0,
            agent=AGENT,
        )
        return encode_frame(FrameType.HELLO, payload)

    def receive(self, kind: int, flags: int, payload: memoryview) -> bytes:
        """Take a frame; return the answer, b"" for none.

        Raises:
            LinkRefused: the peer refuses; the code and the text are its own.
            RemoteProtocolError: the peer does not keep to the hello.
        """
        if _is_skippable(kind, flags):
            return b""
        frame_type, after = _next_state(LINK_DIALER, self.state, kind)
        values = decode_fields(frame_type, payload)
        self.state = after
        if frame_type is FrameType.REFUSE:
            raise self._refusal(values)
        if frame_type is FrameType.CHALLENGE:
            return self._prove(values)
        subject, is_broker = str(values["subject"]), values["broker"] == 1
        if subject != self._challenge["subject"] or (is_broker and self._expected is not None):
            raise RemoteProtocolError("the peer is another one than it said before")
        self.peer = Peer(
            subject=subject,
            instance=_bytes(self._challenge["instance"]),
            agent=str(self._challenge["agent"]),
            is_broker=is_broker,
            transcript=self._transcript,
        )
        return b""

    def _refusal(self, values: Mapping[str, Value]) -> LinkRefused:
        text = str(values["text"])
        code, low, high = (values[n] for n in ("code", "minimum_version", "maximum_version"))
        assert isinstance(code, int)  # the field table says so
        if code == ErrorCode.UNSUPPORTED_VERSION:
            text += f"; it speaks versions {low!s} to {high!s}, this program {VERSION}"
        return LinkRefused(code, text)

    @property
    def _transcript(self) -> tuple[bytes, bytes, bytes, bytes]:
        nonce, instance = _bytes(self._challenge["nonce"]), _bytes(self._challenge["instance"])
        return self._nonce, nonce, self._instance, instance

    def _prove(self, values: Mapping[str, Value]) -> bytes:
        _check_magic(values)
        if values["version"] != VERSION:
            raise RemoteProtocolError("the peer chose a version that was not offered")
        self._challenge = values
        subject = str(values["subject"])
        if self._expected not in (None, (subject, values["instance"])):
            raise RemoteProtocolError("another process answers than the one that was dialled")
        token = self._identity.token.encode()
        message = hello_message(*self._transcript, token, subject)
        signature = sign(self._identity.key, message)
        payload = encode_fields(FrameType.PROOF, token=token, signature=signature)
        return encode_frame(FrameType.PROOF, payload)


class Accepting:
    """The side that was connected to.

    Args:
        ring: whose tokens are believed.
        subject: this side's own subject; "" for a broker.
        is_broker: whether this side switches for others.
        instance: 16 random bytes of this process.
        nonce: 32 fresh random bytes.
        clock: returns unix seconds.
    """

    def __init__(
        self,
        ring: KeyRing | Trust,
        *,
        subject: str,
        is_broker: bool,
        instance: bytes,
        nonce: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._trust = Trust.of(ring)
        self._subject = subject
        self._is_broker = is_broker
        self._instance = instance
        self._nonce = nonce
        self._clock = clock
        self._hello: Mapping[str, Value] = {}
        self.state = LinkState.HELLO_WAIT
        self.peer: Peer | None = None

    def begin(self) -> bytes:
        """Return the first frame: none, the dialer begins."""
        return b""

    def receive(self, kind: int, flags: int, payload: memoryview) -> bytes:
        """Take a frame; return the answer.

        Raises:
            AuthenticationError: the token or the signature is not accepted.
            RemoteProtocolError: the peer does not keep to the hello.
        For both, `refusal` makes the frame to answer with before closing.
        """
        if _is_skippable(kind, flags):
            return b""
        frame_type, after = _next_state(LINK_ACCEPTOR, self.state, kind)
        values = decode_fields(frame_type, payload)
        answer = self._challenge(values) if frame_type is FrameType.HELLO else self._check(values)
        self.state = after
        return answer

    @staticmethod
    def refusal(error: AuthenticationError | RemoteProtocolError) -> bytes:
        """Return the `refuse` frame for an error of `receive`."""
        return _refuse(error.code, error.text)

    def _challenge(self, values: Mapping[str, Value]) -> bytes:
        _check_magic(values)
        low, high = values["minimum_version"], values["maximum_version"]
        assert isinstance(low, int)  # the field table says so
        assert isinstance(high, int)
        if not low <= VERSION <= high:
            raise RemoteProtocolError(
                f"versions {low} to {high} are not supported", ErrorCode.UNSUPPORTED_VERSION
            )
        self._hello = values
        payload = encode_fields(
            FrameType.CHALLENGE,
            magic=MAGIC,
            version=VERSION,
            instance=self._instance,
            nonce=self._nonce,
            features=0,
            subject=self._subject,
            agent=AGENT,
        )
        return encode_frame(FrameType.CHALLENGE, payload)

    def _check(self, values: Mapping[str, Value]) -> bytes:
        token = _bytes(values["token"])
        capability = self._trust.verify(token, self._clock())
        nonce, instance = _bytes(self._hello["nonce"]), _bytes(self._hello["instance"])
        transcript = nonce, self._nonce, instance, self._instance
        message = hello_message(*transcript, token, self._subject)
        verify_signature(capability.holder, message, _bytes(values["signature"]))
        self.peer = Peer(
            subject=capability.subject,
            instance=instance,
            agent=str(self._hello["agent"]),
            capability=capability,
            transcript=transcript,
        )
        payload = encode_fields(
            FrameType.HELLO_OK,
            broker=int(self._is_broker),
            subject=self._subject,
            max_sessions=limits.MAX_SESSIONS_PER_LINK,
            max_payload=limits.MAX_PAYLOAD_BYTES,
        )
        return encode_frame(FrameType.HELLO_OK, payload)


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)  # the field table says so
    return value
