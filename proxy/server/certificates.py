"""Certificates and their keys: read for a listener, or looked at beforehand (`nbgate check`).

The rule: one reading for both, which says what is wrong and what to do about it, and never asks anybody for a
passphrase: where nobody sits at a terminal that would wait for ever. When a certificate ends is learnt from a handshake
with it in memory, as a caller would see it. It must not know listeners or the configuration.
"""

from __future__ import annotations

import getpass
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from proxy.client_address.networks import peer_address

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL, x509_vfy.h): an expired certificate can be looked at, too."""


class UnusableCertificateError(OSError):
    """A pair of files that nobody can be served with; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when, and for which names, callers take a certificate. Names are lowercase, `*.…` among them."""

    begins_at: datetime
    ends_at: datetime
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    def is_for(self, host: str) -> bool:
        """Whether browsers take it for a host name or an address (IPv6 in brackets), as RFC 9525 section 6.3 has it."""
        address = peer_address(host.strip("[]"))
        if address is not None:
            return any(peer_address(one) == address for one in self.addresses)
        name = host.lower()
        # A wildcard stands for the whole of the first label.
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


class _Encrypted(Exception):
    pass


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """The TLS side of a server that has this certificate (with its chain). Raises UnusableCertificateError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for file in (certificate, key):
        _must_be_readable(file)
    try:
        context.load_cert_chain(certificate, key, password=_ask_nobody)
    except _Encrypted:
        raise UnusableCertificateError(
            f"{key} is encrypted, and nobody is asked for its passphrase: "
            f"decrypt it (openssl pkey -in {key} -out decrypted.key), and let only nbgate's user read it"
        ) from None
    except ssl.SSLError as error:
        raise UnusableCertificateError(_reason(error, certificate, key)) from error
    return context


def validity(certificate: Path, key: Path) -> Validity:
    """When the certificate of a pair begins and ends. Raises UnusableCertificateError."""
    server = server_context(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    # It vouches for itself here, whoever signed it, and at any time.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        shown = _shown(server, client)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "no handshake"
        raise UnusableCertificateError(f"callers would not take {certificate}: {reason}") from error
    alternatives = shown.get("subjectAltName", ())
    return Validity(
        _instant(shown["notBefore"]),
        _instant(shown["notAfter"]),
        names=tuple(value.lower() for kind, value in alternatives if kind == "DNS"),
        addresses=tuple(value for kind, value in alternatives if kind == "IP Address"),
    )


def is_public(key: Path) -> bool:
    """Whether everybody on this machine may read a key."""
    try:
        return bool(key.stat().st_mode & 0o004)
    except OSError:
        return False


def _must_be_readable(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except FileNotFoundError as error:
        raise UnusableCertificateError(error.errno, f"there is no file {file}") from error
    except PermissionError as error:
        raise UnusableCertificateError(
            error.errno, f"{file} may not be read by {_user()}: give that user the right to"
        ) from error
    except OSError as error:
        raise UnusableCertificateError(error.errno, f"{file} cannot be read: {error.strerror}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container, users need no name.
        return f"user {os.geteuid()}"


def _ask_nobody() -> NoReturn:
    # Without this OpenSSL would ask at the terminal.
    raise _Encrypted


def _reason(error: ssl.SSLError, certificate: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the key of {certificate}: take the two files that were made together"
    if not _holds_certificate(certificate):
        if _holds_certificate(key) and _holds_key(certificate):
            return f"{certificate} is the key and {key} the certificate: exchange the two"
        return f"{certificate} holds no certificate that can be used: it has to be PEM (-----BEGIN CERTIFICATE-----)"
    if error.reason is None or "PEM" in error.reason or "NO_START_LINE" in error.reason:
        return f"{key} holds no private key that can be used: it has to be PEM (-----BEGIN PRIVATE KEY-----)"
    return f"{certificate} and {key} cannot be used: {error.reason.replace('_', ' ').lower()}"


def _holds_certificate(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _holds_key(file: Path) -> bool:
    return b"PRIVATE KEY-----" in file.read_bytes()


def _shown(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, Any]:
    """What the client sees of the certificate, after a handshake without a network. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(down, up)
    gateway = server.wrap_bio(up, down, server_side=True)
    # Each flight of a handshake is an answer to the other's; TLS has no more than a few.
    for _ in range(8):
        waiting = False
        for side in (caller, gateway):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
        if not waiting:
            break
    return dict(caller.getpeercert() or {})


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
