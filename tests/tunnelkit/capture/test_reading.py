"""Reading HAR files: those of browsers and proxies, and those that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.capture.hars import entry, har, pairs
from tunnelkit.capture import Call, reading
from tunnelkit.capture.decode import encode
from tunnelkit.capture.reading import read_har
from tunnelkit.errors import ConfigurationError


def call_of(*arguments: Any, **options: Any) -> Call:
    return read_har(har(entry(*arguments, **options)))[0]


# --- files that are none --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 5000, "is no JSON"),
        (b"[]", "it is not an object"),
        (b"{}", "the file has no 'log'"),
        (b'{"log": []}', "the file: 'log' is not an object"),
        (b'{"log": {"entries": {}}}', "log: 'entries' is not a list"),
        (b'{"log": {"entries": [1]}}', "entry 1 is not an object"),
        (har(entry(), {}), "entry 2 has no 'request'"),
        (har(entry(request={"url": 1})), "entry 1: 'url' is not a text"),
        (har(entry(request={"method": None})), "entry 1 has no 'method'"),
        (har(entry(request={"headers": ["a"]})), "a header is not an object"),
        (har(entry(request={"headers": [{"name": 1}]})), "'name' is not a text"),
        (har(entry(request={"bodySize": "1"})), "'bodySize' is not a number"),
        (har(entry(response={"status": True})), "'status' is not a number"),
        (har(entry(content={"text": "a", "encoding": "base64"})), "the text is no base64"),
        (har(entry(request={"postData": {"text": "", "_decoded": ["br"]}})), "not known"),
    ],
)
def test_file_that_is_no_har_is_one_error(data: bytes, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^x.har .*{why}"):
        read_har(data, "x.har")


def test_file_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_HAR_BYTES", 100)
    with pytest.raises(ConfigurationError, match="more than 100 bytes"):
        read_har(bytes(101))


def test_file_with_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ENTRIES", 2)
    with pytest.raises(ConfigurationError, match="more than 2 entries"):
        read_har(har(entry(), entry(), entry()))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PLACES = st.sampled_from(
    [("request", name) for name in ("method", "url", "headers", "postData", "bodySize", "_target")]
    + [("response", name) for name in ("status", "headers", "content")]
    + [("content", name) for name in ("text", "encoding", "size", "mimeType")]
)


@given(PLACES, JSON_VALUES | st.lists(st.fixed_dictionaries({"name": st.text()})))
def test_any_value_anywhere_is_read_or_is_one_error(place: tuple[str, str], value: object) -> None:
    try:
        outer, inner = place
        made: dict[str, Any] = {outer: {inner: value}}
        read_har(har(entry(**made)))
    except ConfigurationError:
        pass


@given(st.binary())
def test_garbage_is_one_error(data: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read_har(data)


# --- what browsers and proxies write --------------------------------------------------------


def test_byte_order_mark_is_read() -> None:
    assert len(read_har(b"\xef\xbb\xbf" + har(entry()))) == 1


def test_pseudo_fields_of_http_2_are_not_sent() -> None:
    headers = pairs(**{":method": "GET", ":authority": "shop", "accept": "a"})
    assert call_of(request={"headers": headers}).fields == (
        (b"Host", b"shop"),
        (b"accept", b"a"),
    )


def test_host_is_that_of_the_headers_where_there_is_one() -> None:
    call = call_of("http://other/", request={"headers": pairs(Host="shop")})
    assert call.fields == ((b"Host", b"shop"),)


def test_cookies_of_an_answer_in_one_value_are_several() -> None:
    answer = call_of(response={"headers": pairs(set_cookie="a=1\nb=2")}).answer
    assert answer is not None
    assert answer.fields == ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))


def test_form_that_has_only_parameters_is_written() -> None:
    post = {
        "mimeType": "application/x-www-form-urlencoded",
        "params": [{"name": "a b", "value": "ü"}, {"name": "c"}],
    }
    assert call_of(method="POST", request={"postData": post}).body == b"a+b=%C3%BC&c="


def test_body_of_a_request_in_base64_is_read() -> None:
    for name in ("encoding", "_encoding"):
        post = {"mimeType": "x/y", "text": "/wA=", name: "base64"}
        assert call_of(request={"postData": post}).body == b"\xff\x00"


def test_body_that_was_decoded_is_encoded_again() -> None:
    post = {"mimeType": "x/y", "text": "abc", "_decoded": ["gzip"]}
    assert call_of(request={"postData": post}).body == encode(b"abc", ["gzip"])


def test_body_that_is_shown_decoded_is_encoded_as_its_head_says() -> None:
    post = {"mimeType": "x/y", "text": "abc"}
    call = call_of(request={"headers": pairs(Content_Encoding="gzip"), "postData": post})
    assert (call.body, call.why_not) == (encode(b"abc", ["gzip"]), "")


@pytest.mark.parametrize("layer", ["gzip", "br"])
def test_body_in_base64_is_sent_as_it_is(layer: str) -> None:
    post = {"mimeType": "x/y", "text": "/wA=", "_encoding": "base64"}
    call = call_of(request={"headers": pairs(Content_Encoding=layer), "postData": post})
    assert (call.body, call.why_not) == (b"\xff\x00", "")


def test_body_that_cannot_be_encoded_as_its_head_says_is_not_sent() -> None:
    request = {"headers": pairs(Content_Encoding="br"), "postData": {"text": "abc"}}
    assert call_of(request=request).why_not == "it cannot be encoded as br"


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"size": 3, "text": None}, None),
        ({"size": 0, "text": None}, b""),
        ({"size": 3, "text": ""}, None),
        ({"text": "aGk=", "encoding": "base64"}, b"hi"),
        ({"text": "é", "mimeType": "text/plain; charset=latin1"}, b"\xe9"),
        ({"text": "€", "mimeType": "text/plain; charset=latin1"}, b"\xe2\x82\xac"),
        ({"text": "\ud800"}, b"?"),
    ],
)
def test_body_of_an_answer(content: dict[str, Any], body: bytes | None) -> None:
    answer = call_of(content=content).answer
    assert answer is not None
    assert answer.body == body


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://shop", b"/"),
        ("http://shop?a", b"/?a"),
        ("http://u:p@shop/a#b", b"/a"),
        ("http://shop/é b", b"/%C3%A9%20b"),
        ("http://shop/%zz", b"/%zz"),
        ("http://[::1]:80/a", b"/a"),
        ("http://shop/a\r\nX: y", b"/a%0D%0AX:%20y"),
        ("http://shop/\ud800", b"/?"),
    ],
)
def test_target_of_a_url(url: str, target: bytes) -> None:
    assert call_of(url).target == target


# --- what is not sent -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": "ws://shop/"}, "ws is no http"),
        ({"url": "data:text/plain,a"}, "data is no http"),
        ({"url": ""}, "its URL is no http"),
        ({"method": "CONNECT"}, "it asks a proxy for a connection"),
        ({"method": "GET / HTTP/1.1\r\n"}, "its method is none"),
        ({"response": {"status": 0}}, "it had no answer"),
        ({"response": {"status": 1e300}}, "it had no answer"),
        ({"request": {"bodySize": 5}}, "its body is not in the file"),
        ({"request": {"bodySize": 5, "postData": {"text": ""}}}, "its body is not in the file"),
        (
            {"request": {"postData": {"text": "a", "_truncated": True}}},
            "only a part of its body is in the file",
        ),
        (
            {"request": {"postData": {"mimeType": "multipart/a", "params": [{"name": "a"}]}}},
            "of its form there are only the names in the file",
        ),
    ],
)
def test_request_that_cannot_be_sent_again(options: dict[str, Any], why: str) -> None:
    assert call_of(**options).why_not == why


def test_what_was_redacted_is_left_out_and_told() -> None:
    call = call_of(
        "http://shop/a?token=[redacted]&b=1",
        request={
            "headers": pairs(Authorization="Bearer [redacted:0123abcd]", X_User="a"),
            "postData": {"text": '{"password": "[redacted]"}'},
        },
    )
    assert call.target == b"/a?b=1"
    assert call.fields == ((b"Host", b"shop"), (b"X-User", b"a"))
    assert call.left_out == ("Authorization", "values in the body", "token in the query")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\nb", "a\x00"])
def test_field_that_would_be_two_is_left_out(value: str) -> None:
    call = call_of(request={"headers": [{"name": "X-A", "value": value}]})
    assert (call.fields, call.left_out) == (((b"Host", b"shop"),), ("X-A",))


def test_number_that_is_too_large_is_read() -> None:
    call = read_har(json.dumps({"log": {"entries": [entry(time=10**400)]}}).encode())[0]
    assert call.milliseconds == 0
