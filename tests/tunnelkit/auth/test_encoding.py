from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.auth.encoding import decode_base64url, encode_base64url


@given(st.binary(max_size=100))
def test_base64url_round_trip(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.text(max_size=20))
def test_base64url_has_one_spelling_for_each_value(text: str) -> None:
    try:
        data = decode_base64url(text)
    except ValueError:
        return
    assert encode_base64url(data) == text


@pytest.mark.parametrize("text", ["A", "AB", "AA=", "AA==", "A A", "A+/A", "\n", "é", "AAé"])
def test_base64url_refuses_other_spellings(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of several kinds
        decode_base64url(text)
