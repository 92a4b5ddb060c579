"""Which HTTP requests are looked at, decided from method and headers alone."""

from __future__ import annotations

import pytest

from tunnelkit.rpc.channels import MAX_MESSAGE_BYTES
from tunnelkit.rpc.http_checks import Credentials, HttpAnswer, Rules, joined

RULES = Rules("login", frozenset({"https://dashboard.example.com"}))
JSON = {"content-type": "application/json", "host": "api.example.com"}
BEARER = {**JSON, "authorization": "Bearer abc"}
COOKIE = {**JSON, "cookie": "x=1; login=abc"}


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {**BEARER, "authorization": "bearer abc"},
        {**BEARER, "content-type": "application/json; charset=utf-8"},
        {**BEARER, "origin": "https://evil.example.com"},  # no page knows the token
        {**BEARER, "content-length": str(MAX_MESSAGE_BYTES)},
    ],
)
def test_bearer_token_is_taken(headers: dict[str, str]) -> None:
    assert RULES.check("POST", headers) == Credentials("abc")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"origin": "https://api.example.com"},
        {"origin": "https://api.example.com", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "https://dashboard.example.com", "sec-fetch-site": "same-site"},
    ],
)
def test_cookie_is_taken_from_our_own_pages(more: dict[str, str]) -> None:
    assert RULES.check("POST", COOKIE | more) == Credentials("abc", from_cookie=True)


@pytest.mark.parametrize(
    "more",
    [
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "https://api.example.com.evil.example.com"},
        {"origin": "https://api.example.com", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_cookie_is_not_enough_for_other_pages(more: dict[str, str]) -> None:
    assert status_of("POST", COOKIE | more) == 403


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", BEARER, 405),
        ("OPTIONS", BEARER, 405),
        ("POST", {**BEARER, "content-type": "text/plain"}, 415),
        ("POST", {"authorization": "Bearer abc"}, 415),
        ("POST", {**BEARER, "content-length": str(MAX_MESSAGE_BYTES + 1)}, 413),
        ("POST", {**BEARER, "content-length": "9" * 5000}, 413),
        ("POST", {**BEARER, "content-length": "-1"}, 413),
        ("POST", JSON, 401),
        ("POST", {**JSON, "authorization": "Basic abc"}, 401),
        ("POST", {**JSON, "authorization": "Bearer " + "a" * 9000}, 401),
        ("POST", {**JSON, "cookie": "other=abc"}, 401),
        ("POST", {**JSON, "cookie": "\x00;=;login"}, 401),
    ],
)
def test_wrong_request_is_refused(method: str, headers: dict[str, str], status: int) -> None:
    assert status_of(method, headers) == status


def status_of(method: str, headers: dict[str, str]) -> int:
    answer = RULES.check(method, headers)
    assert isinstance(answer, HttpAnswer)
    return answer.status


def test_refusal_says_what_to_do() -> None:
    answer = RULES.check("POST", JSON)
    assert isinstance(answer, HttpAnswer)
    assert b"Authorization: Bearer TOKEN, or the cookie login" in answer.body
    assert ("www-authenticate", "Bearer") in answer.headers


def test_page_of_another_origin_that_may_call_asks_first() -> None:
    headers = {"origin": "https://dashboard.example.com"}
    answer = RULES.check("OPTIONS", headers)
    assert isinstance(answer, HttpAnswer)
    assert answer.status == 204
    assert ("access-control-allow-credentials", "true") in RULES.shared_with(headers)


def test_page_that_may_not_call_is_told_nothing() -> None:
    assert RULES.shared_with({"origin": "https://evil.example.com"}) == (("vary", "Origin"),)


def test_token_that_was_sent_twice_is_none() -> None:
    twice = [(b"Authorization", b"Bearer abc"), (b"authorization", b"Bearer abc")]
    answer = RULES.check("POST", {**JSON, **joined(twice)})
    assert answer == Credentials("abc, Bearer abc")


def test_cookies_of_several_lines_are_one_header() -> None:
    assert joined([(b"cookie", b"a=1"), (b"cookie", b"login=abc")]) == {"cookie": "a=1; login=abc"}
