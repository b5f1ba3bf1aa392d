"""Certificates for tests, made on the spot."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.harness.installed import installed


def self_signed(directory: Path, *, name: str) -> Path:
    """A PEM file with a key and a certificate that vouches for itself; `name` is `DNS:…` or `IP:…`."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([installed("openssl"), *words.split(), *names], check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both


def serving(file: Path) -> ssl.SSLContext:
    """For a server that shows this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


def trusting(file: Path) -> ssl.SSLContext:
    """For a client that trusts this certificate and no other."""
    return ssl.create_default_context(cadata=(file.parent / "certificate.pem").read_text())
