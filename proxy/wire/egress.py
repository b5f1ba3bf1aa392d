"""The proxy that connections to AWS go out through: how it is written, and what of it may be told.

The rule: what is refused is told without being shown, for a proxy's URL may carry a password; the value itself prints
without one. Written as for botocore and urllib3: without a scheme it is http, without a port 80 (or 443). It must
not know who connects to what.
"""

from __future__ import annotations

import base64
import re
from dataclasses import KW_ONLY, dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9_.:-]+")
_LONGEST: Final = 2048


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """A proxy that is asked to CONNECT (RFC 9110 section 9.3.6). `authorization` is the value of Proxy-Authorization,
    b"" for none; `is_tls`: it is spoken to over TLS. `url` is the proxy as it was written, with its scheme."""

    host: str
    port: int
    _: KW_ONLY
    is_tls: bool = False
    authorization: bytes = field(default=b"", repr=False)
    url: str = field(default="", repr=False, compare=False)

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{authority(self.host, self.port)}"


def parse_egress_proxy(text: str) -> EgressProxy:
    """`http://user:password@proxy.internal:3128`. ValueError, with nothing of the text, for what is none."""
    if not text.isascii() or not text.isprintable() or len(text) > _LONGEST:
        raise ValueError("is not a URL")
    written = text if "://" in text else f"http://{text.removeprefix('//')}"
    try:
        url = urlsplit(written)
        host, port = url.hostname, url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme not in _PORTS:
        raise ValueError("is neither an http nor an https URL")
    if not host or not _HOST.fullmatch(host) or port == 0:
        raise ValueError("has no usable host and port")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("has more than scheme, credentials, host and port")
    authorization = b""
    if url.username is not None:
        credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
        if not credentials.isascii() or not credentials.isprintable():
            # botocore sends no others.
            raise ValueError("has credentials with characters other than printable ASCII")
        authorization = b"Basic " + base64.b64encode(credentials.encode("ascii"))
    return EgressProxy(
        host,
        port or _PORTS[url.scheme],
        is_tls=url.scheme == "https",
        authorization=authorization,
        url=written,
    )


def goes_without(host: str, port: int, *, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host, as urllib and botocore read it: names, each with all below it, or addresses, with
    a port or without, between commas; `*` alone is everything. Networks in CIDR notation mean nothing there.
    """
    if no_proxy.strip() == "*":
        return True
    bare = f"[{host}]" if ":" in host else host
    spelt = (bare.lower(), f"{bare.lower()}:{port}")
    names = (name.strip().lstrip(".").lower() for name in no_proxy.split(","))
    return any(one == name or one.endswith(f".{name}") for name in names if name for one in spelt)


def connect_request(host: str, port: int, proxy: EgressProxy) -> bytes:
    """What asks a proxy for a connection to `host`, which is a DNS name or an address."""
    target = authority(host, port)
    fields = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode("ascii")
    if proxy.authorization:
        fields += b"Proxy-Authorization: %b\r\n" % proxy.authorization
    return fields + b"\r\n"


def connect_status(head: bytes) -> int:
    """The status of a proxy's answer to that, from its whole head; 0 for what is no HTTP."""
    found = re.match(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]", head)
    return int(found[1]) if found else 0


def authority(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
