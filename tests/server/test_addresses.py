"""Where a caller finds an instance: at what it calls the gateway by, as far as the instance is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from multidict import CIMultiDict

from proxy.admission.caller import Caller, Inbound
from proxy.admission.verdict import Admission
from proxy.client_address.networks import read_address
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.server import compose
from proxy.server.addresses import mount_url

CONFIG = {
    "hostname": ["notebooks.internal", "notebooks.example.com"],
    "listeners": [
        {"bind": "0.0.0.0:8080", "scheme": "https"},
        {"bind": "0.0.0.0:8081"},
        {"bind": "0.0.0.0:8444", "scheme": "https", "public_port": 8444},
    ],
    "aws": {"region": "eu-west-1"},
    "allowlists": {"all": ["10.0.0.0/8"]},
    "policy": {"allow": ["all"]},
    "instances": {
        "path": {"notebook": "a"},
        "host": {"notebook": "b", "mount": {"host": "nlp.notebooks.internal"}},
        "port": {"notebook": "c", "mount": {"port": 8444}},
        "root": {"notebook": "d", "mount": "root"},
    },
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "nbgate.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return load(file, environ={})


def caller(settings: Settings, host: str, *, port: int, scheme: str) -> Caller:
    inbound = Inbound(
        read_address("10.0.0.1"), CIMultiDict(), host, "/.nbgate/", "GET", port, scheme, "0123456789abcdef"
    )
    admitted = compose.gateway(settings, audit=lambda inbound, refusal: None).admit(inbound)
    assert isinstance(admitted, Admission)
    return admitted.caller


@pytest.mark.parametrize(
    ("host", "port", "scheme", "name", "expected"),
    [
        ("notebooks.internal", 443, "https", "path", "https://notebooks.internal/path/"),
        ("notebooks.example.com", 443, "https", "path", "https://notebooks.example.com/path/"),
        ("notebooks.internal:9443", 443, "https", "path", "https://notebooks.internal:9443/path/"),
        ("notebooks.internal:8081", 8081, "http", "path", "http://notebooks.internal:8081/path/"),
        ("notebooks.internal", 443, "https", "root", "https://notebooks.internal/"),
        ("notebooks.internal", 443, "https", "host", "https://nlp.notebooks.internal/"),
        ("notebooks.internal:8081", 8081, "http", "host", "http://nlp.notebooks.internal:8081/"),
        ("notebooks.internal", 443, "https", "port", "https://notebooks.internal:8444/"),
        # Asked for at another instance's own host or port.
        ("nlp.notebooks.internal", 443, "https", "path", "https://notebooks.internal/path/"),
        ("notebooks.internal:8444", 8444, "https", "path", "https://notebooks.internal/path/"),
        ("notebooks.internal:8444", 8444, "https", "port", "https://notebooks.internal:8444/"),
    ],
)
def test_a_caller_gets_an_address_that_leads_there(
    settings: Settings, host: str, port: int, scheme: str, name: str, expected: str
) -> None:
    assert (
        mount_url(settings, name, caller=caller(settings, host, port=port, scheme=scheme), port=port)
        == expected
    )


def test_an_instance_that_is_not_configured_has_none(settings: Settings) -> None:
    with pytest.raises(KeyError):
        mount_url(
            settings,
            "nobody",
            caller=caller(settings, "notebooks.internal", port=443, scheme="https"),
            port=443,
        )
