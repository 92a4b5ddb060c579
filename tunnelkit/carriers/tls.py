"""TLS as a pipe around a pipe.

How it works.  OpenSSL never sees a socket: it reads and writes two buffers in memory, and `TlsPipe`
moves bytes between them and the pipe inside, in the handlers of the pump.  No task, no await.

* Receiving: read big from the pipe inside, feed, and decrypt as many records as the caller has
  space for.  What is left in TLS is served through the ready-queue of the pump, because epoll
  cannot see it.
* Sending: encrypt, try to send, and keep what the pipe inside does not take.  Bytes count as taken
  once they are encrypted, and nothing is encrypted while ciphertext waits; so what waits is bounded
  by `CHUNK_BYTES` and a few records, and the caller's backpressure is that of the socket.
* The end: `send_eof` says it with close_notify and leaves the other direction open, as TLS 1.3
  allows.  An end of the connection without close_notify is a truncation and breaks the pipe.  On
  `close`, ciphertext that waits is still sent, for a bounded time.
* Handshakes cost far more than frames do, so they take turns: a batch of the pump makes only a few
  steps of them, and the links that are up get their turn in between.  How long a handshake may take
  is the affair of whoever uses the pipe: a link counts it into the time for its hello.

Until the handshake is done the pipe takes and gives nothing; that it is done makes it writable.
"""

from __future__ import annotations

import contextlib
import contextvars
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast

from tunnelkit import limits
from tunnelkit.pump import Timer
from tunnelkit.wire.stream import Buffer

from .farewell import REFUSAL_SECONDS, Farewell
from .http_answers import PLAIN_TO_TLS, TO_A_LINK, looks_like_http
from .pipe import Pipe, PipeBroken
from .tls_errors import explain, is_record_start, is_truncation
from .tls_settings import LINK_ALPN, TlsSettings
from .tls_shared import CHUNK_BYTES, chunks_of, shared_of

__all__ = ["TlsPipe", "tls_client", "tls_server"]

NO_TLS_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x0a"
"""A fatal alert in clear, "unexpected message": by it a client without TLS can know what this is.
OpenSSL sends none to a peer that does not speak TLS."""

START_BYTES: Final = 8
"""How much of the first bytes is kept, to tell what a peer without TLS speaks.  A default."""


class TlsPipe(Pipe):
    """TLS around *inner*, which it owns.  Made by `tls_client` and `tls_server`.

    Args:
        inner: the pipe that carries the records.
        tls: the TLS object over *incoming* and *outgoing*.
        alpn: the protocol that has to be agreed on; None: any, or none.
    """

    def __init__(
        self,
        inner: Pipe,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        alpn: str | None,
    ) -> None:
        self.pump = inner.pump
        self.description = inner.description
        self.broken: str | None = None
        self.is_established = False
        self._inner = inner
        self._tls = tls
        self._in = incoming
        self._out = outgoing
        self._alpn = alpn
        self._shared = shared_of(inner.pump)
        self._handler: Callable[[bool, bool], object] | None = None
        self._wanted = (False, False)
        self._inner_wanted = (False, False)
        self._start = b""  # what arrived first; it tells what a peer without TLS speaks
        self._clear = b""  # decrypted before a close_notify was sent, not yet received
        self._unsent: Buffer = b""  # ciphertext that the pipe inside did not take
        self._more = False  # TLS holds bytes that the caller had no space for
        self._eof = False
        self._eof_sent = False
        self._closed = False
        self._large = False
        self._begun = False
        self._queued = False
        self._scheduled = False
        self._must_tell = False
        self._timer: Timer | None = None
        self._farewell: Farewell | None = None

    # --- readiness --------------------------------------------------------------------------

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        context = contextvars.copy_context()
        self._handler = lambda readable, writable: context.run(handler, readable, writable)
        self._wanted = (False, False)
        if not self._begun:
            self._begun = True
            self._inner.start(self._inner_ready)
            if not self._tls.server_side:
                self._handshake()  # the client speaks first
        self._apply()

    def want(self, readable: bool, writable: bool) -> None:
        self._wanted = (readable, writable)
        self._apply()
        self._poke()

    def _apply(self) -> None:
        """Want from the pipe inside what is needed for what is wanted here."""
        if self._closed:
            return
        if self.broken is not None:
            wanted = (False, False)
        elif not self.is_established:
            wanted = (not self._queued, self._waits())
        else:
            readable, writable = self._wanted
            flooded = self._out.pending > CHUNK_BYTES  # answers that the peer does not read
            wanted = (readable and not self._eof and not flooded, writable or self._waits())
        if wanted != self._inner_wanted:
            self._inner_wanted = wanted
            self._inner.want(*wanted)

    def _waits(self) -> bool:
        """Whether there is ciphertext to be sent."""
        return bool(self._unsent) or self._out.pending > 0

    def _own_readiness(self) -> tuple[bool, bool]:
        """What the pipe inside cannot know: bytes in TLS, its end, that it is broken."""
        failed = self.broken is not None
        readable = failed or self._eof or self._more or bool(self._clear)
        return (readable and self._wanted[0]) or self._must_tell, failed and self._wanted[1]

    def _poke(self) -> None:
        if self.broken is None and not (self._more or self._eof or self._clear):
            return  # the pipe inside knows all
        if self._handler is not None and not self._scheduled and any(self._own_readiness()):
            self._scheduled = True
            self.pump.call_soon(self._serve)

    def _serve(self) -> None:
        self._scheduled = False
        self._tell(*self._own_readiness())

    def _tell(self, readable: bool, writable: bool) -> None:
        """Call the handler; what it does not use up is reported again."""
        self._must_tell = False
        if self._handler is not None and (readable or writable):
            try:
                self._handler(readable, writable)
            finally:
                self._poke()

    def _inner_ready(self, readable: bool, writable: bool) -> None:
        if self._closed:
            self._linger()
            return
        if readable and not writable and self.is_established and self._wanted[0]:
            self._tell(True, False)  # by far the most: the short way
            return
        was_up = self.is_established
        try:
            if self._waits():
                self._flush()
            if readable and not was_up and not self._queued:
                self._queued = not self._shared.take_turn(self._take_turn)
                if not self._queued:
                    self._continue_handshake()
        except PipeBroken:
            pass  # remembered: the handler is told below
        self._apply()
        if was_up:
            wants_read, wants_write = self._wanted
            idle = readable and not wants_read and not wants_write  # it broke, perhaps
            can_write = writable and wants_write and not self._waits()
            self._tell((readable and wants_read) or idle, can_write)
        self._poke()

    # --- the handshake ----------------------------------------------------------------------

    def _take_turn(self) -> None:
        """Make the step of the handshake that had to wait."""
        self._queued = False
        if not self._closed and self.broken is None:
            self._continue_handshake()

    def _continue_handshake(self) -> None:
        with contextlib.suppress(PipeBroken):
            self._feed()
        if self.broken is None:
            self._handshake()

    def _handshake(self) -> None:
        """Make a step of the handshake with what was fed."""
        with contextlib.suppress(PipeBroken):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                self._break(self._explain(error))
                if self._tls.server_side and not is_record_start(self._start):
                    is_http = looks_like_http(self._start)
                    self._inner.try_send(PLAIN_TO_TLS if is_http else NO_TLS_ALERT)
            else:
                self._agree()
            self._flush()
        self._apply()
        self._poke()
        if self.is_established and self._wanted[1] and not self._waits():
            self._tell(False, True)

    def _agree(self) -> None:
        """The handshake is done: look whether it is for this protocol."""
        found = self._tls.selected_alpn_protocol()
        if self._alpn is not None and found != self._alpn:
            if self._tls.server_side:
                self._tls.write(TO_A_LINK)  # a browser, perhaps
            self._say_end()
            self._break(
                f"the other side speaks TLS but not {self._alpn} (by ALPN): look at host and port"
            )
            return
        self.is_established = True
        self._more = self._in.pending > 0

    def _explain(self, error: ssl.SSLError) -> str:
        if is_truncation(error) and not self.is_established:
            return "the other side ended the connection in the TLS handshake: does it speak TLS?"
        return explain(
            error,
            server_side=self._tls.server_side,
            name=self._tls.server_hostname or "the server",
            start=self._start,
        )

    def _break(self, text: str) -> PipeBroken:
        """Remember the first error, as a socket's pipe does; whoever uses the pipe is told."""
        if self.broken is None:
            self.broken = text
            self._must_tell = True
            self._poke()
        return PipeBroken(self.broken)

    # --- sending ----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send ciphertext until there is none or the pipe inside takes no more.

        Raises:
            PipeBroken: the pipe inside is gone.
        """
        while True:
            if not self._unsent:
                if not self._out.pending:
                    return
                self._unsent = self._out.read()
            try:
                sent = self._inner.try_send(self._unsent)
            except PipeBroken as error:
                raise self._break(str(error)) from error
            if sent < len(self._unsent):
                self._unsent = memoryview(self._unsent)[sent:]
                return
            self._unsent = b""

    def _is_ready_to_send(self) -> bool:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self._closed or self._eof_sent:
            raise self._break("bad file descriptor" if self._closed else "broken pipe")
        if not self.is_established:
            return False
        if self._waits():
            self._flush()
        return not self._waits()

    def try_send(self, data: Buffer) -> int:
        if not 0 < len(data) <= CHUNK_BYTES:
            return self.try_send_many([data])
        if not self._is_ready_to_send():
            return 0
        try:
            taken = self._tls.write(data)
        except ssl.SSLError as error:
            raise self._break(self._explain(error)) from error
        self._flush()
        if self._unsent:
            self._apply()
        return taken

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        if not self._is_ready_to_send():
            return 0
        taken = 0
        try:
            for chunk in chunks_of(buffers):
                taken += self._tls.write(chunk) if chunk else 0
                if self._out.pending >= CHUNK_BYTES:
                    self._flush()
                    if self._unsent:
                        break
        except ssl.SSLError as error:
            raise self._break(self._explain(error)) from error
        if not self._unsent:
            self._flush()
        if self._unsent:
            self._apply()
        return taken

    def limit_unsent(self, count: int) -> None:
        self._inner.limit_unsent(count)

    def unsent_bytes(self) -> int | None:
        return self._inner.unsent_bytes()

    def send_eof(self) -> None:
        if self._eof_sent or self._closed or self.broken is not None or not self.is_established:
            return
        self._say_end()
        self._apply()

    def _say_end(self) -> None:
        """Send close_notify.

        Python's `unwrap` goes on to look for the peer's, and would throw away the bytes that come
        before it: they are put aside for that moment.
        """
        self._eof_sent = True
        if self._tls.pending():
            self._clear += self._tls.read(self._tls.pending())
        held = self._in.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        if held:
            self._in.write(held)
        with contextlib.suppress(PipeBroken):
            self._flush()

    # --- receiving --------------------------------------------------------------------------

    def _feed(self) -> bool:
        """Read once from the pipe inside; return whether there was something, be it the end.

        Raises:
            PipeBroken: the pipe inside is gone.
        """
        view = self._shared.view
        try:
            count = self._inner.try_receive_into(view)
        except PipeBroken as error:
            raise self._break(str(error)) from error
        if count > 0:
            if not self.is_established:
                self._start += bytes(view[: min(count, START_BYTES - len(self._start))])
            self._in.write(view[:count])
        elif not count:
            self._in.write_eof()
        return count >= 0

    def _decrypt(self, buffer: memoryview) -> int:
        """Decrypt into *buffer* until it is full or TLS has no more; return how many bytes."""
        if self._clear:
            count = min(len(self._clear), len(buffer))
            buffer[:count] = self._clear[:count]
            self._clear = self._clear[count:]
            return count
        total, size = 0, len(buffer)
        read = cast(Callable[[int, memoryview], int], self._tls.read)
        self._more = False
        try:
            while True:
                count = read(size - total, buffer[total:] if total else buffer)
                if not count:
                    self._eof = True
                    return total
                total += count
                if not self._in.pending and not self._tls.pending():
                    return total  # to be told so by an exception costs more than a small frame
                if total == size:
                    self._more = True
                    return total
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._eof = True
        except ssl.SSLError as error:
            self._break(self._explain(error))
        return total

    def try_receive_into(self, buffer: memoryview) -> int:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        if self._closed:
            raise self._break("bad file descriptor")
        if not self.is_established or not len(buffer):
            return -1  # a read into no space looks to TLS like the end
        total = self._decrypt(buffer) if self._more or self._clear else 0
        if not total and not self._eof and self._feed():
            total = self._decrypt(buffer)
        if self._out.pending:
            self._answer()
        if total:
            self._poke()
            return total
        if self.broken is not None:
            raise PipeBroken(self.broken)
        return 0 if self._eof else -1

    def _answer(self) -> None:
        """Send what TLS says by itself: alerts, and answers to a change of keys."""
        with contextlib.suppress(PipeBroken):
            self._flush()
        self._apply()

    def try_receive(self, max_bytes: int) -> Buffer | None:
        view = memoryview(self.pump.blocks.take()) if self._large else self._shared.view
        count = self.try_receive_into(view[:max_bytes])
        if count < 0:
            return None
        fresh, self._large = self._large, count >= limits.KEEP_BY_REFERENCE_BYTES
        return view[:count].toreadonly() if fresh else view[:count]

    def check(self) -> None:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        try:
            self._inner.check()
        except PipeBroken as error:
            raise self._break(str(error)) from error

    # --- ending -----------------------------------------------------------------------------

    def close(self) -> None:
        if self._closed:
            return
        if self.is_established and self.broken is None and not self._eof_sent:
            self._say_end()
        self._closed = True
        self._handler = None
        if self._waits() and self.broken is None:
            self._timer = self.pump.call_later(limits.CLOSE_TIMEOUT_SECONDS, self._give_up)
            self.pump.at_stop.add(self._give_up)
            self._inner.want(False, True)
        elif self.broken is not None and not self.is_established:
            rest = bytes(self._unsent) + self._out.read()  # why, in an alert or in words
            self._farewell = Farewell(self._inner, REFUSAL_SECONDS, rest=rest, half_close=True)
        else:
            self._inner.close()

    def _linger(self) -> None:
        """Send what was taken before the close, then close."""
        with contextlib.suppress(PipeBroken):
            self._flush()
        if not self._waits() or self.broken is not None:
            self._give_up()

    def _give_up(self) -> None:
        self._end_linger()
        self._inner.close()

    def _end_linger(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.pump.at_stop.discard(self._give_up)

    def reset(self) -> None:
        self._closed = True
        self._handler = None
        self._end_linger()
        self._inner.reset()
        if self._farewell is not None:
            self._farewell.end()


def tls_client(
    inner: Pipe,
    settings: TlsSettings,
    host: str,
    *,
    alpn: str = LINK_ALPN,
    require_alpn: bool = True,
) -> TlsPipe:
    """Return *inner* with TLS around it, as the side that dialled.

    Args:
        host: whom the server's certificate has to be for, unless *settings* say otherwise.
        alpn: the application protocol.
        require_alpn: whether the pipe breaks if the server does not choose it.

    Raises:
        ConfigurationError: a file of *settings* cannot be used.
        ValueError: *host* is no name that a certificate can be for.
    """
    context = settings.context(server_side=False, alpn=alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = settings.server_name or host
    tls = context.wrap_bio(incoming, outgoing, server_side=False, server_hostname=name)
    return TlsPipe(inner, tls, incoming, outgoing, alpn if require_alpn else None)


def tls_server(
    inner: Pipe, settings: TlsSettings, *, alpn: str = LINK_ALPN, require_alpn: bool = True
) -> TlsPipe:
    """Return *inner* with TLS around it, as the side that was dialled.

    Args:
        alpn: the application protocol.
        require_alpn: whether the pipe breaks if the client does not offer it.

    Raises:
        ConfigurationError: there is no certificate, or a file of *settings* cannot be used.
    """
    context = settings.context(server_side=True, alpn=alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    return TlsPipe(inner, tls, incoming, outgoing, alpn if require_alpn else None)
