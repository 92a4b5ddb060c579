"""Redaction: which values go, in heads, targets and bodies, and that nothing else changes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnelkit.capture.exchanges import request, response
from tunnelkit.capture import NO_REDACTION, REDACTION, Redaction

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        (b"Authorization", b"Bearer s3cret", b"Bearer [redacted]"),
        (b"authorization", b"Basic czpzM2NyZXQ=", b"Basic [redacted]"),
        (b"Authorization", b"s3cret", b"[redacted]"),
        (b"Authorization", b"s3cret and more", b"[redacted]"),
        (b"Proxy-Authorization", b"Digest a, b", b"Digest [redacted]"),
        (b"Cookie", b"a=s3cret; b=s3c=ret;s3cret", b"a=[redacted]; b=[redacted];[redacted]"),
        (b"Set-Cookie", b"id=s3cret; Path=/; Secure", b"id=[redacted]; Path=/; Secure"),
        (b"Set-Cookie", b"id=; Max-Age=0", b"id=; Max-Age=0"),
        (b"X-Api-Key", b"s3cret", b"[redacted]"),
        (b"X-Auth-Token", b"s3cret", b"[redacted]"),
        (b"X-Vault-Token", b"s3cret", b"[redacted]"),
        (b"X-Client-Secret", b"s3cret", b"[redacted]"),
        (b"Referer", b"https://a/b?token=s3cret", b"https://a/b?token=[redacted]"),
        (b"Location", b"/cb#access_token=s3cret&x=1", b"/cb#access_token=[redacted]&x=1"),
        (b"Location", b"https://u:s3cret@h/", b"https://[redacted]@h/"),
        (b"Accept", b"text/html", b"text/html"),
        (b"X-User", b"alice", b"alice"),
        (b"Authorization", b"", b""),
    ],
)
def test_field(name: bytes, value: bytes, kept: bytes) -> None:
    assert REDACTION.fields(((name, value),)) == ((name, kept),)


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (b"/a?access_token=s3cret&b=1", b"/a?access_token=[redacted]&b=1"),
        (b"/a?key=s3cret", b"/a?key=[redacted]"),
        (b"/a?ACCESS%5fTOKEN=s3cret", b"/a?ACCESS%5fTOKEN=[redacted]"),
        (b"/a?user%5Bpassword%5D=s3cret", b"/a?user%5Bpassword%5D=[redacted]"),
        (b"/a?X-Amz-Signature=s3cret", b"/a?X-Amz-Signature=[redacted]"),
        (b"/a?X-Amz-Expires=60", b"/a?X-Amz-Expires=60"),
        (b"/a?b=1;token=s3cret;x", b"/a?b=1;token=[redacted]"),
        (b"/a?password=s3c;ret", b"/a?password=[redacted]"),
        (b"/a?token=&b", b"/a?token=&b"),
        (b"http://u:p@h/a", b"http://[redacted]@h/a"),
        (b"/users/a@b", b"/users/a@b"),
        (b"/a;jsessionid=s3cret/b?c", b"/a;jsessionid=[redacted]/b?c"),
        (b"/a;v=1/b", b"/a;v=1/b"),
        (b"*", b"*"),
    ],
)
def test_target(target: bytes, kept: bytes) -> None:
    assert REDACTION.request(request(target)).target == kept


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"password": "s3cret", "a": 1}', b'{"password": "[redacted]", "a": 1}'),
        (b'{"a": {"apiKey": "s3cret"}}', b'{"a": {"apiKey": "[redacted]"}}'),
        (b'{"API_KEY":"s3\\"cret"}', b'{"API_KEY":"[redacted]"}'),
        (b'{"pass\\u0077ord": "s3cret"}', b'{"pass\\u0077ord": "[redacted]"}'),
        (b'{"token": {"a": ["s3cret", "]"]}, "b": 1}', b'{"token": "[redacted]", "b": 1}'),
        (b'{"pin": 1234}', b'{"pin": "[redacted]"}'),
        (b'{"has_password": true, "token": null}', b'{"has_password": true, "token": null}'),
        (b'{"password": "s3cre', b'{"password": "[redacted]"'),
        (b'{"password": "s3cre\\', b'{"password": "[redacted]"'),
        (b'{"secrets": ["s3cret", ', b'{"secrets": "[redacted]"'),
        (b'{"password": ', b'{"password": '),
        (b'{"a": "password", "b": "x"}', b'{"a": "password", "b": "x"}'),
        (b'data: {"token": "s3cret"}\n\n', b'data: {"token": "[redacted]"}\n\n'),
        (b'\xff{"token": "s3cret\xfe"}', b'\xff{"token": "[redacted]"}'),
        (b'{"key": "a", "code": 7}', b'{"key": "a", "code": 7}'),
    ],
)
def test_members_of_json(body: bytes, kept: bytes) -> None:
    assert REDACTION.body(body, JSON) == kept


def test_form() -> None:
    body = b"user=a&password=s3cret&code=s3cret"
    assert REDACTION.body(body, FORM) == b"user=a&password=[redacted]&code=[redacted]"


def test_multipart_form() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="user"\r\n\r\nalice\r\n'
        b'--x\r\nContent-Disposition: form-data; name="password"\r\n\r\ns3cret\r\n--x--\r\n'
    )
    kept = REDACTION.body(body, b'multipart/form-data; boundary="x"')
    assert kept == body.replace(b"s3cret", b"[redacted]")


def test_more_names_can_be_given() -> None:
    redaction = REDACTION.more(["X-Badge", "iban"])
    assert redaction.fields(((b"x-badge", b"1"),)) == ((b"x-badge", b"[redacted]"),)
    assert redaction.body(b'{"IBAN": "1"}', JSON) == b'{"IBAN": "[redacted]"}'
    assert redaction.pairs(b"iban=1") == b"iban=[redacted]"


def test_salt_makes_equal_values_recognisable() -> None:
    redaction = Redaction(salt=b"salt")
    first, same, other = (redaction.mark(value) for value in (b"a", b"a", b"b"))
    assert first == same != other
    assert Redaction(salt=b"another").mark(b"a") != first


def test_nothing_is_taken_out_where_that_is_asked_for() -> None:
    head = request(b"/?token=a", (b"Authorization", b"Bearer a"))
    answer = response((b"Set-Cookie", b"a=b"))
    assert NO_REDACTION.request(head) is head
    assert NO_REDACTION.answer(answer) is answer
    assert NO_REDACTION.body(b'{"password": "a"}', JSON) == b'{"password": "a"}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_json_stays_json(value: object, is_ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    json.loads(REDACTION.body(data, JSON).decode("utf-8", "surrogatepass"))


@given(st.text(), st.binary(max_size=30), st.binary(max_size=30))
def test_secret_goes_wherever_it_stands(secret: str, before: bytes, after: bytes) -> None:
    data = json.dumps({"client_secret": f"<<{secret}>>"}).encode()
    kept = REDACTION.body(before.replace(b'"', b"") + b" " + data + after, JSON)
    assert b"<<" not in kept.removeprefix(before.replace(b'"', b""))[: len(data)]


@given(st.binary(), st.sampled_from([b"", JSON, FORM, b"multipart/form-data; boundary=a"]))
def test_garbage_raises_nothing(data: bytes, kind: bytes) -> None:
    REDACTION.body(data, kind)
    REDACTION.url(data)
    REDACTION.fields(((data, data), (b"cookie", data), (b"set-cookie", data)))


@pytest.mark.parametrize(
    "body",
    [
        b'"' * 300_000,
        b'"' + b'\\"password' * 30_000,
        b'"secret":' + b"[" * 300_000,
        b'"secret":[' * 30_000,
        b'"token":"a",' * 25_000,
        (b'"a"' + b" " * 1000) * 300,
        b"a=b;" * 75_000,
    ],
    ids=["quotes", "escapes", "brackets", "members", "values", "spaces", "semicolons"],
)
@pytest.mark.parametrize("kind", [JSON, FORM])
def test_no_body_costs_more_than_one_look_at_each_byte(body: bytes, kind: bytes) -> None:
    REDACTION.body(body, kind)  # the deadline of the run would end what is quadratic
