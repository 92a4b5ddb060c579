"""The certificate of a run."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from benchmarks.certificates import make_certificate


def test_certificate_is_for_the_address_and_fits_its_key(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "127.0.0.1")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.path, made.key_path)
    certificate = x509.load_pem_x509_certificate(made.path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]


def test_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert make_certificate(tmp_path, "127.0.0.1").key_path.stat().st_mode & 0o077 == 0
