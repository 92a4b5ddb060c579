"""Connections that a devbox hands to its targets while somebody records them.

How it works.  A stream is joined to its target as always, as bytes, unless exchanges are to be
recorded: then the first bytes of the client tell whether it speaks HTTP, and the engines of
`tunnelkit.http` pass its requests on, one target behind all of them.  Whoever speaks first decides,
as at a sidecar: a target that does so speaks no HTTP, and nobody waits.  Only what looks like the
settings of HTTP/2 waits for the client, which is about to speak as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from tunnelkit.errors import ErrorCode
from tunnelkit.http.answers import Reply, plain_reply
from tunnelkit.http.detect import Kind, begins_http2, detect
from tunnelkit.http.head import RequestHead
from tunnelkit.http.routing import NO_LIMITS, Reached, Route
from tunnelkit.outgoing import Exit
from tunnelkit.pump import Pump
from tunnelkit.splice import PipeEnd, splice_stream
from tunnelkit.wire.frames import Metadata
from tunnelkit.wire.stream import Buffer, StreamCore

if TYPE_CHECKING:
    from tunnelkit.capture import ByteRecorder, Recorder
    from tunnelkit.http.h2_proxy import H2Proxy
    from tunnelkit.http.proxy import HttpProxy

__all__ = ["Lookout"]


class Lookout:
    """What a devbox records, or nothing.

    Args:
        exit_: what joins streams and connections to targets.
    """

    def __init__(self, exit_: Exit, pump: Pump) -> None:
        self._recorder: Recorder | None = None
        self._byte_recorder: ByteRecorder | None = None
        self._exit = exit_
        self._pump = pump

    @property
    def recorder(self) -> Recorder | None:
        """Who keeps requests and answers, or nobody."""
        return self._recorder

    @recorder.setter
    def recorder(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._choose()

    @property
    def byte_recorder(self) -> ByteRecorder | None:
        """Who keeps the bytes of new connections, or nobody."""
        return self._byte_recorder

    @byte_recorder.setter
    def byte_recorder(self, recorder: ByteRecorder | None) -> None:
        self._byte_recorder = recorder
        self._choose()

    def _choose(self) -> None:
        """Stand in the way only while somebody records."""
        is_idle = self._recorder is None and self._byte_recorder is None
        self._exit.join = splice_stream if is_idle else self.join

    def join(self, end: PipeEnd, stream: StreamCore) -> None:
        """Join a stream and the connection to its target."""
        if self.byte_recorder is not None:
            from tunnelkit.capture.pipes import tapped  # most programs never record

            client = _client_of(stream)
            end.pipe = tapped(end.pipe, self.byte_recorder, client, stream.target, is_client=False)
        if self.recorder is None:
            splice_stream(end, stream)
            return
        first = _First(end, stream, self._pump, self.recorder)
        stream.sink = first
        end.join(_Target(first))
        stream.resume()


def _client_of(stream: StreamCore) -> str:
    """Return who connected at the other side, as that side says."""
    said = dict(stream.metadata).get(int(Metadata.CLIENT_ADDRESS), b"")
    return said.decode("utf-8", "replace") or "unknown"


class _First:
    """The end of a stream until its first bytes have come."""

    def __init__(self, end: PipeEnd, stream: StreamCore, pump: Pump, recorder: Recorder) -> None:
        self._end = end
        self._stream = stream
        self._pump = pump
        self._recorder = recorder
        self._proxy: HttpProxy | H2Proxy | None = None
        """The engine of a client that speaks HTTP: what the target says waits for its request."""

    def offer(self, data: Buffer) -> int:
        found = detect(bytes(data))
        if found is None or found.kind not in (Kind.HTTP1, Kind.HTTP2) or found.proxy is not None:
            self.splice()
            self._end.resume()  # what looked like settings was none
            return self._end.offer(data)
        passage = _Passage(self._end, self._stream, self._pump, self._recorder)
        proxy = self._proxy = passage.begin(is_http2=found.kind is Kind.HTTP2)
        self._stream.sink = proxy
        proxy.join(self._stream)
        return proxy.offer(data)

    def splice(self) -> None:
        """It is no HTTP: let the bytes go by."""
        self._stream.sink = self._end
        self._end.other = self._stream

    def from_target(self, data: Buffer) -> int:
        """The target spoke before the client asked for anything."""
        if self._proxy is not None or begins_http2(data):
            return 0  # it is kept by its end
        self.splice()
        return self._stream.offer(data)

    def target_ended(self) -> None:
        """The target has ended; its end tells that again to whom it is joined later."""
        if self._proxy is None:
            self.splice()
            self._stream.finish()

    def target_broke(self, code: int, text: str) -> None:
        """The target is gone."""
        if self._proxy is not None:
            self._proxy.reset(code, text)
        else:
            self.splice()
            self._stream.reset(code, text)

    def finish(self) -> None:
        self.splice()
        self._end.finish()
        self._end.resume()  # as above

    def abort(self, code: int, text: str) -> None:
        self.splice()
        self._end.abort(code, text)

    def stop(self, code: int, text: str) -> None:
        self.splice()
        self._end.stop(code, text)

    def reset(self, code: int, text: str) -> None:
        self.splice()
        self._end.reset(code, text)

    def resume(self) -> None:
        pass


class _Target:
    """The end into which the target pushes until then."""

    def __init__(self, first: _First) -> None:
        self._first = first

    def offer(self, data: Buffer) -> int:
        return self._first.from_target(data)

    def finish(self) -> None:
        self._first.target_ended()

    def abort(self, code: int, text: str) -> None:
        self._first.target_broke(code, text)

    def stop(self, code: int, text: str) -> None:
        pass

    def reset(self, code: int, text: str) -> None:
        self._first.target_broke(code, text)

    def resume(self) -> None:
        pass


class _Passage:
    """The requests of one stream, all of which go to one target."""

    limits = NO_LIMITS

    def __init__(self, end: PipeEnd, stream: StreamCore, pump: Pump, recorder: Recorder) -> None:
        self._end: PipeEnd | None = end
        self._target = stream.target
        self._client = _client_of(stream)
        self._pump = pump
        self._recorder = recorder

    def begin(self, *, is_http2: bool) -> HttpProxy | H2Proxy:
        """Return the engine for what the client speaks."""
        if is_http2:
            from tunnelkit.http.h2_proxy import H2Proxy

            return H2Proxy(self)
        from tunnelkit.http.proxy import HttpProxy

        return HttpProxy(self)

    def route(self, head: RequestHead, found: Callable[[Route], None]) -> None:
        watch = self._recorder.begin(head, client=self._client, port=self._target)
        found(Route(self._target, is_mirrored=True, watch=watch))

    def connect(self, route: Route, back: Reached) -> None:
        end, self._end = self._end, None
        if end is None:
            back.failed(502, f"the connection to {self._target} has ended")
            return
        back.attached(end)
        end.join(back)

    def reply(self, head: RequestHead | None, route: Route, status: int, why: str) -> Reply:
        return plain_reply(head, status, why)

    def start_timer(self, seconds: float, expired: Callable[[], None]) -> Callable[[], None]:
        return self._pump.call_later(seconds, expired).cancel

    def now(self) -> float:
        return trio.current_time()

    def proxy_over(self) -> None:
        end, self._end = self._end, None
        if end is not None:  # nothing was asked of the target
            end.finish()
            end.stop(ErrorCode.NOT_READING, "")
