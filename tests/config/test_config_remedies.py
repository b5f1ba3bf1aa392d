"""What a message says to write can be pasted into a configuration as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config.yaml_lines import parse
from proxy.errors import ConfigError
from tests.config.config_files import problems_of, text_of

PROXY = Path(__file__).parents[2] / "proxy"

# A key with brackets or braces after it, or a mapping in braces.
_BEGINS = re.compile(r"(?<![\w-])[a-z_]+: (?=[\[{])|(?<![\w$)])\{(?=[a-z_]+: )")


def texts(file: Path) -> Iterator[str]:
    """Every text of a module; what is worked out stands there as `x`."""
    tree = ast.parse(file.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def fragments(text: str) -> Iterator[str]:
    """The YAML in a text, as far as it has brackets or braces."""
    for begin in _BEGINS.finditer(text):
        depth = 0
        opened = begin.start() if begin[0] == "{" else begin.end()
        for at in range(opened, len(text)):
            depth += (text[at] in "[{") - (text[at] in "]}")
            if depth == 0:
                yield text[begin.start() : at + 1]
                break


def is_yaml(text: str) -> bool:
    try:
        return not parse(text, "pasted.yaml")[1]
    except ConfigError:
        return False


def test_whatever_a_module_says_in_yaml_is_yaml() -> None:
    said = {
        (file.name, found)
        for file in PROXY.rglob("*.py")
        for text in texts(file)
        for found in fragments(text)
    }
    assert len(said) > 40
    assert ("url.py", 'tokens: {key: "${NBGATE_TOKEN_KEY}"}') in said
    assert sorted(one for one in said if not is_yaml(one[1])) == []


@pytest.mark.parametrize(
    "page", ["README.md", "deploy/README.md", "config/policy.md", "config/client-address.md", "CHANGELOG.md"]
)
def test_whatever_a_page_says_in_yaml_is_yaml(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (PROXY.parent / page).read_text("utf-8"), flags=re.M | re.S)
    said = {found for span in re.findall(r"`([^`]+)`", text) for found in fragments(span)}
    assert sorted(one for one in said if not is_yaml(one)) == []


def test_the_search_finds_what_cannot_be_pasted() -> None:
    found = list(fragments("Write tokens: {key: ${NBGATE_TOKEN_KEY}}, or"))
    assert found == ["tokens: {key: ${NBGATE_TOKEN_KEY}}", "{key: ${NBGATE_TOKEN_KEY}}"]
    assert not any(is_yaml(one) for one in found)


@pytest.mark.parametrize(
    ("sections", "remedy"),
    [
        ({"policy": "policy: {allow: ['::1']}"}, "allowlists: {office: ['::1']}"),
        ({"policy": "policy: {allow: ['::1/128']}"}, "allowlists: {office: ['::1/128']}"),
        ({"policy": "policy: {allow: [203.0.113.0/24]}"}, "allowlists: {office: [203.0.113.0/24]}"),
        ({"policy": "policy: {allow: ['*']}"}, ""),
        ({"policy": "policy: {allow: office}"}, "[office]"),
        ({"client_address": "client_address: {trusted_proxies: '::1'}"}, "['::1']"),
        ({"client_address": "client_address: {trusted_proxies: '${x}'}"}, ""),
        ({"instances": "instances: {a: {notebook: n, mount: /a/}}"}, "{path: /a/}"),
        ({"instances": "instances: {a: {notebook: n, mount: '/a/{b}'}}"}, "{path: '/a/{b}'}"),
        ({"instances": "instances: {a: {notebook: n, mount: nb.internal}}"}, "{host: nb.internal}"),
        ({"instances": "instances: {a: {notebook: n, aliases: ['a/[b']}}"}, "{path: 'a/[b'}"),
        ({"listeners": "listeners: [{bind: '::1:8443'}]"}, "'[::1]:8443'"),
        ({"listeners": "listeners: [{bind: ':8443'}]"}, "'[::]:8443'"),
        ({"listeners": "listeners: [{bind: here}]"}, "'[::1]:8080'"),
        ({"tokens": "tokens: {key: []}"}, '"${NBGATE_TOKEN_KEY}"'),
    ],
)  # fmt: skip
def test_what_repeats_the_files_own_words_is_yaml_too(
    tmp_path: Path, sections: dict[str, str], remedy: str
) -> None:
    hints = [problem.hint for problem in problems_of(tmp_path, text_of(**sections))]
    assert any(remedy in hint for hint in hints), hints
    assert is_yaml(f"pasted: [{remedy.removeprefix('allowlists: ')}]")
