"""Service workers: none covers more than its mount, whatever its script's path and its answer say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.mounts import OWN_PATHS
from proxy.routing.workers import is_confined, may_be_worker, worker_scope

BESIDE_ROOT = (*OWN_PATHS, "/research/", "/teams/nlp/")
MOUNTS = {
    "path": ("/research/", ()),
    "root": ("/", BESIDE_ROOT),
    "own origin": ("/", OWN_PATHS),
}


@pytest.mark.parametrize(
    ("mount", "path", "may"),
    [
        ("path", "/research/sw.js", True),
        ("path", "/research/files/a/sw.js", True),
        ("path", "/research//sw.js", True),
        ("path", "/research/", True),
        ("path", "/research", False),
        ("path", "/sw.js", False),
        ("path", "/researcher/sw.js", False),
        ("path", "/other/sw.js", False),
        ("path", "/.nbgate/sw.js", False),
        ("path", "/research/..%2fsw.js", False),
        ("path", "/research/a%2Fsw.js", False),
        ("path", "/research/a%5csw.js", False),
        ("path", "/research/..\\sw.js", False),
        ("path", "/research/../sw.js", False),
        ("path", "/research/%2e%2E/sw.js", False),
        ("path", "/research/.%2e/sw.js", False),
        ("path", "/research/./sw.js", False),
        ("path", "/research/%2e", False),
        ("path", "/research/..", False),
        ("path", "/research/..a/.hidden/sw.js", True),
        ("path", "/research/a%20b/sw.js", True),
        ("root", "/sw.js", False),
        ("root", "/api/sw.js", False),
        ("root", "/api/contents/sw.js", True),
        ("root", "/api/gateway/sw.js", False),
        ("root", "/.nbgate/sw.js", False),
        ("root", "/files/sw.js", True),
        ("root", "/proxy/8080/sw.js", True),
        ("root", "/teams/sw.js", False),
        ("root", "/teams/other/sw.js", True),
        ("root", "/research/sw.js", False),
        ("own origin", "/sw.js", False),
        ("own origin", "/api/sw.js", False),
        ("own origin", "/teams/sw.js", True),
        ("own origin", "/codeserver/sw.js", True),
    ],
)
def test_a_script_becomes_a_worker_of_its_own_mount_only(mount: str, path: str, may: bool) -> None:
    prefix, others = MOUNTS[mount]
    assert may_be_worker(path, mount=prefix, others=others) is may


@pytest.mark.parametrize(
    ("mount", "script", "allowed", "scope"),
    [
        # What an application says in the notebook's words.
        ("path", "/research/proxy/8080/js/sw.js", "/proxy/8080/", "/research/proxy/8080/"),
        ("path", "/research/proxy/8080/js/sw.js", "/research/proxy/8080/", "/research/proxy/8080/"),
        ("path", "/research/proxy/8080/js/sw.js", "/research/", "/research/"),
        ("root", "/proxy/8080/js/sw.js", "/proxy/8080/", "/proxy/8080/"),
        ("own origin", "/proxy/8080/js/sw.js", "/proxy/8080", "/proxy/8080"),
        # code-server says "/", and means its own: the widest directory that is the mount's alone.
        ("path", "/research/codeserver/_static/out/sw.js", "/", "/research/"),
        ("own origin", "/codeserver/_static/out/sw.js", "/", "/codeserver/"),
        ("root", "/codeserver/_static/out/sw.js", "/", "/codeserver/"),
        ("root", "/api/ext/js/sw.js", "/", "/api/ext/"),
        ("root", "/api/ext/js/sw.js", "/api/", "/api/ext/"),
        ("root", "/teams/other/js/sw.js", "/teams/", "/teams/other/"),
        # Not below the mount, or not beside the gateway's own.
        ("path", "/research/js/sw.js", "/research", "/research/research"),
        ("path", "/research/js/sw.js", "/.nbgate/", "/research/.nbgate/"),
        ("root", "/js/sw.js", "/.nbgate/", ""),
        ("root", "/js/sw.js", "/.nb", ""),
        ("root", "/js/sw.js", "/research/x", ""),
        ("root", "/js/sw.js", "/api/gateway", ""),
        ("own origin", "/js/sw.js", "/api/", ""),
        ("root", "/sw.js", "/", ""),
        # What a browser would read as another path than it looks like.
        ("path", "/research/js/sw.js", "/../", ""),
        ("path", "/research/js/sw.js", "/a/../../", ""),
        ("path", "/research/js/sw.js", "/a/..", ""),
        ("path", "/research/js/sw.js", "/./", ""),
        ("path", "/research/js/sw.js", "/%2e%2e/", ""),
        ("path", "/research/js/sw.js", "/.\t./", ""),
        ("path", "/research/js/sw.js", "/a\\..\\..", ""),
        ("path", "/research/js/sw.js", "../../", ""),
        ("path", "/research/js/sw.js", "./", ""),
        ("path", "/research/js/sw.js", "", ""),
        ("path", "/research/js/sw.js", "//evil.example/", ""),
        ("path", "/research/js/sw.js", "https://notebooks.internal/", ""),
        ("path", "/research/js/sw.js", "/?/../../", ""),
        ("path", "/research/js/sw.js", "/#", ""),
        ("path", "/research/js/sw.js", "/a b", ""),
        ("path", "/research/js/sw.js", "/\xe9", ""),
        ("path", "/research/js/sw.js", "/..a/.b/", "/research/..a/.b/"),
    ],
)
def test_what_a_worker_may_cover_is_cut_to_the_mount(
    mount: str, script: str, allowed: str, scope: str
) -> None:
    prefix, others = MOUNTS[mount]
    assert worker_scope(allowed, script=script, mount=prefix, others=others) == scope


@given(
    st.sampled_from(sorted(MOUNTS)),
    st.text(alphabet="/.%2eE\\\t?#abresch:", max_size=24),
    st.lists(st.sampled_from(["a", "api", "teams", "research", "..a", "x.y"]), max_size=4),
)
def test_no_answer_widens_a_scope_beyond_its_mount(mount: str, allowed: str, below: list[str]) -> None:
    prefix, others = MOUNTS[mount]
    script = prefix + "/".join([*below, "sw.js"])
    for value in (allowed, f"/{allowed}", f"{prefix}{allowed}"):
        scope = worker_scope(value, script=script, mount=prefix, others=others)
        assert not scope or is_confined(scope, mount=prefix, others=others)
        assert not scope or ("/../" not in f"{scope}/" and "/./" not in f"{scope}/" and "%" not in scope)
