"""The beginning of a connection, while it is not known what its client speaks.

The local target is connected to at once, and whichever side speaks first decides.  Where the client
does, its first bytes tell (`tunnelkit.http.detect`).  Where the target does, as servers of MySQL,
SMTP and SSH do, it is no HTTP, and its greeting goes to the client without having waited for
anything; but a server of HTTP/2 may send its settings first, and its client speaks at once as well.
Who says nothing keeps nobody waiting: there is no time after which something is decided.
"""

from __future__ import annotations

from tunnelkit.carriers import Pipe
from tunnelkit.http.detect import Detected, Kind, begins_http2, detect
from tunnelkit.splice import PipeEnd
from tunnelkit.wire.stream import Buffer

from .splicing import Guest, Splicing
from .visitor import HttpVisitor, Surroundings

__all__ = ["Opening"]


class Opening:
    """A client whose first bytes have not told yet what it speaks.

    Args:
        is_open: whether the local target is connected to meanwhile, and may speak first; without
            it the client is known to speak first.
    """

    def __init__(
        self, guest: Guest, port: Surroundings, splicing: Splicing, *, is_open: bool
    ) -> None:
        self._guest = guest
        self._port = port
        self._splicing = splicing
        self._local: PipeEnd | None = None
        self._goes_local = False
        """Whether the guest waits for the local target alone."""
        self._is_decided = False
        """Whether it is known where the guest goes; what it sends then waits until it is there."""
        if is_open:
            reach = port.reach
            guest.attempt = reach.connect(port.target, self._connected, self._not_connected)
        guest.end.join(self)

    # --- the local target ---------------------------------------------------------------------

    def _connected(self, pipe: Pipe) -> None:
        self._local = PipeEnd(pipe)
        if self._goes_local:
            self._splicing.join_local(self._guest, self._local)
        else:
            self._local.join(_Target(self))

    def _not_connected(self, why: str) -> None:
        """Who goes there tries again, and is told."""
        self._guest.attempt = None
        if self._goes_local:
            self._splicing.go_local(self._guest)

    def target_speaks(self, data: Buffer) -> int:
        """The target spoke first: it is no HTTP, or the settings of a server of HTTP/2."""
        if begins_http2(data):
            return 0  # its client is about to speak as well, whatever it hears
        local = self._local
        self._go_whole("")
        is_joined = local is not None and local.other is self._guest.end
        return self._guest.end.offer(data) if is_joined else len(data)

    def target_ended(self) -> None:
        """The target has nothing to say, and has said so."""
        self._go_whole("")  # and whoever it is joined to is told

    def target_is_gone(self) -> None:
        """The target broke off before anybody spoke."""
        local, self._local = self._local, None
        if local is not None:
            local.reset(0, "")
        self._guest.leave()

    def _leave_local(self) -> None:
        """Nobody goes to the local target, or not over this connection."""
        attempt, self._guest.attempt = self._guest.attempt, None
        if attempt is not None:
            attempt.cancel()
        local, self._local = self._local, None
        if local is not None:
            local.finish()
            local.stop(0, "")

    # --- the client ---------------------------------------------------------------------------

    def offer(self, data: Buffer) -> int:
        if self._is_decided:
            return 0
        self._guest.first += bytes(data)
        found = detect(self._guest.first)
        if found is not None:
            self._decide(found)
        return len(data)

    def finish(self) -> None:
        self._go_whole("")  # where it goes is told once the end of the pipe is joined to it

    def abort(self, code: int, text: str) -> None:
        self.reset(code, text)

    def stop(self, code: int, text: str) -> None:
        self.reset(code, text)

    def reset(self, code: int, text: str) -> None:
        self._leave_local()

    def resume(self) -> None:
        pass

    # --- what becomes of it -------------------------------------------------------------------

    def _decide(self, found: Detected) -> None:
        if found.kind in (Kind.HTTP1, Kind.HTTP2) and found.proxy is None:
            local, self._local = self._local, None
            if local is None:
                self._leave_local()
            visitor = HttpVisitor(
                self._guest.end, self._port, local, is_http2=found.kind is Kind.HTTP2
            )
            visitor.begin(self._guest.first)
        else:
            self._go_whole(found.hello.server_name if found.hello is not None else "")

    def _go_whole(self, server_name: str) -> None:
        """Send the connection one way as a whole; what was decided before stays so."""
        if self._is_decided:
            return
        self._is_decided = True
        _, intercept, _ = self._splicing.verdict(server_name)
        is_opening = self._local is not None or self._guest.attempt is not None
        if intercept is not None or not is_opening:
            self._leave_local()
            self._splicing.go(self._guest, server_name)
            return
        self._port.count("local")
        self._goes_local = True
        if self._local is not None:
            self._splicing.join_local(self._guest, self._local)


class _Target:
    """The end into which the local target pushes before anything is decided."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def offer(self, data: Buffer) -> int:
        return self._opening.target_speaks(data)

    def finish(self) -> None:
        self._opening.target_ended()

    def abort(self, code: int, text: str) -> None:
        self._opening.target_is_gone()

    def stop(self, code: int, text: str) -> None:
        pass

    def reset(self, code: int, text: str) -> None:
        self._opening.target_is_gone()

    def resume(self) -> None:
        pass
