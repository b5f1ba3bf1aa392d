"""The `nbgate` command: what it prints, how it ends, and that asking for help costs nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from proxy import __version__
from proxy.cli import main
from proxy.config.settings import Settings

EXAMPLES = Path(__file__).parents[1] / "config"
MINIMAL = str(EXAMPLES / "minimal.yaml")


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """Run the command in a width that does not depend on the terminal, and of this machine's variables with none that
    nbgate reads."""
    ours = ("AWS_REGION", "AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "NBGATE_CONFIG")
    return CliRunner().invoke(main, arguments, env={**dict.fromkeys(ours), **(env or {})})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    """Puts a function where a command's own is imported from, and keeps its calls."""

    def put(
        module: str, function: str, result: object = None
    ) -> list[tuple[tuple[object, ...], dict[str, object]]]:
        calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

        def stand_in(*args: object, **kwargs: object) -> object:
            calls.append((args, kwargs))
            if isinstance(result, Exception):
                raise result
            return result

        fake = types.ModuleType(module)
        setattr(fake, function, stand_in)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return put


def test_version() -> None:
    assert run("--version").output == f"nbgate {__version__}\n"


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ()])
def test_help_says_what_it_is_and_how_to_begin(arguments: tuple[str, ...]) -> None:
    output = run(*arguments).output
    assert "One fixed address for your team's Amazon SageMaker notebook instances." in output
    for word in ("nbgate demo", "nbgate check nbgate.yaml", "nbgate serve --config nbgate.yaml"):
        assert word in output
    for command in ("check", "demo", "init", "probe", "serve"):
        assert run(command, "--help").exit_code == 0


def test_help_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys\nfrom proxy.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'boto3', 'botocore', 'pydantic', 'aiohttp', 'uvloop', 'rich', 'yaml', 'structlog', 'asyncio'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


MINIMAL_SAYS = """\
{file} is valid.

LISTENER       SEEN BY CALLERS AS             TLS
0.0.0.0:8080   http://notebooks.internal:8080 none
127.0.0.1:9901 (health checks)                none

INSTANCE NOTEBOOK       ADDRESS                                  LETS IN
research research-gpu-1 http://notebooks.internal:8080/research/ office

LIST   NETWORKS USED BY
office        1 policy

OTHER
client address of the connection; forwarding headers are ignored
AWS Region     eu-west-1
AWS identity   as boto3 finds it
sign-in lasts  12h, renewed by the gateway
"""


def unpadded(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_check_prints_what_a_file_means() -> None:
    result = run("check", MINIMAL)
    assert result.exit_code == 0
    assert unpadded(result.stdout) == MINIMAL_SAYS.format(file=MINIMAL)


def test_check_warns_of_what_is_hardly_meant_and_finds_nothing_wrong(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    file.write_text(Path(MINIMAL).read_text().replace("203.0.113.0/24", "0.0.0.0/0"))
    result = run("check", str(file))
    assert result.exit_code == 0
    assert f"{file} is valid." in result.stdout
    assert "warning" not in result.stdout
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "0.0.0.0/0" in text)
    assert result.stderr == (
        f"warning: {file}:{line}: allowlists.office[0]: is every IPv4 address: the list stands for everybody "
        "(list the networks of those who are meant)\n"
    )


FULL_SAYS = """\
LISTENER                                    SEEN BY CALLERS AS              TLS
0.0.0.0:8443                                https://notebooks.internal:8443 here, /etc/nbgate/tls.crt
0.0.0.0:8080                                https://notebooks.internal      in front of this listener
0.0.0.0:9443, PROXY protocol of 10.0.1.0/24 https://notebooks.internal      here, /etc/nbgate/tls.crt
unix:/run/nbgate/nbgate.sock                https://notebooks.internal      in front of this listener
0.0.0.0:8444                                https://notebooks.internal:8444 here, /etc/nbgate/tls.crt
127.0.0.1:9901                              (health checks)                 none

INSTANCE NOTEBOOK       ADDRESS                                   LETS IN                                                                             BY ITSELF
research research-gpu-1 https://notebooks.internal:8443/research/ office or vpn, except build_machines (+ 1 statement)                                starts when opened, stops after 2h idle
                        https://notebooks.internal/research/
nlp      nlp-team       https://nlp.notebooks.internal:8443/      vpn, except build_machines (+ 1 statement)                                          starts when opened, stops after 2h idle
                        https://nlp.notebooks.internal/
vision   vision-team    https://notebooks.internal:8444/          office or vpn, except build_machines or vpn (+ 1 statement); with a link or a token starts when opened
shared   shared         https://notebooks.internal:8443/          office or vpn, except build_machines (+ 1 statement)                                starts when opened, stops after 2h idle
                        https://notebooks.internal/

LIST           NETWORKS USED BY                                 ENTRIES END
office                2 policy
vpn                   2 policy, instances.nlp, instances.vision 2031-01-31T00:00:00Z: 198.51.100.8/32
build_machines        1 policy

OTHER
client address from x-forwarded-for, behind 10.0.0.0/24, Unix sockets
AWS Region     eu-west-1
"""  # noqa: E501


def test_check_prints_what_the_annotated_example_means() -> None:
    assert FULL_SAYS in unpadded(run("check", str(EXAMPLES / "nbgate.yaml")).stdout)


def test_check_shows_what_is_unusual(tmp_path: Path) -> None:
    file = tmp_path / "[odd].yaml"
    file.write_text(
        "hostname: '[::1]'\nadmin: null\n"
        "aws: {region: eu-west-1, endpoint_url: 'http://127.0.0.1:9', profile: p, "
        "assume_role: 'arn:aws:iam::123456789012:role/x'}\n"
        "allowlists: {a: [10.0.0.0/8], b: [10.1.0.0/16], unused: [10.2.0.0/16]}\n"
        "policy: {allow: [a]}\ninstances: {one: {notebook: n, allow: [b]}}\n"
    )
    lines = unpadded(run("check", str(file)).stdout).splitlines()
    assert lines[0] == f"{file} is valid."
    assert "127.0.0.1:8080 http://[::1]:8080  none" in lines
    assert "one      n        http://[::1]:8080/one/ b, if also a" in lines
    assert "unused        1 nothing" in lines
    assert "AWS identity    arn:aws:iam::123456789012:role/x, assumed (profile p)" in lines
    assert "SageMaker's API http://127.0.0.1:9" in lines
    assert not any("health checks" in line for line in lines)


def test_check_puts_problems_on_standard_error_and_ends_with_status_2(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    file.write_text(
        (EXAMPLES / "minimal.yaml").read_text().replace("allow: [office]", "allow: [ofice]\nlimts: {}")
    )
    result = run("check", str(file))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"{file}:11: policy.allow[0]: there is no list called 'ofice' (did you mean 'office'?)\n"
        f"{file}:12: limts: there is no setting called 'limts' (did you mean 'limits'?)\n"
        "2 problems; the configuration cannot be used.\n"
    )


def test_a_missing_file_is_one_problem() -> None:
    result = run("check", "nowhere.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "nowhere.yaml: cannot be read: No such file or directory\n1 problem; the configuration cannot be used.\n"
    )


def test_check_without_a_file_says_what_is_needed() -> None:
    result = run("check")
    assert result.exit_code == 2
    assert "Name the configuration file: nbgate check FILE" in result.stderr


def test_check_schema_prints_json_schema() -> None:
    schema = json.loads(run("check", "--schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "hostname" in schema["properties"]


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("serve", "--config", MINIMAL), {}),
        (("serve", "-c", MINIMAL), {}),
        (("serve",), {"NBGATE_CONFIG": MINIMAL}),
    ],
)
def test_serve_runs_the_gateway_with_the_files_settings(stand_in, arguments, env) -> None:
    calls = stand_in("proxy.server.run", "serve")
    assert run(*arguments, env=env).exit_code == 0
    ((settings,), options) = calls[0]
    assert isinstance(settings, Settings)
    assert settings.source == Path(MINIMAL)
    assert options == {}


def test_serve_starts_nothing_with_a_wrong_file(stand_in, tmp_path: Path) -> None:
    calls = stand_in("proxy.server.run", "serve")
    file = tmp_path / "nbgate.yaml"
    file.write_text("hostname: x\n")
    result = run("serve", "--config", str(file))
    assert result.exit_code == 2
    assert result.stderr.endswith("problems; nothing was started.\n")
    assert calls == []


READING = {
    "serve": (),
    "check": (),
    "explain": (),
    "policy export": (),
    "url": ("research",),
    "probe": ("research",),
    "connect": ("research",),
}
"""The commands that read a configuration, and what they want besides."""


def ways(command: str, file: str) -> list[tuple[tuple[str, ...], dict[str, str | None]]]:
    words = (*command.split(), *READING[command])
    return [
        ((*words, file), {}),
        ((*words, "--config", file), {}),
        ((*words, "-c", file), {}),
        (words, {"NBGATE_CONFIG": file}),
        ((*words, file), {"NBGATE_CONFIG": "elsewhere.yaml"}),
        ((*words, "--config", file), {"NBGATE_CONFIG": "elsewhere.yaml"}),
    ]


@pytest.mark.parametrize("command", READING)
def test_every_command_is_told_its_file_in_the_same_ways(command: str) -> None:
    for words, env in ways(command, "nowhere.yaml"):
        result = run(*words, env=env)
        assert result.exit_code == 2
        assert result.stderr.startswith("nowhere.yaml: cannot be read: No such file or directory\n"), words
        assert ("nothing was started" in result.stderr) is (command == "serve")
    words = (*command.split(), *READING[command])
    assert "Name one configuration file" in run(*words, "one.yaml", "--config", "other.yaml").stderr
    if command != "connect":
        assert f"Name the configuration file: nbgate {command} FILE" in run(*words).stderr


def test_the_table_of_commands_that_read_a_configuration_is_whole() -> None:
    policy = main.commands["policy"]
    assert isinstance(policy, click.Group)
    found = {
        " ".join(filter(None, (group, name)))
        for group, commands in (("", main.commands), ("policy", policy.commands))
        for name, command in commands.items()
        if any("--config" in option.opts for option in command.params)
    }
    assert found == set(READING)


def test_connect_without_a_token_and_a_terminal_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "connect", "research", MINIMAL],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "has no tokens.key to make one with, and there is no terminal here to ask at" in said
    for remedy in ("--token-file FILE", "NBGATE_TOKEN", "nbgate url INSTANCE --token"):
        assert remedy in said
    assert "Warning" not in said


def test_an_entry_that_has_ended_is_warned_of_and_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "nbgate.yaml"
    ended = "{cidr: 198.51.100.8, until: 2020-01-31}, {cidr: 198.51.100.9, until: 2120-01-31}"
    file.write_text(Path(MINIMAL).read_text().replace("203.0.113.0/24", f"203.0.113.0/24, {ended}"))
    result = run("check", str(file))
    assert result.exit_code == 0
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "until" in text)
    assert result.stderr == (
        f"warning: {file}:{line}: allowlists.office: 198.51.100.8/32 has ended at 2020-01-31T00:00:00Z: it counts "
        "no more (remove it, or give it another until)\n"
    )
    assert re.search(
        r"^office +2 policy +2020-01-31T00:00:00Z \(ended\): 198.51.100.8/32", result.stdout, re.M
    )


def test_serve_says_in_one_line_why_it_cannot_listen(stand_in) -> None:
    stand_in(
        "proxy.server.run", "serve", OSError(98, "cannot listen on 0.0.0.0:8080: Address already in use")
    )
    result = run("serve", "--config", MINIMAL)
    assert result.exit_code == 1
    assert result.stderr == "Error: cannot listen on 0.0.0.0:8080: Address already in use\n"


def test_probe_runs_against_a_configured_instance_and_passes_its_status_on(stand_in) -> None:
    calls = stand_in("proxy.commands.probe", "run", 3)
    assert run("probe", "research", "--config", MINIMAL).exit_code == 3
    assert run("probe", "research", "--config", MINIMAL, "--start", "--deep").exit_code == 3
    ((settings, instance), asked) = calls[0]
    assert isinstance(settings, Settings)
    assert instance == "research"
    assert asked == {"start": False, "deep": False}
    assert calls[1][1] == {"start": True, "deep": True}


def test_probe_names_the_instances_that_there_are(stand_in) -> None:
    calls = stand_in("proxy.commands.probe", "run")
    result = run("probe", "other", "--config", MINIMAL)
    assert result.exit_code == 2
    assert "has no instance called 'other'. It has: research" in result.stderr
    assert calls == []


def test_demo_runs_on_the_port_that_is_asked_for(stand_in) -> None:
    calls = stand_in("proxy.sandbox.demo", "run", 0)
    assert run("demo", "--port", "9000").exit_code == 0
    assert calls == [((), {"port": 9000})]


def test_init_writes_a_first_configuration_that_is_valid_and_hardly_anything_to_wonder_at(
    tmp_path: Path,
) -> None:
    file = tmp_path / "nbgate.yaml"
    made = run("init", str(file))
    assert made.exit_code == 0
    assert made.stdout == f"{file} is written. Change what its comments name, then: nbgate check {file}\n"
    checked = run("check", str(file))
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert "http://notebooks.internal:8080/research/" in checked.stdout
    # What is commented out is valid, too.
    text = file.read_text()
    text = re.sub(
        r"^( *)# (?=(lifecycle|client_address|tokens):$|  (start|stop|trusted|key)|  tls:|- bind)",
        r"\1",
        text,
        flags=re.M,
    )
    text = text.replace("# access: presigned ", "access: presigned ")
    file.write_text(text)
    all_of_it = run("check", str(file), env={"NBGATE_TOKEN_KEY": "0123456789abcdef" * 2})
    assert all_of_it.exit_code == 0, all_of_it.stderr
    for shown in ("0.0.0.0:8443", "starts when opened, stops after 2h idle", "behind 10.0.0.0/24", "1 key"):
        assert shown in all_of_it.stdout


@pytest.mark.parametrize("name", ["nbgate.yaml", "link.yaml"])
def test_init_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "nbgate.yaml").write_text("mine\n")
    (tmp_path / "link.yaml").symlink_to("nowhere")
    result = run("init", str(tmp_path / name))
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / name} is there already; nothing was written\n"
    assert (tmp_path / "nbgate.yaml").read_text() == "mine\n"
    assert not (tmp_path / "nowhere").exists()


def test_init_says_why_it_cannot_write(tmp_path: Path) -> None:
    result = run("init", str(tmp_path / "nowhere" / "nbgate.yaml"))
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"Error: {tmp_path}/nowhere/nbgate.yaml cannot be written: No such file or directory\n"
    )
