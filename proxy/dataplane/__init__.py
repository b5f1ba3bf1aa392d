"""Connections to callers and to notebooks, and what passes between them.

The life of one request:

1. `caller.reception` counts a connection when it is accepted; `caller.prelude` reads the PROXY prelude, and begins TLS.
2. `caller.connection` is a thin shell: `caller.intake` holds what has come, `caller.asking` makes requests of it.
3. `caller.states` says what becomes of bytes at any moment, as two tables.
4. `caller.admitting` asks `Gateway.admit`, and makes whoever answers: `answer.forward`, `.page`, or a word of `.fixed`.
5. `caller.request` is what that one sees of the caller, until its answer has ended and its record is written.
6. `answer.forward` waits for a session (`sessions`), takes a connection from `notebook.pool`, and sends the head on.
7. `notebook.connection` reads the answer strictly; one that may be the front end's own waits in `answer.suspected`.
8. `answer.stream` and `caller.writer` send it, together with what else goes out in this turn (`batching`).
9. On 101, `websocket.splice` hands both transports to `websocket.relay`, which follows frames and never holds one.
10. All that is open stands in `register`, which sweeps deadlines, judges again after a reload, and drains.
"""
