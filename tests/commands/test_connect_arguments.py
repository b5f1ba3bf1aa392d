"""`nbgate connect`: what it takes for an instance's address and for a token, and that it never prints one."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import pytest
from click.testing import CliRunner
from yarl import URL

from proxy.cli import main
from proxy.commands.connect import Destination, read_destination, what_hinders
from proxy.commands.usage import UsageProblem
from proxy.server import connect
from tests.harness.ports import held_port


def test_the_token_may_be_the_whole_address_that_was_printed() -> None:
    base = URL("https://nb.internal/research/")
    for address in ("https://nb.internal/research/", "https://nb.internal/research"):
        assert read_destination(address, "nbgate2_a.t\n") == (base, "nbgate2_a.t")
        assert read_destination(address, "https://nb.internal/research/?token=nbgate2_a.t\n") == (
            base,
            "nbgate2_a.t",
        )


@pytest.mark.parametrize(
    ("address", "token", "told"),
    [
        ("https://nb.internal/research/?token=nbgate2_a.t", "t", "must not hold a token"),
        ("https://nb.internal/research/", "", "there is no token"),
        ("https://nb.internal/research/", "two words", "there is no token"),
        ("https://nb.internal/research/", "t\r\nX-Evil: 1", "there is no token"),
        ("https://nb.internal/research/", "https://nb.internal/other/?token=t", "is for another address"),
        ("https://nb.internal/research/", "https://evil.example/research/?token=t", "is for another address"),
        ("ftp://nb.internal/", "t", "has to be an instance's own"),
        ("https://", "t", "has to be an instance's own"),
        ("https://user:password@nb.internal/", "t", "has to be an instance's own"),
    ],
)
def test_what_leads_nowhere_is_told_without_the_token(address: str, token: str, told: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        read_destination(address, token)
    assert told in str(caught.value)
    assert "nbgate2_a" not in str(caught.value)


def test_a_token_on_the_command_line_is_refused() -> None:
    refused = CliRunner().invoke(
        main, ["connect", "https://nb.internal/?token=nbgate2_a.t"], env={"NBGATE_TOKEN": "t"}
    )
    assert refused.exit_code == 2
    assert "NBGATE_TOKEN, --token-file, or when asked for it" in " ".join(refused.stderr.split())
    assert "nbgate2_a.t" not in refused.stderr


def test_a_name_needs_a_configuration() -> None:
    refused = CliRunner().invoke(main, ["connect", "research"], env={"NBGATE_CONFIG": None})
    assert refused.exit_code == 2
    assert "Give the instance's address, or its name and --config." in refused.stderr


async def hindrance(origin: str) -> tuple[str, bool]:
    return await what_hinders(Destination(URL(f"{origin}/research/"), "t"), ssl.create_default_context())


async def test_a_gateway_that_refuses_connections_does() -> None:
    with held_port() as port:
        nowhere = f"http://127.0.0.1:{port}"
        assert await hindrance(nowhere) == (f"{nowhere} cannot be reached: it refuses connections", True)


async def test_a_name_that_leads_nowhere_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_args: object, **_more: object) -> list[aiohttp.abc.ResolveResult]:
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", unknown)
    nowhere = "http://nowhere.example"
    assert await hindrance(nowhere) == (f"{nowhere} cannot be reached: its name does not resolve", True)


async def test_a_gateway_to_which_no_connection_comes_about_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full, socket.socket() as caller:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        caller.connect(full.getsockname())  # one more than it waits for
        nowhere = f"http://127.0.0.1:{full.getsockname()[1]}"
        assert await hindrance(nowhere) == (f"{nowhere} cannot be reached: no connection within 10 s", True)
