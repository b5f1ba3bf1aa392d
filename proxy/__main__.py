"""The `nbgate` command, and `python -m proxy`: what runs first.

The rule: `serve` takes its signals before it loads anything that takes time. A SIGHUP would kill it meanwhile.
"""

import sys

from proxy.signals import PROCESS


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        PROCESS.take()
    from proxy.cli import main as command

    command(prog_name="nbgate")


if __name__ == "__main__":
    main()
