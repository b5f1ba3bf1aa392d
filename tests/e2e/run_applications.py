"""What people run on a notebook's machine, each on a port of its own: `python run_applications.py PREFIX`.

Their ports are printed as JSON, in one line: `dash`, which is told all of its prefix (`PREFIX/proxy/PORT/`);
`dash_unaware`, which is told `/proxy/PORT/`, as on a notebook of one's own; `streams`, whose answers go on when
`/go` is asked for.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from dash import Dash, Input, Output, dcc, html
from werkzeug.serving import make_server


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def dash(listener: socket.socket, prefix: str) -> None:
    port = listener.getsockname()[1]
    app = Dash("dash", requests_pathname_prefix=f"{prefix}/proxy/{port}/", routes_pathname_prefix="/")
    app.layout = html.Div([dcc.Input(id="who", value="nobody"), html.Div(id="greeting")])

    @app.callback(Output("greeting", "children"), Input("who", "value"))
    def greet(who: str) -> str:
        return f"hello {who}"

    server = make_server("127.0.0.1", port, app.server, threaded=True, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Streams(BaseHTTPRequestHandler):
    """`/page`, `/events` and `/stream` send a first part, and each further one when `/go?PATH` was asked for.

    `/stream` is what jupyter-server-proxy's own test (`test_eventstream`) streams: events that call themselves HTML,
    for Tornado calls everything so that says nothing else.
    """

    parts: Final = {
        "/page": ("text/html", (b"<p>one<a href=", b"'/x'>", b"<p>two")),
        "/events": ("text/event-stream", (b"data: one\n\n", b"data: two\n\n")),
        "/stream": ("text/html; charset=UTF-8", tuple(b"data: %d\n\n" % number for number in range(3))),
    }
    gates: Final = {path: threading.Semaphore(0) for path in parts}
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/go":
            self.gates[query].release()
            self._start("text/plain")
        elif path == "/":
            self._start("text/html")
            self._send(b"<p id=said></p><script>new EventSource('events').onmessage = event => {")
            self._send(b"document.querySelector('#said').textContent += event.data + ' '};</script>")
        else:
            kind, (first, *others) = self.parts[path]
            self._start(kind)
            self._send(first)
            for other in others:
                self.gates[path].acquire(timeout=120)
                self._send(other)
        self._end()

    def _start(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_arguments: object) -> None:
        pass


def main() -> None:
    prefix = sys.argv[1]
    aware, unaware = listening(), listening()
    dash(aware, prefix)
    dash(unaware, "")
    streams = ThreadingHTTPServer(("127.0.0.1", 0), Streams)
    streams.daemon_threads = True
    threading.Thread(target=streams.serve_forever, daemon=True).start()
    ports = {
        "dash": aware.getsockname()[1],
        "dash_unaware": unaware.getsockname()[1],
        "streams": streams.server_address[1],
    }
    print(json.dumps(ports), flush=True)
    sys.stdin.read()  # until whoever started it is gone


if __name__ == "__main__":
    main()
