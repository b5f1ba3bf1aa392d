"""`nbgate connect`: what it takes for an instance's address and for a token, and that it never prints one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from yarl import URL

from proxy.cli import main
from proxy.commands.connect import read_destination
from proxy.commands.usage import UsageProblem


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
