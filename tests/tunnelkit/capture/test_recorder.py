"""Recorders: what is kept of an exchange, and within which bounds."""

from __future__ import annotations

import gc
import zlib

import pytest

from tests.tunnelkit.capture.exchanges import (
    WALL_SECONDS,
    Clock,
    recorded,
    recorder_with,
    request,
    response,
    show,
)
from tunnelkit.capture import NO_REDACTION, Bounds, Exchange, ExchangeWatch, Recorder, wanted
from tunnelkit.capture.recorder import EXCHANGE_BYTES, MAX_INTERIM
from tunnelkit.http.head import RequestHead
from tunnelkit.http.watching import Watch

JSON = (b"Content-Type", b"application/json")
GZIP = (b"Content-Encoding", b"gzip")


def gzipped(data: bytes) -> bytes:
    machine = zlib.compressobj(wbits=31)
    return machine.compress(data) + machine.flush()


def begun(recorder: Recorder) -> ExchangeWatch:
    watch = recorder.begin(request(), client="127.0.0.1:1")
    assert watch is not None
    return watch


def test_watch_is_one_that_a_proxy_calls() -> None:
    watch: Watch = begun(recorder_with())
    watch.over("")


# --- what is kept ---------------------------------------------------------------------------


def test_exchange_is_recorded_whole() -> None:
    head, answer = request(b"/cart?n=1", method=b"POST"), response(JSON, status=201)
    found = recorded(head, b'{"n": 1}', answer, b"[]")
    assert (found.request, found.sent, found.answer) == (head, head, answer)
    assert (found.request_body.data, found.answer_body.data) == (b'{"n": 1}', b"[]")
    assert (found.client, found.port, found.rule) == ("127.0.0.1:50000", "orders", "alice")
    assert (found.number, found.server, found.why) == (1, "10.0.0.7:8080", "")
    assert found.is_over
    assert found.started_at == WALL_SECONDS


def test_times_are_those_of_the_steady_clock() -> None:
    clock = Clock(steps=[0, 0, 1, 2, 3, 4, 5, 6])  # the first two are the recorder's own
    recorder = recorder_with(clock)
    show(recorder, request())
    times = recorder.exchanges()[0].times
    assert (times.begun, times.sent, times.request_ended) == (1, 2, 3)
    assert (times.answer_begun, times.answer_ended, times.over) == (4, 5, 6)


def test_buffer_is_copied_as_it_is_valid_only_during_the_call() -> None:
    recorder = recorder_with()
    watch, buffer = begun(recorder), bytearray(b"abc")
    watch.request_data(memoryview(buffer))
    buffer[:] = b"xyz"
    assert recorder.exchanges()[0].request_body.data == b"abc"


def test_trailers_are_kept_without_credentials() -> None:
    recorder = recorder_with()
    show(recorder, request(), trailers=((b"X-Sum", b"1"), (b"X-Auth-Token", b"s3cret")))
    assert recorder.exchanges()[0].answer_trailers == (
        (b"X-Sum", b"1"),
        (b"X-Auth-Token", b"[redacted]"),
    )


def test_exchange_that_goes_on_is_there_as_far_as_it_came() -> None:
    recorder = recorder_with()
    watch = begun(recorder)
    watch.answer_begun(response((b"Content-Type", b"text/event-stream")))
    watch.answer_data(b"data: 1\n\n")
    first = recorder.exchanges()[0]
    watch.answer_data(b"data: 2\n\n")
    assert first.answer_body.data == b"data: 1\n\n"
    assert not first.is_over
    assert recorder.exchanges()[0].answer_body.data == b"data: 1\n\ndata: 2\n\n"


def test_interim_answers_are_kept_up_to_a_bound() -> None:
    recorder = recorder_with()
    watch = begun(recorder)
    for _ in range(MAX_INTERIM + 3):
        watch.answer_begun(response(status=103))
    watch.answer_begun(response(status=200))
    found = recorder.exchanges()[0]
    assert (len(found.interim), found.interim_count) == (MAX_INTERIM, MAX_INTERIM + 3)
    assert found.answer is not None
    assert found.answer.status == 200


def test_why_an_exchange_broke_is_kept() -> None:
    recorder = recorder_with()
    begun(recorder).over("the server ended the connection")
    found = recorder.exchanges()[0]
    assert (found.why, found.answer, found.is_over) == (
        "the server ended the connection",
        None,
        True,
    )


def test_request_that_was_sent_elsewhere_has_the_last_server() -> None:
    recorder = recorder_with()
    watch = begun(recorder)
    watch.sent_to(request(), "devbox/alice")
    watch.sent_to(request(b"/anew"), "10.0.0.7:8080")
    found = recorder.exchanges()[0]
    assert found.server == "10.0.0.7:8080"
    assert found.sent == request(b"/anew")


# --- encodings ------------------------------------------------------------------------------


def test_body_is_decoded_and_redacted() -> None:
    body = gzipped(b'{"password": "s3cret"}')
    found = recorded(request(), b"", response(JSON, GZIP), body).answer_body
    assert found.data == b'{"password": "[redacted]"}'
    assert (found.size, found.decoded, found.cut) == (len(body), ("gzip",), "")


def test_body_that_decodes_to_too_much_is_cut() -> None:
    body = gzipped(bytes(10_000_000))
    found = recorded(request(), b"", response(GZIP), body, bounds=Bounds(body_bytes=20_000))
    assert len(found.answer_body.data) == 20_000
    assert found.answer_body.cut == "it decodes to more than is kept"


def test_body_of_gzip_that_ends_too_early_is_kept_so_far() -> None:
    found = recorded(request(), b"", response(GZIP), gzipped(b"a" * 100)[:-4]).answer_body
    assert found.data == b"a" * 100
    assert found.cut == "its encoding ends too early"


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, br", b"gzip"])
def test_body_that_cannot_be_decoded_is_left_out(encoding: bytes) -> None:
    answer = response(JSON, (b"Content-Encoding", encoding))
    found = recorded(request(), b"", answer, b"s3cret").answer_body
    assert (found.data, found.size) == (b"", 6)
    assert found.cut == "it cannot be decoded, and so not be redacted"


def test_body_that_cannot_be_decoded_is_kept_where_nothing_is_redacted() -> None:
    answer = response(JSON, (b"Content-Encoding", b"br"))
    found = recorded(request(), b"", answer, b"bytes", redaction=NO_REDACTION).answer_body
    assert (found.data, found.cut, found.decoded) == (b"bytes", "", ())


def test_script_that_cannot_be_decoded_is_kept() -> None:
    answer = response((b"Content-Type", b"text/javascript"), (b"Content-Encoding", b"br"))
    assert recorded(request(), b"", answer, b"bytes").answer_body.data == b"bytes"


# --- bounds ---------------------------------------------------------------------------------


def test_body_is_cut_at_its_bound_and_its_size_is_known() -> None:
    found = recorded(request(), b"a" * 5000, bounds=Bounds(body_bytes=100)).request_body
    assert (found.data, found.size, found.cut) == (b"a" * 100, 5000, "only 100 bytes are kept")


def test_bodies_can_be_left_out() -> None:
    found = recorded(request(), b"abc", bounds=Bounds(body_bytes=0)).request_body
    assert (found.data, found.size, found.cut) == (b"", 3, "bodies are not kept")


def test_recorder_stops_at_its_number_of_exchanges() -> None:
    recorder = recorder_with(bounds=Bounds(exchanges=2))
    watches = [recorder.begin(request(), client="c") for _ in range(4)]
    assert [watch is None for watch in watches] == [False, False, True, True]
    assert recorder.why_over == "it has 2 exchanges"


def test_recorder_stops_at_its_bytes() -> None:
    recorder = recorder_with(bounds=Bounds(total_bytes=EXCHANGE_BYTES * 2))
    show(recorder, request(), b"a" * EXCHANGE_BYTES * 3)
    found = recorder.exchanges()[0].request_body
    assert found.cut == "the capture is full"
    assert len(found.data) < EXCHANGE_BYTES
    assert recorder.why_over == f"it has {EXCHANGE_BYTES * 2} bytes"
    assert recorder.begin(request(), client="c") is None


def test_decoded_bodies_count_for_the_bytes_in_all() -> None:
    recorder = recorder_with(bounds=Bounds(total_bytes=200_000))
    for _ in range(3):
        show(recorder, request(), b"", response(GZIP), gzipped(bytes(100_000)))
    assert sum(len(found.answer_body.data) for found in recorder.exchanges()) <= 200_000


def test_heads_count_for_the_bytes_in_all() -> None:
    recorder = recorder_with(bounds=Bounds(total_bytes=100_000))
    for _ in range(9):
        recorder.begin(request(b"/" + b"a" * 15_000), client="c")
    assert recorder.why_over
    assert recorder.count == 6


def test_recorder_stops_after_its_time() -> None:
    clock = Clock()
    recorder = recorder_with(clock, bounds=Bounds(seconds=10))
    watch = begun(recorder)
    clock.steady += 10
    assert recorder.why_over == "it ran for 10 s"
    assert recorder.begin(request(), client="c") is None
    watch.request_data(b"late")
    watch.over("")
    assert recorder.exchanges()[0].request_body.cut == "the capture was over"


def test_reason_is_that_of_the_first_stop() -> None:
    recorder = recorder_with()
    recorder.stop("enough")
    recorder.stop("again")
    assert recorder.why_over == "enough"


def test_nothing_after_the_end_of_an_exchange_changes_it() -> None:
    recorder = recorder_with()
    watch = begun(recorder)
    watch.over("first")
    watch.answer_data(b"late")
    watch.over("second")
    found = recorder.exchanges()[0]
    assert (found.why, found.answer_body.data) == ("first", b"")


def test_filter_decides_what_is_recorded() -> None:
    clock = Clock()
    recorder = Recorder(clock.read_wall, clock.read_steady, is_wanted=wanted(path_prefix="/api"))
    assert recorder.begin(request(b"/"), client="c") is None
    assert recorder.begin(request(b"/api/1"), client="c") is not None


@pytest.mark.parametrize(
    ("head", "is_kept"),
    [
        (request(b"/api", (b"X-User", b"Alice"), method=b"PUT"), True),
        (request(b"/ap", (b"X-User", b"alice"), method=b"PUT"), False),
        (request(b"/api", (b"X-User", b"bob"), method=b"PUT"), False),
        (request(b"/api", (b"X-User", b"alice"), method=b"GET"), False),
        (request(b"/api", method=b"PUT"), False),
    ],
)
def test_filter_wants_all_of_its_conditions(head: RequestHead, is_kept: bool) -> None:
    is_wanted = wanted(path_prefix="/api", methods=["put", "POST"], fields=[("X-USER", "alice")])
    assert is_wanted(head) is is_kept


# --- secrets --------------------------------------------------------------------------------


def test_no_secret_is_left_in_memory_once_an_exchange_is_over() -> None:
    secret = b"s3cret-" + b"of-nobody"
    recorder = recorder_with()
    show(
        recorder,
        request(b"/?token=" + secret, (b"Authorization", b"Bearer " + secret)),
        b'{"password": "' + secret + b'"}',
        response((b"Set-Cookie", b"sid=" + secret + b"; Path=/")),
        b'{"refresh_token": "' + secret + b'"}',
    )
    assert secret not in reachable_bytes(recorder)


def reachable_bytes(root: object) -> bytes:
    """Return every byte string that can be reached from an object."""
    found, seen, waiting = bytearray(), set[int](), [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        if isinstance(item, bytes | bytearray):
            found += item
        elif isinstance(item, (Recorder, Exchange, ExchangeWatch, list, tuple, dict)) or hasattr(
            item, "__slots__"
        ):
            waiting += gc.get_referents(item)
    return bytes(found)


def test_reachable_bytes_finds_what_a_watch_holds() -> None:
    recorder = recorder_with()
    begun(recorder).request_data(b"raw bytes")
    assert b"raw bytes" in reachable_bytes(recorder)
