"""Which hosts are notebooks, and which are sign-in pages: the allowlists that every exchange passes.

The gateway connects to nothing else on SageMaker's word, so that a forged answer or redirect cannot turn it
into an open proxy or carry a token away. Suffixes are those of the Public Suffix List, section "Amazon
SageMaker Notebook Instances", submitted by AWS. Pure: no DNS, no sockets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from yarl import URL

from proxy.upstream import Origin

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
_LONGEST_NAME: Final = 254
"""Of the DNS (RFC 1035 section 2.3.4), and a last dot."""

SIGN_IN_HOSTS: Final = frozenset(
    {
        "signin.aws",
        "signin.aws.amazon.com",
        "console.aws.amazon.com",
        "awsapps.com",
        # China
        "signin.amazonaws.cn",
        "console.amazonaws.cn",
        "awsapps.cn",
        # GovCloud
        "signin.amazonaws-us-gov.com",
        "signin-fips.amazonaws-us-gov.com",
        "console.amazonaws-us-gov.com",
        # European Sovereign Cloud
        "signin.amazonaws-eusc.eu",
        "console.amazonaws-eusc.eu",
        # The isolated ones: sign-in and console stand below these (botocore's endpoint rules of `signin`)
        "c2shome.ic.gov",
        "sc2shome.sgov.gov",
        "csphome.hci.ic.gov",
        "csphome.adc-e.uk",
    }
)
"""Where AWS signs people in; names below these count too (`us-west-2.signin.aws`)."""


@dataclass(frozen=True, slots=True)
class NotebookHosts:
    """The notebook hosts of one Region.

    `test_origins` (`http://127.0.0.1:9001`) are accepted besides SageMaker's own, `test_sign_in_hosts`
    (`127.0.0.1:9000` or a name) are taken for sign-in pages besides AWS's; both are empty in production.
    `more_suffixes` (`notebook.eusc-de-east-1.sagemaker.eu`) are SageMaker's, too: those of a partition that is
    not known. ValueError for a Region or an origin that is not spelt like one.
    """

    region: str
    test_origins: frozenset[str] = frozenset()
    test_sign_in_hosts: frozenset[str] = frozenset()
    more_suffixes: tuple[str, ...] = ()
    sign_in_hosts: frozenset[str] = field(init=False)
    _suffixes: tuple[str, ...] = field(init=False, repr=False)
    _origins: frozenset[Origin] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        region = self.region
        if not _REGION.fullmatch(region):
            raise ValueError(f"{region!r} is not an AWS Region")
        if region.startswith("cn-"):
            suffixes: tuple[str, ...] = (f".notebook.{region}.sagemaker.com.cn",)
        else:
            suffixes = (f".notebook.{region}.sagemaker.aws", f".notebook-fips.{region}.sagemaker.aws")
        suffixes += tuple(f".{suffix}" for suffix in self.more_suffixes)
        object.__setattr__(self, "_suffixes", suffixes)
        object.__setattr__(self, "_origins", frozenset(Origin.of(URL(text)) for text in self.test_origins))
        object.__setattr__(self, "sign_in_hosts", SIGN_IN_HOSTS | self.test_sign_in_hosts)

    def allows(self, url: URL) -> bool:
        """Whether the gateway may connect to the URL's host: https, port 443, one label, our Region."""
        if url.raw_user is not None or url.raw_password is not None:
            return False
        try:
            origin = Origin.of(url)
        except ValueError:
            return False
        return origin in self._origins or self.are_sagemakers(origin)

    def are_sagemakers(self, origin: Origin) -> bool:
        """Whether an origin is a notebook of SageMaker's, and not a test endpoint's."""
        if not origin.tls or origin.port != 443:
            return False
        return any(
            origin.host.endswith(suffix) and _LABEL.fullmatch(origin.host.removesuffix(suffix))
            for suffix in self._suffixes
        )


def is_sign_in(host: str, port: int | None, sign_in_hosts: frozenset[str]) -> bool:
    """Whether a host is one of, or below, the sign-in hosts; those spelt with a port want that port."""
    if len(host) > _LONGEST_NAME:
        # The notebook writes it, as long as it likes.
        return False
    if f"{host}:{port}" in sign_in_hosts:
        return True
    labels = host.removesuffix(".").split(".")
    return any(".".join(labels[start:]) in sign_in_hosts for start in range(len(labels)))


def foreign_host(location: bytes, origin: Origin) -> tuple[str, int | None] | None:
    """Host and port of a `Location` that leaves `origin`; None for one that stays, or leads nowhere."""
    try:
        parts = urlsplit(location.decode("latin-1"), scheme=origin.scheme)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if host is None:
        return None
    if port is None:
        port = {"https": 443, "http": 80}.get(parts.scheme)
    if (parts.scheme, host, port) == (origin.scheme, origin.host, origin.port):
        return None
    return host, port
