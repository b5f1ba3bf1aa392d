"""What is shipped besides the program: manifests, the role's policy, the README and the Makefile say what
is true.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from aiohttp.test_utils import TestServer
from botocore import xform_name
from botocore.loaders import Loader
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import main
from proxy.client_address.networks import parse_address
from proxy.config.binds import SocketAddress
from proxy.config.load import load
from proxy.config.sections import Timeouts
from proxy.config.settings import Settings
from proxy.routing.mounts import MountKind
from proxy.server.operations.admin import Readiness, admin_application
from proxy.telemetry.sink import MAX_BACKLOG_BYTES
from tests.harness.certificates import self_signed, trusting
from tests.harness.gateway import open_rig
from tests.harness.installed import installed
from tests.harness.peer import Peer
from tests.harness.websocket_peers import UPGRADE, client_frame, server_frame

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
README = (ROOT / "README.md").read_text("utf-8")


def no_metrics(accept: str) -> tuple[bytes, str]:
    raise AssertionError("nobody asks")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def kubernetes(kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    (found,) = [document for document in documents if document["kind"] == kind]
    return dict(found)


def pod() -> dict[str, Any]:
    return dict(kubernetes("Deployment")["spec"]["template"]["spec"])


PAGES = ("README.md", "config/policy.md", "config/client-address.md")


def shown_configs() -> dict[str, str]:
    """The first of the README is whole; what all others show takes the place of its sections of the same name."""
    shown = {
        f"{page} {number}": text
        for page in PAGES
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S), 1
        )
    }
    whole = yaml.safe_load(shown["README.md 1"])
    return {name: yaml.safe_dump({**whole, **yaml.safe_load(text)}) for name, text in shown.items()} | {
        "README.md 1": shown["README.md 1"]
    }


CONFIGS = {
    "compose.yaml": compose()["configs"]["nbgate"]["content"],
    "kubernetes.yaml": kubernetes("ConfigMap")["data"]["nbgate.yaml"],
    **shown_configs(),
}


EXAMPLE_SECRETS = dict.fromkeys(("NBGATE_TOKEN_KEY", "NBGATE_ALICE_SECRET"), "0123456789abcdef" * 4)


def settings_of(text: str, directory: Path) -> Settings:
    for name in re.findall(r"file: ([\w-]+\.txt)", text):
        (directory / name).write_text("192.0.2.0/24\n", "utf-8")
    file = directory / "nbgate.yaml"
    file.write_text(text, "utf-8")
    # What examples refer to, for readers to set.
    return load(file, environ=EXAMPLE_SECRETS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_that_is_shown_loads(name: str, tmp_path: Path) -> None:
    assert settings_of(CONFIGS[name], tmp_path).instances


@pytest.mark.parametrize("page", PAGES)
def test_each_page_shows_a_configuration(page: str) -> None:
    assert any(name.startswith(page) for name in shown_configs())


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_under_config_loads(file: Path) -> None:
    assert load(file, environ={}).instances


# The role's policy


def called_operations() -> set[str]:
    """SageMaker's operations that `proxy.aws` calls, by the methods of boto3's client."""
    names = Loader().load_service_model("sagemaker", "service-2")["operations"]
    by_method = {xform_name(name): name for name in names}
    called = set()
    for file in (ROOT / "proxy" / "aws").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in by_method:
                receiver = ast.unparse(node.value)
                if receiver.split(".")[-1].lstrip("_").endswith("client"):
                    called.add(by_method[node.attr])
    return called


def policy_statements() -> list[dict[str, Any]]:
    policy = json.loads((DEPLOY / "iam-policy.json").read_text("utf-8"))
    assert policy["Version"] == "2012-10-17"
    return list(policy["Statement"])


def test_the_role_may_do_exactly_what_the_gateway_calls() -> None:
    allowed = [action for statement in policy_statements() for action in statement["Action"]]
    assert all(statement["Effect"] == "Allow" for statement in policy_statements())
    assert sorted(allowed) == sorted(f"sagemaker:{operation}" for operation in called_operations())


def test_the_role_is_held_to_named_instances_and_to_the_gateways_own_address() -> None:
    for statement in policy_statements():
        # The action that knows no resources.
        if statement["Action"] == ["sagemaker:ListNotebookInstances"]:
            assert statement["Resource"] == ["*"]
            assert statement["Condition"] == {"IpAddress": {"aws:SourceIp": ["EGRESS_ADDRESS/32"]}}
            continue
        for resource in statement["Resource"]:
            assert resource.startswith("arn:aws:sagemaker:REGION:ACCOUNT_ID:notebook-instance/")
            assert "*" not in resource
        assert statement["Condition"] == {"IpAddress": {"aws:SourceIp": ["EGRESS_ADDRESS/32"]}}


# The image


def dockerfile() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.M)).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]  # type: ignore[misc]


def last_stage() -> list[tuple[str, str]]:
    instructions = dockerfile()
    begins = max(number for number, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[begins:]


def only(word: str) -> str:
    (value,) = [value for instruction, value in last_stage() if instruction == word]
    return value


def test_the_image_is_built_in_stages_and_runs_as_a_numbered_user_without_root() -> None:
    assert len([word for word, _ in dockerfile() if word == "FROM"]) == 2
    user, _, group = only("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    after_user = [word for word, _ in last_stage()][[word for word, _ in last_stage()].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & set(after_user)


def test_the_image_starts_the_command_itself_so_that_it_gets_the_signals() -> None:
    """Exec form: a shell as process 1 would not hand SIGTERM on, and nothing would drain."""
    assert json.loads(only("ENTRYPOINT")) == ["nbgate"]
    command = json.loads(only("CMD"))
    assert command == ["serve", "--config", "/etc/nbgate/nbgate.yaml"]
    assert command[0] in main.commands
    assert only("STOPSIGNAL") == "SIGTERM"


def test_the_image_copies_what_exists_and_what_the_build_context_has() -> None:
    admitted = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    for word, value in dockerfile():
        if word == "COPY" and not value.startswith("--from"):
            for source in shlex.split(value)[:-1]:
                assert (ROOT / source).exists()
                assert source in admitted


def health_check() -> list[str]:
    words: list[str] = json.loads(only("HEALTHCHECK").split("CMD", 1)[1])
    return words


async def run_health_check(port: int) -> int:
    interpreter, *arguments = health_check()
    assert interpreter == "python"
    assert "127.0.0.1:9901/healthz" in arguments[-1]
    arguments[-1] = arguments[-1].replace(":9901", f":{port}")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=subprocess.DEVNULL)
    return await process.wait()


async def test_the_health_check_passes_against_the_admin_pages_and_fails_without_them(
    aiohttp_server: Callable[..., Awaitable[TestServer]],
) -> None:
    server = await aiohttp_server(admin_application(lambda: Readiness(ready=False), no_metrics))
    assert server.port is not None
    assert await run_health_check(server.port) == 0
    await server.close()
    assert await run_health_check(server.port) == 1


# Compose


def test_compose_gives_the_gateway_nothing_that_it_does_not_need() -> None:
    service = compose()["services"]["nbgate"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image's own user, which is not root, is kept"
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_compose_keeps_the_callers_addresses_by_using_the_hosts_network() -> None:
    service = compose()["services"]["nbgate"]
    assert service["network_mode"] == "host"
    assert "ports" not in service


def test_compose_puts_the_configuration_where_the_image_looks_for_it() -> None:
    (config,) = compose()["services"]["nbgate"]["configs"]
    assert config["target"] == json.loads(only("CMD"))[-1]


# How long a gateway may take to end

SLACK_SECONDS = 15
"""Beside the delay and the drain: for what starts and ends a process, and for AWS calls that hang."""


def seconds_in(pattern: str, text: str) -> int:
    """The only number that stands there."""
    (number,) = set(re.findall(pattern, text))
    return int(number)


DEPLOY_README = (DEPLOY / "README.md").read_text("utf-8")
GRACE = {
    "Kubernetes": ("kubernetes.yaml", lambda: int(pod()["terminationGracePeriodSeconds"])),
    "Compose": (
        "compose.yaml",
        lambda: int(compose()["services"]["nbgate"]["stop_grace_period"].removesuffix("s")),
    ),
    "systemd": ("", lambda: seconds_in(r"`TimeoutStopSec=(\d+)`", DEPLOY_README)),
    "docker stop": ("", lambda: seconds_in(r"`--stop-timeout (\d+)`", DEPLOY_README)),
}


def timeouts_of(configuration: str, directory: Path) -> Timeouts:
    """What a shipped configuration says; the defaults where none is shipped."""
    return settings_of(CONFIGS[configuration], directory).timeouts if configuration else Timeouts()


@pytest.mark.parametrize(("configuration", "grace"), GRACE.values(), ids=GRACE)
def test_whoever_ends_a_gateway_waits_for_its_delay_its_drain_and_some_more(
    tmp_path: Path, configuration: str, grace: Callable[[], int]
) -> None:
    timeouts = timeouts_of(configuration, tmp_path)
    assert grace() == timeouts.drain_delay_seconds + timeouts.drain_seconds + SLACK_SECONDS


def test_nginx_goes_when_load_balancers_have_noticed_and_waits_for_no_websocket(tmp_path: Path) -> None:
    """A native sidecar is told to end when the other containers have; so both one after the other fit in."""
    timeouts = timeouts_of("kubernetes.yaml", tmp_path)
    (nginx,) = pod()["containers"]
    pause = nginx["lifecycle"]["preStop"]["exec"]["command"]
    assert pause == ["sleep", f"{timeouts.drain_delay_seconds:.0f}"]
    shutdown_seconds = seconds_in(
        r"worker_shutdown_timeout (\d+)s;", kubernetes("ConfigMap")["data"]["nginx.conf"]
    )
    assert shutdown_seconds == timeouts.drain_seconds
    last_seconds = int(pause[1]) + shutdown_seconds + timeouts.drain_delay_seconds
    assert last_seconds < pod()["terminationGracePeriodSeconds"]


def test_what_is_said_of_nginx_and_of_the_signal_are_the_defaults() -> None:
    defaults = Timeouts()
    assert seconds_in(r"`worker_shutdown_timeout (\d+)s;`", DEPLOY_README) == defaults.drain_seconds
    assert (
        seconds_in(r"`timeouts.drain_delay`\s+\((\d+) s\)", README),
        seconds_in(r"`timeouts.drain` \((\d+) s\)", README),
    ) == (defaults.drain_delay_seconds, defaults.drain_seconds)


@asynccontextmanager
async def shipped_nginx(directory: Path, origin: str) -> AsyncIterator[Any]:
    """The manifest's nginx in front of `origin`, at `nginx.sock` and with the certificate in `tls`; its process."""
    text = kubernetes("ConfigMap")["data"]["nginx.conf"]
    for shipped, here in {
        " /tmp/": f" {directory}/",
        "listen 8443 ssl;": f"listen unix:{directory}/nginx.sock ssl;",
        "/etc/nginx/tls": f"{directory}/tls",
        "http://127.0.0.1:8080": origin,
        # A Unix socket has no addresses.
        "X-Forwarded-For $remote_addr": "X-Forwarded-For 127.0.0.1",
        "worker_shutdown_timeout 30s;": "worker_shutdown_timeout 1s;",
    }.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (directory / "nginx.conf").write_text(text)
    # One user, as in the pod, where root's workers would be somebody else.
    only_user = "user root;" if os.geteuid() == 0 else ""
    words = [installed("nginx"), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    words += ["-g", f"daemon off; {only_user}"]
    nginx = await asyncio.create_subprocess_exec(*words)
    try:
        async with asyncio.timeout(30):
            while True:
                assert nginx.returncode is None
                try:
                    _, writer = await asyncio.open_unix_connection(str(directory / "nginx.sock"))
                except (FileNotFoundError, ConnectionRefusedError):
                    await asyncio.sleep(0.02)  # another process
                else:
                    writer.close()
                    break
        yield nginx
    finally:
        if nginx.returncode is None:
            # At once, and its workers with it.
            nginx.terminate()
            await nginx.wait()


def renew(directory: Path) -> ssl.SSLContext:
    """A new certificate and key where the secret is mounted; what trusts it and no other."""
    made = directory / "made"
    made.mkdir(exist_ok=True)
    trust = trusting(self_signed(made, name="DNS:localhost"))
    tls = directory / "tls"
    tls.mkdir(exist_ok=True)
    # As a secret's: both at once, and never half of a file.
    for name, file in (("tls.crt", "certificate.pem"), ("tls.key", "key.pem")):
        (made / file).replace(tls / name)
    return trust


async def visit(directory: Path, trust: ssl.SSLContext) -> Peer:
    """A page's WebSocket through nginx."""
    page = Peer(
        *await asyncio.open_unix_connection(
            str(directory / "nginx.sock"), ssl=trust, server_hostname="localhost"
        )
    )
    page.send(b"GET /api/kernels/1/channels HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % UPGRADE)
    assert b" 101 " in await page.head()
    return page


async def echo(page: Peer) -> None:
    page.send(client_frame(b"there?", opcode=1))
    await page.expect(server_frame(b"there?", opcode=1))


@pytest.mark.program
async def test_the_shipped_nginx_ends_although_a_websocket_is_open(tmp_path: Path) -> None:
    """The page hears no close frame, as of a connection that broke: JupyterLab connects again."""
    trust = renew(tmp_path)
    async with (
        open_rig(tmp_path, client_address={"trusted_proxies": ["127.0.0.1"]}) as rig,
        asyncio.timeout(30),
        shipped_nginx(tmp_path, rig.origin) as nginx,
    ):
        page = await visit(tmp_path, trust)
        await echo(page)
        nginx.send_signal(signal.SIGQUIT)
        assert await page.gone()
        page.close()
        assert await nginx.wait() == 0


@pytest.mark.program
async def test_the_shipped_nginx_takes_a_renewed_secret_for_the_next_handshake(tmp_path: Path) -> None:
    """Nobody reloads it, and what is open stays."""
    old = renew(tmp_path)
    async with (
        open_rig(tmp_path, client_address={"trusted_proxies": ["127.0.0.1"]}) as rig,
        asyncio.timeout(30),
        shipped_nginx(tmp_path, rig.origin),
    ):
        page = await visit(tmp_path, old)
        new = renew(tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError):
            await visit(tmp_path, old)
        another = await visit(tmp_path, new)
        for one in (page, another):
            await echo(one)
            one.close()


# The package


def test_all_that_is_read_from_the_package_is_in_the_wheel() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"][
        "package-data"
    ]["proxy"]
    package = ROOT / "proxy"
    shipped = {file for pattern in patterns for file in package.glob(pattern.replace("/**", "/**/*"))}
    there = {file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    # The page for who is new is read by people.
    assert {file for file in there if file.suffix not in {".py", ".md"}} <= shipped
    assert package / "config" / "first.yaml" in shipped


# Kubernetes


def test_the_gateway_is_a_native_sidecar() -> None:
    (sidecar,) = pod()["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"] == json.loads(only("CMD"))


def test_every_container_meets_the_restricted_pod_security_standard() -> None:
    spec = pod()
    assert kubernetes("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in spec["initContainers"] + spec["containers"]:
        context = container["securityContext"]
        assert context["runAsUser"] == int(only("USER").split(":")[0])
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


async def test_the_probes_ask_for_pages_that_exist_on_a_port_that_is_open(
    aiohttp_client: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    (sidecar,) = pod()["initContainers"]
    client = await aiohttp_client(admin_application(lambda: Readiness(ready=True), no_metrics))
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    admin = settings_of(CONFIGS["kubernetes.yaml"], tmp_path).admin
    assert admin is not None
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = sidecar[probe]["httpGet"]
        assert (await client.get(get["path"])).status == 200
        assert ports[get["port"]] == admin.bind.port
    assert admin.bind.host == "0.0.0.0", "the kubelet does not probe 127.0.0.1"
    assert sidecar["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert sidecar["livenessProbe"]["httpGet"]["path"] == "/healthz", "draining is no reason for a restart"


def test_callers_addresses_survive_the_way_into_the_pod(tmp_path: Path) -> None:
    """The service keeps them, nginx hands them on instead of what the caller says, nbgate trusts nginx alone."""
    assert kubernetes("Service")["spec"]["externalTrafficPolicy"] == "Local"
    nginx = kubernetes("ConfigMap")["data"]["nginx.conf"]
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in nginx
    assert "$proxy_add_x_forwarded_for" not in nginx
    settings = settings_of(CONFIGS["kubernetes.yaml"], tmp_path)
    assert [str(network) for network in settings.address_strategy.networks] == ["127.0.0.1/32"]
    (listener,) = settings.listeners
    assert isinstance(listener.bind, SocketAddress)
    assert parse_address(listener.bind.host).is_loopback, "nobody but the pod's own containers connects"
    assert f"proxy_pass http://{listener.bind};" in nginx
    assert (listener.scheme, listener.public_port) == ("https", 443)


def test_one_gateway_runs_and_its_successor_serves_before_it_goes() -> None:
    """Until gateways share state, two would stop what somebody keeps awake at the other."""
    deployment = kubernetes("Deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    text = (DEPLOY / "kubernetes.yaml").read_text("utf-8")
    before = text[: text.index("replicas: 1")]
    assert "Keep awake" in before.rpartition("\nspec:\n")[2], "the manifest says why"


def test_only_https_is_admitted_from_outside_and_the_admin_port_for_what_monitors() -> None:
    policy = kubernetes("NetworkPolicy")["spec"]
    https, admin = policy["ingress"]
    assert https == {"ports": [{"port": 8443, "protocol": "TCP"}]}
    assert admin == {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "ports": [{"port": 9901, "protocol": "TCP"}],
    }
    assert policy["podSelector"]["matchLabels"] == {"app": "nbgate"}


def test_names_aws_and_the_pod_identity_agent_are_within_reach() -> None:
    """Without the agent there is no role on clusters that use it. (EKS: 169.254.170.23 and fd00:ec2::23, port 80.)"""
    policy = kubernetes("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    anywhere, agent = policy["egress"]
    assert "to" not in anywhere
    assert [(port["port"], port["protocol"]) for port in anywhere["ports"]] == [
        (53, "UDP"),
        (53, "TCP"),
        (443, "TCP"),
    ]
    assert [to["ipBlock"]["cidr"] for to in agent["to"]] == ["169.254.170.23/32", "fd00:ec2::23/128"]
    assert agent["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_ports_and_volumes_of_the_pod_fit_together() -> None:
    spec = pod()
    containers = spec["initContainers"] + spec["containers"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for container in containers for mount in container["volumeMounts"]} == volumes
    named = {port["name"] for container in containers for port in container["ports"]}
    assert {port["targetPort"] for port in kubernetes("Service")["spec"]["ports"]} <= named


# The README


def documented_commands() -> set[str]:
    table = README.split("## Commands")[1].split("\n## ")[0]
    return set(re.findall(r"`nbgate ([a-z]+)", table))


def test_the_readme_lists_exactly_the_commands_that_there_are() -> None:
    assert documented_commands() == set(main.commands)


def test_the_options_that_the_readme_shows_exist() -> None:
    for line in re.findall(r"nbgate ([a-z]+ .*?)(?:`|  |\n)", README):
        name, *words = shlex.split(line, comments=True)
        command = main.commands.get(name)
        if command is None:
            continue
        if isinstance(command, click.Group):
            command = command.commands[words[0]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options | {"--help"}


def test_every_file_that_a_document_links_to_exists() -> None:
    for document in (ROOT / "README.md", ROOT / "proxy" / "README.md", DEPLOY / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_readmes_table_of_mounts_names_every_kind_and_says_that_paths_share_an_origin() -> None:
    table = README.split("## Where instances appear")[1].split("\n## ")[0]
    for kind in MountKind:
        assert kind.value in table
    assert "**Path mounts share one browser origin.**" in table


def test_addresses_in_the_readmes_configuration_are_what_it_says(tmp_path: Path) -> None:
    text = shown_configs()["README.md 1"]
    settings = settings_of(text, tmp_path)
    said = re.findall(r"^  (\w+): +# (https://\S+)$", text, re.M)
    assert said
    for name, url in said:
        assert settings.urls(name) == (url,)


def test_limits_named_in_prose_are_the_real_ones() -> None:
    assert MAX_BACKLOG_BYTES == 8 * 1024**2
    assert "up to 8 MiB wait" in README


def anchors(document: str) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readmes_contents_are_its_sections() -> None:
    contents = README.split("**Contents**")[1].split("\n## ")[0]
    listed = re.findall(r"\[([^]]+)\]\(#[^)]+\)", " ".join(contents.split()))
    assert listed == re.findall(r"^## (.+)$", README, re.M)
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors(README)


def test_the_call_of_sagemakers_api_that_the_readme_shows_needs_nothing_from_elsewhere() -> None:
    """Without a Region, and without credentials or --no-sign-request, the AWS CLI sends nothing."""
    calls = re.findall(r"^aws (?:.*\\\n)*.*$", README, re.M)
    assert calls
    for call in calls:
        assert "--region " in call
        assert "--no-sign-request" in call


def test_the_policy_export_that_the_deploy_page_shows_prints_a_policy(tmp_path: Path) -> None:
    [line] = re.findall(r"^nbgate (policy export .*?)  #", DEPLOY_README, re.M)
    file = tmp_path / "nbgate.yaml"
    file.write_text((ROOT / "config" / "minimal.yaml").read_text("utf-8"), "utf-8")
    printed = CliRunner().invoke(main, shlex.split(line.replace("nbgate.yaml", str(file))))
    assert printed.exit_code == 0, printed.output
    assert "sagemaker:CreatePresignedNotebookInstanceUrl" in printed.stdout


@pytest.mark.parametrize("file", ["compose.yaml", "kubernetes.yaml"])
def test_manifests_name_the_version_that_this_is(file: str) -> None:
    assert re.findall(r"\bnbgate:([\w.]+)", (DEPLOY / file).read_text("utf-8")) == [__version__]


# The Makefile and CI


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_alone_lists_its_targets() -> None:
    listed = re.findall(r"^  make (\w+)", make().stdout, re.M)
    assert listed == ["help", "demo", "quick", "test", "lint", "bench", "clean"]


def installed_for(target: str, venv: Path) -> list[str]:
    """What pip would be asked for."""
    return re.findall(r"pip install [^']*'([^']+)'", make("--dry-run", target, f"VENV={venv}").stdout)


def test_the_demo_installs_no_more_than_it_needs(tmp_path: Path) -> None:
    for target, wanted in (("demo", ".[demo]"), ("test", ".[demo,test]"), ("quick", ".[demo,test]")):
        assert installed_for(target, tmp_path / "venv") == [wanted]
    said = make("--dry-run", "demo", f"VENV={tmp_path}/venv").stdout
    assert "340 MB, up to a minute" in said


def test_the_demo_takes_what_the_tests_have_installed(tmp_path: Path) -> None:
    """And the other way round not: the tests need more."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "nbgate"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/called\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".installed").touch()
    assert make("demo", f"VENV={tmp_path}").returncode == 0
    assert (tmp_path / "called").read_text() == "nbgate demo\n"
    (tmp_path / ".installed").unlink()
    assert installed_for("test", tmp_path) == [".[demo,test]"]


def test_an_old_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    refused = make("test", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert refused.returncode != 0
    assert "nbgate needs Python 3.11 or newer" in refused.stderr
    assert "Python 3.9.2" in refused.stderr
    assert "make test PYTHON=python3.12" in refused.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("name", ["run", "full"])
def test_ci_stops_at_the_first_failure_and_is_runnable(name: str) -> None:
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text("utf-8")
    for file in (script, script.with_name("steps")):
        assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0


def test_ci_ends_with_the_summary_of_all_tests() -> None:
    [run, *_], [full, *_] = (
        (ROOT / ".ci" / name).read_text("utf-8").rstrip().splitlines()[::-1] for name in ("run", "full")
    )
    assert re.match(r"make .*\btest\b", run)
    assert full == "exec .ci/run"


def steps(command: str, *, home: Path | None = None) -> str:
    """What a command says that uses the functions of `.ci/steps`."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". .ci/steps; {command}"],
        cwd=ROOT,
        env={**os.environ, "PYENV_ROOT": str(home)} if home else None,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_ci_tries_each_python_that_pyproject_names() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert named
    assert set(named) <= set(steps('echo "${PYTHONS[@]}"').split())


def test_a_promised_python_is_the_newest_of_pyenvs_that_works(tmp_path: Path) -> None:
    """pyenv's shims, and interpreters without `venv`, are found and of no use."""
    for version, works in (("3.99.8", 0), ("3.99.9", 0), ("3.99.10", 0), ("3.99.11", 1)):
        program = tmp_path / "versions" / version / "bin" / "python"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nexit {works}\n")
        program.chmod(0o755)
    assert steps("find_python 3.99", home=tmp_path).strip() == str(
        tmp_path / "versions" / "3.99.10" / "bin" / "python"
    )


def test_the_changelog_has_the_version() -> None:
    """While a version is being made, its changes stand under Unreleased."""
    first = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert first
    assert first[1] == ("Unreleased" if ".dev" in __version__ else __version__)
