"""`api` and `api_keys`: who may call SageMaker's API at the gateway, and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.summary import print_summary
from tests.config.config_files import NOW, load_text, problems_of, said, text_of

SECRET = "0123456789abcdef0123456789abcdef"
KEY = f"secret: '{SECRET}'"


def test_without_keys_anybody_may_call_whom_the_policy_lets_in(tmp_path: Path) -> None:
    api = load_text(tmp_path, text_of()).api
    assert dict(api.keys) == {}
    assert api.is_signed is False


def test_with_keys_calls_are_signed_unless_it_says_otherwise(tmp_path: Path) -> None:
    keys = f"api_keys: {{NBGATEALICE1: {{{KEY}}}}}"
    assert load_text(tmp_path, text_of(api_keys=keys)).api.is_signed is True
    optional = load_text(tmp_path, text_of(api_keys=keys, api="api: {signed: optional}"))
    assert optional.api.is_signed is False


def test_a_keys_holder_is_its_user_or_else_its_id(tmp_path: Path) -> None:
    text = text_of(
        api_keys="api_keys:\n"
        "  NBGATEALICE1: {secret: '${S}', user: alice@example.com, instances: [research]}\n"
        "  NBGATEBUILD1: {secret: '${S}'}",
        instances="instances: {research: {notebook: a}, nlp: {notebook: b}}",
    )
    alice, build = load_text(tmp_path, text, environ={"S": SECRET}).api.keys.values()
    assert (alice.id, alice.secret, alice.user) == ("NBGATEALICE1", SECRET, "alice@example.com")
    assert alice.instances == ("research",)
    assert (build.user, build.instances) == ("NBGATEBUILD1", None)


def test_no_secret_shows_in_what_may_be_logged(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of(api_keys=f"api_keys: {{NBGATEALICE1: {{{KEY}}}}}"))
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("written", "where", "message"),
    [
        ("{NBGATEALICE1: {secret: '0123456789abcdef'}}", "secret", "is shorter than 32 characters"),
        ("{NBGATEALICE1: {secret: 123456789012345678}}", "secret", "must be text"),
        ("{NBGATEALICE1: {user: alice}}", "secret", "is missing"),
        (f"{{NBGATEALICE1: {{{KEY}, user: 'a b'}}}}", "user", "'a b' cannot be a user's name"),
        (f"{{NBGATEALICE1: {{{KEY}, instances: []}}}}", "instances", "instances is empty"),
        (
            f"{{NBGATEALICE1: {{{KEY}, instances: [reserch]}}}}",
            "instances[0]",
            "there is no instance called 'reserch'",
        ),
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(
    tmp_path: Path, written: str, where: str, message: str
) -> None:
    [problem] = problems_of(tmp_path, text_of(api_keys=f"api_keys: {written}"))
    assert said(problem)[1:3] == (f"api_keys.NBGATEALICE1.{where}", message)
    assert "0123456789" not in str(problem)


@pytest.mark.parametrize("key_id", ["short", "has/slash1", "'has space'", "'ä2345678'"])
def test_an_id_that_no_client_could_send_is_refused(tmp_path: Path, key_id: str) -> None:
    [problem] = problems_of(tmp_path, text_of(api_keys=f"api_keys: {{{key_id}: {{{KEY}}}}}"))
    assert "cannot be the id of an access key" in problem.message


def test_the_summary_says_who_may_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = f"api_keys: {{NBGATEALICE1: {{{KEY}}}, NBGATEBUILD1: {{{KEY}}}}}"
    print_summary(load_text(tmp_path, text_of(api_keys=keys)), now=NOW)
    told = capsys.readouterr().out
    assert "only signed with one of 2 access keys" in told
    assert SECRET not in told
    print_summary(load_text(tmp_path, text_of(api_keys=keys, api="api: {signed: optional}")), now=NOW)
    assert "2 access keys; unsigned calls, too" in capsys.readouterr().out
    print_summary(load_text(tmp_path, text_of()), now=NOW)
    assert "API here" not in capsys.readouterr().out


def test_signatures_that_nobody_can_make_are_a_mistake(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, text_of(api="api: {signed: required}"))
    assert said(problem)[1:3] == ("api.signed", "nobody could sign: there are no api_keys")
