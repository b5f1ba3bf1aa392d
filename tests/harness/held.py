"""What an object keeps in memory, however it calls it: for tests that no more is remembered than may be."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Iterator
from typing import Any

_SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, property)
_OF_OTHERS = (asyncio.AbstractEventLoop, types.FrameType)


def held_by(owner: object) -> Iterator[Any]:
    """All that can be reached from an object, or from a module's globals, but for what everybody shares."""
    first = list(vars(owner).values()) if isinstance(owner, types.ModuleType) else [owner]
    waiting, met = first, {id(one) for one in first}
    while waiting:
        one = waiting.pop()
        if isinstance(one, (*_SHARED, *_OF_OTHERS)):
            continue
        yield one
        for other in gc.get_referents(one):
            if id(other) not in met:
                met.add(id(other))
                waiting.append(other)


def most_held_by(owner: object) -> int:
    """How much stands in the largest collection of an object's."""
    return max(len(one) for one in held_by(owner) if isinstance(one, dict | list | set | tuple | frozenset))


def texts_held_by(owner: object) -> list[str]:
    """All texts, bytes among them."""
    texts = [one for one in held_by(owner) if isinstance(one, str | bytes)]
    return [one if isinstance(one, str) else one.decode("latin-1") for one in texts]
