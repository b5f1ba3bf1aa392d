"""What pydantic found wrong, in the words of whoever wrote the file.

Its rule: a message names what is there, a hint what to write instead; no type names of Python's.
It must not import pydantic: it takes the dicts of `ValidationError.errors()`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.values import as_yaml, shown
from proxy.config.yaml_lines import KeyPath


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that knows its place in the data, not yet its line."""

    path: KeyPath
    message: str
    hint: str = ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that was probably meant, or all of them; "" where none is known."""
    words = sorted(known)
    if close := difflib.get_close_matches(word, words, n=1, cutoff=0.6):
        return f"did you mean '{close[0]}'?"
    return f"known are: {', '.join(words)}" if words else ""


def finding(error: Mapping[str, Any], known_keys: Callable[[KeyPath], Iterable[str]]) -> Finding:
    """One entry of `errors()`. `known_keys` gives the keys that the mapping at a path may have."""
    # pydantic marks an error of a mapping's key by a step of its own.
    path: KeyPath = tuple(step for step in error["loc"] if step != "[key]")
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "value_problem":
            return Finding(path, context["message"], context["hint"])
        case "extra_forbidden" | "unexpected_keyword_argument":
            word = str(path[-1])
            return Finding(
                path, f"there is no setting called '{word}'", did_you_mean(word, known_keys(path[:-1]))
            )
        case "missing":
            return Finding(path, "is missing", f"'{path[-1]}' is needed here")
        case "list_type" | "tuple_type":
            one = f"[{as_yaml(str(given))}]" if isinstance(given, str | int) else ""
            hint = f"write {one}" if one else "write [one, two], or lines with '- '"
            return Finding(path, f"must be a list, not {shown(given)}", hint)
        case "dict_type" | "model_type" | "dataclass_type":
            names = ", ".join(known_keys(path))
            return Finding(
                path, f"must be a mapping, not {shown(given)}", f"its keys: {names}" if names else ""
            )
        case _:
            return Finding(path, str(error["msg"]))
