"""The `nbgate` command: one thin function per subcommand.

Its rule: at the top it imports click and nothing that costs more, so that `nbgate --help` answers at once;
each command imports what it runs. Problems go to standard error, one a line as `file:line: …`, and end with
status 2. It must not hold logic: what a command does is a function elsewhere.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from proxy import __version__

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.errors import ConfigError, Problem

CONFIG_ERROR_STATUS = 2

_FILE = click.Path(path_type=Path)


def _configuration(*, is_needed: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the configuration's `file`, whichever way it is named: as its last argument, by --config, or by
    NBGATE_CONFIG, which the other two beat."""

    def reading(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(*, file: Path | None, named: Path | None, **rest: Any) -> None:
            context = click.get_current_context()
            if file is None:
                file = named
            elif context.get_parameter_source("named") is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError("Name one configuration file: FILE, or --config FILE.")
            if file is None and is_needed and not rest.get("schema"):
                words = " ".join(["nbgate", *context.command_path.split()[1:]])
                raise click.UsageError(
                    f"Name the configuration file: {words} FILE, or --config FILE, or NBGATE_CONFIG in the environment."
                )
            command(file=file, **rest)

        argued = click.argument("file", type=_FILE, required=False, metavar="[FILE]")(called)
        return click.option(
            "--config",
            "-c",
            "named",
            type=_FILE,
            envvar="NBGATE_CONFIG",
            show_envvar=True,
            metavar="FILE",
            help="The configuration file, where it is not the last argument.",
        )(argued)

    return reading


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="nbgate", message="%(prog)s %(version)s")
def main() -> None:
    """One fixed address for your team's Amazon SageMaker notebook instances.

    nbgate stands between people and the Jupyter servers of notebook instances. It lets in the IP
    addresses that you list, fetches and renews SageMaker's presigned URLs by itself, and carries all
    traffic to JupyterLab. People bookmark one address; they need neither the AWS console nor AWS
    credentials.

    \b
    To see it work on this machine, without AWS:
      nbgate demo
    \b
    To run it, write a configuration file, check it, and serve:
      nbgate init nbgate.yaml
      nbgate check nbgate.yaml
      nbgate serve --config nbgate.yaml
    """


@main.command()
@_configuration()
def serve(file: Path) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    On SIGTERM callers are taken for a moment still (timeouts.drain_delay), then requests may finish (timeouts.drain)
    and WebSockets are closed. A second signal ends the waiting.
    """
    # What modules and settings are made of stays: a collector that looks through it again and again while they are
    # loaded takes a tenth of the start. `run_server` switches it on once callers are served.
    gc.disable()
    try:
        settings = _load(file, "nothing was started")
        from proxy.server.run import serve as run_server

        run_server(settings)
    except OSError as error:
        # A port in use or a certificate that cannot be read: the operator's to mend, so no traceback.
        raise click.ClickException(error.strerror or str(error)) from error
    finally:
        gc.enable()


@main.command()
@_configuration()
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors, and stop.")
@click.option(
    "--aws", "aws_wanted", is_flag=True, help="Ask AWS, too: who the gateway is, and for each instance."
)
def check(file: Path | None, schema: bool, aws_wanted: bool) -> None:
    """Check the configuration FILE and say what it means.

    Prints where nbgate would listen, each instance's address, and who is let in. Nothing is started or
    called. If the file cannot be used, all its problems are printed instead, each with its line, and the exit
    status is 2. A certificate or key that is on this machine and cannot be used is a problem, too. What is valid
    and hardly meant is printed as a warning; that leaves the exit status at 0.

    With --aws, one line more for each thing that AWS was asked; the exit status is 1 if it refused any.
    """
    if schema:
        import json

        from proxy.config.json_schema import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    assert file is not None
    settings = _load(file)
    from proxy.commands.check import run as check_file
    from proxy.errors import ConfigError

    found = check_file(settings, file)
    for warning in found.warnings:
        _print_problem(warning, "warning: ")
    if found.problems:
        _give_up(ConfigError(found.problems), "nobody could be served there")
    if aws_wanted:
        from proxy.commands.check_aws import run as check_aws

        sys.exit(check_aws(settings))


@main.command()
@click.argument("file", type=_FILE, default=Path("nbgate.yaml"))
def init(file: Path) -> None:
    """Write a first configuration to FILE, with a comment for each thing to change. [default: nbgate.yaml]

    A file that is there already is left alone.
    """
    from importlib.resources import files

    text = files("proxy.config").joinpath("first.yaml").read_text("utf-8")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise click.ClickException(f"{file} is there already; nothing was written") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{file} is written. Change what its comments name, then: nbgate check {file}")


@main.group()
def policy() -> None:
    """Carry policy documents in and out of AWS: one list, enforced at both ends."""


@policy.command("import")
@click.argument("document", type=_FILE)
@click.option("--list", "list_name", default="imported", show_default=True, help="The allowlist's name.")
def import_policy(document: Path, list_name: str) -> None:
    """Turn the policy DOCUMENT (JSON, as AWS prints it) into lines for the configuration.

    What cannot be honoured is refused with its line. The lines go to standard output; no file is changed.
    """
    from proxy.config.documents import import_file
    from proxy.config.values import ValueProblem, parse_list_name
    from proxy.errors import ConfigError

    try:
        text = import_file(document, list_name=parse_list_name(list_name))
    except ValueProblem as problem:
        raise click.UsageError(f"{problem} ({problem.hint})") from problem
    except ConfigError as error:
        _give_up(error, "nothing was imported")
    click.echo(text, nl=False)


@policy.command("export")
@_configuration()
@click.option("--gateway", is_flag=True, help="The gateway's own role instead of its callers.")
@click.option(
    "--egress", multiple=True, metavar="NETWORK", help="The gateway's public address; may be repeated."
)
@click.option(
    "--vpc-endpoint", multiple=True, metavar="ID", help="Its VPC endpoint instead; may be repeated."
)
@click.option("--role", metavar="ARN", help="With --gateway: of a role that instances name.")
def export_policy(
    file: Path, gateway: bool, egress: tuple[str, ...], vpc_endpoint: tuple[str, ...], role: str | None
) -> None:
    """Print a policy document to attach in AWS.

    Without options: the restriction of people who call AWS directly, the same that the gateway enforces. With
    --gateway and --egress or --vpc-endpoint: all that the gateway's own role needs.
    """
    from proxy.client_address.networks import AddressError, parse_network
    from proxy.config.documents import document_text, export_callers, export_gateway
    from proxy.policy.errors import PolicyError

    if gateway and bool(egress) == bool(vpc_endpoint):
        raise click.UsageError("With --gateway, give --egress or --vpc-endpoint.")
    if not gateway and (egress or vpc_endpoint or role):
        raise click.UsageError("--egress, --vpc-endpoint and --role are about --gateway.")
    settings = _load(file)
    if role is not None and role not in {one.assume_role for one in settings.instances.values()}:
        raise click.UsageError(f"No instance of {file} names the role {role}.")
    try:
        if gateway:
            exported = export_gateway(
                settings,
                role=role,
                egress=[parse_network(network) for network in egress],
                endpoints=vpc_endpoint,
            )
        else:
            exported = export_callers(settings)
    except (AddressError, PolicyError) as error:
        raise click.UsageError(f"{error} ({error.hint})") from error
    for remark in exported.remarks:
        click.echo(remark, err=True)
    click.echo(document_text(exported.document))


@main.command()
@click.argument("instance")
@_configuration()
@click.option(
    "--start",
    is_flag=True,
    help="Start it first, if it is stopped, and time what answers until Jupyter does.",
)
@click.option("--deep", is_flag=True, help="Watch the session to its end: half an hour.")
def probe(instance: str, file: Path, start: bool, deep: bool) -> None:
    """Sign in to INSTANCE step by step and print what AWS answers.

    Shows statuses, redirect hosts, and cookie names and attributes of a real sign-in; whether the URL is good twice,
    and what answers with a cookie and without. Never the value of a token or cookie: the output can be sent to
    whoever helps, or pasted into an issue.
    """
    settings = _load(file)
    _check_instance(settings, file, instance)
    from proxy.commands.probe import run

    sys.exit(run(settings, instance, start=start, deep=deep))


@main.command()
@click.argument("instance")
@_configuration()
@click.option(
    "--lab", metavar="PATH", help="A link to this file or folder in JupyterLab; / for JupyterLab itself."
)
@click.option(
    "--token", is_flag=True, help="For a program: the address with ?token=, good for many requests."
)
@click.option(
    "--expires",
    metavar="TIME",
    help="How long it is good for; a link for more than 5m needs tokens.bind_address and --ip. "
    "[default: 5m; 12h with --token]",
)
@click.option(
    "--session",
    metavar="TIME",
    default="12h",
    show_default=True,
    help="How long the session lasts that a link buys.",
)
@click.option("--user", metavar="NAME", default="nbgate url", help="Whom it is for, for the logs.")
@click.option("--ip", metavar="ADDRESS", help="The only address it is good from, with tokens.bind_address.")
def url(
    instance: str,
    file: Path,
    lab: str | None,
    token: bool,
    expires: str | None,
    session: str,
    user: str,
    ip: str | None,
) -> None:
    """Print an address that lets somebody in to INSTANCE.

    A link for a browser, good once; or with --token an address for VS Code, PyCharm, or any other program that
    knows Jupyter. Whoever has it gets in, from an address that the policy allows. Nothing is called: FILE's
    tokens.key signs, which has to be the running gateway's.
    """
    if token and lab is not None:
        raise click.UsageError("Give --lab, for a browser, or --token, for a program.")
    settings = _load(file)
    _check_instance(settings, file, instance)
    from proxy.commands.url import UrlOptions, run

    options = UrlOptions(lab=lab, token=token, expires=expires, session=session, user=user, ip=ip)
    with _usage():
        click.echo(run(settings, file, instance, options))


@main.command()
@click.argument("instance")
@_configuration(is_needed=False)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Holds the token, or the address that nbgate url --token prints; - for standard input.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1. [default: a free one]"
)
@click.option("--ca", metavar="FILE", help="Certificates to trust instead of the system's, in PEM.")
def connect(instance: str, file: Path | None, token_file: Path | None, port: int, ca: str | None) -> None:
    """Open a port on this machine that leads to INSTANCE and adds the token by itself.

    For programs that send a token with their requests and not with their WebSockets, such as papermill and nbclient.
    INSTANCE is its address (https://notebooks.internal/research/), or with --config its name. The token comes from
    --token-file, or NBGATE_TOKEN, or is asked for; with --config it is made, if the file has tokens.key.

    Prints the address to give to those programs. Whoever on this machine knows that address gets in.
    """
    from proxy.commands.connect import read_destination, run

    address, token = instance, ""
    if "://" not in instance:
        if file is None:
            raise click.UsageError("Give the instance's address, or its name and --config.")
        settings = _load(file)
        _check_instance(settings, file, instance)
        address = settings.urls(instance)[0]
        from proxy.commands.url import programs_token

        token = programs_token(settings, instance)
    if token_file is not None:
        try:
            with click.open_file(str(token_file)) as stream:
                token = stream.read(65_536)
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{token_file} cannot be read") from error
    elif "NBGATE_TOKEN" in os.environ:
        token = os.environ["NBGATE_TOKEN"]
    elif not token:
        token = _asked_for_token(instance, file)
    with _usage():
        to = read_destination(address, token)
    sys.exit(run(to, port=port, authority=ca, say=click.echo, tell=lambda text: click.echo(text, err=True)))


@main.command()
@_configuration()
@click.option("--ip", metavar="ADDRESS", help="The caller's address.")
@click.option("--peer", metavar="ADDRESS", help="Instead of --ip: where the connection comes from.")
@click.option(
    "--via", metavar="VALUE", help="With --peer: its forwarding header, e.g. '203.0.113.7, 10.0.0.5'."
)
@click.option("--instance", metavar="NAME", help="One instance, with every statement's verdict.")
@click.option("--user", metavar="NAME", help="aws:username, to try statements about it.")
@click.option(
    "--at", metavar="TIME", help="A date, or an instant such as 2027-01-31T17:00:00Z. [default: now]"
)
@click.option(
    "--scheme",
    type=click.Choice(["https", "http"]),
    default="https",
    show_default=True,
    help="What the caller speaks.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def explain(
    file: Path,
    ip: str | None,
    peer: str | None,
    via: str | None,
    instance: str | None,
    user: str | None,
    at: str | None,
    scheme: str,
    json_wanted: bool,
) -> None:
    """Say who is let in, and why.

    With --ip, or --peer and --via: the decision, the address that counts, each statement's verdict, and
    the lines that they stand on. Without: a table of all instances and lists.
    """
    if (ip and peer) or (via is not None and not peer):
        raise click.UsageError("Give --ip, or --peer and, if it sends one, --via.")
    settings = _load(file)
    if instance is not None:
        _check_instance(settings, file, instance)
    from proxy.commands.explain import read_options, run

    with _usage():
        options = read_options(ip=ip, peer=peer, via=via, instance=instance, user=user, at=at, scheme=scheme)
    run(settings, options, json_wanted=json_wanted)


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port on 127.0.0.1."
)
def demo(port: int) -> None:
    """Try it on this machine: a local SageMaker, two real JupyterLabs, and nbgate in front.

    Needs no AWS account; needs a checkout, and what `pip install '.[demo]'` installs there. Ctrl-C stops all of it.
    """
    from proxy.sandbox.demo import run

    sys.exit(run(port=port))


@contextmanager
def _usage() -> Iterator[None]:
    """Says what a command finds wrong in what it was given."""
    from proxy.commands.usage import UsageProblem

    try:
        yield
    except UsageProblem as problem:
        raise click.UsageError(str(problem)) from None


def _asked_for_token(instance: str, file: Path | None) -> str:
    import warnings
    from getpass import GetPassWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            return str(click.prompt("Token", hide_input=True, err=True))
        except GetPassWarning:
            # It would be shown while it is typed, or there is no keyboard at all.
            pass
    made = f"{file} has no tokens.key to make one with, and " if file and "://" not in instance else ""
    raise click.UsageError(
        f"There is no token: {made}there is no terminal here to ask at. Hand one in by --token-file FILE or "
        "NBGATE_TOKEN; whoever runs the gateway makes it with: nbgate url INSTANCE --token --config FILE"
    )


def _check_instance(settings: Settings, file: Path, name: str) -> None:
    if name not in settings.instances:
        known = ", ".join(settings.instances)
        raise click.UsageError(f"{file} has no instance called '{name}'. It has: {known}")


def _load(file: Path, outcome: str = "the configuration cannot be used") -> Settings:
    """The settings, or the problems on standard error, what came of them, and the end of the process."""
    from proxy.config.load import load
    from proxy.errors import ConfigError

    try:
        return load(file, environ=os.environ)
    except ConfigError as error:
        _give_up(error, outcome)


def _print_problem(problem: Problem, kind: str = "") -> None:
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    rest = str(problem).removeprefix(place)
    click.echo(kind + click.style(place, bold=True) + rest, err=True)


def _give_up(error: ConfigError, outcome: str) -> NoReturn:
    for problem in error.problems:
        _print_problem(problem)
    count = len(error.problems)
    click.echo(f"{count} problem{'s' if count > 1 else ''}; {outcome}.", err=True)
    sys.exit(CONFIG_ERROR_STATUS)
