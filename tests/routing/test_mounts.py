"""A mount is canonical and valid by construction; mounts that exclude each other are named with the reason."""

from __future__ import annotations

import pytest

from proxy.routing.mounts import Mount, MountKind, clashes, hides


def test_the_four_kinds() -> None:
    assert Mount.root() == Mount(MountKind.ROOT)
    assert Mount.on_host("Research.Notebooks.Internal.").host == "research.notebooks.internal"
    assert Mount.on_port(8444).port == 8444
    assert Mount.at_path("/research/").path == "/research/"
    assert [
        str(mount)
        for mount in (Mount.root(), Mount.on_host("a.b"), Mount.on_port(1), Mount.at_path("/a/b_c~d.e-f/"))
    ] == ["root", "host a.b", "port 1", "path /a/b_c~d.e-f/"]


@pytest.mark.parametrize("path", ["research", "/research", "research/", "/research/"])
def test_a_paths_outer_slashes_may_be_left_out(path: str) -> None:
    mount = Mount.at_path(path)
    assert mount.path == "/research/"
    assert mount.prefix == "/research"


def test_only_paths_have_a_prefix() -> None:
    assert {mount.prefix for mount in (Mount.root(), Mount.on_host("a"), Mount.on_port(1))} == {""}


@pytest.mark.parametrize("host", ["", "a b", "a/b", "*.a", "a:80", "é"])
def test_what_is_not_a_host_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"host name|names a port"):
        Mount.on_host(host)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_not_a_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not a port"):
        Mount.on_port(port)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "between slashes"),
        ("/", "between slashes"),
        ("/a//b/", "between slashes"),
        ("/a b/", "between slashes"),
        ("/a%20b/", "between slashes"),
        ("/é/", "between slashes"),
        ("/a?b/", "between slashes"),
        ("/a\n/", "between slashes"),
        ("/../", "dot segment"),
        ("/a/./b/", "dot segment"),
        ("/.nbgate/", "own pages"),
        ("/.nbgate/x/", "own pages"),
        ("/api/gateway/", "own pages"),
        ("/api/gateway/v1/", "own pages"),
        ("/api/", "own pages"),
    ],
)
def test_what_cannot_be_a_mounts_path_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Mount.at_path(path)


def test_mounts_that_exclude_each_other_are_found_pair_by_pair() -> None:
    mounts = {
        "r1": Mount.root(),
        "r2": Mount.root(),
        "h1": Mount.on_host("a.internal"),
        "h2": Mount.on_host("A.internal"),
        "p1": Mount.on_port(8444),
        "p2": Mount.on_port(8444),
        "a": Mount.at_path("/a/"),
        "a2": Mount.at_path("/a"),
        "inner": Mount.at_path("/a/b/"),
    }
    found = clashes(mounts)
    assert [(one, other) for one, other, _ in found] == [
        ("r1", "r2"),
        ("h1", "h2"),
        ("p1", "p2"),
        ("a", "a2"),
        ("a", "inner"),
        ("a2", "inner"),
    ]
    reasons = {(one, other): reason for one, other, reason in found}
    assert reasons["r1", "r2"] == "only one instance can be mounted at the root"
    assert reasons["p1", "p2"] == "both at port 8444"
    assert reasons["a", "inner"] == "path /a/b/ lies inside /a/, whose cookies browsers would send along"
    assert clashes({"inner": mounts["inner"], "a": mounts["a"]})[0][2] == reasons["a", "inner"]


def test_mounts_of_different_kinds_and_sibling_paths_live_together() -> None:
    assert not clashes(
        {
            "root": Mount.root(),
            "host": Mount.on_host("a.internal"),
            "port": Mount.on_port(8444),
            "ab": Mount.at_path("/ab/"),
            "a": Mount.at_path("/a/"),
        }
    )


def test_what_is_mounted_hides_an_alias_that_it_answers_for() -> None:
    path, inner, host = Mount.at_path("/a/"), Mount.at_path("/a/b/"), Mount.on_host("a.nb.internal")
    assert hides(path, path)
    assert hides(path, inner)
    assert not hides(inner, path)
    assert not hides(Mount.at_path("/ab/"), path)
    assert hides(host, host)
    assert not hides(Mount.on_host("b.nb.internal"), host)
    assert not hides(path, host)
    assert not hides(Mount.root(), path)
