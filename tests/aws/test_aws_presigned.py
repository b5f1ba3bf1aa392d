"""Presigned URLs keep their text to themselves, and the cache hands each out once and never late."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest

from proxy.aws.presigned import PresignedUrl, PresignedUrlCache, SessionKey
from tests.aws.fakes import SECRET
from tests.harness.clocks import FakeClock

KEY = SessionKey("nb")


def url(requested_at: float = 1000.0) -> PresignedUrl:
    return PresignedUrl(
        f"https://nb.notebook.eu-west-1.sagemaker.aws?authToken={SECRET}", requested_at=requested_at
    )


def test_it_prints_as_stars_in_every_way_of_printing() -> None:
    one = url()
    assert [str(one), repr(one), f"{one}", f"{one!r}", "%s" % one, str([one])] == ["***"] * 5 + ["[***]"]  # noqa: UP031


def test_only_reveal_gives_the_text() -> None:
    assert SECRET in url().reveal()
    assert not hasattr(url(), "__dict__")


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_is_neither_pickled_nor_copied(way: object) -> None:
    with pytest.raises(TypeError, match="credential") as caught:
        way(url())  # type: ignore[operator]
    assert SECRET not in str(caught.value)


def test_it_equals_itself_only() -> None:
    one = url()
    assert one == one
    assert one != url()


def test_a_log_line_does_not_hold_it(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("nbgate.test").warning("minted %s %r", url(), {"url": url()})
    assert SECRET not in caplog.text


def test_what_is_taken_is_gone() -> None:
    cache = PresignedUrlCache(FakeClock())
    one = url()
    cache.put(KEY, one)
    assert cache.take(KEY) is one
    assert cache.take(KEY) is None


def test_keys_are_notebook_and_role() -> None:
    cache = PresignedUrlCache(FakeClock())
    cache.put(SessionKey("nb", "arn:aws:iam::123456789012:role/a"), url())
    assert cache.take(SessionKey("nb")) is None
    assert cache.take(SessionKey("other", "arn:aws:iam::123456789012:role/a")) is None
    assert cache.take(SessionKey("nb", "arn:aws:iam::123456789012:role/a")) is not None
    assert str(SessionKey("nb", "arn:r")) == "nb as arn:r"
    assert str(SessionKey("nb")) == "nb"


async def test_a_url_is_handed_out_until_30_seconds_before_its_end_and_not_after() -> None:
    clock = FakeClock()
    cache = PresignedUrlCache(clock)
    for seconds, usable in ((269.9, True), (0.1, False)):
        one = url()
        cache.put(KEY, one)
        await clock.advance(seconds)
        assert (cache.take(KEY) is one) is usable


async def test_a_url_that_is_too_old_is_not_taken_in() -> None:
    clock = FakeClock()
    await clock.advance(270)
    cache = PresignedUrlCache(clock)
    cache.put(KEY, url(requested_at=1000.0))
    assert len(cache) == 0


async def test_a_late_url_in_place_of_a_fresh_one_leaves_none() -> None:
    clock = FakeClock()
    cache = PresignedUrlCache(clock)
    await clock.advance(270)
    cache.put(KEY, url(requested_at=1270.0))
    cache.put(KEY, url(requested_at=1000.0))
    assert cache.take(KEY) is None


async def test_the_margin_is_configurable() -> None:
    clock = FakeClock()
    cache = PresignedUrlCache(clock, margin_seconds=120)
    cache.put(KEY, url())
    await clock.advance(180)
    assert cache.take(KEY) is None
    assert url().use_until(120) == 1180
