"""Runs a notebook over HTTP as nbclient and jupyter_client do it: `run_notebook.py URL TOKEN`, or with no token at all.

A process of its own, for jupyter_server's gateway client is one for each process. Started by
tests/e2e/test_programs_with_tokens.py.
"""

from __future__ import annotations

import json
import socket
import sys
from functools import partial

import nbformat
import websocket
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.gateway.managers import GatewayKernelManager
from nbclient import NotebookClient

look_up = socket.getaddrinfo
# Browsers take every name below `localhost` for this machine (RFC 6761 section 6.3); libraries ask the resolver.
socket.getaddrinfo = lambda host, *rest, **options: look_up(
    "127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **options
)

url, *tokens = sys.argv[1:]
settings = GatewayClient.instance()
settings.url = url.rstrip("/")
for token in tokens:
    # jupyter_server's client sends the token with its requests, and forgets it for the WebSocket.
    websocket.create_connection = partial(
        websocket.create_connection, header=[f"Authorization: token {token}"]
    )
    settings.auth_token = token
notebook = nbformat.v4.new_notebook(
    cells=[
        nbformat.v4.new_code_cell("x = 6 * 7"),
        nbformat.v4.new_code_cell("print(x)"),
    ],
    metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
)
NotebookClient(
    notebook, kernel_manager_class=GatewayKernelManager, kernel_name="python3", timeout=60
).execute()
print(json.dumps(notebook.cells[1].outputs))
