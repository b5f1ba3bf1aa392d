"""`proxy/README.md` is what somebody who is new reads first: it, and what modules say of each other, stays true.

The rules stand in `tests/architecture/page.py`. The second half shows that each can fail.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import page
from tests.architecture.tree import PACKAGE, SOURCES

TEXT = (PACKAGE / "README.md").read_text("utf-8")
SECTIONS = (
    "The map",
    "The life of one request",
    "The life of one WebSocket",
    page.GLOSSARY,
    "Where to add what",
    "Where is it decided",
)


def test_what_the_page_names_exists() -> None:
    assert list(page.untrue(TEXT, PACKAGE)) == []


def test_what_modules_say_of_each_other_exists() -> None:
    assert list(page.stale({module: path.read_text("utf-8") for module, path in SOURCES.items()})) == []


def test_no_part_of_the_house_is_missing_on_the_map() -> None:
    assert list(page.missing(page.section(TEXT, "The map"), PACKAGE)) == []


def test_the_map_shows_the_floors_one_below_the_other() -> None:
    assert list(page.upwards(page.section(TEXT, "The map"))) == []


def test_each_word_of_the_glossary_means_one_thing() -> None:
    assert list(page.said_twice(TEXT)) == []


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_page_has_what_somebody_new_looks_for(heading: str) -> None:
    assert page.section(TEXT, heading).strip()


# Shown to fail.


@pytest.fixture
def house(tmp_path: Path) -> Path:
    house = tmp_path / "proxy"
    (house / "policy").mkdir(parents=True)
    (house / "policy" / "__init__.py").write_text("")
    (house / "gateway.py").write_text(
        "LIMIT: int = 1\nclass Gateway:\n    clock: int\n    def admit(self):\n        self.memo = {}\n"
    )
    (tmp_path / "README.md").write_text("")
    return house


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[the door](gateway.py), [`gateway.py`](gateway.py), `policy/`, `README.md`, [AWS](https://aws.test/x)",
            "",
        ),
        ("[`Gateway`](gateway.py) [`Gateway.admit`](gateway.py) [`LIMIT`](gateway.py)", ""),
        ("[`Gateway.memo`](gateway.py) [`Gateway.clock`](gateway.py) `admit(request)`", ""),
        ("[the door](door.py)", "door.py does not exist"),
        ("It stands in `wire/body.py`.", "wire/body.py does not exist"),
        ("[`Door`](gateway.py)", "gateway.py defines no Door"),
        ("[`Gateway.decide`](gateway.py)", "gateway.py defines no Gateway.decide"),
    ],
)
def test_what_is_not_so_is_found(house: Path, text: str, problem: str) -> None:
    assert "; ".join(page.untrue(text, house)) == problem


@pytest.mark.parametrize(
    ("prose", "problem"),
    [
        ("`proxy.b`, `proxy.b.C`, `proxy.b.C.run` and proxy.nowhere", ""),
        ("`proxy.nowhere`", "proxy.a:1: proxy.nowhere does not exist"),
        ("`proxy.b.D`", "proxy.a:1: proxy.b.D does not exist"),
        ("`proxy.b.C.walk`", "proxy.a:1: proxy.b.C.walk does not exist"),
    ],
)
def test_a_module_that_speaks_of_what_is_gone_is_found(prose: str, problem: str) -> None:
    sources = {"proxy": "", "proxy.a": f"# {prose}\n", "proxy.b": "class C:\n    def run(self): ...\n"}
    assert "; ".join(page.stale(sources)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[policy](policy) [`gateway.py`](gateway.py)", ""),
        ("[policy](policy) [`Gateway`](gateway.py)", ""),
        ("`policy/` [`gateway.py`](gateway.py)", "policy is not on the map"),
        ("[policy](policy)", "gateway.py is not on the map"),
    ],
)
def test_what_is_missing_is_found(house: Path, text: str, problem: str) -> None:
    assert "; ".join(page.missing(text, house)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "| [server/](server) | x |\n| [`gateway.py`](gateway.py), [aws/](aws) | y |\n| [wire/](wire) | z |\n",
            "",
        ),
        ("| [aws/](aws) | x |\n| [config/](config) | y |\n", ""),
        ("| [aws/](aws) | x |\n| [`gateway.py`](gateway.py) | y |\n", "gateway stands too low on the map"),
        (
            "| [`errors.py`](errors.py), [aws/](aws) | x |\n| [`clock.py`](clock.py) | y |\n",
            "clock stands too low on the map",
        ),
    ],
)
def test_a_floor_in_the_wrong_place_is_found(text: str, problem: str) -> None:
    assert "; ".join(page.upwards(text)) == problem


def test_a_word_with_two_meanings_is_found() -> None:
    table = "## Glossary\n\n| word | meaning |\n|---|---|\n| mount | where |\n| relay, mount | frames |\n\n## Next\n"
    assert list(page.said_twice(table)) == ["mount is explained twice"]
    assert list(page.said_twice(table.replace("relay, mount", "relay"))) == []
