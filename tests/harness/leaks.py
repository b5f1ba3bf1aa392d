"""No secret in any line: what tests make and send is looked for in all that the gateway writes while they run.

A pytest plugin, loaded by conftest.py. It follows where secrets come into being (keys, tokens, presigned URLs,
sessions, what callers send) and where text comes out (log sinks, error bodies, commands, standard output, log files),
and the test that wrote one fails. The rule: values are sought, in every spelling, and not patterns; what another
process made, so that its value is not known here, is known by its form. It must not know what the tests are about.
"""

from __future__ import annotations

import base64
import functools
import html
import itertools
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from click.testing import CliRunner, Result

LEAST = 12
"""Characters of a secret that is sought: what is shorter is found by chance."""
MOST = 400
"""Secrets of one test that are sought, and characters of what it wrote: some tests make thousands."""
MOST_TEXT = 4 * 1024 * 1024

FORMS = {
    "a token of the gateway's": re.compile(r"nbgate[0-9]+_[a-z]\.[0-9a-f]{8}\.[\w-]{16,}\.[\w-]{16,}"),
    "a link's or a presigned URL's token": re.compile(r"authToken=[\w.%-]{8,}"),
    "a signature": re.compile(r"Signature=[0-9a-f]{32,}"),
    "a session's cookie": re.compile(r"nbgate-session(?:-\d+)?=[\w.-]{8,}"),
}
"""What a log file of another process must not hold."""

_PRINTS_LINKS = "url"
"""The command whose output is one."""


@dataclass
class Watch:
    """What came into being, and what was written, since the last test ended. Both by what it is."""

    secrets: dict[str, str] = field(default_factory=dict)
    written: deque[tuple[str, str]] = field(default_factory=deque)

    def keep(self, what: str, value: object) -> None:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if len(text) >= LEAST:
            self.secrets.setdefault(text, what)

    def wrote(self, where: str, text: object) -> None:
        if text:
            told = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)
            self.written.append((where, told))

    def clear(self) -> None:
        self.secrets.clear()
        self.written.clear()

    def leaks(self) -> list[str]:
        """What was written of which secret, in words that tell nothing of it."""
        first = dict(itertools.islice(self.secrets.items(), MOST))
        last = dict(itertools.islice(reversed(self.secrets.items()), MOST))
        texts: dict[str, list[str]] = {}
        for where, text in self.written:
            texts.setdefault(where, []).append(text)
        return [
            f"{what} in {where}"
            for where, parts in texts.items()
            for what in found(first | last, "\n".join(parts)[:MOST_TEXT])
        ]


def found(secrets: Mapping[str, str], text: str) -> list[str]:
    """Which secrets (by value, what each is) a text holds, in any spelling of theirs or of the text."""
    layers = {text, *_read(text)}
    return [
        f"{what} ({value[:3]}…)"
        for value, what in secrets.items()
        if any(needle in layer for needle in spellings(value) for layer in layers)
    ]


@functools.lru_cache(maxsize=4096)
def spellings(value: str) -> tuple[str, ...]:
    """A value as it may stand in a text: itself, in hexadecimal digits, and in base64 wherever that begins."""
    raw = value.encode("utf-8", "surrogatepass")
    inside = set()
    for shift in range(3):
        # The first and the last characters hang on what stands around it.
        coded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        core = coded[(shift * 8 + 5) // 6 : len(coded) - 1]
        inside |= {core, core.replace("+", "-").replace("/", "_")}
    return (value, raw.hex(), raw.hex().upper(), *(one for one in inside if len(one) >= LEAST))


def _read(text: str) -> Iterator[str]:
    """A text as readers of its formats read it."""
    plain = text
    # However often it was percent-encoded.
    for _ in range(8):
        decoded = unquote(plain) if "%" in plain else plain
        if decoded == plain:
            break
        plain = decoded
        yield plain
    if "&" in text:
        yield html.unescape(text)
    if "\\" in text:
        yield re.sub(r'\\u[0-9a-fA-F]{4}|\\["\\/]', lambda escape: json.loads(f'"{escape[0]}"'), text)


def in_form(text: str) -> list[str]:
    """What a text holds that has the form of a secret."""
    return [what for what, form in FORMS.items() if form.search(text)]


# -- where secrets come into being ----------------------------------------------------------------------------

WATCH = Watch()


def after(owner: Any, name: str, tell: Callable[..., None]) -> None:
    """Have `tell` called with the result and the arguments of each call of a function."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def told(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        tell(result, *arguments, **named)
        return result

    setattr(owner, name, told)


def _token(text: str, *_: Any, **__: Any) -> None:
    WATCH.keep("a token", text)
    # Also where it was cut, or broken over lines.
    payload, mac = text.split(".")[2:]
    for piece in (payload[-32:], mac[:24], mac[-24:]):
        WATCH.keep("a part of a token", piece)


def _keys(_: None, tokens: Any, keys: Iterable[str], **__: Any) -> None:
    for key in (*keys, tokens._own_key):
        WATCH.keep("a key of tokens", key)


def _api_key(_: None, key: Any, *arguments: Any, **named: Any) -> None:
    WATCH.keep("an access key's secret", key.secret)


def _presigned(_: None, url: Any, *arguments: Any, **named: Any) -> None:
    WATCH.keep("a presigned URL", url.reveal())
    for _, value in parse_qsl(url.reveal().partition("?")[2]):
        WATCH.keep("a presigned URL's token", value)


def _session(jar: Any, *_: Any, **__: Any) -> None:
    for _, value in jar.pairs:
        WATCH.keep("a cookie of a session with SageMaker", value)


def _signature(_: Any, signatures: Any, request: Any, **__: Any) -> None:
    for name, value in request.fields:
        if name.lower() == "authorization":
            WATCH.keep("a signature", value.rpartition("Signature=")[2])


def _caller(_: Any, gateway: Any, inbound: Any, *__: Any, **___: Any) -> None:
    headers, target = inbound.headers, inbound.target
    if "Authorization" in headers:
        for value in headers.getall("Authorization"):
            WATCH.keep("a caller's authorization", value.rpartition(" ")[2])
    if "Cookie" in headers:
        for value in headers.getall("Cookie"):
            for pair in value.split("; ")[:32]:
                WATCH.keep("a caller's cookie", pair.partition("=")[2].strip('"'))
    if "oken=" in target:
        for name, value in parse_qsl(target.partition("?")[2][:8192]):
            if "oken" in name:
                WATCH.keep("a caller's token", value)


# -- where text comes out -------------------------------------------------------------------------------------


def _line(_: None, sink: Any, text: str, *__: Any) -> None:
    WATCH.wrote("the log", text)


def _error_body(body: Any, *_: Any, **__: Any) -> None:
    WATCH.wrote("an error's answer", body.body)


def _command(result: Result, _: Any, __: Any, arguments: Any = None, **___: Any) -> None:
    words = arguments if isinstance(arguments, list | tuple) else str(arguments).split()
    if _PRINTS_LINKS not in words or result.exit_code:
        WATCH.wrote("a command's output", result.output)


def _process(_: None, process: Any, args: Any, *__: Any, **___: Any) -> None:
    words = [str(word) for word in args] if isinstance(args, list | tuple) else [str(args)]
    is_ours = Path(words[0]).name == "nbgate" or any(
        (before == "-m" and word.split(".")[0] == "proxy") or (before == "-c" and "import proxy" in word)
        for before, word in itertools.pairwise(words)
    )
    if is_ours and _PRINTS_LINKS not in words:
        WATCH.wrote("a process's output", process.stdout)
        WATCH.wrote("a process's output", process.stderr)


def _captured(captured: Any, *_: Any) -> None:
    WATCH.wrote("standard output", captured.out)
    WATCH.wrote("standard error", captured.err)


@functools.cache
def _follow() -> None:
    """From now on. Here and not above: what is followed takes a second to be imported."""
    import subprocess

    from proxy.aws.cookies import Cookies
    from proxy.aws.presigned import PresignedUrl
    from proxy.config.settings import ApiKey
    from proxy.gateway import Gateway
    from proxy.identity.sigv4 import Signatures
    from proxy.identity.tokens import TokenSigner
    from proxy.server.pages import error_pages, rendering
    from proxy.telemetry.sink import LineSink

    after(TokenSigner, "issue", _token)
    after(TokenSigner, "adopt", _keys)
    after(ApiKey, "__init__", _api_key)
    after(PresignedUrl, "__init__", _presigned)
    after(Cookies, "apply", _session)
    after(Signatures, "verify", _signature)
    after(Gateway, "admit", _caller)
    after(LineSink, "_put", _line)
    after(error_pages, "render", _error_body)
    after(rendering, "fault_page", _error_body)
    after(CliRunner, "invoke", _command)
    after(subprocess.CompletedProcess, "__init__", _process)
    after(pytest.CaptureFixture, "readouterr", _captured)


# -- for pytest -----------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    _follow()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    try:
        result = yield
        for _, name, text in item._report_sections:
            WATCH.wrote(f"what was captured ({name})", text)
        leaks = WATCH.leaks()
        directory = getattr(item, "funcargs", {}).get("tmp_path")
        if directory is not None:
            leaks += in_logs(directory)
    finally:
        WATCH.clear()
    if leaks:
        pytest.fail(f"{item.nodeid} wrote {'; '.join(sorted(set(leaks)))}", pytrace=False)
    return result


def in_logs(directory: Path) -> list[str]:
    """What log files below a directory hold, of whatever process. Each is told of once."""
    leaks = []
    for file in directory.rglob("*.log"):
        if file.is_file() and file not in _TOLD:
            held = in_form(file.read_text("utf-8", "backslashreplace")[:MOST_TEXT])
            leaks += [f"{what} in {file.name}" for what in held]
            if held:
                _TOLD.add(file)
    return leaks


_TOLD: set[Path] = set()


@pytest.fixture(scope="session", autouse=True)
def _logs_of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Those that several tests share, such as a house's."""
    yield
    leaks = in_logs(tmp_path_factory.getbasetemp())
    assert leaks == []
