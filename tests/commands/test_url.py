"""`nbgate url`: what it prints is what a gateway with the same key takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.chance import nonce
from proxy.cli import main
from proxy.client_address.networks import parse_address
from proxy.clock import SystemClock
from proxy.errors import TokenRefused
from proxy.identity.tokens import Claims, TokenKind, TokenSigner
from tests.harness.clocks import FakeClock

KEY = "0123456789abcdef0123456789abcdef"
CONFIG = """\
hostname: notebooks.internal
aws: {region: eu-west-1}
listeners: [{bind: "127.0.0.1:8443", scheme: https}]
allowlists: {office: [203.0.113.0/24]}
policy: {allow: [office]}
instances:
  research: {notebook: research-gpu-1}
  nlp: {notebook: nlp, mount: {host: nlp.notebooks.internal}}
"""


NOTEBOOKS = {"research": "research-gpu-1", "nlp": "nlp"}


def run(directory: Path, *arguments: str, key: str | None = KEY, more: str = "") -> Result:
    file = directory / "nbgate.yaml"
    file.write_text(CONFIG + ("tokens: {key: '${NBGATE_TOKEN_KEY}'" + more + "}\n" if key else ""))
    return CliRunner().invoke(main, ["url", *arguments, "--config", str(file)], env={"NBGATE_TOKEN_KEY": key})


def printed(directory: Path, *arguments: str, more: str = "") -> str:
    result = run(directory, *arguments, more=more)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    assert KEY not in result.output
    return line


def verified(
    kind: TokenKind, text: str, *, instance: str, address: str = "203.0.113.7", leads_to: str = ""
) -> Claims:
    tokens = TokenSigner([KEY], own_key=KEY, clock=SystemClock(), nonce=nonce)
    leads_to = leads_to or f"eu-west-1   {NOTEBOOKS[instance]}"
    return tokens.verify(kind, text, instance=instance, leads_to=leads_to, address=parse_address(address))


def test_a_link_for_a_browser(tmp_path: Path) -> None:
    url, _, token = printed(tmp_path, "research").partition("?authToken=")
    assert url == "https://notebooks.internal/research/"
    claims = verified(TokenKind.URL, token, instance="research")
    assert (claims.ends_at - claims.issued_at, claims.session_seconds) == (300, 43200)
    assert claims.principal == "nbgate url"
    with pytest.raises(TokenRefused):
        verified(TokenKind.URL, token, instance="nlp")


def test_its_times_and_its_user_can_be_chosen(tmp_path: Path) -> None:
    line = printed(tmp_path, "nlp", "--expires", "1m", "--session", "30m", "--user", "zoë")
    url, _, token = line.partition("?authToken=")
    assert url == "https://nlp.notebooks.internal/"
    claims = verified(TokenKind.URL, token, instance="nlp")
    assert (claims.ends_at - claims.issued_at, claims.session_seconds) == (60, 1800)
    assert claims.principal == "zoë"


def test_a_link_for_longer_is_bound_to_an_address(tmp_path: Path) -> None:
    """Used links are good again after a restart."""
    bound = ", bind_address: true"
    long = ("research", "--expires", "1h")
    line = printed(tmp_path, *long, "--ip", "203.0.113.7", more=bound)
    claims = verified(TokenKind.URL, line.partition("?authToken=")[2], instance="research")
    assert claims.ends_at - claims.issued_at == 3600
    for arguments, more in (
        (long, ""),
        ((*long, "--ip", "203.0.113.7"), ""),
        (long, bound),
        (("research", "--expires", "301s"), ""),
    ):
        result = run(tmp_path, *arguments, more=more)
        assert result.exit_code == 2
        said = " ".join(result.output.split())
        assert "bound to an address" in said
        assert "bind_address: true under tokens" in said
        assert "--ip" in said
        assert "nbgate2_" not in said
    # A program's token is good many times in any case.
    printed(tmp_path, *long, "--token")


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/", "lab"),
        ("", "lab"),
        ("team/a b.ipynb", "lab/tree/team/a%20b.ipynb"),
        ("/team/", "lab/tree/team"),
        ("ü?#", "lab/tree/%C3%BC%3F%23"),
        ("//evil.example", "lab/tree/evil.example"),
    ],
)
def test_a_link_into_jupyterlab(tmp_path: Path, path: str, page: str) -> None:
    assert printed(tmp_path, "research", "--lab", path).startswith(
        f"https://notebooks.internal/research/{page}?authToken=nbgate2_u."
    )


def test_an_address_for_a_program(tmp_path: Path) -> None:
    url, _, token = printed(tmp_path, "research", "--token").partition("?token=")
    assert url == "https://notebooks.internal/research/"
    claims = verified(TokenKind.API, token, instance="research")
    assert claims.ends_at - claims.issued_at == 43200
    token = printed(tmp_path, "research", "--token", "--expires", "90d").partition("?token=")[2]
    claims = verified(TokenKind.API, token, instance="research")
    assert claims.ends_at - claims.issued_at == 90 * 86400


def test_an_address_that_it_is_bound_to(tmp_path: Path) -> None:
    line = printed(tmp_path, "research", "--ip", "203.0.113.7", more=", bind_address: true")
    token = line.partition("?authToken=")[2]
    verified(TokenKind.URL, token, instance="research", address="203.0.113.7")
    with pytest.raises(TokenRefused):
        verified(TokenKind.URL, token, instance="research", address="203.0.113.8")


def test_without_a_key_it_says_why_there_is_no_link(tmp_path: Path) -> None:
    result = run(tmp_path, "research", key=None)
    assert result.exit_code == 2
    assert "has no tokens.key" in result.output
    assert "only its own process knows" in result.output
    assert 'tokens: {key: "${NBGATE_TOKEN_KEY}"}' in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "has no instance called 'nowhere'"),
        (["research", "--expires", "13h"], "too long"),
        (["research", "--expires", "soon"], "not a duration"),
        (["research", "--token", "--expires", "400d"], "too long"),
        (["research", "--session", "13h"], "too long"),
        (["research", "--ip", "010.0.0.1"], "010.0.0.1"),
        (["research", "--token", "--lab", "/"], "Give --lab"),
        (["research", "--user", "a\nb"], "no principal's name"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_link_that_another_key_signed_is_refused(tmp_path: Path) -> None:
    token = printed(tmp_path, "research").partition("?authToken=")[2]
    tokens = TokenSigner(["x" * 20 + "0123456789abcdef"], own_key=KEY, clock=FakeClock(), nonce=nonce)
    with pytest.raises(TokenRefused) as caught:
        tokens.verify(
            TokenKind.URL, token, instance="research", leads_to="eu-west-1   research-gpu-1", address=None
        )
    assert caught.value.reason == "signed with a key that is not configured"
