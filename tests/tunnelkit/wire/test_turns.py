"""Who sends next: streams that wait, those that come with something new, and a frame's worth."""

from __future__ import annotations

from tests.tunnelkit.wire.fakes import FakeEnd, Side, established
from tunnelkit import limits
from tunnelkit.wire.frames import FrameType, Role, encode_fields
from tunnelkit.wire.stream import StreamCore

FRAME = 8 * limits.KIB


class Source(FakeEnd):
    """Has so many bytes to send, and sends what it can whenever it is resumed."""

    def __init__(self, stream: StreamCore, count: int) -> None:
        super().__init__()
        self.stream = stream
        self.left = count
        stream.sink = self
        self.resume()

    def resume(self) -> None:
        if self.left:
            self.left -= self.stream.offer(bytes(self.left))


def busy_side() -> Side:
    """Return a side whose link is slow, and takes nothing at the moment."""
    side = established(Role.INITIATOR)
    side.outlet.frame_bytes = FRAME
    side.outlet.is_clear = False
    return side


def add(side: Side, count: int) -> StreamCore:
    """Open a stream with plenty of credit, and give it *count* bytes to send."""
    side.outlet.is_clear = True
    stream = side.core.open_stream("tcp://target:1")
    credit = encode_fields(FrameType.WINDOW, credit=1 << 30)
    side.outlet.is_clear = False
    side.feed_next(FrameType.WINDOW, credit, stream.stream_id)
    Source(stream, count)
    return stream


def served(side: Side) -> list[tuple[int, int]]:
    """Let the link take everything; return stream and size of each data frame."""
    side.outlet.take()
    side.outlet.is_clear = True
    side.core.resume()
    frames = [frame for frame in side.outlet.take() if frame.type is FrameType.DATA]
    return [(frame.stream, len(frame.payload)) for frame in frames]


def test_frames_are_as_large_as_the_link_wants() -> None:
    side = busy_side()
    stream = add(side, 3 * FRAME + 1)
    assert served(side) == [(stream.stream_id, size) for size in (FRAME, FRAME, FRAME, 1)]


def turn_of_each(side: Side, count: int) -> list[int]:
    """Let the link take a frame at a time; return whose it was."""
    order = []
    write = side.outlet.write

    def one(first: object, second: object = None) -> None:
        write(first, second)  # type: ignore[arg-type]
        side.outlet.is_clear = False

    side.outlet.write = one  # type: ignore[method-assign]
    for _ in range(count):
        side.outlet.is_clear = True
        side.core.resume()
        order += [f.stream for f in side.outlet.take() if f.type is FrameType.DATA]
    return order


def test_streams_that_wait_send_in_turn() -> None:
    side = busy_side()
    bulk = [add(side, 100 * FRAME).stream_id for _ in range(3)]
    turn_of_each(side, 5)  # until each has had its first
    assert sorted(turn_of_each(side, 3)) == sorted(turn_of_each(side, 3)) == bulk


def test_something_new_goes_before_those_that_had_a_turn() -> None:
    side = busy_side()
    for _ in range(3):
        add(side, 100 * FRAME)
    turn_of_each(side, 8)
    small = add(side, 64).stream_id
    assert turn_of_each(side, 1) == [small]


def test_those_that_had_a_turn_have_every_second_one() -> None:
    side = busy_side()
    bulk = add(side, 100 * FRAME).stream_id
    turn_of_each(side, 1)
    for _ in range(5):
        add(side, 64)
    assert turn_of_each(side, 10).count(bulk) == 5
