"""Certificates and keys: what is wrong with a pair is said before anybody meets it, and nobody is asked for a word."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import yaml

from proxy.clock import SystemClock
from proxy.config.findings import Finding
from proxy.config.load import load
from proxy.server.certificates import UnusableCertificateError, server_context, validity
from proxy.server.checking import Checked, certificates
from tests.harness.certificates import self_signed
from tests.harness.gateway import open_rig
from tests.harness.installed import installed

pytestmark = pytest.mark.program

ENDED = Path(__file__).with_name("ended.pem")
"""Good for January 2020 alone; its key is in it."""
ROOT = Path(__file__).parents[2]


def pair(directory: Path, name: str = "one", *, names: str = "DNS:localhost") -> tuple[Path, Path]:
    made = directory / name
    made.mkdir()
    self_signed(made, name=names)
    (made / "key.pem").chmod(0o600)
    return made / "certificate.pem", made / "key.pem"


def encrypted(key: Path) -> Path:
    file = key.with_name("encrypted.pem")
    words = ["pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(file)]
    subprocess.run([installed("openssl"), *words], check=True, capture_output=True)
    return file


def written(directory: Path, text: str) -> Path:
    file = directory / "written.pem"
    file.write_text(text)
    return file


def problem_of(certificate: Path, key: Path) -> str:
    with pytest.raises(UnusableCertificateError) as caught:
        server_context(certificate, key)
    return caught.value.strerror or str(caught.value)


def config(directory: Path, certificate: Path, key: Path) -> Path:
    file = directory / "nbgate.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "hostname": "localhost",
                "listeners": [
                    {"bind": "127.0.0.1:0", "tls": {"certificate": str(certificate), "key": str(key)}}
                ],
                "admin": None,
                "aws": {"region": "eu-west-1"},
                "allowlists": {"here": ["127.0.0.0/8"]},
                "policy": {"allow": ["here"]},
                "instances": {"research": {"notebook": "research-gpu-1"}},
            },
            sort_keys=False,
        )
    )
    return file


def checked(directory: Path, certificate: Path, key: Path, *, now: datetime | None = None) -> Checked:
    settings = load(config(directory, certificate, key), environ={})
    return certificates(settings, now=now or SystemClock().now())


def test_a_good_pair_is_good_for_as_long_as_it_says(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    key.chmod(0o600)
    valid = validity(certificate, key)
    assert valid.ends_at - valid.begins_at == timedelta(days=2)
    assert valid.begins_at <= SystemClock().now() < valid.ends_at
    far = checked(tmp_path, certificate, key, now=valid.ends_at - timedelta(days=15))
    assert [one.message.partition(" begins ")[0] for one in far.warnings] == [str(certificate)]


def test_an_ended_one_can_be_looked_at_all_the_same() -> None:
    assert validity(ENDED, ENDED).ends_at == datetime(2020, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "wrong", ["mismatch", "exchanged", "encrypted", "no certificate", "no key", "missing", "directory"]
)
def test_what_cannot_be_served_is_told_with_what_to_do(tmp_path: Path, wrong: str) -> None:
    certificate, key = pair(tmp_path)
    match wrong:
        case "mismatch":
            _, key = pair(tmp_path, "two")
            expected = f"{key} is not the key of {certificate}"
        case "exchanged":
            certificate, key = key, certificate
            expected = f"{certificate} is the key and {key} the certificate: exchange the two"
        case "encrypted":
            key = encrypted(key)
            expected = (
                f"{key} is encrypted, and nobody is asked for its passphrase: decrypt it (openssl pkey "
            )
        case "no certificate":
            certificate = written(tmp_path, "hello\n")
            expected = f"{certificate} holds no certificate"
        case "no key":
            key = written(tmp_path, certificate.read_text())
            expected = f"{key} holds no private key"
        case "missing":
            key = tmp_path / "nowhere.pem"
            expected = f"there is no file {key}"
        case _:
            key = tmp_path
            expected = f"{key} cannot be read: Is a directory"
    assert expected in problem_of(certificate, key)
    found = checked(tmp_path, certificate, key)
    if wrong == "missing":
        assert (found.problems, "not looked at" in found.warnings[0].message) == ((), True)
    else:
        [problem] = found.problems
        assert expected in problem.message
        assert problem.path == ("listeners", 0, "tls")


def test_a_key_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody else than root sees it."""
    certificate, key = pair(tmp_path)
    opened = Path.open

    def refusing(self: Path, *arguments: object, **options: object) -> object:
        if self == key:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refusing)
    assert f"{key} may not be read by " in problem_of(certificate, key)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (-1, "begins at"),
        (0, "ends at"),
        (3, "ended at"),
    ],
)
def test_a_certificate_that_has_not_begun_or_ends_is_a_warning(
    tmp_path: Path, days: int, expected: str
) -> None:
    certificate, key = pair(tmp_path)
    key.chmod(0o644)
    found = checked(tmp_path, certificate, key, now=SystemClock().now() + timedelta(days=days))
    assert not found.problems
    when, public = found.warnings
    assert f"{certificate} {expected} 20" in when.message
    assert public.message == f"everybody on this machine can read {key}"
    assert public.hint == f"chmod o-r {key}"


@pytest.mark.parametrize(
    ("names", "hostnames", "missing"),
    [
        ("DNS:localhost", ["localhost"], ""),
        ("DNS:other.internal", ["localhost"], "localhost"),
        ("DNS:other.internal", ["localhost", "nb.internal"], "localhost, nb.internal"),
        ("DNS:nb.internal", ["localhost", "nb.internal"], "localhost"),
        ("DNS:NB.Internal", ["nb.internal"], ""),
        ("DNS:*.internal", ["nb.internal"], ""),
        ("DNS:*.internal", ["a.nb.internal"], "a.nb.internal"),
        ("DNS:*.internal", ["internal"], "internal"),
        ("IP:10.0.0.5", ["10.0.0.5"], ""),
        ("IP:2001:db8::5", ["[2001:db8::5]"], ""),
        ("DNS:10.0.0.5", ["10.0.0.5"], "10.0.0.5"),
    ],
)
def test_a_certificate_for_another_name_is_a_warning(
    tmp_path: Path, names: str, hostnames: list[str], missing: str
) -> None:
    certificate, key = pair(tmp_path, names=names)
    found = looked_at(config(tmp_path, certificate, key), hostname=hostnames)
    if not missing:
        assert found == []
        return
    [warning] = found
    assert warning.path == ("listeners", 0, "tls", "certificate")
    assert f", not for {missing}: browsers refuse it there" in warning.message


def looked_at(file: Path, **sections: object) -> list[Finding]:
    """Warnings of names, after the file's sections were exchanged for these."""
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **sections}))
    found = certificates(load(file, environ={}), now=SystemClock().now()).warnings
    return [one for one in found if ": browsers refuse it there" in one.message]


def test_names_of_instances_need_a_certificate_of_some_listener(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    file = config(tmp_path, certificate, key)
    instances = {"a": {"notebook": "a", "mount": {"host": "a.localhost"}}, "b": {"notebook": "b"}}
    [warning] = looked_at(file, instances=instances)
    assert "is for localhost, not for a.localhost" in warning.message
    first = yaml.safe_load(file.read_text())["listeners"][0]
    # Another listener's certificate is for it, or one that nobody can look at here.
    other, its_key = pair(tmp_path, "two", names="DNS:localhost,DNS:a.localhost")
    second = {"bind": "127.0.0.1:1", "tls": {"certificate": str(other), "key": str(its_key)}}
    assert looked_at(file, listeners=[first, second]) == []
    assert looked_at(file, listeners=[first, {"bind": "127.0.0.1:1", "scheme": "https"}]) == []


def test_the_port_of_an_instance_is_asked_for_no_other_instances_name(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    other, its_key = pair(tmp_path, "two", names="DNS:localhost,DNS:a.localhost")
    listeners = [
        {"bind": f"127.0.0.1:{port}", "tls": {"certificate": str(shown), "key": str(its)}}
        for port, shown, its in ((1, other, its_key), (2, certificate, key))
    ]
    instances = {
        "a": {"notebook": "a", "mount": {"host": "a.localhost"}},
        "b": {"notebook": "b", "mount": {"port": 2}},
    }
    assert looked_at(config(tmp_path, certificate, key), listeners=listeners, instances=instances) == []


def test_a_pair_of_several_listeners_is_looked_at_once(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    _, other = pair(tmp_path, "two")
    file = config(tmp_path, certificate, other)
    data = yaml.safe_load(file.read_text())
    data["listeners"].append({**data["listeners"][0], "bind": "127.0.0.1:1"})
    file.write_text(yaml.safe_dump(data))
    assert len(certificates(load(file, environ={}), now=SystemClock().now()).problems) == 1
    assert key.exists()


async def test_the_start_warns_of_what_has_ended_and_readyz_says_when(tmp_path: Path) -> None:
    listener = {"bind": "127.0.0.1:0", "tls": {"certificate": str(ENDED), "key": str(ENDED)}}
    async with open_rig(tmp_path, listeners=[listener]) as rig:
        admin = rig.gateway.admin_address
        assert admin is not None
        async with aiohttp.ClientSession() as client, client.get(f"http://{admin}/readyz") as answer:
            assert answer.status == 200
            details = (await answer.json())["details"]
        assert details["certificate_ends_at"] == "2020-02-01T00:00:00Z"
        told = [line for line in rig.log_lines() if line.get("event") == "a certificate"]
        assert {line["level"] for line in told} == {"warning"}
        assert f"{ENDED} ended at 2020-02-01T00:00:00Z: browsers refuse it" in [
            line["message"] for line in told
        ]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """In a terminal's place: nothing to read a passphrase from, and no patience."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_check_and_serve_say_the_same_and_ask_for_no_passphrase(tmp_path: Path) -> None:
    certificate, key = pair(tmp_path)
    key = encrypted(key)
    file = config(tmp_path, certificate, key)
    told = f"{key} is encrypted, and nobody is asked for its passphrase"
    check = command("check", str(file))
    assert check.returncode == 2
    assert f"{file}:4: listeners[0].tls: {told}" in check.stderr
    assert check.stderr.endswith("1 problem; nobody could be served there.\n")
    assert check.stdout == ""
    serve = command("serve", "--config", str(file))
    assert serve.returncode == 1
    assert f"Error: cannot serve TLS on 127.0.0.1:0: {told}" in serve.stderr
    assert "Enter PEM pass phrase" not in check.stdout + check.stderr + serve.stdout + serve.stderr
    assert "Traceback" not in serve.stderr
