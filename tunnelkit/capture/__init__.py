"""Captures: what went by, kept in files that other tools open, and sent again to compare.

How it works
------------
An endpoint that reads HTTP shows each exchange to a `Recorder`; one that only carries bytes shows
them to a `ByteRecorder`.  Neither changes what goes by, waits, or raises.

* `recorder` collects exchanges as typed records (`records`), within bounds: exchanges, bytes of one
  body, bytes in all, seconds.  At a bound it stops by itself and says why.  It has no clock of its
  own, and no file.
* `redact` takes credentials out while a record is made, so that none of them is in a record or
  in a file.  A body is redacted once it is over; until then its bytes are in the watch alone.
  `decode` takes gzip and deflate off before, within the same bound.
* `har` makes HAR 1.2 of records: what the network panel of a browser opens.
* `packets` makes up the IP and TCP packets of a conversation, `pcapng` writes them to a file as
  they come, and `conversations` keeps the bounds.  Bytes cannot be redacted: who wants them has to
  ask for them.
* `tap` puts a conversation between the two ends of a splice, and tells it what was taken.
* `reading` understands HAR files, those of browsers and of other proxies too; `replay` sends their
  requests to a target, `comparing` says what is different between two answers, and `pairing`
  between two files.  `python -m tunnelkit.capture` is the command, `tables` what it prints.

Whoever has a `Recorder` asks it to `begin` an exchange, and hands what it returns to the proxy as
the watch of the route; None means that nothing is recorded.  ::

    recorder = Recorder(time.time, trio.current_time, is_wanted=wanted(path_prefix="/api"))
    route.watch = recorder.begin(head, client="127.0.0.1:50000", scheme="http", port="orders")
    ...
    file.writelines(write_har(recorder.exchanges(), why_over=recorder.why_over))
"""

from .conversations import ByteBounds, ByteRecorder, Conversation
from .har import har_entry, har_of, write_har
from .reading import Answer, Call, read_har
from .recorder import Bounds, ExchangeWatch, Recorder, wanted
from .records import Body, Exchange, Times
from .redact import NO_REDACTION, REDACTION, Redaction
from .replay import Outcome, Target, parse_target, replay
from .tap import TapEnd, tap

__all__ = [
    "NO_REDACTION",
    "REDACTION",
    "Answer",
    "Body",
    "Bounds",
    "ByteBounds",
    "ByteRecorder",
    "Call",
    "Conversation",
    "Exchange",
    "ExchangeWatch",
    "Outcome",
    "Recorder",
    "Redaction",
    "TapEnd",
    "Target",
    "Times",
    "har_entry",
    "har_of",
    "parse_target",
    "read_har",
    "replay",
    "tap",
    "wanted",
    "write_har",
]
