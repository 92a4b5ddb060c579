"""Conditions: what is written, what a request has, and requests that fulfil them."""

from __future__ import annotations

import pytest

from tunnelkit.errors import ConfigurationError
from tunnelkit.http.head import read_request
from tunnelkit.sidecar.conditions import MAX_CONDITIONS, read_condition, read_conditions
from tunnelkit.sidecar.requests import RequestFacts, facts_of, is_probe


def facts(text: str, server_name: str = "") -> RequestFacts:
    """Return the facts of a request: its first line, and its fields, one a line."""
    line, *fields = text.splitlines()
    if not any(field.lower().startswith("host:") for field in fields):
        fields.insert(0, "Host: shop.example.com")
    data = "\r\n".join([f"{line} HTTP/1.1", *fields, "", ""]).encode("latin-1")
    found = read_request(data)
    assert found is not None
    return facts_of(found[0], server_name)


STATE = "tracestate: other=1, env=blue ,env=red\nTraceState: last=9"


@pytest.mark.parametrize(
    ("condition", "request_text"),
    [
        ("method=POST", "POST /"),
        ("path=/a", "GET /a?b=c"),
        ("path^=/api/", "GET /api/v1"),
        ("path~=/(a|b)/[0-9]+", "GET /b/17"),
        ("path=/a", "GET http://other.example.com/a?b"),
        ("path=/", "GET http://other.example.com"),
        ("host=shop.example.com", "GET /"),
        ("host=Shop.Example.com", "GET /\nHost: SHOP.example.com:8080"),
        ("host=other.example.com", "GET http://other.example.com:80/a"),
        ("host=[::1]", "GET /\nHost: [::1]:80"),
        ("header:host=shop.example.com", "GET /"),
        ("header:X-User=ada", "GET /\nx-USER: ada"),
        ("header:x-user=ada, bob", "GET /\nx-user: ada\nX-User: bob"),
        ("header:x-user^=", "GET /\nx-user:"),
        ("header:x-user~=(?i)ADA", "GET /\nx-user: ada"),
        ("tracestate:env=blue", f"GET /\n{STATE}"),
        ("tracestate:last=9", f"GET /\n{STATE}"),
        ("baggage:user=ada b", "GET /\nbaggage: a=1, user = ada%20b;p=1"),
        ("grpc=orders.Cart", "POST /orders.Cart/Add"),
        ("grpc=orders.Cart/Add", "POST /orders.Cart/Add"),
    ],
)
def test_condition_that_holds(condition: str, request_text: str) -> None:
    assert read_condition(condition).holds(facts(request_text))


@pytest.mark.parametrize(
    ("condition", "request_text"),
    [
        ("method=post", "POST /"),
        ("path=/a", "GET /a/"),
        ("path=/a", "GET /%61"),
        ("path^=/api/", "GET /api"),
        ("path~=/a", "GET /ab"),
        ("header:x-user=ada", "GET /"),
        ("header:x-user=ada", "GET /\nx-user: Ada"),
        ("header:x-user=ada", "GET /\nx-user: ada\nx-user: bob"),
        ("tracestate:env=red", f"GET /\n{STATE}"),
        ("tracestate:Env=blue", f"GET /\n{STATE}"),
        ("baggage:user=ada", "GET /\nbaggage: user"),
        ("grpc=orders.Cart", "POST /orders.CartOther/Add"),
        ("sni=a.example.com", "GET /"),
    ],
)
def test_condition_that_does_not_hold(condition: str, request_text: str) -> None:
    assert not read_condition(condition).holds(facts(request_text))


def test_server_name_of_tls() -> None:
    assert read_condition("sni=A.example.com").holds(facts("GET /", "a.example.com"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no condition"),
        ("x-user=ada", "is no condition"),
        ("cookie:a=b", "is no condition"),
        ("header=ada", "header:NAME"),
        ("header:a b=c", "header:NAME"),
        ("path:a=b", "write path="),
        ("path!=/a", "is no condition"),
        ("path~=(", "without its"),
        ("grpc=", "SERVICE/METHOD"),
        ("grpc=a/", "SERVICE/METHOD"),
        ("grpc=a/b/c", "SERVICE/METHOD"),
        ("grpc^=a", "SERVICE/METHOD"),
        ("header:a=\u4e2d", "no header can hold"),
    ],
)
def test_what_is_no_condition(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read_condition(text)


@pytest.mark.parametrize(
    "texts",
    [
        ["header:x-user=ada", "header:X-User=bob"],
        ["path^=/a", "path=/b"],
        ["path=relative"],
        ["grpc=a.B", "path=/a.C/D"],
        ["method=GE T"],
        ["header:x= padded"],
    ],
)
def test_conditions_that_no_request_has(texts: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="no request has"):
        read_conditions(texts)


def test_conditions_are_bounded() -> None:
    texts = [f"header:x-{number}=a" for number in range(MAX_CONDITIONS + 1)]
    with pytest.raises(ConfigurationError, match="at most"):
        read_conditions(texts)


def test_probe_of_a_kubelet() -> None:
    assert is_probe(facts("GET /healthz\nUser-Agent: kube-probe/1.30"))
    assert not is_probe(facts("GET /healthz\nUser-Agent: curl/8"))
