"""When instances are started and stopped by themselves: one default for all, and each instance's own word."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.summary import print_summary
from proxy.config.sections import Lifecycle
from tests.config.config_files import NOW, load_text, problems_of, text_of


def lifecycles(directory: Path, **sections: str) -> dict[str, Lifecycle]:
    instances = load_text(directory, text_of(**sections)).instances
    return {name: instance.lifecycle for name, instance in instances.items()}


TWO = "instances: {a: {notebook: a-1%s}, b: {notebook: b-1%s}}"


def test_nothing_happens_by_itself_unless_asked_for(tmp_path: Path) -> None:
    assert lifecycles(tmp_path) == {"research": Lifecycle()}


def test_one_default_and_an_instances_own_word(tmp_path: Path) -> None:
    found = lifecycles(
        tmp_path,
        lifecycle="lifecycle: {start_on_open: true, stop_after_idle: 60m, stop_dry_run: true}",
        instances=TWO
        % (", stop_after_idle: never", ", start_on_open: false, stop_dry_run: false, stop_warning: 5m"),
    )
    assert found["a"] == Lifecycle(start_on_open=True, stop_dry_run=True)
    assert found["b"] == Lifecycle(stop_after_idle_seconds=3600.0, stop_warning_seconds=300.0)


def test_an_instance_alone_may_say_all_of_it(tmp_path: Path) -> None:
    own = (
        ", start_on_open: true, stop_after_idle: 30m, stop_dry_run: true, stop_ignore_unknown_terminals: true"
    )
    assert lifecycles(tmp_path, instances=TWO % (own, "")) == {
        "a": Lifecycle(
            start_on_open=True,
            stop_after_idle_seconds=1800.0,
            stop_dry_run=True,
            stop_ignore_unknown_terminals=True,
        ),
        "b": Lifecycle(),
    }


def test_a_gateway_stops_instances_unless_it_says_that_it_does_not(tmp_path: Path) -> None:
    assert load_text(tmp_path, text_of()).stopper is True
    told = load_text(tmp_path, text_of(lifecycle="lifecycle: {stopper: false, stop_after_idle: 2h}"))
    assert told.stopper is False
    assert told.instances["research"].lifecycle.stop_after_idle_seconds == 7200.0, "as another gateway has it"


PROBLEMS = [
    ("lifecycle: {stopper: no}", "lifecycle.stopper", "must be true or false", "write false"),
    ("lifecycle: {stop_after_idle: 4m}", "lifecycle.stop_after_idle", "too short", "from 5m to 30d"),
    ("lifecycle: {stop_after_idle: 31d}", "lifecycle.stop_after_idle", "too long", "from 5m to 30d"),
    ("lifecycle: {stop_after_idle: off}", "lifecycle.stop_after_idle", "", "write never"),
    ("lifecycle: {stop_after_idle: false}", "lifecycle.stop_after_idle", "not false", "write never"),
    ("lifecycle: {stop_after_idle: null}", "lifecycle.stop_after_idle", "not nothing", "write never"),
    ("lifecycle: {stop_after_idle: '1:30'}", "lifecycle.stop_after_idle", "not a duration", "write 90s"),
    ("lifecycle: {stop_warning: 25h}", "lifecycle.stop_warning", "too long", "from 0s to 1d"),
    ("lifecycle: {stop_warning: never}", "lifecycle.stop_warning", "not a duration", ""),
    ("lifecycle: {start_on_open: yes}", "lifecycle.start_on_open", "must be true or false", "write true"),
    ("lifecycle: {stop_dry_run: 1}", "lifecycle.stop_dry_run", "must be true or false", ""),
    ("lifecycle: {stop_when_idle: 1h}", "lifecycle.stop_when_idle", "", "stop_after_idle"),
]


@pytest.mark.parametrize(("text", "where", "message", "hint"), PROBLEMS)
def test_mistakes_are_told_with_their_line(
    tmp_path: Path, text: str, where: str, message: str, hint: str
) -> None:
    [problem] = problems_of(tmp_path, text_of(lifecycle=text))
    assert problem.where == where
    assert problem.line == 1
    assert message in problem.message
    assert hint in problem.hint or hint in problem.message


def test_an_instance_that_says_null_has_not_said_never(tmp_path: Path) -> None:
    text = text_of(
        lifecycle="lifecycle: {stop_after_idle: 1h}", instances=TWO % (", stop_after_idle: null", "")
    )
    [problem] = problems_of(tmp_path, text)
    assert problem.where == "instances.a.stop_after_idle"
    assert "write never" in problem.hint


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        (
            {"lifecycle": "lifecycle: {stop_after_idle: 10m}", "instances": TWO % ("", "")},
            "lifecycle.stop_warning",
        ),
        ({"instances": "instances: {a: {notebook: x, stop_after_idle: 10m}}"}, "instances.a.stop_after_idle"),
        (
            {"instances": "instances: {a: {notebook: x, stop_after_idle: 1h, stop_warning: 1h}}"},
            "instances.a.stop_warning",
        ),
        (
            {
                "lifecycle": "lifecycle: {stop_after_idle: 1h}",
                "instances": "instances: {a: {notebook: x, stop_warning: 2h}}",
            },
            "instances.a.stop_warning",
        ),
    ],
)
def test_a_warning_comes_within_the_idleness(tmp_path: Path, sections: dict[str, str], where: str) -> None:
    [problem] = problems_of(tmp_path, text_of(**sections))
    assert problem.where.startswith(where)
    assert problem.line > 0
    assert "stop_warning" in problem.hint


def test_a_warning_is_no_mistake_where_nothing_is_stopped(tmp_path: Path) -> None:
    assert (
        lifecycles(tmp_path, lifecycle="lifecycle: {stop_warning: 12h}")["research"].stop_warning_seconds
        == 43200
    )


def test_two_names_of_one_notebook_go_by_one_rule(tmp_path: Path) -> None:
    text = "instances: {a: {notebook: x, stop_after_idle: 1h}, b: {notebook: x}}"
    [problem] = problems_of(tmp_path, text_of(instances=text))
    assert problem.where == "instances.b"
    assert "'a'" in problem.message
    other_role = "instances: {a: {notebook: x, stop_after_idle: 1h}, b: {notebook: x, assume_role: %s}}"
    load_text(tmp_path, text_of(instances=other_role % "'arn:aws:iam::123456789012:role/other'"))


def test_one_instance_alone_cannot_be_left_to_another_gateway(tmp_path: Path) -> None:
    [problem] = problems_of(tmp_path, text_of(instances="instances: {a: {notebook: x, stopper: false}}"))
    assert problem.where == "instances.a.stopper"


def test_the_summary_says_that_another_gateway_stops_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ", start_on_open: true, stop_after_idle: 90m"
    lifecycle = "lifecycle: {stopper: false}"
    print_summary(load_text(tmp_path, text_of(lifecycle=lifecycle, instances=TWO % (both, ""))), now=NOW)
    told = capsys.readouterr().out
    assert "starts when opened, not stopped by this gateway" in told
    assert told.count("not stopped by this gateway") == 2
    assert "90m" not in told


def test_the_summary_says_what_happens_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ", start_on_open: true, stop_after_idle: 90m"
    print_summary(
        load_text(tmp_path, text_of(instances=TWO % (both, ", stop_after_idle: 1h, stop_dry_run: true"))),
        now=NOW,
    )
    told = capsys.readouterr().out
    assert "starts when opened, stops after 90m idle" in told
    assert "would stop after 1h idle" in told
    print_summary(load_text(tmp_path, text_of()), now=NOW)
    assert "BY ITSELF" not in capsys.readouterr().out
