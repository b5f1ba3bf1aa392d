"""The spellings of single values: text from the file in, a checked value out.

Its rule: one spelling for one meaning, and whoever writes another is told the right one. Every function takes
what the YAML held, whatever its type, and raises `ValueProblem` with a hint.
It must not know where a value stands in the file, nor any other value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from proxy.policy.dates import parse_instant
from proxy.policy.errors import PolicyError

DURATION_PATTERN = r"^(0|[1-9][0-9]{0,8})(ms|s|m|h|d)$"
SIZE_PATTERN = r"^(0|[1-9][0-9]{0,11})(B|KiB|MiB|GiB)$"
INSTANCE_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
LIST_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
# docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreatePresignedNotebookInstanceUrl.html
NOTEBOOK_PATTERN = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
REGION_PATTERN = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$"
ACCOUNT_PATTERN = r"^[0-9]{12}$"
ACCESS_KEY_ID_PATTERN = r"^[A-Za-z0-9_]{8,128}$"
USER_PATTERN = r"^[A-Za-z0-9_+=,.@-]{1,64}$"
ROLE_PATTERN = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}$"

UNLIMITED = "unlimited"

TOKEN_KEY_CHARACTERS = 32
TOKEN_KEY_HINT = "make one with: openssl rand -hex 32"  # noqa: S105 - how to make one

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PLAIN = re.compile(r"[\w./][\w./-]*")
_NO = ("no", "n", "off", "false", "0")
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class ValueProblem(ValueError):
    """What is wrong with a value; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def shown(value: object) -> str:
    """A value as the file has it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"'{text}'" if isinstance(value, str) else text


def as_yaml(text: str) -> str:
    """A text as it may stand in the file, between brackets and braces, too: in quotes where it needs them.

    One with quotes of its own is left out: what conceals secrets looks for them as they are.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "…" if "'" in text or not text.isprintable() else f"'{text}'"


def text(value: object, *, example: str) -> str:
    """Text that says something; `example` is quoted in the hint."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        hint = f'such as {example}; text that looks like a number needs quotes: "{value}"'
        raise ValueProblem(f"must be text, not the number {value}", hint)
    raise ValueProblem(f"must be text, not {shown(value)}", f"such as {example}")


def parse_flag(value: object) -> bool:
    """true or false; YAML 1.1's other words for them are named in the hint."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    fixed = "true" if word in ("yes", "y", "on", "true", "1") else "false" if word in _NO else "true or false"
    raise ValueProblem(f"must be true or false, not {shown(value)}", f"write {fixed}, without quotes")


def parse_choice(value: object, words: Sequence[str]) -> str:
    """One of `words`, exactly."""
    if isinstance(value, str) and value in words:
        return value
    raise ValueProblem(f"{shown(value)} is not possible here", f"write {' or '.join(words)}")


def parse_count(value: object, *, at_most: int) -> int:
    """A whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueProblem(
            f"must be a whole number, not {shown(value)}", "without quotes, dots or leading zeros"
        )
    if not 1 <= value <= at_most:
        raise ValueProblem(f"{value} is too {'small' if value < 1 else 'large'}", f"from 1 to {at_most}")
    return value


def parse_duration(value: object, *, at_least: float, at_most: float) -> float:
    """`90s`, `5m`, `12h`, or a whole number of seconds; in seconds, both bounds included."""
    seconds = _seconds(value)
    if not at_least <= seconds <= at_most:
        allowed = f"from {format_duration(at_least)} to {format_duration(at_most)}"
        raise ValueProblem(f"{shown(value)} is too {'short' if seconds < at_least else 'long'}", allowed)
    return seconds


def parse_idle_duration(value: object, *, at_least: float, at_most: float) -> float:
    """A duration, in seconds; or `never`, which is infinite. Nothing and `off` are not taken for it: to guess wrong
    would stop somebody's instance.
    """
    if value == "never":
        return math.inf
    if value is None or isinstance(value, bool) or str(value).lower() in (*_NO, "none", "disabled", "null"):
        raise ValueProblem(f"must be a duration or never, not {shown(value)}", "write never, or such as 60m")
    return parse_duration(value, at_least=at_least, at_most=at_most)


def parse_size_or_none(value: object, *, at_least: int, at_most: int) -> int | None:
    """A size; or `unlimited`, which is None."""
    if value == UNLIMITED:
        return None
    if value is None or isinstance(value, bool) or str(value).lower() in (*_NO, "none", "null", "never"):
        raise ValueProblem(
            f"must be a size or {UNLIMITED}, not {shown(value)}", f"write {UNLIMITED}, or such as 64MiB"
        )
    return parse_size(value, at_least=at_least, at_most=at_most)


def parse_session_duration(value: object) -> int:
    """SessionExpirationDurationInSeconds, which SageMaker takes from 1800 to 43200."""
    seconds = parse_duration(value, at_least=1800, at_most=43200)
    if seconds != int(seconds):
        raise ValueProblem(f"{shown(value)} is not a whole number of seconds", "from 30m to 12h")
    return int(seconds)


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back; `never` for what is infinite."""
    if seconds == math.inf:
        return "never"
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"


def format_size(size: int) -> str:
    """The shortest spelling that `parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def _seconds(value: object) -> float:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and (match := re.fullmatch(DURATION_PATTERN, value)):
        # Rounded, so that 30ms is 0.03 and not 0.03 plus a binary fraction.
        return round(int(match[1]) * _SECONDS[match[2]], 3)
    hint = "write a whole number and a unit: 500ms, 90s, 5m, 12h, 1d"
    if isinstance(value, str) and (clock := re.fullmatch(r"(\d+):([0-5]\d)(?::([0-5]\d))?", value)):
        parts = [int(part) for part in clock.groups() if part is not None]
        total = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        hint = f"write {total}s if those are {'hours, ' if len(parts) == 3 else ''}minutes and seconds"
    elif isinstance(value, str) and (compound := re.fullmatch(r"(\d+)h(\d+)m?", value)):
        hint = f"write {int(compound[1]) * 60 + int(compound[2])}m"
    raise ValueProblem(f"{shown(value)} is not a duration", hint)


def parse_size(value: object, *, at_least: int, at_most: int) -> int:
    """`64KiB`, `8MiB`, or a whole number of bytes; in bytes, both bounds included."""
    size = _bytes(value)
    if not at_least <= size <= at_most:
        allowed = f"from {format_size(at_least)} to {format_size(at_most)}"
        raise ValueProblem(f"{shown(value)} is too {'small' if size < at_least else 'large'}", allowed)
    return size


def _bytes(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := re.fullmatch(SIZE_PATTERN, value)):
        return int(match[1]) * _BYTES[match[2]]
    hint = "write a whole number and a unit: 512B, 64KiB, 8MiB, 1GiB"
    if isinstance(value, str) and (other := re.fullmatch(r"(\d+) ?([kKmMgG])i?[bB]?", value)):
        hint = f"write {int(other[1])}{other[2].upper()}iB"
    raise ValueProblem(f"{shown(value)} is not a size", hint)


def parse_instance_name(value: object) -> str:
    """The gateway's own name for an instance: a lowercase DNS label, since it appears in URLs."""
    if isinstance(value, str) and re.fullmatch(INSTANCE_NAME_PATTERN, value):
        return value
    hint = "at most 63 lowercase letters, digits and hyphens, neither first nor last a hyphen"
    if isinstance(value, str) and re.fullmatch(
        INSTANCE_NAME_PATTERN, fixed := re.sub(r"[ _.]", "-", value.lower())
    ):
        hint = f"write {fixed}"
    raise ValueProblem(f"{shown(value)} cannot be an instance's name here", hint)


def parse_list_name(value: object) -> str:
    """The name of an allowlist."""
    if isinstance(value, str) and re.fullmatch(LIST_NAME_PATTERN, value):
        return value
    raise ValueProblem(
        f"{shown(value)} cannot be a list's name", "letters, digits, '.', '_' and '-', at most 63"
    )


def parse_reference(value: object) -> str:
    """What is meant as the name of a list; whether there is one is for others to see."""
    if isinstance(value, str) and value:
        return value
    raise ValueProblem(f"must be the name of a list, not {shown(value)}", "such as office")


def parse_notebook(value: object) -> str:
    """NotebookInstanceName, as SageMaker spells it."""
    written = text(value, example="research-gpu-1")
    if written.startswith("arn:"):
        name = written.rpartition("/")[2]
        raise ValueProblem("must be the notebook instance's name, not its ARN", f"write {name}")
    if len(written) > 63 or not re.fullmatch(NOTEBOOK_PATTERN, written):
        hint = "at most 63 letters, digits and hyphens, as the SageMaker console shows it"
        raise ValueProblem(f"{shown(written)} cannot be a notebook instance's name", hint)
    return written


def parse_region(value: object) -> str:
    """A Region's code, such as eu-west-1."""
    written = text(value, example="eu-west-1")
    if re.fullmatch(REGION_PATTERN, written):
        return written
    # An availability zone, or capitals.
    guesses = (guess for guess in (written[:-1], written.lower()) if re.fullmatch(REGION_PATTERN, guess))
    guess = next(guesses, None)
    hint = f"write {guess}" if guess else "such as eu-west-1"
    raise ValueProblem(f"{shown(written)} is not the code of an AWS Region", hint)


def parse_role(value: object) -> str:
    """The ARN of an IAM role."""
    written = text(value, example="arn:aws:iam::123456789012:role/nbgate")
    if re.fullmatch(ROLE_PATTERN, written):
        return written
    raise ValueProblem(
        f"{shown(written)} is not the ARN of a role", "such as arn:aws:iam::123456789012:role/nbgate"
    )


def parse_account(value: object) -> str:
    """The number of an AWS account. Twelve digits look like a number unless one is a leading zero: both do."""
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(written, str) and re.fullmatch(ACCOUNT_PATTERN, written):
        return written
    hint = "twelve digits, such as '123456789012'"
    if isinstance(written, str) and re.fullmatch(ACCOUNT_PATTERN, digits := re.sub(r"[ -]", "", written)):
        hint = f"write '{digits}'"
    raise ValueProblem(f"{shown(value)} is not the number of an AWS account", hint)


def parse_token_key(value: object) -> str:
    """A secret that signs. What is wrong with it is said without showing it."""
    if not isinstance(value, str):
        raise ValueProblem("must be text", f"in quotes; {TOKEN_KEY_HINT}")
    if len(value) < TOKEN_KEY_CHARACTERS:
        raise ValueProblem(f"is shorter than {TOKEN_KEY_CHARACTERS} characters", TOKEN_KEY_HINT)
    if len(set(value)) < 8 or not value.isprintable():
        raise ValueProblem("can be guessed, or holds characters that do not print", TOKEN_KEY_HINT)
    return value


def parse_access_key_id(value: object) -> str:
    """The public half of an access key."""
    if isinstance(value, str) and re.fullmatch(ACCESS_KEY_ID_PATTERN, value):
        return value
    raise ValueProblem(
        f"{shown(value)} cannot be the id of an access key", "letters, digits and '_', 8 to 128: NBGATEALICE1"
    )


def parse_user(value: object) -> str:
    """A user's name, as IAM has them."""
    written = text(value, example="alice")
    if re.fullmatch(USER_PATTERN, written):
        return written
    raise ValueProblem(
        f"{shown(written)} cannot be a user's name", "letters, digits and _+=,.@-, at most 64: alice"
    )


def parse_note(value: object) -> str:
    """What is to be said of a list's entry, on one line."""
    written = text(value, example="contractor, ticket 4711")
    if len(written) > 200 or not written.isprintable():
        raise ValueProblem("is not one line of at most 200 characters", "such as 'contractor, ticket 4711'")
    return written


def parse_until(value: object) -> datetime:
    """The instant at which something ends, in UTC; a date alone is its first moment."""
    try:
        return parse_instant(value)
    except PolicyError as error:
        raise ValueProblem(f"{shown(value)} {str(error).partition(' ')[2]}", error.hint) from error
