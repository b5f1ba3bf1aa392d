"""The plugin that looks for secrets finds them: in every spelling, and wherever the gateway writes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.harness.leaks import FORMS, Watch, found, in_form

ROOT = Path(__file__).parents[2]
SECRET = 'correct-horse/battery+staple"&<1>'
TOKEN = "nbgate2_u.0011aabb.WyJyZXNlYXJjaCIsIngiXQ.47DEQpj8HBSa-_TImW5JCeuQeRkm5NMpJWZG3hSuFU4"


def fully(text: str) -> str:
    return "".join(f"%{ord(one):02x}" for one in text)


@pytest.mark.parametrize("secret", [SECRET, TOKEN, "0123456789abcdef" * 2])
@pytest.mark.parametrize(
    "spell",
    [
        str,
        quote,
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""),
        fully,
        lambda text: quote(fully(text)),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
        lambda text: "".join(f"\\u{ord(one):04x}" for one in text),
        lambda text: (
            text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace(">", "&#62;")
        ),
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(b"user:" + text.encode() + b"/").decode(),
        lambda text: base64.b64encode(b"a:" + text.encode()).decode(),
        lambda text: base64.urlsafe_b64encode(b"{" + text.encode() + b"}").decode(),
        lambda text: quote(base64.b64encode(b"a:" + text.encode()).decode(), safe=""),
    ],
)
def test_a_secret_is_found_in_every_spelling(spell: object, secret: str) -> None:
    text = f'{{"path": "/a/{spell(secret)}/b"}}\nand more'  # type: ignore[operator]
    assert found({secret: "it", "another-secret-0": "not it"}, text) == [f"it ({secret[:3]}…)"]


def test_what_is_no_secret_is_not_found() -> None:
    assert found({SECRET: "it"}, f"{SECRET[1:]} {SECRET[:-1]} {SECRET.upper()} %zz &nope; \\u") == []
    watch = Watch()
    watch.keep("a short one", "hunter2")
    watch.wrote("the log", "hunter2")
    assert watch.leaks() == []


def test_what_was_made_first_and_last_of_many_is_sought() -> None:
    watch = Watch()
    for number in range(2000):
        watch.keep("one of many", f"secret-number-{number:04d}")
    watch.wrote("the log", "secret-number-0000 and secret-number-1999")
    assert len(watch.leaks()) == 2


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        "GET /lab?authToken=abcdefghijkl",
        f"Credential=a, Signature={'0a' * 32}",
        "Cookie: __Host-nbgate-session=nbgate2_s.x",
    ],
)
def test_a_secret_of_another_process_is_known_by_its_form(text: str) -> None:
    assert in_form(f"before {text} after")
    assert len(FORMS) == 4
    assert in_form("/lab?authToken=*** nbgate2_u. Signature=*** nbgate-session is refused") == []


MODULE = """
import logging, os, subprocess, sys
from pathlib import Path
import pytest
from click.testing import CliRunner
from tests.harness.clocks import FakeClock
from proxy.client_address.networks import parse_address
from proxy.identity.tokens import TokenKind, TokenSigner
from proxy.telemetry.logs import open_logs

KEY = "0123456789abcdef0123456789abcdef"

@pytest.fixture
def token():
    tokens = TokenSigner([KEY], own_key=KEY, clock=FakeClock(), nonce=lambda: "1" * 24)
    return tokens.issue(TokenKind.API, instance="a", leads_to="b", principal="c", address=None, seconds=9)

@pytest.fixture
def logs():
    with open(os.devnull, "w") as stream:
        logs = open_logs(FakeClock(), fd=stream.fileno(), style="json", environ={})
        yield logs
        logs.close()

def test_event(logs, token):
    logs.events.info("this gets through", part=token[-40:])  # not known by its form

def test_event_that_is_redacted(logs, token):
    logs.events.info(f"this does not: {token}")

def test_line_of_its_own(logs, token):
    logs.sink.add(f"{token}\\n")
    logs.flush()

def test_print(token):
    print(token)

def test_print_that_was_read(capsys, token):
    print("the key is", KEY)
    assert KEY in capsys.readouterr().out

def test_process(token):
    subprocess.run([sys.executable, "-c", f"print({token!r}); import proxy"], capture_output=True)

def test_process_of_somebody_else(monkeypatch, token):
    monkeypatch.setenv("TOKEN", token)
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['TOKEN'])"], capture_output=True)

def test_log_file(tmp_path):
    (tmp_path / "gateway.log").write_text("GET /?authToken=abcdefghijklmnop")

def test_other_file(tmp_path):
    (tmp_path / "links.txt").write_text("GET /?authToken=abcdefghijklmnop")

def test_error_body(token):
    from proxy.errors import AccessDenied
    from proxy.server.pages import error_pages
    error_pages.render(AccessDenied(token), wants_html=False, request_id="1", client_address=None)

def test_nothing(token): ...
"""


@pytest.mark.slow
def test_whoever_writes_one_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.harness.leaks",
            "-p",
            "no:cacheprovider",
            "-q",
            "-rE",
            "test_it.py",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = {
        line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("ERROR ")
    }
    assert failed == {
        "test_event",
        "test_line_of_its_own",
        "test_print",
        "test_print_that_was_read",
        "test_process",
        "test_log_file",
        "test_error_body",
    }, done.stdout + done.stderr
