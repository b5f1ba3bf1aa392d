"""`tokens` and `access`: what they mean, and that no key is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.summary import print_summary
from tests.config.config_files import NOW, load_text, problems_of, said, text_of

KEY = "0123456789abcdef0123456789abcdef"
NEXT_KEY = "fedcba9876543210fedcba9876543210"


def test_without_a_key_there_is_none_and_everybody_allowed_comes_in(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of())
    assert settings.tokens.keys == ()
    assert settings.tokens.bind_address is False
    assert settings.instances["research"].access == "open"


def test_a_key_comes_from_the_environment(tmp_path: Path) -> None:
    text = text_of(tokens="tokens: {key: '${KEY}', bind_address: true}")
    settings = load_text(tmp_path, text, environ={"KEY": KEY})
    assert settings.tokens.keys == (KEY,)
    assert settings.tokens.bind_address is True


def test_keys_are_exchanged_by_a_list(tmp_path: Path) -> None:
    text = text_of(tokens="tokens: {key: ['${NEW}', '${OLD}']}")
    settings = load_text(tmp_path, text, environ={"NEW": NEXT_KEY, "OLD": KEY})
    assert settings.tokens.keys == (NEXT_KEY, KEY)


def test_no_key_shows_in_what_may_be_logged(tmp_path: Path) -> None:
    settings = load_text(tmp_path, text_of(tokens=f"tokens: {{key: '{KEY}'}}"))
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("'0123456789abcdef0123456789abcde'", "is shorter than 32 characters"),
        ("'" + "ab" * 20 + "'", "can be guessed, or holds characters that do not print"),
        ("123456789012345678", "must be text"),
        ("true", "must be text"),
        ("[]", "key is empty"),
        ("null", "key is empty"),
        ("{a: b}", "must be text"),
        ("{}", "must be text"),
    ],
)
def test_a_key_that_is_none_is_refused_without_being_shown(
    tmp_path: Path, written: str, message: str
) -> None:
    [problem] = problems_of(tmp_path, text_of(tokens=f"tokens: {{key: {written}}}"))
    assert problem.where == "tokens.key"
    assert problem.message == message
    assert "openssl rand -hex 32" in problem.hint
    assert not any(part in str(problem) for part in ("0123456789", "abab", "a: b"))


def test_a_second_key_is_as_strict(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, text_of(tokens=f"tokens: {{key: ['{KEY}', 'short']}}"))
    assert said(problem)[1:3] == ("tokens.key[1]", "is shorter than 32 characters")
    assert "short'" not in str(problem)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, text_of(tokens="tokens: {key: '${NBGATE_TOKEN_KEY}'}"))
    assert problem.message == "the environment variable NBGATE_TOKEN_KEY is not set"


def test_an_instances_access_counts_before_the_gateways(tmp_path: Path) -> None:
    settings = load_text(
        tmp_path,
        text_of(
            access="access: presigned",
            instances="instances: {research: {notebook: a, access: open}, nlp: {notebook: b}}",
        ),
    )
    assert {name: one.access for name, one in settings.instances.items()} == {
        "research": "open",
        "nlp": "presigned",
    }


@pytest.mark.parametrize(
    "sections",
    [
        {"access": "access: closed"},
        {"instances": "instances: {research: {notebook: a, access: Presigned}}"},
    ],
)
def test_another_word_for_access_is_refused(tmp_path: Path, sections: dict[str, str]) -> None:
    [problem] = problems_of(tmp_path, text_of(**sections))
    assert problem.hint == "write open or presigned"


def test_an_instances_word_on_cross_site_requests_counts_before_the_gateways(tmp_path: Path) -> None:
    instances = "instances: {research: {notebook: a, cross_site_requests: %s}, nlp: {notebook: b}}"
    for own, general, expected in (
        ("allow", "", {"research": "allow", "nlp": "refuse"}),
        ("refuse", "cross_site_requests: allow", {"research": "refuse", "nlp": "allow"}),
    ):
        text = text_of(cross_site_requests=general, instances=instances % own)
        settings = load_text(tmp_path, text)
        assert {name: one.cross_site_requests for name, one in settings.instances.items()} == expected
    [problem] = problems_of(tmp_path, text_of(cross_site_requests="cross_site_requests: 'no'"))
    assert problem.hint == "write refuse or allow"


def test_the_summary_says_where_other_sites_pages_may_change_things(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(load_text(tmp_path, text_of(cross_site_requests="cross_site_requests: allow")), now=NOW)
    assert "office; other sites' pages, too" in capsys.readouterr().out
    print_summary(load_text(tmp_path, text_of()), now=NOW)
    assert "other sites" not in capsys.readouterr().out
