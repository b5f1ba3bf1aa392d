"""What marks an answer as Jupyter's, with and without `Server`."""

from __future__ import annotations

import pytest

from proxy.aws.jupyter_marks import is_from_jupyter, is_html, is_json
from tests.aws.heads import JUPYTERS, UNMARKED, head


@pytest.mark.parametrize("lines", JUPYTERS.values(), ids=JUPYTERS)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500, 503])
def test_one_mark_is_enough(status: int, lines: tuple[str, ...]) -> None:
    assert is_from_jupyter(head(status, *lines))


@pytest.mark.parametrize("lines", UNMARKED.values(), ids=UNMARKED)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500, 503])
def test_nothing_else_is_one(status: int, lines: tuple[str, ...]) -> None:
    assert not is_from_jupyter(head(status, *lines))


def test_types_are_read_as_they_are_spelt() -> None:
    assert is_html(b" Text/HTML;charset=x")
    assert is_html(b"application/xhtml+xml")
    assert not is_html(b"text/html5")
    assert is_json(b"application/JSON; charset=UTF-8")
    assert not is_json(b"application/problem+json")
