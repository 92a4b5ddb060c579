"""Fields of HTTP/2 that are refused; whatever the machine of `h2` would refuse is among them."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.http.h2_fields import head_of, is_answer, is_trailers

Pairs = list[tuple[bytes, bytes]]
GET: Pairs = [
    *((b":method", b"GET"), (b":scheme", b"http")),
    *((b":authority", b"shop"), (b":path", b"/a?b")),
]


def test_request_as_rules_see_it() -> None:
    head = head_of([*GET, (b"te", b"trailers"), (b"x", b"1"), (b"x", b"")])
    assert head is not None
    assert (head.method, head.target, head.version) == (b"GET", b"/a?b", b"2")
    assert head.fields == ((b"host", b"shop"), (b"te", b"trailers"), (b"x", b"1"), (b"x", b""))


@pytest.mark.parametrize(
    "headers",
    [
        [*GET, (b"host", b"shop")],
        [(b":method", b"CONNECT"), (b":authority", b"shop:80")],
        [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b"host", b"a")],
    ],
)
def test_other_forms_of_a_request(headers: Pairs) -> None:
    assert head_of(headers) is not None


@pytest.mark.parametrize(
    "headers",
    [
        *(GET[:at] + GET[at + 1 :] for at in (0, 1, 3)),
        [*GET, GET[1]],
        [(b"x", b"1"), *GET],
        [*GET, (b":status", b"200")],
        [*GET, (b"host", b"other")],
        [*GET, (b"host", b"shop"), (b"host", b"shop")],
        [*GET[:3], (b":path", b"")],
        [*GET[:3], (b":path", b"a")],
        [(b":method", b"CONNECT"), *GET[1:]],
        [*GET, (b"X", b"1")],
        [*GET, (b"", b"1")],
        [*GET, (b"x", b" 1")],
        [*GET, (b"x", b"1\t")],
        [*GET, (b"te", b"gzip")],
        *([*GET, (name, b"x")] for name in (b"connection", b"transfer-encoding", b"upgrade")),
    ],
)
def test_request_that_is_refused(headers: Pairs) -> None:
    assert head_of(headers) is None


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"abc", b"099"])
def test_answer_that_is_refused(status: bytes) -> None:
    assert not is_answer([(b":status", status)])
    assert not is_answer([])


TEXTS = st.sampled_from(b"x|a b| ||\r\n|\0|trailers|/|GET|200".split(b"|"))
NAMES = st.sampled_from(
    b":method|:scheme|:authority|:path|:status|:protocol|:||x|X|x y|x:|x\0|host|te|cookie".split(
        b"|"
    )
    + b"connection|keep-alive|content-length".split(b"|")
)
FIELDS = st.lists(st.tuples(NAMES, TEXTS), max_size=4)


def h2_takes(headers: Pairs, *, is_response: bool = False, is_trailer: bool = False) -> bool:
    flags = HeaderValidationFlags(
        is_client=is_response,
        is_trailer=is_trailer,
        is_response_header=is_response,
        is_push_promise=False,
    )
    try:
        list(validate_headers(headers, flags))
    except ProtocolError:
        return False
    return True


@given(FIELDS, st.booleans())
def test_what_h2_refuses_is_refused(fields: Pairs, has_head: bool) -> None:
    request = [*GET, *fields] if has_head else fields
    assert head_of(request) is None or h2_takes(request)
    answer = [(b":status", b"200"), *fields] if has_head else fields
    assert not is_answer(answer) or h2_takes(answer, is_response=True)
    assert not is_trailers(fields) or h2_takes(fields, is_trailer=True)
