"""Bars: what is met, what is not, and what is left out."""

from __future__ import annotations

from tests.benchmarks.bars import BARS, Bar, Verdict, judge
from tests.benchmarks.metrics import METRICS


def test_a_ratio_at_the_limit_is_met_and_one_above_is_not() -> None:
    bar = Bar("row", "small_c16_cpu", 2.2, "nginx")
    assert Verdict(bar, 2.2).met
    assert not Verdict(bar, 2.21).met


def test_figures_are_compared_with_the_system_that_the_bar_names() -> None:
    medians = {
        "nbgate": {"small_c16_cpu": 30e-6},
        "nginx": {"small_c16_cpu": 15e-6},
        "chp": {"small_c16_cpu": 100e-6},
    }
    values = {verdict.bar.system: verdict.value for verdict in judge(medians)}
    assert values == {"nginx": 2.0, "chp": 0.3}


def test_a_bar_without_a_system_is_about_the_figure_itself() -> None:
    (verdict,) = judge({"nbgate": {"stall_growth_mb": 1.5}})
    assert verdict.value == 1.5
    assert verdict.met


def test_nbgate_is_compared_with_itself_where_the_bar_says_so() -> None:
    verdicts = judge({"nbgate": {"decide_100k_us": 4.0, "decide_10_us": 1.6}})
    assert [(verdict.value, verdict.met) for verdict in verdicts] == [(4.0, True), (2.5, False)]


def test_what_was_not_measured_is_left_out() -> None:
    assert judge({"nginx": {"small_c16_cpu": 15e-6}}) == []
    assert judge({"nbgate": {"small_c16_cpu": 15e-6}}) == []


def test_every_bar_is_about_a_figure_of_some_metric() -> None:
    families = {*METRICS, "idle", "decided"}
    assert all(any(bar.figure.startswith(f"{family}_") for family in families) for bar in BARS)
