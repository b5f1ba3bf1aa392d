"""No message about a file shows what the environment holds, or what was meant for a secret, whatever its shape is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.config.load import load
from proxy.errors import ConfigError
from tests.config.config_files import BASE, problems_of, text_of

SECRETS = {
    "hex": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "a name": "correct_horse_battery_staple_and_more",
    "a digit's": "92837465019283746501928374650192",
    "base64": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    "words": "hunter2 and some more, which is a secret all the same",
    "short": "hunter2",
    "capitals": "Kx9QZ2M7PLw8RtVb4NcY6HdJ3sFgT5aE1uWzXoGi",
}


def shapes(secret: Any) -> Iterator[Any]:
    """Everything that somebody may write where a secret belongs, or where what holds one belongs."""
    yield secret
    yield [secret]
    yield [[secret]]
    yield {secret: None}
    yield {secret: secret}
    yield {"value": secret}
    yield {"key": {"value": secret}}
    yield {"key": [{"value": secret}]}
    yield {"key": {secret: "x"}}
    yield [{"key": secret}]
    yield {"kye": secret}
    yield {"key": [secret, [secret]]}
    yield {"key": secret, "bind_address": secret}
    yield {"key": secret, secret: True}


def key_shapes(secret: Any) -> Iterator[Any]:
    yield from shapes(secret)
    for one in shapes(secret):
        yield {"NBGATEALICE1": one}
        yield {"NBGATEALICE1": {"secret": one}}
    yield {secret: {"secret": "short"}}
    yield {secret: {"secret": secret, "user": "a b"}}
    yield {"NBGATEALICE1": {"secret": secret, "sercet": secret, "user": f"{secret} "}}
    yield {"NBGATEALICE1": {"secret": secret, "instances": secret}}
    yield {"NBGATEALICE1": {"secret": secret, "instances": [secret]}}
    yield {"NBGATEALICE1": {"secret": secret, "instances": [[secret]]}}
    yield {"NBGATEALICE1": {"secret": secret, "user": [secret]}}


PLACES = {
    "tokens": shapes,
    "api_keys": key_shapes,
    # A section's name that was misspelled is told, and what stands there is not.
    "token": shapes,
    "api_key": key_shapes,
}
CASES = [
    pytest.param(section, secret, id=f"{section}: {name}")
    for section, (name, secret) in itertools.product(PLACES, SECRETS.items())
]


def is_shown(secret: str, text: str) -> bool:
    """Whether a text tells of a secret: all of it, or enough of it to be worth guessing the rest."""
    folded = text.lower()
    pieces = {secret[at : at + 8].lower() for at in range(max(1, len(secret) - 7))}
    return any(piece in folded for piece in pieces if piece.strip() == piece)


@pytest.mark.parametrize(("section", "secret"), CASES)
def test_no_shape_of_what_holds_secrets_is_quoted(tmp_path: Path, section: str, secret: str) -> None:
    file = tmp_path / "nbgate.yaml"
    refused = 0
    for shape in PLACES[section](secret):
        written = yaml.safe_dump({section: shape}, default_flow_style=True, width=10_000)
        file.write_text(text_of(**{section: written.strip().removeprefix("{").removesuffix("}")}))
        try:
            load(file, environ={})
        except ConfigError as error:
            refused += 1
            for problem in error.problems:
                own_words = str(problem).replace(str(file), "")
                assert not is_shown(secret, own_words), (shape, own_words)
    assert refused >= len(list(PLACES[section](secret))) - 4


@pytest.mark.parametrize(
    "secret", [one for one in SECRETS.values() if one.replace("_", "").isalnum() and len(one) > 28]
)
@pytest.mark.parametrize(
    "written",
    [
        "tokens: {key: *S}",
        "tokens: {key: &S}",
        "tokens: {key: !S x}",
        "tokens: {key: !S!x y}",
        "tokens: {key: S, key: S}",
        "tokens: {S: 1, S: 2}",
        "tokens: {key: 'S}",
        "tokens: {key: S: S}",
        "tokens: {<<: S}",
        "tokens: {? [S] : S}",
        "tokens: {key: ${S}}",
        "tokens: {key: '${S}'}",
        "tokens: {key: '${S:-}'}",
        "tokens: {key: '${NAME:-S}', bind_address: '${NAME:-S}'}",
        "tokens: '${NAME:-S}'",
        "tokens: {key: '${NAME-S}'}",
        "tokens: {key: '${NAME'}\n${S",
        "api_keys: {NBGATEALICE1: {secret: '${S}', secret: S}}",
    ],
)
def test_nor_is_what_yaml_and_the_environment_make_of_it(tmp_path: Path, written: str, secret: str) -> None:
    text = f"{written.replace('S', secret)}\n" + "\n".join(BASE.values())
    for problem in problems_of(tmp_path, text):
        assert not is_shown(secret, str(problem)), str(problem)


# -- the environment ----------------------------------------------------------------------------------

ANYWHERE = {
    "hostname": "hostname: ['${S}', '${S}']",
    "listeners": "listeners: [{bind: '${S}', scheme: '${S}', public_port: '${S}', mode: '${S}', "
    "proxy_protocol: ['${S}']}]",
    "admin": "admin: {bind: '${S}'}",
    "client_address": "client_address: {strategy: '${S}', trusted_proxies: ['${S}'], header: '${S}', hops: '${S}'}",
    "aws": "aws: {region: '${S}', account: '${S}', endpoint_url: 'https://u:${S}@h', assume_role: '${S}', "
    "session_duration: '${S}', notebook_origins: ['https://${S}/x'], notebook_suffixes: ['${S}'], "
    "notebook_endpoint: '${S}', ca_bundle: '${S}', https_proxy: '${S}', no_proxy: ['${S}'], "
    "forward_client_address: '${S}'}",
    "allowlists": "allowlists: {office: ['${S}', {cidr: '${S}', until: '${S}', note: '${S}'}], more: {file: '${S}'}}",
    "policy": "policy: {allow: ['${S}'], deny: '${S}', statements: [{Effect: '${S}', Action: '${S}', Resource: '${S}', "
    "Condition: {'IpAddress': {'aws:SourceIp': '${S}'}, 'StringLike': {'aws:username': '${S}'}}}]}",
    "instances": "instances: {research: {notebook: '${S}', mount: '${S}', access: '${S}', stop_after_idle: '${S}'}, "
    "nlp: {notebook: nlp, mount: {path: '${S}'}}, x: {notebook: 'arn:${S}', mount: {host: '${S}'}}, y: '${S}'}",
    "limits": "limits: {connections: '${S}', request_head: '${S}'}",
    "timeouts": "timeouts: {drain: '${S}', idle: '${S}'}",
    "log": "log: {level: '${S}', access: '${S}'}",
    "lifecycle": "lifecycle: {stop_after_idle: '${S}', start_on_open: '${S}'}",
    "access": "access: '${S}'",
    "api": "api: {signed: '${S}'}",
    "tokens": "tokens: {bind_address: '${S}'}",
}


@pytest.mark.parametrize("secret", [one for one in SECRETS.values() if len(one) >= 16])
@pytest.mark.parametrize("section", ANYWHERE)
def test_a_long_value_of_the_environment_is_never_shown_nor_a_part_of_it(
    tmp_path: Path, section: str, secret: str
) -> None:
    """A secret whose variable stands in the wrong place: messages shorten what they quote, and mend it in hints."""
    text = text_of(**{section: ANYWHERE[section]})
    for problem in problems_of(tmp_path, text, environ={"S": secret}):
        assert not is_shown(secret, str(problem)), str(problem)


def test_messages_name_the_variable(tmp_path: Path) -> None:
    [problem] = problems_of(
        tmp_path, text_of(aws="aws: {region: '${REGION}'}"), environ={"REGION": SECRETS["base64"]}
    )
    assert problem.message == "'${REGION}' is not the code of an AWS Region"


def test_what_is_too_short_for_a_secret_does_not_garble_messages(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, text_of(log="log: {level: '${A}'}"), environ={"A": "is"})
    assert problem.message == "'is' is not possible here"
    # And a short value is of concern at its own place alone.
    text = text_of(log="log: {level: '${A}'}", access="access: shut")
    assert {problem.message for problem in problems_of(tmp_path, text, environ={"A": "shut"})} == {
        "'${A}' is not possible here",
        "'shut' is not possible here",
    }


# -- what is no secret --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("tokens: {kye: x}", "tokens.kye: there is no setting called 'kye' (did you mean 'key'?)"),
        ("tokens: {key: '${NBGATE_TOKEN_KEY}'}", "the environment variable NBGATE_TOKEN_KEY is not set"),
        ("tokens: {key: short}", "tokens.key: is shorter than 32 characters"),
        ("tokens: {bind_address: yes}", "tokens.bind_address: must be true or false, not 'yes' (write true"),
        ("tokens: [short]", "tokens: must be a mapping, not a list (its keys: key, bind_address"),
        ("api_keys: {NBGATEALICE1: {user: a}}", "api_keys.NBGATEALICE1.secret: is missing"),
        (
            "api_keys: {NBGATEALICE1: {secret: 0123456789abcdef0123456789abcdef, instances: [reserch]}}",
            "api_keys.NBGATEALICE1.instances[0]: there is no instance called 'reserch' (did you mean 'research'?)",
        ),
        (
            "api_keys: {NBGATEALICE1: {secret: 0123456789abcdef0123456789abcdef, user: a b}}",
            "api_keys.NBGATEALICE1.user: 'a b' cannot be a user's name",
        ),
    ],
)
def test_what_helps_is_still_said(tmp_path: Path, section: str, expected: str) -> None:
    [problem] = problems_of(tmp_path, text_of(**{section.partition(":")[0]: section}))
    assert expected in str(problem)


# -- other ways in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        f"-----BEGIN PRIVATE KEY-----\n{SECRETS['base64']}\n-----END PRIVATE KEY-----\n",
        f"{SECRETS['hex']}\n",
        f"key={SECRETS['capitals']}\n",
        "nbgate2_u.00112233.WyJyZXNlYXJjaCIsIngiXQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
    ],
)
def test_a_list_whose_file_is_one_of_secrets_quotes_nothing_of_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "tls.key").write_text(content)
    problems = problems_of(tmp_path, text_of(allowlists="allowlists: {office: {file: tls.key}}"))
    lines = [line for line in content.splitlines() if line]
    assert [problem.line for problem in problems] == list(range(1, len(lines) + 1))
    for problem, line in zip(problems, lines, strict=True):
        assert not is_shown(line, str(problem))


@pytest.mark.parametrize("command", [["check"], ["serve", "--config"], ["url", "research", "--config"]])
def test_no_command_prints_it(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "nbgate.yaml"
    file.write_text(text_of(tokens=f"tokens: {SECRETS['base64']}", aws="aws: {region: '${S}'}"))
    result = CliRunner().invoke(main, [*command, str(file)], env={"S": SECRETS["capitals"]})
    assert result.exit_code == 2
    assert "2 problems" in result.output
    assert not is_shown(SECRETS["base64"], result.output)
    assert not is_shown(SECRETS["capitals"], result.output)
