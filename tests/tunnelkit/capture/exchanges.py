"""Captures for tests: a recorder with clocks that are set, and exchanges as a proxy shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnelkit.capture import REDACTION, Bounds, Exchange, Recorder, Redaction
from tunnelkit.capture.recorder import DEFAULT_BOUNDS
from tunnelkit.http.head import Fields, RequestHead, ResponseHead

__all__ = ["Clock", "recorded", "recorder_with", "request", "response", "show"]

WALL_SECONDS = 1_700_000_000.25


@dataclass
class Clock:
    """Two clocks that a test sets."""

    wall: float = WALL_SECONDS
    steady: float = 50.0
    steps: list[float] = field(default_factory=list)
    """What the steady clock says next, one after the other."""

    def read_wall(self) -> float:
        return self.wall

    def read_steady(self) -> float:
        if self.steps:
            self.steady = self.steps.pop(0)
        return self.steady


def recorder_with(
    clock: Clock | None = None,
    *,
    bounds: Bounds = DEFAULT_BOUNDS,
    redaction: Redaction = REDACTION,
) -> Recorder:
    """Return a recorder on a clock of the test."""
    clock = clock or Clock()
    return Recorder(clock.read_wall, clock.read_steady, bounds=bounds, redaction=redaction)


def request(
    target: bytes = b"/", *fields: tuple[bytes, bytes], method: bytes = b"GET"
) -> RequestHead:
    """Return the head of a request to ``shop``."""
    return RequestHead(method, target, b"1.1", ((b"Host", b"shop"), *fields))


def response(*fields: tuple[bytes, bytes], status: int = 200) -> ResponseHead:
    """Return the head of an answer."""
    return ResponseHead(status, b"OK", b"1.1", fields)


def show(
    recorder: Recorder,
    head: RequestHead,
    body: bytes = b"",
    answer: ResponseHead | None = None,
    answer_body: bytes = b"",
    trailers: Fields = (),
) -> None:
    """Show a whole exchange to a recorder, in the order of a proxy."""
    watch = recorder.begin(head, client="127.0.0.1:50000", port="orders", rule="alice")
    assert watch is not None
    watch.sent_to(head, "10.0.0.7:8080")
    if body:
        watch.request_data(body)
    watch.request_ended(())
    watch.answer_begun(answer or response())
    for begin in range(0, len(answer_body), 1000):
        watch.answer_data(memoryview(answer_body)[begin : begin + 1000])
    watch.answer_ended(trailers)
    watch.over("")


def recorded(
    head: RequestHead,
    body: bytes = b"",
    answer: ResponseHead | None = None,
    answer_body: bytes = b"",
    *,
    redaction: Redaction = REDACTION,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> Exchange:
    """Return the record of a whole exchange."""
    recorder = recorder_with(bounds=bounds, redaction=redaction)
    show(recorder, head, body, answer, answer_body)
    return recorder.exchanges()[0]
