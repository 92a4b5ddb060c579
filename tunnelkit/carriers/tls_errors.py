"""What went wrong in TLS, in words that say what to do next (no I/O but for the names of `ssl`)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

__all__ = ["explain", "is_record_start", "is_truncation"]

TRUNCATED: Final = "the connection ended without the close of TLS: bytes may be missing"

_RECORD_TYPES: Final = range(0x14, 0x18)
_LIBRARY_TEXT: Final = "TLS failed"

# X509_V_ERR_* of OpenSSL.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNTRUSTED: Final = (2, 18, 19, 20, 21)
_WRONG_NAME: Final = (62, 63, 64)
_WRONG_PURPOSE: Final = 26

_EOF_REASON: Final = "UNEXPECTED_EOF_WHILE_READING"

_REASONS: Final[Mapping[str, str]] = {
    "UNSUPPORTED_PROTOCOL": "no TLS version in common: this program speaks TLS 1.3 only",
    "NO_PROTOCOLS_AVAILABLE": "no TLS version in common: this program speaks TLS 1.3 only",
    "WRONG_SSL_VERSION": "no TLS version in common: this program speaks TLS 1.3 only",
    "NO_SHARED_CIPHER": "no cipher in common",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the client shows no certificate: it needs one of its own (--tls-cert and --tls-key)"
    ),
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "what arrived was changed on its way, or is no TLS",
}

_ALERTS: Final[Mapping[str, str]] = {
    "PROTOCOL_VERSION": "no TLS version in common: this program speaks TLS 1.3 only",
    "UNKNOWN_CA": (
        "the other side does not trust the CA of this side's certificate: "
        "give it that CA (--tls-ca for servers, --tls-client-ca for clients)"
    ),
    "CERTIFICATE_EXPIRED": "the other side says that this side's certificate has expired",
    "BAD_CERTIFICATE": "the other side does not accept this side's certificate",
    "UNSUPPORTED_CERTIFICATE": "the other side cannot use this side's certificate: wrong kind",
    "CERTIFICATE_UNKNOWN": "the other side does not accept this side's certificate",
    "CERTIFICATE_REQUIRED": (
        "the other side asks for a certificate: give one (--tls-cert and --tls-key)"
    ),
    "NO_APPLICATION_PROTOCOL": (
        "the other side speaks TLS but not this protocol: look at host and port"
    ),
    "UNRECOGNIZED_NAME": "the other side does not know the name that was asked for",
    "HANDSHAKE_FAILURE": "the other side finds nothing in common with this one",
}


def is_record_start(start: bytes) -> bool:
    """Say whether a connection that begins with these bytes, or with none yet, can be TLS."""
    return not start or start[0] in _RECORD_TYPES


def is_truncation(error: ssl.SSLError) -> bool:
    """Say whether the connection ended before TLS did; Python before 3.11.4 has no class for it."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == _EOF_REASON


def explain(error: ssl.SSLError, *, server_side: bool, name: str, start: bytes) -> str:
    """Return what *error* means.

    Args:
        name: the name that the server's certificate had to be for.
        start: the first bytes that arrived, if any did.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, server_side, name)
    if not is_record_start(start):
        if start.startswith(b"HTTP/"):
            return "the other side does not speak TLS but plain HTTP: dial ws://"
        if server_side:
            return "the client does not speak TLS, which this address needs: dial tls://"
        return "the other side does not speak TLS: dial tcp://, or look at host and port"
    if is_truncation(error):
        return TRUNCATED
    reason = error.reason or ""
    if "ALERT_" in reason:
        alert = reason.partition("ALERT_")[2]
        known = _ALERTS.get(alert)
        name = f"TLS alert {alert.lower().replace('_', ' ')}"
        return f"{known} ({name})" if known else f"the other side ended TLS ({name})"
    return _REASONS.get(reason) or f"{_LIBRARY_TEXT}: {reason.lower().replace('_', ' ')}"


def _explain_certificate(error: ssl.SSLCertVerificationError, server_side: bool, name: str) -> str:
    whose = "the client's certificate" if server_side else f"the certificate of {name}"
    code = error.verify_code
    if code == _EXPIRED:
        return f"{whose} has expired: renew it (or this machine's clock is wrong)"
    if code == _NOT_YET_VALID:
        return f"{whose} is not valid yet: look at the clocks of both machines"
    if code in _WRONG_NAME:
        return f"{whose} is for another name: dial the name it is for, or give --tls-server-name"
    if code in _UNTRUSTED:
        flag = "--tls-client-ca" if server_side else "--tls-ca"
        return f"{whose} is from a CA that is not trusted here: give that CA with {flag}"
    if code == _WRONG_PURPOSE:
        return f"{whose} is not meant for {'clients' if server_side else 'servers'}"
    return f"{whose} is not accepted: {error.verify_message}"
