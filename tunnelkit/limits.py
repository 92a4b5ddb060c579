"""Every limit and default of the data plane: its unit, why it has this value, what it stops.

A *limit* bounds what a peer can make this process hold or do; it names the attack that it
stops.  A *default* is a tuning value; raising it is a matter of taste, raising a limit is a
matter of safety.  Where a limit is exceeded the smallest thing that can be ended is ended:
a stream, then a session's attachment, then a link (docs/wire-protocol.md §12).
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

# --- frames -------------------------------------------------------------------------------

MAX_PAYLOAD_BYTES: Final = 256 * KIB
"""Largest payload of a frame, bytes.  Stops: a length field that makes the reader allocate."""

MAX_CONTROL_BYTES: Final = 16 * KIB
"""Largest payload of any frame but `data`, bytes.  Stops: fat control frames in the reserve."""

MAX_HELLO_BYTES: Final = 8 * KIB
"""Largest payload before a link is authenticated, bytes.  Stops: memory use by strangers."""

MAX_TOKEN_BYTES: Final = 4 * KIB
"""Largest capability token, bytes.  Stops: costly parsing before authentication."""

MAX_TEXT_BYTES: Final = 1024
"""Largest text field (targets, subjects, reasons), UTF-8 bytes.  Stops: log and status floods."""

MAX_METADATA_BYTES: Final = 4 * KIB
"""Largest metadata of one `open`, bytes.  Stops: large opens that no credit pays for."""

MAX_METADATA_ENTRIES: Final = 32
"""Most metadata entries of one `open`.  Stops: slow decoding of tiny entries."""

# --- streams ------------------------------------------------------------------------------

INITIAL_STREAM_WINDOW_BYTES: Final = 64 * KIB
"""Credit that each direction of a stream starts with, bytes (fixed by the protocol)."""

MAX_STREAM_WINDOW_BYTES: Final = 64 * MIB
"""Largest window that one stream grows to, bytes.  Stops: one stream taking the budget."""

DEFAULT_STREAM_BUDGET_BYTES: Final = 256 * MIB
"""Sum of all stream windows of a program above the initial ones, bytes.  Stops: unread data
filling memory: what is not granted cannot be sent."""

MAX_ROUND_TRIP_SECONDS: Final = 1.0
"""Longest round trip that windows are made for, seconds.  Stops: a peer that answers late, to be
taken for one that is far away."""

MAX_STREAMS_PER_SESSION: Final = 65_536
"""Most streams that the peer may have open in a session.  Stops: stream floods."""

MAX_UNACCEPTED_OPENS: Final = 4_096
"""Most opens of the peer that wait for an answer.  Stops: opens faster than targets answer."""

MAX_OPENS_PER_SECOND: Final = 20_000
"""Most streams a second that the peer may open in a session; more are refused.
Stops: rapid open-and-reset, which costs the peer nothing and us a connection."""

# --- sessions and links -------------------------------------------------------------------

DEFAULT_SESSION_WINDOW_BYTES: Final = 4 * MIB
"""Unacknowledged bytes that a session keeps for replay before it asks for more, with overhead.
A default."""

MAX_SESSION_WINDOW_BYTES: Final = 64 * MIB
"""Most unacknowledged bytes that a session keeps, bytes.  Stops: one session taking the budget."""

DEFAULT_REPLAY_BUDGET_BYTES: Final = 256 * MIB
"""Sum of what all sessions of a program keep above their defaults, bytes.  Stops: peers that
acknowledge nothing, once they looked fast."""

FRAME_OVERHEAD_BYTES: Final = 320
"""What a kept frame costs beside its payload, bytes (objects of CPython, measured)."""

CONTROL_RESERVE_BYTES: Final = 64 * KIB
"""Replay space above the session window that only control frames may use, bytes."""

KEEP_BY_REFERENCE_BYTES: Final = 16 * KIB
"""From this size a `bytes` payload is kept by reference, below it is copied exactly."""

MAX_SESSIONS_PER_LINK: Final = 4_096
"""Most sessions attached over one link.  Stops: session floods by an authenticated peer."""

MAX_ATTACHES_PER_SECOND: Final = 200
"""Most attaches a second on one link, in bursts of MAX_SESSIONS_PER_LINK.  Stops: attach storms."""

MAX_CALLER_LINKS: Final = 256
"""Most links that callers of one subject may have at a broker.
Stops: one caller's token taking all of its descriptors."""

MAX_PINGS_IN_FLIGHT: Final = 8
"""Most pongs that wait to be written on a link; further pings are not answered.
Stops: ping floods from a peer that does not read."""

MAX_UNWRITTEN_BYTES: Final = 4 * MIB
"""Bytes of frames that may wait on a link that takes no more; the next hop frame ends the link.
Stops: a peer that asks for answers (attaches, presence) and never reads them."""

ACK_AFTER_SECONDS: Final = 0.025
"""A received frame is acknowledged after this time at the latest, seconds.  A default."""

ACK_WINDOW_FRACTION: Final = 8
"""A receiver acknowledges at once after 1/8 of the session window, its default at most.
A default."""

DEFAULT_GRACE_SECONDS: Final = 60.0
"""How long a session waits for its peer after its link is lost, seconds.  A default."""

DEFAULT_PING_SECONDS: Final = 3.0
"""Quiet time after which a ping goes out; one silent interval more makes the link suspect, two
make it dead: a silently lost peer is found within 9 s.  A default."""

HANDSHAKE_TIMEOUT_SECONDS: Final = 10.0
"""Time for the whole hello, seconds.  Stops: connections that never authenticate."""

DEFAULT_DRAIN_SECONDS: Final = 30.0
"""Time to finish after SIGTERM before what is left is ended, seconds.  A default."""

CLOSE_TIMEOUT_SECONDS: Final = 5.0
"""How long closing a session waits for acknowledgements, seconds.  A default."""

OPEN_FALLBACK_SECONDS: Final = 1.0
"""Time for `opened` on a listener that can fall back to its local target, seconds."""

CONNECT_TIMEOUT_SECONDS: Final = 10.0
"""Time for one TCP or unix connect, seconds.  A default."""

# --- writing ------------------------------------------------------------------------------

CORK_BYTES: Final = 64 * KIB
"""A link's corked frames are written at the end of a batch or at this size, bytes."""

BULK_FRAME_BYTES: Final = 256 * KIB
"""Largest data frame of a stream that is alone, bytes; less on links that are slow.  A default."""

SHARED_FRAME_BYTES: Final = 32 * KIB
"""Largest data frame while several streams have something to send, bytes.  A default."""

SCRATCH_BYTES: Final = 512 * KIB
"""Most bytes that a link reads at once, into a buffer that all of a pump share.  A default."""

# --- broker -------------------------------------------------------------------------------

BROKER_BUDGET_BYTES: Final = 512 * MIB
"""Sum of the caps of all sessions of a broker, bytes; attaches beyond it are refused.
Stops: peers that fill queues of others which do not read."""

BROKER_MAX_CAP_BYTES: Final = 32 * MIB
"""Cap that a session gets while the budget is ample, bytes.  A default."""

BROKER_MIN_CAP_BYTES: Final = 256 * KIB
"""Smallest cap that still carries traffic well, bytes; below it an attach is refused."""

BROKER_SLACK_BYTES: Final = 512 * KIB
"""What a session may have queued above its cap: the frame that crosses it, the control reserve,
acks and windows, bytes."""
