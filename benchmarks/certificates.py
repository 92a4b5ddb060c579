"""A certificate for one run: the listening side shows it, and the other side trusts it alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Certificate", "make_certificate"]

LIFETIME = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Where a certificate and its private key lie, as PEM."""

    path: Path
    key_path: Path


def make_certificate(folder: Path, address: str) -> Certificate:
    """Make a self-signed certificate (ECDSA, P-256) for an IP address.

    Raises:
        OSError: a file cannot be written.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "tls.pem", folder / "tls.key")
    made.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(made.key_path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(secret)
    return made
