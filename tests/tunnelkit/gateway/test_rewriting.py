"""What the gateway writes anew in requests and answers, and what it leaves as it came."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tunnelkit.gateway.test_sites import UPSTREAM, head
from tunnelkit.gateway import Interception, Site
from tunnelkit.gateway.rewriting import Arrival, answer_for, credentials_in, origin_of, request_for
from tunnelkit.http.head import Fields, RequestHead, ResponseHead, values_of

ARRIVAL = Arrival("192.0.2.7", "https", "env", "login")
TRACE = "00-1234-56-00"
SITE = Site("shop", UPSTREAM)
SHOP = replace(SITE, environment="e1")


def sent(
    request: RequestHead, site: Site = SITE, arrival: Arrival = ARRIVAL, *, has_bearer: bool = False
) -> RequestHead:
    """Return a request as the server gets it."""
    return request_for(request, site, arrival, has_bearer=has_bearer, trace=TRACE)


def values(fields: Fields, name: str) -> list[str]:
    """Return the values of all fields of a name."""
    return [value.decode() for value in values_of(fields, name.encode())]


def test_what_is_not_written_anew_stays() -> None:
    request = head("/a?b", X_One="1", cookie="a=1;b=2", authorization="Basic x", accept="*/*")
    assert sent(request).fields[: len(request.fields)] == request.fields
    assert sent(request).target == request.target


def test_servers_are_told_where_a_request_came_from() -> None:
    fields = sent(head(host="shop.example:8443")).fields
    assert values(fields, "x-forwarded-for") == ["192.0.2.7"]
    assert values(fields, "x-forwarded-proto") == ["https"]
    assert values(fields, "x-forwarded-host") == ["shop.example:8443"]
    assert values(fields, "forwarded") == ['for=192.0.2.7;host="shop.example:8443";proto=https']


def test_addresses_of_ipv6_are_quoted() -> None:
    fields = sent(head(), arrival=replace(ARRIVAL, address="2001:db8::1")).fields
    assert values(fields, "forwarded")[0].startswith('for="[2001:db8::1]";')


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "X-Real-IP", "X-Original-URL"]
)
def test_clients_do_not_say_where_they_came_from(name: str) -> None:
    request = head(**{name: "evil"})
    assert "evil" not in str(sent(request).fields)


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ([], ["env=e1"]),
        (["a=1,env=evil"], ["env=e1,a=1"]),
        (["ENV=evil, a=1", "env = evil,b=2"], ["env=e1,a=1,b=2"]),
        (["environment=mine"], ["env=e1,environment=mine"]),
    ],
)
def test_environment_is_the_one_of_the_site(came: list[str], goes: list[str]) -> None:
    fields = tuple((b"tracestate", value.encode()) for value in came)
    request = RequestHead(b"GET", b"/", b"1.1", ((b"Host", b"a"), *fields))
    assert values(sent(request, SHOP).fields, "tracestate") == goes


def test_environment_that_a_client_says_is_taken_out_where_there_is_none() -> None:
    fields = sent(head(tracestate="env=evil", baggage="env=evil;x,b=2")).fields
    assert values(fields, "tracestate") == []
    assert values(fields, "baggage") == ["b=2"]


def test_trace_begins_where_the_client_has_begun_none() -> None:
    assert values(sent(head(), SHOP).fields, "traceparent") == [TRACE]
    assert values(sent(head(traceparent="mine"), SHOP).fields, "traceparent") == ["mine"]
    assert values(sent(head()).fields, "traceparent") == []


@pytest.mark.parametrize(
    ("came", "goes"),
    [
        ("login=secret", []),
        ("a=1; login=secret;b=2", ["a=1; b=2"]),
        ("a=login; xlogin=2", ["a=login; xlogin=2"]),
        ("login=one; login=two; c=3", ["c=3"]),
        (" login = secret ; d=4", ["d=4"]),
    ],
)
def test_login_cookie_goes_no_further(came: str, goes: list[str]) -> None:
    assert values(sent(head(cookie=came)).fields, "cookie") == goes


def test_bearer_token_of_the_gateway_goes_no_further() -> None:
    request = head(authorization="Bearer abc")
    assert values(sent(request).fields, "authorization") == ["Bearer abc"]
    assert values(sent(request, has_bearer=True).fields, "authorization") == []


@pytest.mark.parametrize(
    ("cookie", "authorization", "found"),
    [
        ("login=a", "", ("a", "")),
        ('x=1; login="b"', "bearer  tok", ("b", "tok")),
        ("xlogin=a", "Basic tok", ("", "")),
        ("", "Bearer a b", ("", "")),
    ],
)
def test_credentials(cookie: str, authorization: str, found: tuple[str, str]) -> None:
    assert credentials_in(head(cookie=cookie, authorization=authorization), "login") == found


@pytest.mark.parametrize(
    ("target", "goes"),
    [
        ("/shop/a?b=1", "/a?b=1"),
        ("/shop/", "/"),
        ("/shop?b", "/?b"),
        ("http://shop.example/shop/a", "/a"),
        ("/shop//evil.example", "//evil.example"),
    ],
)
def test_prefix_is_taken_off(target: str, goes: str) -> None:
    found = sent(head(target), replace(SITE, prefix="/shop"))
    assert found.target == goes.encode()
    assert values(found.fields, "x-forwarded-prefix") == ["/shop"]


def test_host_may_be_one_that_the_server_knows() -> None:
    fields = sent(head(), replace(SITE, host="localhost:3000")).fields
    assert values(fields, "host") == ["localhost:3000"]
    assert values(fields, "x-forwarded-host") == ["shop.example"]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/a", ("/a", "shop.example")),
        ("http://b.example:81/a?c", ("/a?c", "b.example:81")),
        ("HTTPS://user@b.example", ("/", "b.example")),
        ("http://b.example?c", ("/?c", "b.example")),
        ("http://b.example/a#c", ("/a", "b.example")),
    ],
)
def test_url_says_whose_it_is(target: str, found: tuple[str, str]) -> None:
    path, host = origin_of(head(target))
    assert (path.decode(), host.decode()) == found
    assert values(sent(head(target)).fields, "host") == [host.decode()]


# --- answers ------------------------------------------------------------------------------------


def answered(site: Site, status: int = 200, **fields: str) -> Fields:
    """Return the fields of an answer as the client gets it."""
    pairs = tuple((name.replace("_", "-").encode(), text.encode()) for name, text in fields.items())
    return answer_for(ResponseHead(status, b"", b"1.1", pairs), site, "shop.example").fields


def test_answer_stays_as_it_came() -> None:
    fields = answered(SITE, location="/a", set_cookie="a=1; Path=/", cache_control="max-age=9")
    assert values(fields, "location") + values(fields, "set-cookie") == ["/a", "a=1; Path=/"]
    assert values(fields, "cache-control") == ["max-age=9"]


@pytest.mark.parametrize(
    ("location", "goes"),
    [
        ("/a", "/shop/a"),
        ("a/b", "a/b"),
        ("?c", "?c"),
        ("//other.example/a", "//other.example/a"),
        ("http://shop.example/a?b#c", "/shop/a?b#c"),
        ("https://shop.example", "/shop/"),
        ("http://other.example/a", "http://other.example/a"),
        ("http://[", "http://["),
    ],
)
def test_prefix_is_put_back_into_location(location: str, goes: str) -> None:
    fields = answered(replace(SITE, prefix="/shop"), 302, location=location)
    assert values(fields, "location") == [goes]


@pytest.mark.parametrize(
    ("cookie", "goes"),
    [
        ("a=1; Path=/; Secure", "a=1; Path=/shop/; Secure"),
        ("a=1;path=/b", "a=1;path=/shop/b"),
        ("a=/b; HttpOnly", "a=/b; HttpOnly"),
    ],
)
def test_prefix_is_put_back_into_the_paths_of_cookies(cookie: str, goes: str) -> None:
    fields = answered(replace(SITE, prefix="/shop"), set_cookie=cookie)
    assert values(fields, "set-cookie") == [goes]


def test_prefix_is_put_back_only_where_it_was_asked_for() -> None:
    site = replace(SITE, prefix="/shop", rewrites=False)
    assert values(answered(site, 302, location="/a"), "location") == ["/a"]


def test_answers_of_an_intercept_are_kept_by_nobody() -> None:
    site = replace(SITE, intercept=Interception("ada's laptop"))
    fields = answered(site, cache_control="max-age=99", expires="tomorrow", etag="x")
    assert values(fields, "cache-control") == ["no-store"]
    assert values(fields, "expires") == []
    assert values(fields, "etag") == ["x"]
