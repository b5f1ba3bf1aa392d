"""Connections to callers and to notebooks, and what passes between them.

The life of one request:

1. `arrival` counts a connection when it is accepted, reads its PROXY prelude if there is one, and begins TLS.
2. `caller.connection` is a thin shell: `caller.intake` holds what has come, `caller.reader` takes a head out of it.
3. `caller.states` says what becomes of bytes at any moment, as two tables.
4. `caller.admitting` asks `Gateway.admit`, and makes whoever answers: `forward`, `answer.page`, or a few words of ours.
5. `caller.request` is what that one sees of the caller, until its answer has ended and its record is written.
6. `forward` waits for a session, takes a connection from `pool`, and sends the head on, translated along its `link`.
7. `upstream` reads the notebook's answer strictly; `rewriting` changes pages under a path mount while they stream.
8. `caller.writer` sends it, together with what else goes out in this turn (`outbox`).
9. On 101, `plane.splice` hands both transports to `relay`, which follows frames and never holds one.
10. `plane` knows all that is open: it sweeps deadlines, judges again after a reload, and drains.
"""
