"""Requests that somebody wrote down."""

from __future__ import annotations

import pytest

from tunnelkit.admin.asked import request_in
from tunnelkit.errors import ConfigurationError

CART = {"method": "GET", "path": "/cart?a=1", "headers": {"host": "shop", "x-user": "ada"}}


@pytest.mark.parametrize(
    "text",
    [
        "GET /cart?a=1 HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\n\r\nbody: no header",
        "\nGET /cart?a=1\nhost: shop\nx-user:ada",
        "> GET /cart?a=1 HTTP/2\n> Host: shop\n> X-User: ada\n>\n",
        "GET /cart?a=1 HTTP/2\n:authority: shop\nx-user: ada\n",
    ],
)
def test_request_is_understood(text: str) -> None:
    assert request_in(text) == CART


def test_header_that_comes_twice_is_joined() -> None:
    found = request_in("GET /\na: 1\na: 2\ncookie: b=1\ncookie: c=2\n")
    assert found["headers"] == {"a": "1, 2", "cookie": "b=1; c=2"}


@pytest.mark.parametrize("text", ["", "hello", "Host: shop\n", "GET / HTTP/1.1\nno header\n"])
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(ConfigurationError, match="this is no"):
        request_in(text)
