"""What else holds the house in shape: size, circles, names, and tests that stand beside what they test.

Each rule is a function from what was read to the problems found, with what is excepted and why in a table beside it.
An exception that nothing needs any more is a problem, too, so that the tables shrink.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.architecture.tree import imports

# Size: a module is as long as one idea needs.

MOST_LINES = 500
MOST_LINES_WHERE_BYTES_PASS = 400
"""In the data plane, where who reads a fault must hold the whole module in mind."""

ONE_PAGE: Mapping[str, int] = {"proxy.gateway": 220}
"""Modules that are to be read in one go, and how many lines they may have."""

LONG: Mapping[str, str] = {
    "proxy.errors": "the whole error tree stands on one page",
}
"""Modules outside the data plane that may be longer, and why."""


def sizes(sources: Mapping[str, str], long: Mapping[str, str] = LONG) -> Iterator[str]:
    """Modules that are longer than one idea needs, and permissions that nothing needs."""
    lines = {module: source.count("\n") for module, source in sources.items()}
    for module, count in lines.items():
        inner = module.startswith("proxy.dataplane")
        most = ONE_PAGE.get(module, MOST_LINES_WHERE_BYTES_PASS if inner else MOST_LINES)
        if count > most and (inner or module not in long):
            yield f"{module} has {count} lines, and {most} is the most: split it by idea"
    for module in long:
        if lines.get(module, 0) <= MOST_LINES:
            yield f"{module} is no longer long: take its entry out of LONG"


# Circles: whoever reads a module can read what it needs first.


def circles(sources: Mapping[str, str]) -> Iterator[str]:
    """Sets of modules each of which imports, over the others, itself. One line for each set."""
    known = frozenset(sources)
    needs = {
        module: sorted(({used.module for used in imports(source, known)} & known) - {module})
        for module, source in sources.items()
    }
    reached = {module: _reached(module, needs) for module in needs}
    seen: set[str] = set()
    for module in sorted(needs):
        if module in seen or module not in reached[module]:
            continue
        circle = {module, *(other for other in reached[module] if module in reached[other])}
        seen |= circle
        pairs = [f"{one} -> {two}" for one in sorted(circle) for two in needs[one] if two in circle]
        yield f"import each other in a circle: {', '.join(pairs)}"


def _reached(module: str, needs: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(needs[module])
    while ahead:
        if (one := ahead.pop()) not in found:
            found.add(one)
            ahead += needs[one]
    return found


# Names: one name, one thing.

DOUBLES: Mapping[str, str] = {}
"""Names that several classes have, and why."""


def doubles(sources: Mapping[str, str], reasons: Mapping[str, str] = DOUBLES) -> Iterator[str]:
    """Names that more than one class or type has, wherever it is defined."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, source in sources.items():
        for name in _types_defined(ast.parse(source)):
            places[name].append(module)
    for name, modules in sorted(places.items()):
        if len(modules) > 1 and name not in reasons:
            yield f"{name} is defined in {' and in '.join(modules)}: one name, one thing"
    for name in reasons:
        if len(places[name]) < 2:
            yield f"{name} is one thing: take its entry out of DOUBLES"


def _types_defined(tree: ast.Module) -> Iterator[str]:
    """Classes wherever they stand, and the other types that a module gives a name of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        for target in targets:
            # Constants are written in capitals. What is private to a module is seen by nobody else.
            if isinstance(target, ast.Name) and re.match(r"[A-Z]\w*[a-z]", target.id):
                yield target.id


# Words that somebody who is new here would have to be told.

OBSCURE: Mapping[str, str] = {
    "arrival": "a connection whose prelude is read",
    "doubt": "a suspicion",
    "flight": "a task that many wait for",
    "glance": "what an instance's state is",
    "halted": "paused, or stopped for good",
    "itself": "what does it: by itself is not a thing",
    "landed": "done",
    "landing": "the memory that is read into",
    "outbox": "what is written in this turn",
    "settle": "to decide, or to end",
    "shelf": "idle connections",
    "sight": "what a caller may see",
    "standing": "what the caller is to us",
    "told": "whoever is told what, and by whom",
}
"""Nothing is called so, be it a module, a function or a variable; beside each word what may be meant. (What is
told may be called `told`; what tells may not.)"""


def obscure(sources: Mapping[str, str]) -> Iterator[str]:
    """Names that have one of these words in them."""
    for module, source in sources.items():
        for name, line, does in _names(module, ast.parse(source)):
            parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
            for word, meaning in OBSCURE.items():
                may_be = word == "told" and not does
                if not may_be and (word in parts or f"{word}s" in parts):
                    yield f"{module}:{line}: {name}: who is new here does not know {word!r}; say {meaning}"


def _names(module: str, tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Each with its line, and whether it is of what does something."""
    yield module.rpartition(".")[2], 1, True
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, True
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno, False
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno, False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno, False


# Constructors say what each argument is.

MOST_ARGUMENTS = 4
FIRST_ARGUMENTS = 2
"""So many may go without a name: what a thing is about is plain from its own."""

BY_POSITION: Mapping[str, str] = {
    "Inbound": "made for each request",
    "RequestRecord": "made for each request",
}
"""Classes of more arguments that are given by position, and why. (Tuples with names cannot have it otherwise.)"""


def nameless_arguments(
    sources: Mapping[str, str], by_position: Mapping[str, str] = BY_POSITION
) -> Iterator[str]:
    """Constructors of more than `MOST_ARGUMENTS` that take more than the first ones without a name."""
    long = set()
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.ClassDef):
                continue
            nameless, count = _arguments(node)
            if count <= MOST_ARGUMENTS or nameless <= FIRST_ARGUMENTS:
                continue
            long.add(node.name)
            if node.name not in by_position:
                yield (
                    f"{module}:{node.lineno}: {node.name} takes {count} arguments, {nameless} of them without a name: "
                    f"from the third on they are keyword-only"
                )
    for name in sorted(set(by_position) - long):
        yield f"{name} needs no excuse: take its entry out of BY_POSITION"


def _arguments(node: ast.ClassDef) -> tuple[int, int]:
    """How many arguments a class's constructor takes by position, and in all."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            by_position = len(part.args.posonlyargs) + len(part.args.args) - 1
            return by_position, by_position + len(part.args.kwonlyargs)
    made = [ast.unparse(one) for one in node.decorator_list if "dataclass" in ast.unparse(one)]
    if not made:
        return 0, 0
    fields = [
        ast.unparse(part.annotation)
        for part in node.body
        if isinstance(part, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(part.annotation)
        and "init=False" not in ast.unparse(part)
    ]
    count = len(fields) - fields.count("KW_ONLY")
    if "kw_only=True" in made[0]:
        return 0, count
    return fields.index("KW_ONLY") if "KW_ONLY" in fields else count, count


# What is another library's own affair.

FOREIGN_INSIDES = re.compile(r"RequestHandler|http_parser")


def foreign_insides(texts: Mapping[str, str]) -> Iterator[str]:
    """aiohttp's handler of connections and its parser change in patch releases: its own pages need neither."""
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := FOREIGN_INSIDES.search(line):
                yield f"{path}:{number}: {found[0]} is aiohttp's own affair: serve pages through web.Server alone"


PUBLIC_ALL_THE_SAME: Mapping[str, str] = {
    "_replace": "of named tuples: the underscore keeps it apart from their fields",
    "_exit": "of `os`",
    "_Decompress": "the type of what `zlib.decompressobj` makes, which has no other name",
}
PRIVATE_BUT_NEEDED: Mapping[str, str] = {
    "proxy.aws.client": "aiohttp's connectors have no public way to connect through something of one's own",
}
"""Modules that use another library's private names, and why."""


def private_names(
    sources: Mapping[str, str], needed: Mapping[str, str] = PRIVATE_BUT_NEEDED
) -> Iterator[str]:
    """What begins with an underscore is its module's own: no other module, and no other library's user, asks for it."""
    for module, source in sources.items():
        tree = ast.parse(source)
        used = list(_private_names_of_others(tree))
        if module not in needed:
            yield from (f"{module}:{line}: {name} is private to whoever defines it" for name, line in used)
        elif not used:
            yield f"{module} uses no private names any more: take its entry out of PRIVATE_BUT_NEEDED"


def _private_names_of_others(tree: ast.Module) -> Iterator[tuple[str, int]]:
    own = set(PUBLIC_ALL_THE_SAME)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.attr if isinstance(node, ast.Attribute) else node.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
    for node in ast.walk(tree):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else [node.attr]
            if isinstance(node, ast.Attribute)
            else []
        )
        for name in names:
            if re.match(r"_(?!_)", name) and name not in own:
                yield name, getattr(node, "lineno", 0)


_BREAKS = (
    "has something fail in the midst of a loop, a thread or a socket, which nobody outside can make fail"
)
_LOOKS = "waits for looks at idleness, or says what one found, without a Jupyter that is idle for hours"
_AS_PYTEST = "is a part of pytest, or of the event loop, as plugins are"
PRIVATE_IN_TESTS: Mapping[str, str] = {
    "tests/dataplane/caller/test_any_order.py": _BREAKS,
    "tests/aws/test_aws_keeper.py": _BREAKS,
    "tests/aws/test_aws_sagemaker.py": _BREAKS,
    "tests/cost/measures.py": "looks at the frames of what it counts",
    "tests/cost/readers.py": "counts the steps of what nobody calls from outside",
    "tests/dataplane/test_sessions_end_to_end.py": "has the front end of the sandbox renew cookies, and listens",
    "tests/dataplane/test_traffic.py": "says that nothing is looked at in vain, and has thousands judged",
    "tests/dataplane/websocket/test_tiny_frames.py": "waits for a turn that has no other trace",
    "tests/fuzz/fuzz_notebook.py": "gives each connection its bytes in the loop's place",
    "tests/harness/idleness.py": "moves the clock of a real Jupyter, which is another process",
    "tests/harness/leaks.py": _AS_PYTEST + "; and knows every key, to look for it",
    "tests/harness/needs.py": _AS_PYTEST,
    "tests/harness/peer.py": "tells what has come and was not read, for which a stream has no public word",
    "tests/harness/timeouts.py": _AS_PYTEST,
    "tests/harness/waiting.py": _AS_PYTEST,
    "tests/sandbox/test_notebook_host.py": "reads a handshake's fields, which aiohttp's client shows nobody",
    "tests/server/api/test_openapi.py": "compares the table of pages with their description",
    "tests/server/operations/test_idleness.py": _LOOKS,
    "tests/server/operations/test_metrics.py": "has lines be lost without filling a pipe",
    "tests/server/pages/test_portal.py": _LOOKS,
    "tests/server/pages/test_streams.py": "waits for the end of a task that has no other trace",
    "tests/server/test_accepting.py": _BREAKS,
    "tests/server/test_listeners.py": "waits until so much of a prelude has come",
    "tests/server/test_reload.py": _BREAKS,
    "tests/telemetry/test_sink.py": _BREAKS,
    "tests/threats/test_threats_lockout.py": "waits until a prelude has come",
    "tests/threats/test_threats_loops.py": _BREAKS,
    "tests/threats/test_threats_repointing.py": _LOOKS,
    "tests/threats/test_threats_tokens.py": "has a configuration made between two reloads",
}
"""Modules of tests that ask for what is private to others, and why."""


def private_names_in_tests(
    sources: Mapping[str, str], needed: Mapping[str, str] = PRIVATE_IN_TESTS
) -> Iterator[str]:
    """Tests go by bytes, records, answers and `repr`: what a class keeps to itself may change without them."""
    for module, source in sources.items():
        used = sorted(set(_private_names_asked_for(ast.parse(source))))
        if module not in needed:
            yield from (f"{module}:{line}: {name} is private to what is tested" for line, name in used)
        elif not used:
            yield f"{module} uses no private names any more: take its entry out of PRIVATE_IN_TESTS"


def _private_names_asked_for(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Those of others: what a test's own classes keep is set through `self` there, or defined."""
    own = set(PUBLIC_ALL_THE_SAME)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        ):
            own.add(node.attr)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in SETTERS:
            words = [one.value for one in node.args if isinstance(one, ast.Constant)]
            names = [word.rpartition(".")[2] for word in words if isinstance(word, str) and word.isascii()]
        line = getattr(node, "lineno", 0)
        yield from ((line, name) for name in names if re.match(r"_[A-Za-z]", name) and name not in own)


SETTERS = {"setattr", "getattr", "hasattr", "delattr"}


def aiohttp_bounds(dependencies: Iterable[str]) -> Iterator[str]:
    """aiohttp serves own pages through its public interface, so that a newer one is never too new."""
    found = [one for one in dependencies if re.match(r"aiohttp\b(?!-)", one)]
    if found != ["aiohttp>=3.14.4"]:
        yield f"{found}: aiohttp is wanted from 3.14.4 on, without an upper bound"


# Tests stand beside what they test.

BESIDE_THE_HOUSE: Mapping[str, str] = {
    "architecture": "the rules themselves",
    "benchmarks": "what is measured against other proxies",
    "cost": "what is counted, instruction by instruction",
    "e2e": "real Jupyter servers, browsers and clients",
    "fuzz": "inputs that nobody wrote",
    "harness": "what tests share",
    "threats": "what has broken others, over real sockets",
}
"""Directories of tests that stand beside no package, and what they hold."""

UNTESTED_BESIDE: Mapping[str, str] = {}
"""Packages without a directory of tests, and why."""


def mirror(
    tests: Iterable[str],
    packages: Iterable[str],
    beside: Mapping[str, str] = BESIDE_THE_HOUSE,
    untested: Mapping[str, str] = UNTESTED_BESIDE,
) -> Iterator[str]:
    """`tests` are paths of modules below `tests/`, `packages` are paths of packages below `proxy/`."""
    known = set(packages)
    tested = set()
    collected: dict[str, str] = {}
    for path in sorted(tests):
        folder, _, name = path.rpartition("/")
        if name.startswith("test_"):
            tested.add(folder)
            if (other := collected.setdefault(name, path)) != path:
                yield f"tests/{path} has the name of tests/{other}: pytest collects one of the two"
        if folder and folder.split("/")[0] not in beside and folder not in known:
            yield f"tests/{path} stands beside no package: proxy/{folder} does not exist"
    for package in sorted(known - tested - set(untested)):
        yield f"proxy/{package} has no tests of its own: tests/{package} has no test_….py"
    for package in untested:
        if package in tested or package not in known:
            yield f"proxy/{package} needs no excuse: take its entry out of UNTESTED_BESIDE"
