"""The `nbgate` command: one thin function per subcommand.

Its rule: at the top it imports click and nothing that costs more, so that `nbgate --help` answers at once;
each command imports what it runs. Problems go to standard error, one a line as `file:line: …`, and end with
status 2. It must not hold logic: what a command does is a function elsewhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proxy import __version__

if TYPE_CHECKING:
    from proxy.config.settings import Settings

CONFIG_ERROR_STATUS = 2

_FILE = click.Path(path_type=Path)
_config_option = click.option(
    "--config",
    "-c",
    "file",
    type=_FILE,
    required=True,
    envvar="NBGATE_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="The configuration file.",
)


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
      nbgate check nbgate.yaml
      nbgate serve --config nbgate.yaml
    """


@main.command()
@_config_option
def serve(file: Path) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    On SIGTERM no new connections are taken, requests may finish (timeouts.drain), and WebSockets are closed.
    """
    settings = _load(file)
    from proxy.server.run import serve as run_server

    try:
        run_server(settings)
    except OSError as error:
        # A port in use or a certificate that cannot be read: the operator's to mend, so no traceback.
        raise click.ClickException(error.strerror or str(error)) from error


@main.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors, and stop.")
def check(file: Path | None, schema: bool) -> None:
    """Check the configuration FILE and say what it means.

    Prints where nbgate would listen, each instance's address, and who is let in. Nothing is started or
    called. All problems are printed at once, each with its line; the exit status is then 2.
    """
    if schema:
        import json

        from proxy.config.schema import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    if file is None:
        raise click.UsageError("Name the configuration file: nbgate check FILE")
    settings = _load(file)
    from proxy.config.summary import print_summary

    print_summary(settings)


@main.command()
@click.argument("instance")
@_config_option
def probe(instance: str, file: Path) -> None:
    """Sign in to INSTANCE step by step and print what AWS answers.

    Shows statuses, redirect hosts, and cookie names and attributes of a real sign-in, never the value
    of a token or cookie: the output can be sent to whoever helps.
    """
    settings = _load(file)
    if instance not in settings.instances:
        known = ", ".join(settings.instances)
        raise click.UsageError(f"{file} has no instance called '{instance}'. It has: {known}")
    from proxy.server.probing import run

    sys.exit(run(settings, instance))


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port on 127.0.0.1."
)
def demo(port: int) -> None:
    """Try it on this machine: a local SageMaker, two real JupyterLabs, and nbgate in front.

    Needs no AWS account; needs the extra packages of `pip install 'nbgate[demo]'`. Ctrl-C stops all of it.
    """
    from proxy.sandbox.demo import run

    sys.exit(run(port=port))


def _load(file: Path) -> Settings:
    """The settings, or the problems on standard error and the end of the process."""
    from proxy.config.load import load
    from proxy.errors import ConfigError

    try:
        return load(file, environ=os.environ)
    except ConfigError as error:
        for problem in error.problems:
            place = f"{problem.file}:{problem.line}" if problem.line else problem.file
            rest = str(problem).removeprefix(place)
            click.echo(click.style(place, bold=True) + rest, err=True)
        count = len(error.problems)
        click.echo(f"{count} problem{'s' if count > 1 else ''}; nothing was started.", err=True)
        sys.exit(CONFIG_ERROR_STATUS)
