"""The instance comes out of the configured mounts by bytes as they came; upstream sees the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest, ClientError, Misdirected
from proxy.routing.authority import origin_form, parse_authority
from proxy.routing.mounts import OWN_PATHS, Mount
from proxy.routing.router import OwnPage, Redirect, Route, Router

HOST = "notebooks.internal"
MOUNTS = {
    "own-host": Mount.on_host("research.notebooks.internal"),
    "own-port": Mount.on_port(8444),
    "research": Mount.at_path("/research/"),
    "gpu": Mount.at_path("/team/gpu/"),
}
PATHS = Router([HOST, "127.0.0.1"], MOUNTS)
WITH_ROOT = Router([HOST], {**MOUNTS, "main": Mount.root()})


def find(
    router: Router, target: str, *, host: str = HOST, port: int = 443
) -> tuple[str, str, str] | OwnPage | Redirect | None:
    route = router.match(host=host, listener_port=port, target=target)
    if isinstance(route, Route):
        assert route.mount.prefix == route.prefix
        return route.instance, route.upstream_target, route.prefix
    return route


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/research/", ("research", "/", "/research")),
        ("/research/lab?reset", ("research", "/lab?reset", "/research")),
        (
            "/research/files/a%2Fb%20c;x=1?q=1&q=%2B",
            ("research", "/files/a%2Fb%20c;x=1?q=1&q=%2B", "/research"),
        ),
        ("/research?a=/b/&c", Redirect("/research/?a=/b/&c", instance="research")),
        ("/research", Redirect("/research/", instance="research")),
        ("/team/gpu", Redirect("/team/gpu/", instance="gpu")),
        ("/team/gpu/x", ("gpu", "/x", "/team/gpu")),
        ("/team/gpu/x/y/z", ("gpu", "/x/y/z", "/team/gpu")),
        ("/team/", None),
        ("/team", None),
        ("/team/cpu/x", None),
        ("/", OwnPage("/")),
        ("/?next=/research/", OwnPage("/")),
        ("/researcher/x", None),
        ("/research%2f/x", None),
        ("/%72esearch/x", None),
        ("/Research/x", None),
        ("/research;v=1/x", None),
        ("//research/x", None),
        ("/x/../research/", None),
        ("/x?/research/", None),
    ],
)
def test_paths_match_whole_segments_of_raw_bytes(target: str, found: object) -> None:
    assert find(PATHS, target) == found


@pytest.mark.parametrize(
    "rest",
    [
        "/a/../b", "/../x", "/%2e%2e/x", "/%252e", "/%2f", "/..;/", "//x", "/\\x", "/%00", "/a%23/healthz",
        "/private?x=/healthz", "/?", "/%E2%82%AC",
    ],
)  # fmt: skip
def test_what_is_routed_and_what_the_notebook_sees_are_the_same_bytes(rest: str) -> None:
    """THREATS, traversal: decoding or normalising between the verdict and the upstream is how others fell."""
    assert find(PATHS, f"/research{rest}") == ("research", rest, "/research")
    assert find(PATHS, rest, port=8444) == ("own-port", rest, "")
    assert find(PATHS, rest, host="research.notebooks.internal") == ("own-host", rest, "")
    assert find(WITH_ROOT, rest) == ("main", rest, "")


def test_a_port_mount_takes_its_listener_and_no_other() -> None:
    assert find(WITH_ROOT, "/research/lab", port=8444) == ("own-port", "/research/lab", "")
    assert find(WITH_ROOT, "/research/lab", port=443) == ("research", "/lab", "/research")


def test_a_host_mount_takes_its_host_and_no_other() -> None:
    host = "research.notebooks.internal"
    assert find(WITH_ROOT, "/research/lab", host=host) == ("own-host", "/research/lab", "")


def test_the_root_takes_what_the_paths_leave() -> None:
    assert find(WITH_ROOT, "/researcher") == ("main", "/researcher", "")
    assert find(WITH_ROOT, "/research") == Redirect("/research/", instance="research")
    only_root = Router([HOST], {"main": Mount.root()})
    assert find(only_root, "/research/lab?x") == ("main", "/research/lab?x", "")


@pytest.mark.parametrize("path", ["/.nbgate/", "/.nbgate/login", "/api/gateway/v1/instances"])
def test_the_gateways_own_paths_come_first_everywhere(path: str) -> None:
    for host, port in [(HOST, 443), (HOST, 8444), ("research.notebooks.internal", 443)]:
        assert find(WITH_ROOT, f"{path}?x", host=host, port=port) == OwnPage(path)


@pytest.mark.parametrize("path", ["/.nbgate", "/%2enbgate/x", "/api/gateways", "/api/status"])
def test_what_only_resembles_them_is_the_notebooks(path: str) -> None:
    assert find(WITH_ROOT, path) == ("main", path, "")


@pytest.mark.parametrize(
    "host",
    ["nb1.evil", "169.254.169.254", "localhost", "internal", f"{HOST}.evil", f"x.{HOST}", "[::1]", "evil"],
)
@pytest.mark.parametrize("port", [443, 8444])
def test_an_unknown_host_is_misdirected(host: str, port: int) -> None:
    """THREATS, Host SSRF: what is not configured leads nowhere, whatever the path or listener."""
    for target in ("/", "/research/", "/.nbgate/"):
        with pytest.raises(Misdirected):
            WITH_ROOT.match(host=host, listener_port=port, target=target)


def test_an_instances_host_on_anothers_port_is_misdirected() -> None:
    with pytest.raises(Misdirected):
        PATHS.match(host="research.notebooks.internal", listener_port=8444, target="/")


def test_of_nested_paths_the_longest_counts() -> None:
    nested = Router([HOST], {"outer": Mount.at_path("/a/"), "inner": Mount.at_path("/a/b/")})
    assert find(nested, "/a/b/c") == ("inner", "/c", "/a/b")
    assert find(nested, "/a/bc") == ("outer", "/bc", "/a")
    assert find(nested, "/a/b") == Redirect("/a/b/", instance="inner")
    assert find(nested, "/a/x/y/z") == ("outer", "/x/y/z", "/a")


def test_hostnames_are_read_as_hosts_are() -> None:
    router = Router(["Notebooks.Internal.", "[0::1]"], {"main": Mount.root()})
    assert find(router, "/") == ("main", "/", "")
    assert find(router, "/", host=parse_authority("[::1]:8443").host) == ("main", "/", "")
    with pytest.raises(BadRequest):
        Router(["not a host"], {})


@given(st.text(alphabet="/research.?%2f#\\;a ", max_size=30))
def test_no_target_escapes_its_mount(target: str) -> None:
    """A redirect stays on this host, and a routed target is the caller's own bytes."""
    try:
        target = origin_form(f"/{target}", HOST)
    except ClientError:
        return
    route = PATHS.match(host=HOST, listener_port=443, target=target)
    if isinstance(route, Redirect):
        assert route.location.startswith("/research/")
    elif isinstance(route, Route):
        assert route.prefix + route.upstream_target == target
        assert route.upstream_target.startswith("/")
    elif isinstance(route, OwnPage):
        assert target.partition("?")[0] == route.path == "/"


@pytest.mark.parametrize(
    ("router", "host", "port", "tenant", "home"),
    [
        (PATHS, HOST, 443, "", "/"),
        (PATHS, HOST, 8444, "own-port", "/.nbgate/"),
        (PATHS, "research.notebooks.internal", 443, "own-host", "/.nbgate/"),
        (WITH_ROOT, HOST, 443, "", "/.nbgate/"),
    ],
)
def test_who_has_an_origin_for_itself_and_where_the_gateways_own_page_is_there(
    router: Router, host: str, port: int, tenant: str, home: str
) -> None:
    assert router.tenant(host=host, listener_port=port) == tenant
    assert router.home(host=host, listener_port=port) == home


def test_what_else_a_mounts_origin_has() -> None:
    """A mount at the root has path mounts beside it; one with an origin of its own, the gateway's pages alone."""
    mounts = {
        "root": Mount.root(),
        "path": Mount.at_path("/research/"),
        "host": Mount.on_host("nlp.internal"),
        "port": Mount.on_port(8444),
    }
    router = Router(["notebooks.internal"], mounts)
    assert router.others_at(mounts["root"]) == (*OWN_PATHS, "/research/")
    assert router.others_at(mounts["host"]) == router.others_at(mounts["port"]) == OWN_PATHS
    assert router.others_at(mounts["path"]) == ()


ALIASES = {
    "research": [Mount.at_path("/old/"), Mount.at_path("/team/"), Mount.on_host("old.notebooks.internal")],
    "own-host": [Mount.at_path("/nlp/"), Mount.on_host("nlp.internal")],
    "own-port": [Mount.at_path("/vision/")],
}
MOVED = Router([HOST, "127.0.0.1"], MOUNTS, ALIASES)


@pytest.mark.parametrize(
    ("host", "target", "location"),
    [
        (HOST, "/old/", "/research/"),
        (HOST, "/old", "/research/"),
        (HOST, "/old?a=/b/", "/research/?a=/b/"),
        (HOST, "/old/lab/tree/a%2Fb;x?authToken=t&x=%2B", "/research/lab/tree/a%2Fb;x?authToken=t&x=%2B"),
        (HOST, "/old//evil.example/", "/research//evil.example/"),
        ("127.0.0.1", "/old/lab", "/research/lab"),
        # Around another mount, which stays.
        (HOST, "/team/cpu/x", "/research/cpu/x"),
        # An origin of its own; what would be an authority is none behind one.
        (HOST, "/nlp/lab", "//research.notebooks.internal:8443/lab"),
        (HOST, "/nlp", "//research.notebooks.internal:8443/"),
        (HOST, "/nlp//evil.example/", "//research.notebooks.internal:8443//evil.example/"),
        (HOST, "/vision/lab", f"//{HOST}:8444/lab"),
        ("127.0.0.1", "/vision/lab", "//127.0.0.1:8444/lab"),
        # A host that it had.
        ("old.notebooks.internal", "/lab?x", f"//{HOST}:8443/research/lab?x"),
        ("old.notebooks.internal", "//evil.example", f"//{HOST}:8443/research//evil.example"),
        ("nlp.internal", "/lab", "//research.notebooks.internal:8443/lab"),
        ("nlp.internal", "//evil.example", "//research.notebooks.internal:8443//evil.example"),
    ],
)
def test_where_an_instance_was_leads_to_where_it_is(host: str, target: str, location: str) -> None:
    found = MOVED.match(host=host, listener_port=443, target=target, port=8443)
    assert isinstance(found, Redirect)
    assert (found.status, found.location) == (308, location)
    assert found.instance in ALIASES


def test_the_ports_default_is_not_named() -> None:
    found = MOVED.match(host=HOST, listener_port=443, target="/nlp/lab")
    assert found == Redirect("//research.notebooks.internal/lab", instance="own-host")


def test_what_is_mounted_comes_before_what_was() -> None:
    assert find(MOVED, "/team/gpu/x") == ("gpu", "/x", "/team/gpu")
    assert find(MOVED, "/team/gpu") == Redirect("/team/gpu/", instance="gpu")
    assert find(MOVED, "/.nbgate/x") == OwnPage("/.nbgate/x")
    assert find(MOVED, "/old/x", port=8444) == ("own-port", "/old/x", "")
    assert find(MOVED, "/old/x", host="research.notebooks.internal") == ("own-host", "/old/x", "")
    with pytest.raises(Misdirected):
        find(MOVED, "/x", host="old.notebooks.internal", port=8444)
    beside = Router(
        [HOST], {"main": Mount.root(), "b": Mount.at_path("/b/")}, {"main": [Mount.at_path("/a/")]}
    )
    assert beside.match(host=HOST, listener_port=443, target="/a/x") == Redirect(
        f"//{HOST}/x", instance="main"
    )
    assert beside.match(host=HOST, listener_port=443, target="/a//evil.example") == Redirect(
        f"//{HOST}//evil.example", instance="main"
    )


def test_a_worker_at_the_root_does_not_cover_former_paths() -> None:
    beside = Router([HOST], {"main": Mount.root()}, {"main": [Mount.at_path("/a/")]})
    assert "/a/" in beside.others_at(Mount.root())


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("/research/", "research"),
        ("/research/proxy/8050/", "research"),
        ("/team/gpu/lab", "gpu"),
        ("/research", None),
        ("/old/lab", None),
        ("/", None),
        ("", None),
        ("/elsewhere/", None),
    ],
)
def test_a_path_lies_under_the_mount_that_holds_it(path: str, instance: str | None) -> None:
    found = MOVED.under(path)
    assert found == (None if instance is None else (instance, MOUNTS[instance]))


_SEGMENTS = [
    "research",
    "team",
    "gpu",
    "old",
    "nlp",
    "a",
    "proxy",
    "..",
    "",
    ".nbgate",
    "api",
    "gateway",
    "?",
    "%2f",
]


@given(
    st.lists(st.sampled_from(_SEGMENTS), max_size=6).map("/".join),
    st.sampled_from(["/research/", "/team/gpu/"]),
)
def test_what_is_led_under_a_mount_arrives_there_and_is_led_on_no_more(path: str, mount: str) -> None:
    """Of what no mount claims: it ends at the notebook, however it is written."""
    target = f"/{path}"
    if MOVED.match(host=HOST, listener_port=443, target=target) is not None:
        return
    found = MOVED.under(f"{mount}page")
    assert found is not None
    arrived = MOVED.match(host=HOST, listener_port=443, target=found[1].prefix + target)
    assert arrived == Route(found[0], found[1], target, mount[:-1])
