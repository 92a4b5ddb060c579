"""HAR: what is written is HAR 1.2, and says what was recorded."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.python_proxies import MITMPROXY_FOLDER
from tests.tunnelkit.capture.exchanges import (
    Clock,
    recorded,
    recorder_with,
    request,
    response,
    show,
)
from tests.tunnelkit.capture.har_spec import faults_of
from tunnelkit.capture import (
    NO_REDACTION,
    Bounds,
    Times,
    har_entry,
    har_of,
    read_har,
    write_har,
)
from tunnelkit.capture.decode import encode
from tunnelkit.http.head import RequestHead, ResponseHead

JSON = (b"Content-Type", b"application/json")
GZIP = (b"Content-Encoding", b"gzip")
BYTES = st.binary(max_size=60)
TOKENS = st.from_regex(rb"[A-Za-z0-9-]{1,12}", fullmatch=True)
FIELDS = st.lists(st.tuples(TOKENS, BYTES), max_size=4).map(tuple)
KINDS = st.sampled_from(
    [b"", b"application/json", b"text/html; charset=latin1", b"text/plain; charset=utf-16", b"x/y"]
)


def entry_of(
    head: RequestHead,
    body: bytes = b"",
    answer: ResponseHead | None = None,
    answer_body: bytes = b"",
    **options: Any,
) -> Any:
    """Return the entry of a whole exchange, after a look at the specification."""
    found = recorded(head, body, answer, answer_body, **options)
    assert list(faults_of(har_of([found]))) == []
    return har_entry(found)


def pair(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


# --- the table itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["log", "version"], 1.2),
        (["log", "novel"], ""),
        (["log", "entries", 0, "time"], "1"),
        (["log", "entries", 0, "startedDateTime"], "2020-01-01T00:00:00"),
        (["log", "entries", 0, "timings", "send"], -1),
        (["log", "entries", 0, "timings", "dns"], -2),
        (["log", "entries", 0, "request", "headers"], [{"name": "a"}]),
    ],
)
def test_table_finds_what_is_wrong(path: list[Any], value: object) -> None:
    har: Any = har_of([recorded(request())])
    *outer, last = path
    inner = har
    for step in outer:
        inner = inner[step]
    inner[last] = value
    assert len(list(faults_of(har))) == 1


# --- requests -------------------------------------------------------------------------------


def test_request() -> None:
    head = request(b"/cart?n=1&x=a%20b", (b"Cookie", b"a=1; b=2"))
    found = entry_of(head, redaction=NO_REDACTION)["request"]
    assert found["url"] == "http://shop/cart?n=1&x=a%20b"
    assert found["queryString"] == [pair("n", "1"), pair("x", "a b")]
    assert found["cookies"] == [pair("a", "1"), pair("b", "2")]
    assert found["headers"] == [pair("Host", "shop"), pair("Cookie", "a=1; b=2")]
    assert (found["httpVersion"], found["bodySize"]) == ("HTTP/1.1", 0)
    assert found["headersSize"] == len(head.write())


@pytest.mark.parametrize(
    ("head", "url"),
    [
        (request(b"http://other/a", method=b"GET"), "http://other/a"),
        (request(b"*", method=b"OPTIONS"), "http://shop/"),
        (request(b"db:5432", method=b"CONNECT"), "http://db:5432"),
        (RequestHead(b"GET", b"/a", b"1.0", ()), "http://unknown.invalid/a"),
    ],
)
def test_url_of_targets(head: RequestHead, url: str) -> None:
    assert entry_of(head)["request"]["url"] == url


def test_version_of_http_2() -> None:
    head = RequestHead(b"GET", b"/", b"2", ((b"host", b"shop"),))
    found = entry_of(head)["request"]
    assert (found["httpVersion"], found["headersSize"]) == ("HTTP/2", -1)


def test_form_has_its_parameters() -> None:
    form = (b"Content-Type", b"application/x-www-form-urlencoded")
    found = entry_of(request(b"/", form, method=b"POST"), b"a=1&password=s3cret")["request"]
    assert found["postData"]["text"] == "a=1&password=[redacted]"
    assert found["postData"]["params"] == [pair("a", "1"), pair("password", "[redacted]")]
    assert found["bodySize"] == len("a=1&password=s3cret")


def test_request_body_that_is_no_text_is_base64() -> None:
    post = entry_of(request(method=b"PUT"), b"\xff\x00")["request"]["postData"]
    assert (post["text"], post["_encoding"]) == ("/wA=", "base64")


# --- answers --------------------------------------------------------------------------------


def test_answer() -> None:
    answer = response(
        JSON,
        (b"Set-Cookie", b"id=1; Path=/a; Expires=Wed, 21 Oct 2015 07:28:00 GMT; HttpOnly"),
        (b"Location", b"/next"),
        status=302,
    )
    found = entry_of(request(), b"", answer, b"[1]", redaction=NO_REDACTION)["response"]
    assert (found["status"], found["statusText"], found["redirectURL"]) == (302, "OK", "/next")
    assert found["content"] == {"size": 3, "mimeType": "application/json", "text": "[1]"}
    assert found["bodySize"] == 3
    cookie = found["cookies"][0]
    assert (cookie["name"], cookie["path"], cookie["httpOnly"]) == ("id", "/a", True)
    assert cookie["expires"] == "2015-10-21T07:28:00+00:00"


def test_encoded_answer_is_shown_decoded() -> None:
    text = b'{"a": "' + b"b" * 1000 + b'"}'
    body = encode(text, ["gzip"])
    found = entry_of(request(), b"", response(JSON, GZIP), body)["response"]
    assert found["content"]["text"] == text.decode()
    assert found["content"]["size"] == len(text)
    assert found["content"]["compression"] == len(text) - len(body)
    assert found["bodySize"] == len(body)


def test_cut_answer_says_so_and_has_its_real_size() -> None:
    bounds = Bounds(body_bytes=10)
    found = entry_of(request(), b"", response(JSON), b"a" * 5000, bounds=bounds)
    content = found["response"]["content"]
    assert (content["text"], content["size"], content["_truncated"]) == ("a" * 10, 5000, True)
    assert content["_size"] == 5000
    assert "only 10 bytes are kept" in found["comment"]


def test_image_is_base64() -> None:
    answer = response((b"Content-Type", b"image/png"))
    content = entry_of(request(), b"", answer, b"\x89PNG\x00")["response"]["content"]
    assert (content["text"], content["encoding"]) == ("iVBORwA=", "base64")


def test_charset_of_an_answer_is_believed() -> None:
    answer = response((b"Content-Type", b"text/plain; charset=ISO-8859-1"))
    content = entry_of(request(), b"", answer, b"caf\xe9")["response"]["content"]
    assert content["text"] == "café"


@pytest.mark.parametrize("charset", [b"rot13", b"unicode-escape", b"idna", b"zlib", b"\xff", b""])
def test_charset_that_is_none_is_utf_8(charset: bytes) -> None:
    answer = response((b"Content-Type", b"text/plain; charset=" + charset))
    content = entry_of(request(), b"", answer, "é".encode())["response"]["content"]
    assert content["text"] == "é"


def test_upgrade_to_websocket_is_an_entry_with_101() -> None:
    head = request(b"/ws", (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
    answer = response((b"Upgrade", b"websocket"), status=101)
    assert entry_of(head, b"", answer)["response"]["status"] == 101


def test_stream_of_events_is_there_as_far_as_it_came() -> None:
    recorder = recorder_with()
    watch = recorder.begin(request(), client="127.0.0.1:1")
    assert watch is not None
    watch.answer_begun(response((b"Content-Type", b"text/event-stream")))
    watch.answer_data(b"data: 1\n\n")
    entry: Any = har_entry(recorder.exchanges()[0])
    assert entry["response"]["content"]["text"] == "data: 1\n\n"
    assert entry["response"]["content"]["_truncated"] is True
    assert entry["_error"] == "it still went on when this was written"


def test_request_without_an_answer_has_status_0() -> None:
    recorder = recorder_with()
    watch = recorder.begin(request(), client="127.0.0.1:1")
    assert watch is not None
    watch.over("the server cannot be reached")
    har: Any = har_of(recorder.exchanges())
    assert list(faults_of(har)) == []
    entry = har["log"]["entries"][0]
    assert entry["response"]["status"] == 0
    assert entry["_error"] == entry["comment"] == "the server cannot be reached"


# --- the rest -------------------------------------------------------------------------------


def test_what_har_has_no_place_for() -> None:
    recorder = recorder_with()
    watch = recorder.begin(request(b"/a"), client="[::1]:50000", port="orders", rule="alice")
    assert watch is not None
    watch.request_ended(((b"X-Sum", b"1"),))
    watch.sent_to(request(b"/b"), "10.0.0.7:8080")
    watch.answer_begun(response((b"Link", b"</a.css>"), status=103))
    watch.answer_begun(response())
    watch.answer_ended(((b"X-Sum", b"2"),))
    watch.over("")
    entry: Any = har_entry(recorder.exchanges()[0])
    assert (entry["_rule"], entry["_port"], entry["_server"]) == (
        "alice",
        "orders",
        "10.0.0.7:8080",
    )
    assert (entry["serverIPAddress"], entry["connection"]) == ("10.0.0.7", "50000")
    assert entry["_sent"]["target"] == "/b"
    assert entry["_interim"] == [{"status": 103, "headers": [pair("Link", "</a.css>")]}]
    assert entry["request"]["_trailers"] == [pair("X-Sum", "1")]
    assert entry["response"]["_trailers"] == [pair("X-Sum", "2")]


def test_timings_are_milliseconds_and_add_up() -> None:
    clock = Clock(steps=[0, 0, 1, 1.5, 1.75, 2, 4, 4])
    recorder = recorder_with(clock)
    show(recorder, request())
    entry: Any = har_entry(recorder.exchanges()[0])
    assert entry["timings"] == {
        "blocked": 500.0,
        "dns": -1,
        "connect": -1,
        "ssl": -1,
        "send": 250.0,
        "wait": 250.0,
        "receive": 2000.0,
    }
    assert entry["time"] == 3000.0
    assert entry["startedDateTime"] == "2023-11-14T22:13:20.250+00:00"


@pytest.mark.parametrize(
    ("times", "phases"),
    [
        (Times(0, sent=1, request_ended=2, answer_begun=3, answer_ended=4), (1, 1, 1, 1)),
        (Times(0, sent=2, request_ended=1, answer_begun=3, answer_ended=4), (2, 0, 1, 1)),
        (Times(0, sent=1, request_ended=3, answer_begun=2, answer_ended=4), (1, 1, 0, 2)),
        (Times(0, request_ended=1, answer_begun=2, over=4), (-1, 1, 1, 2)),
        (Times(0, sent=1, over=4), (1, 0, 0, 0)),
        (Times(0), (-1, 0, 0, 0)),
    ],
)
def test_phases_follow_each_other_whatever_comes_first(
    times: Times, phases: tuple[int, ...]
) -> None:
    exchange = replace(recorded(request()), times=times)
    found: Any = har_entry(exchange)["timings"]
    seconds = [found[name] for name in ("blocked", "send", "wait", "receive")]
    assert seconds == [1000 * phase if phase >= 0 else -1 for phase in phases]


@pytest.mark.parametrize("wall", [-1e18, 1e18, float("nan"), float("inf")])
def test_clock_that_says_nonsense(wall: float) -> None:
    recorder = recorder_with(Clock(wall, steps=[100.0 - i for i in range(9)]))
    show(recorder, request())
    har = har_of(recorder.exchanges())
    assert list(faults_of(har)) == []


def test_why_the_capture_ended_is_in_the_log() -> None:
    har: Any = har_of([], why_over="it has 2 exchanges")
    assert har["log"]["comment"] == "the capture ended: it has 2 exchanges"
    assert list(faults_of(har)) == []


def test_file_is_ascii_and_one_line_an_entry() -> None:
    data = b"".join(write_har([recorded(request(b"/\xc3\xa9"))] * 2))
    assert data.isascii()
    assert len(data.splitlines()) == 4


# --- any bytes ------------------------------------------------------------------------------


@given(
    st.builds(RequestHead, TOKENS, BYTES, st.sampled_from([b"1.1", b"2", b"\xff"]), FIELDS),
    BYTES,
    st.builds(ResponseHead, st.integers(101, 999), BYTES, st.just(b"1.1"), FIELDS),
    st.binary(max_size=300),
    KINDS,
)
def test_any_bytes_make_a_har(
    head: RequestHead, body: bytes, answer: ResponseHead, answer_body: bytes, kind: bytes
) -> None:
    answer = ResponseHead(answer.status, b"", b"1.1", (*answer.fields, (b"content-type", kind)))
    har = har_of([recorded(head, body, answer, answer_body)])
    assert list(faults_of(har)) == []


@given(
    st.sampled_from([b"set-cookie", b"cookie", b"location", b"content-type", b"host"]),
    st.binary(max_size=40) | st.binary(max_size=30).map(lambda data: b"a=b; expires=" + data),
)
def test_any_value_of_a_field_that_is_read_makes_a_har(name: bytes, value: bytes) -> None:
    head = RequestHead(b"GET", b"/", b"1.1", ((name, value),))
    assert list(faults_of(har_of([recorded(head, b"", response((name, value)))]))) == []


@given(
    target=st.from_regex(rb"/[\x21-\x7e]{0,40}", fullmatch=True),
    value=st.from_regex(
        rb"([\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*[\x21-\x7e])?", fullmatch=True
    ),
    body=st.binary(max_size=200),
    layers=st.lists(st.sampled_from(["gzip", "deflate"]), max_size=2),
    kind=KINDS,
)
def test_what_is_written_is_read_again(
    target: bytes, value: bytes, body: bytes, layers: list[str], kind: bytes
) -> None:
    encodings = (b"Content-Encoding", ", ".join(layers).encode())
    fields = ((b"Content-Type", kind), encodings, (b"X-Any", value))
    sent = encode(body, layers)
    head = request(target, *fields, method=b"POST")
    found = recorded(head, sent, response(*fields), sent, redaction=NO_REDACTION)
    call = read_har(b"".join(write_har([found])))[0]
    assert (call.method, call.target, call.fields) == ("POST", target, head.fields)
    assert call.answer is not None
    assert (call.answer.status, call.answer.fields, call.answer.body) == (200, fields, body)
    assert call.answer.is_whole
    assert (call.body, call.why_not) == (sent, "")


def test_surrogates_and_nul_are_carried() -> None:
    body = json.dumps({"a": "\ud800\x00"}).encode()
    found = recorded(request(method=b"POST"), body, response(JSON), body)
    call = read_har(b"".join(write_har([found])))[0]
    assert call.body == body
    assert call.answer is not None
    assert call.answer.body == body


# --- a reader of others ---------------------------------------------------------------------------

MITMDUMP = MITMPROXY_FOLDER / "bin" / "mitmdump"


@pytest.mark.skipif(
    not MITMDUMP.exists(), reason="mitmproxy: `make .bench/mitmproxy/.installed` installs it"
)
def test_mitmproxy_reads_it(tmp_path: Path) -> None:
    head = request(b"/price?x=1", method=b"POST")
    found = recorded(head, b'{"a": 1}', response(JSON), b'{"price": 3}')
    (tmp_path / "a.har").write_bytes(b"".join(write_har([found])))
    command = [str(MITMDUMP), "-nr", str(tmp_path / "a.har"), "--flow-detail", "3"]
    seen = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "POST http" in seen
    assert "/price?x=1" in seen
    assert '"price": 3' in seen
