from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tunnelkit.auth import KeyRing, generate_key, key_id, load_private_key, save_private_key
from tunnelkit.auth.encoding import decode_base64url
from tunnelkit.auth.files import write_secret_file
from tunnelkit.auth.keys import jwk_of
from tunnelkit.errors import ConfigurationError

# RFC 8037 appendices A.2 and A.3.
RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    assert key_id(decode_base64url(RFC_X)) == RFC_THUMBPRINT


def test_private_key_survives_its_file(tmp_path: Path) -> None:
    key = generate_key()
    save_private_key(tmp_path / "key.pem", key)
    assert load_private_key(tmp_path / "key.pem").private_bytes_raw() == key.private_bytes_raw()


def other_private_keys() -> dict[str, bytes]:
    """Return PEM files that are not unencrypted Ed25519 keys."""
    none, pkcs8 = NoEncryption(), PrivateFormat.PKCS8
    password = BestAvailableEncryption(b"password")
    return {
        "ec": ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, pkcs8, none),
        "rsa": rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, pkcs8, none),
        "encrypted": generate_key().private_bytes(Encoding.PEM, pkcs8, password),
        "garbage": b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "empty": b"",
    }


@pytest.mark.parametrize("kind", ["ec", "rsa", "encrypted", "garbage", "empty"])
def test_other_private_key_is_refused_without_quoting_it(tmp_path: Path, kind: str) -> None:
    write_secret_file(tmp_path / "key.pem", other_private_keys()[kind])
    with pytest.raises(ConfigurationError, match="key.pem is not an .*keygen") as caught:
        load_private_key(tmp_path / "key.pem")
    assert "c2VjcmV0" not in str(caught.value)


def test_private_key_open_to_others_is_refused(tmp_path: Path) -> None:
    save_private_key(tmp_path / "key.pem", generate_key())
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_private_key(tmp_path / "key.pem")


@pytest.mark.needs_program("openssl")
def test_openssl_reads_our_private_key(tmp_path: Path) -> None:
    key = generate_key()
    save_private_key(tmp_path / "key.pem", key)
    command = ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-pubout", "-outform", "DER"]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    assert der.endswith(key.public_key().public_bytes_raw())


@pytest.mark.needs_program("openssl")
def test_private_key_of_openssl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True)
    path.chmod(0o600)
    assert len(load_private_key(path).private_bytes_raw()) == 32


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4, unique=True))
def test_ring_survives_its_json(seeds: list[bytes]) -> None:
    keys = [Ed25519PrivateKey.from_private_bytes(seed).public_key() for seed in seeds]
    ring = KeyRing.from_jwks(KeyRing(keys).to_jwks())
    assert ring.raw_keys() == [key.public_bytes_raw() for key in keys]


def test_ring_finds_a_key_by_its_id(ring: KeyRing, issuer: Ed25519PrivateKey) -> None:
    raw = issuer.public_key().public_bytes_raw()
    found = ring.find(key_id(raw))
    assert found is not None
    assert found.public_bytes_raw() == raw
    assert ring.find("other") is None


def test_ring_names_its_keys(ring: KeyRing) -> None:
    assert len(ring) == 1
    assert ring.key_ids[0] in repr(ring)


RAW = decode_base64url(RFC_X)
BAD_RINGS = {
    "no json": "{",
    "a list": "[]",
    "no keys": '{"keys": []}',
    "a symmetric key": '{"keys": [{"kty": "oct", "k": "AAAA"}]}',
    "another curve": json.dumps({"keys": [jwk_of(RAW) | {"crv": "X25519"}]}),
    "a private key": json.dumps({"keys": [jwk_of(RAW) | {"d": "c2VjcmV0"}]}),
    "a lying name": json.dumps({"keys": [jwk_of(RAW) | {"kid": "mine"}]}),
    "a short key": json.dumps({"keys": [jwk_of(RAW[:31])]}),
    "a weak key": json.dumps({"keys": [jwk_of(bytes(32))]}),
    "padding": json.dumps({"keys": [jwk_of(RAW) | {"x": RFC_X + "="}]}),
    "a number": json.dumps({"keys": [jwk_of(RAW) | {"x": 1}]}),
    "depth": '{"keys": ' + "[" * 100_000,
}


@pytest.mark.parametrize("name", BAD_RINGS)
def test_ring_refuses_what_is_no_set_of_public_keys(name: str) -> None:
    with pytest.raises(ConfigurationError, match="key ring") as caught:
        KeyRing.from_jwks(BAD_RINGS[name])
    assert "c2VjcmV0" not in str(caught.value)


def test_ring_from_a_file_names_the_file_in_errors(tmp_path: Path) -> None:
    (tmp_path / "ring.json").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="ring.json is not a JSON Web Key Set"):
        KeyRing.load(tmp_path / "ring.json")
