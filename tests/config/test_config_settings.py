"""Settings: one frozen snapshot, and what follows from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.config.settings import Listener
from tests.config.config_files import EXAMPLES, load_text, text_of


@pytest.mark.parametrize(
    ("scheme", "port", "origin"),
    [
        ("https", 443, "https://nb.internal"),
        ("http", 80, "http://nb.internal"),
        ("https", 80, "https://nb.internal:80"),
        ("http", 8080, "http://nb.internal:8080"),
    ],
)
def test_an_origin_names_the_port_only_where_it_is_not_the_schemes_own(scheme, port, origin) -> None:
    listener = Listener(SocketAddress("0.0.0.0", 1), scheme=scheme, public_port=port)
    assert listener.origin("nb.internal") == origin


def test_socket_addresses_are_written_as_they_are_read() -> None:
    assert str(SocketAddress("127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(SocketAddress("::1", 80)) == "[::1]:80"


@pytest.mark.parametrize(
    ("instance", "urls"),
    [
        ("research", ("https://notebooks.internal:8443/research/", "https://notebooks.internal/research/")),
        ("nlp", ("https://nlp.notebooks.internal:8443/", "https://nlp.notebooks.internal/")),
        ("vision", ("https://notebooks.internal:8444/",)),
        ("shared", ("https://notebooks.internal:8443/", "https://notebooks.internal/")),
    ],
)
def test_an_instances_addresses_follow_from_its_mount_and_the_listeners(
    instance: str, urls: tuple[str, ...]
) -> None:
    assert load(EXAMPLES / "nbgate.yaml", environ={}).urls(instance) == urls


def test_a_snapshot_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of())
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.hostnames = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.instances["other"] = settings.instances["research"]  # type: ignore[index]
    with pytest.raises(TypeError):
        settings.allowlists["office"] = settings.allowlists["vpn"]  # type: ignore[index]
