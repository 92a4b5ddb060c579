"""What TLS needs to know: certificate, key, whom to trust.

Files are read when the settings are made and at `reload`.  Links keep what they were made with; a
new handshake takes what is loaded now, so certificates are renewed without dropping a link.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from tunnelkit.errors import ConfigurationError

__all__ = ["LINK_ALPN", "TlsSettings"]

LINK_ALPN: Final = "tunnelkit/1"
"""What a link calls itself in the handshake, so that no other service on the port is mistaken."""

_ENCRYPTED_KEY: Final = "the key is encrypted: write it without a pass phrase, readable by you only"


class TlsSettings:
    """Certificate, key and trust of this process.  Only TLS 1.3 is spoken.

    Args:
        certificate: PEM file with this side's certificate and those between it and its CA; needed
            to listen, and to dial where the other side asks for one.
        key: PEM file with its private key, without a pass phrase.
        ca: PEM file with the CAs that may vouch for a server; None: those of the system.
        client_ca: PEM file with the CAs that may vouch for a client; None: clients are not asked
            for a certificate.
        server_name: what the server's certificate has to be for; None: the host that was dialled.
        check_server: whether certificate and name of a server are checked.  Without it, whoever
            is on the way can take the server's place.

    Raises:
        ConfigurationError: a file cannot be used; the text names it.
    """

    def __init__(
        self,
        *,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        ca: str | Path | None = None,
        client_ca: str | Path | None = None,
        server_name: str | None = None,
        check_server: bool = True,
    ) -> None:
        if (certificate is None) != (key is None):
            missing = "private key" if key is None else "certificate"
            raise ConfigurationError(f"TLS needs certificate and key: the {missing} is missing")
        if client_ca is not None and certificate is None:
            raise ConfigurationError(
                "a CA for clients is of use only to a listener, which needs certificate and key"
            )
        self.certificate = certificate
        self.key = key
        self.ca = ca
        self.client_ca = client_ca
        self.server_name = server_name
        self.check_server = check_server
        self._contexts: dict[tuple[bool, str], ssl.SSLContext] = {}
        self.reload()

    def __repr__(self) -> str:
        return f"<TlsSettings certificate={self.certificate} ca={self.ca or 'system'}>"

    @property
    def can_listen(self) -> bool:
        """Whether there is a certificate to show to clients."""
        return self.certificate is not None

    def reload(self) -> None:
        """Read the files again, for the handshakes to come; links that are up stay as they are.

        Raises:
            ConfigurationError: a file cannot be used; what was loaded before stays in use.
        """
        wanted = set(self._contexts) | {(False, LINK_ALPN)}
        if self.can_listen:
            wanted.add((True, LINK_ALPN))
        self._contexts = {which: self._make(*which) for which in wanted}

    def context(self, *, server_side: bool, alpn: str = LINK_ALPN) -> ssl.SSLContext:
        """Return the context for new handshakes.

        Args:
            alpn: the application protocol to agree on; several with commas between them, the
                best first.

        Raises:
            ConfigurationError: a file cannot be used, or there is no certificate to listen with.
        """
        which = (server_side, alpn)
        if which not in self._contexts:
            self._contexts[which] = self._make(server_side, alpn)
        return self._contexts[which]

    def _make(self, server_side: bool, alpn: str) -> ssl.SSLContext:
        context = ssl.SSLContext(
            ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Before Python 3.11.4 it is on by default, and a truncated connection looks complete.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        context.set_alpn_protocols(alpn.split(","))
        self._load_certificate(context)
        if server_side:
            self._prepare_server(context)
        elif not self.check_server:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _trust(context, self.ca, "CA file")
        return context

    def _prepare_server(self, context: ssl.SSLContext) -> None:
        if not self.can_listen:
            raise ConfigurationError(
                "a TLS listener needs a certificate and its key (--tls-cert and --tls-key)"
            )
        # Links are long: nobody resumes a TLS session, and each ticket costs a record.
        context.num_tickets = 0
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            _trust(context, self.client_ca, "client CA file")

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        if self.certificate is None:
            return

        def no_pass_phrase() -> str:
            raise ConfigurationError(f"cannot use key {self.key}: {_ENCRYPTED_KEY}")

        for name, file in (("certificate", self.certificate), ("key", self.key)):
            _check_readable(str(file), name)
        try:
            context.load_cert_chain(self.certificate, self.key, no_pass_phrase)
        except ssl.SSLError as error:
            why = (error.reason or "it is no PEM file").lower().replace("_", " ")
            raise ConfigurationError(
                f"cannot use certificate {self.certificate} with key {self.key}: {why}; "
                "both have to be PEM files that belong together"
            ) from error


def _check_readable(file: str, name: str) -> None:
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(f"cannot read {name} {file}: {why}") from error


def _trust(context: ssl.SSLContext, file: str | Path, name: str) -> None:
    _check_readable(str(file), name)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        why = (error.reason or "nothing in it is one").lower().replace("_", " ")
        raise ConfigurationError(
            f"cannot use {name} {file}: {why}; it has to hold certificates in PEM form"
        ) from error
