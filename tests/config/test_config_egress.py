"""How connections to AWS leave: by the file, or else by what the environment says to all programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.summary import print_summary
from proxy.config.binds import SocketAddress
from proxy.config.settings import Aws
from tests.config.config_files import NOW, load_text, problems_of, said, text_of

FILE = "aws:\n  region: eu-west-1\n"
SECRET = "hunter22-hunter22"


def aws(directory: Path, more: str = "", **environ: str) -> Aws:
    return load_text(directory, text_of(aws=FILE + more), environ=environ).aws


def test_by_default_nothing_is_between(tmp_path: Path) -> None:
    found = aws(tmp_path)
    assert (found.https_proxy, found.no_proxy, found.ca_bundle, found.notebook_endpoint) == (
        "",
        "",
        None,
        None,
    )
    assert not found.forward_client_address


def test_the_environment_counts_where_the_file_says_nothing(tmp_path: Path) -> None:
    found = aws(
        tmp_path, HTTPS_PROXY="http://p:3128", NO_PROXY=".internal, 10.0.0.7", AWS_CA_BUNDLE="/etc/ca.pem"
    )
    assert found.https_proxy == "http://p:3128"
    assert found.no_proxy == ".internal, 10.0.0.7"
    assert found.ca_bundle == Path("/etc/ca.pem")
    assert aws(tmp_path, AWS_CA_BUNDLE="ca.pem").ca_bundle == Path("ca.pem")
    assert aws(tmp_path, AWS_CA_BUNDLE="").ca_bundle is None


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"https_proxy": "http://small:1", "HTTPS_PROXY": "http://large:1"}, "http://small:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://large:1"}, ""),
        ({"HTTP_PROXY": "http://other:1", "ALL_PROXY": "http://other:1"}, ""),
    ],
)
def test_variables_are_read_as_urllib_and_botocore_read_them(
    tmp_path: Path, environ: dict[str, str], proxy: str
) -> None:
    assert aws(tmp_path, **environ).https_proxy == proxy


def test_the_file_counts_before_the_environment(tmp_path: Path) -> None:
    found = aws(
        tmp_path,
        "  https_proxy: http://mine:1\n  no_proxy: [.internal, '10.0.0.7:443']\n  ca_bundle: ca.pem\n"
        "  notebook_endpoint: VPCE.example:8443\n  notebook_suffixes: ['*.notebook.x.example', .notebook.y.example]\n",
        HTTPS_PROXY="nonsense with spaces",
        NO_PROXY="*",
        AWS_CA_BUNDLE="/etc/ca.pem",
    )
    assert found.https_proxy == "http://mine:1"
    assert found.no_proxy == ".internal,10.0.0.7:443"
    assert found.ca_bundle == tmp_path / "ca.pem"
    assert found.notebook_endpoint == SocketAddress("vpce.example", 8443)
    assert found.notebook_suffixes == ("notebook.x.example", "notebook.y.example")
    assert aws(tmp_path, "  no_proxy: []\n", NO_PROXY="*").no_proxy == ""


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("vpce.example", SocketAddress("vpce.example", 443)),
        ("'10.0.0.7:8443'", SocketAddress("10.0.0.7", 8443)),
        ("'[2001:db8::1]'", SocketAddress("2001:db8::1", 443)),
        ("'[2001:db8::1]:8443'", SocketAddress("2001:db8::1", 8443)),
    ],
)
def test_an_endpoint_is_a_name_or_an_address_with_a_port_or_without(
    tmp_path: Path, written: str, address: SocketAddress
) -> None:
    assert aws(tmp_path, f"  notebook_endpoint: {written}\n").notebook_endpoint == address


def test_a_proxy_of_the_environment_that_is_none_is_told_and_not_shown(tmp_path: Path) -> None:
    [problem] = problems_of(
        tmp_path, text_of(aws=FILE), environ={"HTTPS_PROXY": f"socks5://u:{SECRET}@proxy:1080"}
    )
    assert said(problem)[1:] == (
        "aws.https_proxy",
        "HTTPS_PROXY of the environment is neither an http nor an https URL",
        "such as http://proxy.internal:3128",
    )
    assert SECRET not in str(problem)


def test_credentials_of_a_proxy_show_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = f"  https_proxy: http://gate:{SECRET}@proxy.internal:3128\n  no_proxy: [.internal]\n"
    more += "  ca_bundle: /etc/ca.pem\n"
    settings = load_text(
        tmp_path, text_of(aws=FILE + more + "  notebook_endpoint: vpce.example\n"), environ={}
    )
    print_summary(settings, now=NOW)
    told = capsys.readouterr().out
    assert "http://proxy.internal:3128, but for .internal" in told
    assert "over vpce.example:443" in told
    assert "/etc/ca.pem" in told
    assert SECRET not in told + repr(settings)
