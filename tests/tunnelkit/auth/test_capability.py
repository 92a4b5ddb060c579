from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.auth import KeyRing, key_id, may_meet, may_open, mint, read_unverified, verify
from tunnelkit.auth.capability import (
    CLOCK_LEEWAY_SECONDS,
    MAX_LIFETIME_SECONDS,
    MAX_PATTERNS,
    MAX_TEXT_CHARS,
    matches,
)
from tunnelkit.auth.encoding import decode_base64url, encode_base64url
from tunnelkit.errors import AuthenticationError, ConfigurationError, ErrorCode
from tunnelkit.limits import MAX_TOKEN_BYTES

MakeToken = Callable[..., str]
ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = key_id(ISSUER.public_key().public_bytes_raw())
RING = KeyRing([ISSUER.public_key()])
HEADER = {"alg": "EdDSA", "kid": KID, "typ": "tk-cap+jwt"}
HOLDER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
HOLDER_JWK = {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(HOLDER)}
CLAIMS: dict[str, Any] = {
    "sub": "a",
    "cnf": {"jwk": HOLDER_JWK},
    "exp": 2000,
    "nbf": 1000,
    "iat": 1000,
    "jti": "1",
    "peers": [],
    "targets": [],
}


def forge(header: object, claims: object, key: Ed25519PrivateKey = ISSUER) -> str:
    """Sign whatever is given: a string is taken as the raw JSON."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    text = ".".join(encode_base64url(part.encode()) for part in parts)
    return f"{text}.{encode_base64url(key.sign(text.encode()))}"


def refusal(token: str | bytes, now: float = 1500) -> AuthenticationError:
    """Return the error with which *token* is refused."""
    with pytest.raises(AuthenticationError) as caught:
        verify(token, RING, now)
    return caught.value


# --- what is granted ---


def test_verify_returns_what_was_minted(
    make_token: MakeToken, ring: KeyRing, holder: Ed25519PrivateKey, now: float
) -> None:
    capability = verify(make_token(token_id="t1"), ring, now)
    assert capability.subject == "devbox/alice"
    assert capability.holder == holder.public_key().public_bytes_raw()
    assert capability.expires_at == now + 3600
    assert (capability.peers, capability.targets) == (("sidecar/*",), ("127.0.0.1:*",))
    assert (capability.environment, capability.token_id) == ("dev", "t1")
    assert capability.issuer_key_id == ring.key_ids[0]


@pytest.mark.parametrize("is_caller", [False, True])
def test_verify_says_whether_it_is_a_caller(
    make_token: MakeToken, ring: KeyRing, now: float, is_caller: bool
) -> None:
    assert verify(make_token(is_caller=is_caller), ring, now).is_caller is is_caller


@pytest.mark.parametrize("value", [1, "true", None, []])
def test_caller_is_true_or_false(value: object) -> None:
    assert "claims" in refusal(forge(HEADER, CLAIMS | {"caller": value})).text


def test_token_as_bytes_is_the_same(make_token: MakeToken, ring: KeyRing, now: float) -> None:
    token = make_token()
    assert verify(token.encode(), ring, now) == verify(token, ring, now)


def test_unverified_reading_needs_no_key(make_token: MakeToken, ring: KeyRing, now: float) -> None:
    token = make_token()
    assert read_unverified(token) == verify(token, ring, now)


def test_token_ids_differ(make_token: MakeToken) -> None:
    assert read_unverified(make_token()).token_id != read_unverified(make_token()).token_id


def test_forged_but_rightly_signed_token_is_accepted() -> None:
    assert verify(forge(HEADER, CLAIMS | {"unknown": 1}), RING, 1500).subject == "a"


def test_pyjwt_reads_our_token(make_token: MakeToken, issuer: Ed25519PrivateKey) -> None:
    options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(make_token(), issuer.public_key(), algorithms=["EdDSA"], options=options)
    assert claims["sub"] == "devbox/alice"


def test_signature_of_rfc_8037_is_reproduced() -> None:
    # Appendices A.1 and A.4.
    key = Ed25519PrivateKey.from_private_bytes(
        decode_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    )
    text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert encode_base64url(key.sign(text.encode())) == signature
    assert jwt.PyJWS().decode(f"{text}.{signature}", key.public_key(), algorithms=["EdDSA"]) == (
        b"Example of Ed25519 signing"
    )


# --- time ---


@pytest.mark.parametrize("now", [2000, 2000.5, 1e300, float("inf"), float("nan")])
def test_expired_token_is_refused_as_such(now: float) -> None:
    assert refusal(forge(HEADER, CLAIMS), now).code == ErrorCode.TOKEN_EXPIRED


def test_token_holds_to_its_last_moment() -> None:
    assert verify(forge(HEADER, CLAIMS), RING, 1999.9).expires_at == 2000


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_token_from_the_future_is_refused(claim: str) -> None:
    token = forge(HEADER, CLAIMS | {claim: 1000, "exp": 9999})
    assert verify(token, RING, 1000 - CLOCK_LEEWAY_SECONDS).not_before == 1000
    error = refusal(token, 999 - CLOCK_LEEWAY_SECONDS)
    assert error.code == ErrorCode.UNAUTHENTICATED
    assert "not valid yet" in error.text


# --- hostile tokens ---


def test_foreign_key_is_refused() -> None:
    key = Ed25519PrivateKey.generate()
    foreign = HEADER | {"kid": key_id(key.public_key().public_bytes_raw())}
    assert "not in the key ring" in refusal(forge(foreign, CLAIMS, key)).text


def test_foreign_key_under_a_known_name_is_refused() -> None:
    assert "signature" in refusal(forge(HEADER, CLAIMS, Ed25519PrivateKey.generate())).text


def test_algorithm_none_is_refused() -> None:
    text = forge(HEADER | {"alg": "none"}, CLAIMS).rpartition(".")[0]
    assert refusal(f"{text}.").code == ErrorCode.UNAUTHENTICATED


def test_public_key_as_hmac_secret_is_refused() -> None:
    text = forge(HEADER | {"alg": "HS256"}, CLAIMS).rpartition(".")[0]
    secret = ISSUER.public_key().public_bytes_raw()
    mac = hmac.digest(secret, text.encode(), hashlib.sha256)
    assert refusal(f"{text}.{encode_base64url(mac)}").code == ErrorCode.UNAUTHENTICATED


HEADERS = {
    "no kid": {"alg": "EdDSA", "typ": "tk-cap+jwt"},
    "kid of another type": HEADER | {"kid": 1},
    "another typ": HEADER | {"typ": "JWT"},
    "no typ": {"alg": "EdDSA", "kid": KID},
    "another alg": HEADER | {"alg": "ES256"},
    "a key of its own": HEADER | {"jwk": HOLDER_JWK},
    "crit": HEADER | {"crit": ["b64"], "b64": False},
    "a list": [],
    "no json": "{",
    "depth": "[" * 2300,
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_header_is_refused(name: str) -> None:
    assert "header" in refusal(forge(HEADERS[name], CLAIMS)).text


@pytest.mark.parametrize("claim", CLAIMS)
def test_missing_claim_is_refused(claim: str) -> None:
    rest = {name: value for name, value in CLAIMS.items() if name != claim}
    error = refusal(forge(HEADER, rest))
    assert error.code == ErrorCode.UNAUTHENTICATED
    assert "claims are malformed" in error.text


WRONG_CLAIMS: list[tuple[str, Any]] = [
    *(("sub", value) for value in ("", "a b", "a*", "a\n", "é", "a" * 256, 1, None, ["a"])),
    *(("jti", value) for value in ("", "a b", 1)),
    *(("env", value) for value in ("a b", "*", None, 1)),
    *(("exp", value) for value in ("2000", -1, 1 << 53, 1e400, True, None, 2000.5)),
    *(("nbf", value) for value in ("0", -1, None)),
    *(("iat", value) for value in ("0", -1, None)),
    *(("peers", value) for value in ("*", ["a b"], [""], [1], [["a"]], ["a"] * 65, {"a": 1})),
    *(("targets", value) for value in ("*", ["a b"], [""], [1], ["é"], ["a"] * 65)),
    ("cnf", None),
    ("cnf", {}),
    ("cnf", {"jwk": HOLDER_JWK | {"kty": "EC"}}),
    ("cnf", {"jwk": HOLDER_JWK | {"crv": "Ed448"}}),
    ("cnf", {"jwk": HOLDER_JWK | {"x": "AAAA"}}),
    ("cnf", {"jwk": HOLDER_JWK | {"x": "A" * 43}}),
    ("cnf", {"jwk": HOLDER_JWK | {"d": "AAAA"}}),
]


@pytest.mark.parametrize(("claim", "value"), WRONG_CLAIMS)
def test_wrong_claim_is_refused_without_quoting_it(claim: str, value: Any) -> None:
    error = refusal(forge(HEADER, CLAIMS | {claim: value}))
    assert error.code == ErrorCode.UNAUTHENTICATED
    assert "claims are malformed" in error.text


def test_deeply_nested_claims_are_refused() -> None:
    claims = json.dumps(CLAIMS)[:-1] + ', "extra": ' + "[" * 2300
    assert "claims are malformed" in refusal(forge(HEADER, claims)).text


def test_errors_quote_no_foreign_text() -> None:
    claims = json.dumps(CLAIMS | {"cnf": {"jwk": HOLDER_JWK | {"kty": "s3cret\n"}}})
    assert "s3cret" not in str(refusal(forge(HEADER, claims)))
    assert "s3cret" not in str(refusal(forge(HEADER | {"s3cret": 1}, CLAIMS)))


def test_oversize_token_is_refused_before_it_is_read() -> None:
    assert f"larger than {MAX_TOKEN_BYTES}" in refusal("." * (MAX_TOKEN_BYTES + 1)).text


@given(st.integers(min_value=0))
def test_truncated_token_is_refused(cut: int) -> None:
    token = forge(HEADER, CLAIMS)
    assert refusal(token[: cut % len(token)]).code == ErrorCode.UNAUTHENTICATED


@given(st.integers(min_value=0), st.characters())
def test_token_with_one_other_character_is_refused(place: int, character: str) -> None:
    token = forge(HEADER, CLAIMS)
    place %= len(token)
    other = token[:place] + character + token[place + 1 :]
    if other != token:
        assert refusal(other).code == ErrorCode.UNAUTHENTICATED


@given(st.text() | st.binary())
def test_garbage_raises_only_the_documented_error(garbage: str | bytes) -> None:
    assert refusal(garbage).code == ErrorCode.UNAUTHENTICATED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(CLAIMS)), json_values)
def test_signed_nonsense_raises_only_the_documented_error(claim: str, value: object) -> None:
    try:
        verify(forge(HEADER, CLAIMS | {claim: value}), RING, 1500)
    except AuthenticationError:
        pass


# --- minting ---


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "a b"},
        {"holder": bytes(31)},
        {"holder": bytes(32)},
        {"lifetime_seconds": 0},
        {"lifetime_seconds": MAX_LIFETIME_SECONDS + 1},
        {"peers": ["a"] * (MAX_PATTERNS + 1)},
        {"targets": ["a" * (MAX_TEXT_CHARS + 1)]},
        {"environment": "a b"},
        {"token_id": ""},
        {"now": -1.0},
    ],
)
def test_mint_refuses_what_verify_would(make_token: MakeToken, change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        make_token(**change)


def test_mint_refuses_a_token_that_would_be_too_large(make_token: MakeToken) -> None:
    with pytest.raises(ConfigurationError, match="fewer or shorter patterns"):
        make_token(peers=["a" * MAX_TEXT_CHARS] * 20)


# --- permissions ---

pattern_text = st.text(alphabet="ab*", max_size=8)


@given(pattern_text, st.text(alphabet="ab", max_size=10))
def test_matches_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text)
    assert matches(pattern, text) == (expected is not None)


def test_only_the_star_is_special() -> None:
    assert not matches("a?c", "abc")
    assert not matches("[a]", "a")
    assert not matches("a.c", "abc")


def test_hostile_pattern_costs_little() -> None:
    assert not matches("*a" * 127, "a" * 126 + "b" * 129)


@pytest.mark.parametrize(
    ("peers_of_alice", "peers_of_web", "allowed"),
    [
        (["sidecar/*"], ["devbox/*"], True),
        (["*"], ["devbox/alice"], True),
        (["sidecar/*"], [], False),
        ([], ["*"], False),
        (["sidecar/*"], ["devbox/bob"], False),
        (["sidecar/other"], ["*"], False),
    ],
)
def test_two_meet_only_if_each_allows_the_other(
    make_token: MakeToken, peers_of_alice: list[str], peers_of_web: list[str], allowed: bool
) -> None:
    alice = read_unverified(make_token(peers=peers_of_alice))
    web = read_unverified(make_token(subject="sidecar/web", peers=peers_of_web))
    assert may_meet(alice, web) is allowed
    assert may_meet(web, alice) is allowed


@pytest.mark.parametrize(
    ("targets", "target", "allowed"),
    [
        (["127.0.0.1:8080"], "127.0.0.1:8080", True),
        (["127.0.0.1:*"], "127.0.0.1:8080", True),
        (["127.0.0.1:80"], "127.0.0.1:8080", False),
        (["orders", "users"], "users", True),
        ([], "orders", False),
        (["*"], "", False),
        (["*"], "a b", False),
    ],
)
def test_target_opens_only_if_a_pattern_allows_it(
    make_token: MakeToken, targets: list[str], target: str, allowed: bool
) -> None:
    assert may_open(read_unverified(make_token(targets=targets)), target) is allowed


def test_minted_kid_is_the_key_id(issuer: Ed25519PrivateKey) -> None:
    token = mint(
        issuer, subject="a", holder=HOLDER, lifetime_seconds=1, peers=[], targets=[], now=0
    )
    assert jwt.get_unverified_header(token) == HEADER
