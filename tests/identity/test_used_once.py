"""What was used is known until it ends, and nothing is forgotten before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.used_once import UsedOnce


def test_the_first_use_is_known_until_it_ends() -> None:
    used: UsedOnce[str, str] = UsedOnce()
    assert used.earlier("a", now=0.0) is None
    assert used.note("a", "by zoe", until=10.0, most=5)
    assert used.earlier("a", now=9.9) == "by zoe"
    assert used.earlier("b", now=9.9) is None
    assert used.earlier("a", now=10.0) is None
    assert len(used) == 0


def test_a_full_memory_takes_nothing_until_something_ended() -> None:
    used: UsedOnce[str, int] = UsedOnce()
    assert used.note("late", 1, until=20.0, most=2)
    assert used.note("soon", 2, until=10.0, most=2)
    assert not used.note("more", 3, until=30.0, most=2)
    assert used.earlier("late", now=9.0) == 1
    assert used.earlier("more", now=10.0) is None
    assert used.note("more", 3, until=30.0, most=2)
    assert used.earlier("late", now=10.0) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 20), st.integers(0, 3)), max_size=60))
def test_it_says_the_same_as_a_memory_that_looks_at_everything(steps: list[tuple[str, int, int]]) -> None:
    used: UsedOnce[str, int] = UsedOnce()
    known: dict[str, tuple[int, int]] = {}
    now = 0
    for number, (name, life, passes) in enumerate(steps):
        now += passes
        known = {one: (use, until) for one, (use, until) in known.items() if until > now}
        use = used.earlier(name, now=now)
        assert use == (known[name][0] if name in known else None)
        if use is None:
            has_room = used.note(name, number, until=now + life, most=3)
            assert has_room is (len(known) < 3)
            if has_room:
                known[name] = (number, now + life)
        assert len(used) <= 3
