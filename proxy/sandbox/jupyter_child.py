"""The process in which a sandbox's Jupyter server runs: `python -m proxy.sandbox.jupyter_child ARGUMENTS…`.

Its rule: it never outlives the sandbox. Standard input is a pipe from the parent; when the parent ends,
however it ends, the pipe closes, and this process asks itself to stop as Jupyter expects it, so that
kernels end too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> None:
    threading.Thread(target=_follow_parent, name="follow parent", daemon=True).start()
    # Only here: it belongs to the extra `demo`, and importing it takes a second.
    from jupyter_server.serverapp import main as serve

    serve(sys.argv[1:])


def _follow_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
