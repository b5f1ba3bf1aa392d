"""When somebody last used an instance, as far as it passed the gateway; noted without a cost per byte or frame.

The rule: what is over tells it at the access record's end; what lasts (uploads, downloads, WebSockets) is looked at
every few seconds. A WebSocket that is held open is no use, nor are its pings and pongs: only messages from the caller
are, after its first seconds, in which pages greet Jupyter by themselves. Only where a shared document is written are
messages looked into, and there at their first bytes. What is remembered belongs to a notebook and
not to a name, which may come to lead to another one. What counts among requests and messages
is `proxy.lifecycle.use`'s to say; what follows from it is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from proxy.clock import Clock
from proxy.dataplane.endings import CUT
from proxy.dataplane.websocket.relay import Relay
from proxy.lifecycle.use import CountedMessages, counted_messages, is_change, is_use
from proxy.memory import Memo
from proxy.routing.router import Route
from proxy.telemetry.access_log import RequestRecord

if TYPE_CHECKING:
    from proxy.dataplane.plane import DataPlane
    from proxy.dataplane.register import OpenConnection

VERDICTS_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 256

_NOBODY: Mapping[str, str] = MappingProxyType({})


class Traffic:
    """The last use of each watched instance."""

    def __init__(self, plane: DataPlane, *, clock: Clock, write: Callable[[RequestRecord], None]) -> None:
        """`write` is where access records go."""
        self._plane = plane
        self._clock = clock
        self._write = write
        self._prefixes = _NOBODY
        self._notebooks: Mapping[str, Hashable] = {}
        self._used_at: dict[Hashable, float] = {}
        """By notebook."""
        self._relays: dict[Relay, CountedMessages] = {}
        self._bytes: dict[OpenConnection, int] = {}
        self._verdicts: Memo[tuple[str, str, str], bool] = Memo(VERDICTS_REMEMBERED)

    def watch(
        self, prefixes: Mapping[str, str], notebooks: Mapping[str, Hashable]
    ) -> Callable[[RequestRecord], None]:
        """Note the use of these instances from now on; each with its mount's path, without the last slash.

        `notebooks` says which notebook each of them is: what is known of those that stay is kept, whatever their names.
        Returns what access records are to be given to: where nobody is watched, that is the log itself.
        """
        self._prefixes = dict(prefixes)
        self._notebooks = {name: notebooks[name] for name in prefixes}
        stay = set(self._notebooks.values())
        self._used_at = {notebook: at for notebook, at in self._used_at.items() if notebook in stay}
        self._verdicts.clear()
        return self._note if prefixes else self._write

    def last_use(self, name: str) -> float | None:
        """Monotonic seconds; None: none since the instance's notebook is watched."""
        return self._used_at.get(self._notebooks.get(name))

    def look(self) -> None:
        """Look at what lasts. Called every few seconds while something is watched."""
        now = self._clock.monotonic()
        self._look_at_websockets(now)
        self._look_at_requests(now)

    def _note(self, record: RequestRecord) -> None:
        self._write(record)
        instance = record.instance
        if (
            instance in self._prefixes
            and record.status
            and record.status < 400
            and not record.is_websocket
            # It may have been cut because the name leads to another notebook now. What lasted was looked at meanwhile.
            and record.error not in CUT
        ):
            key = (instance, record.method, record.target)
            verdict = self._verdicts.get(key)
            if verdict is None:
                verdict = self._judge(*key)
            if verdict:
                self._use(instance, self._clock.monotonic())

    def _use(self, instance: str, now: float) -> None:
        self._used_at[self._notebooks[instance]] = now

    def _judge(self, instance: str, method: str, target: str) -> bool:
        verdict = is_use(method, target.removeprefix(self._prefixes[instance]))
        if len(target) <= _LONGEST_REMEMBERED and "oken" not in target:
            self._verdicts.keep((instance, method, target), verdict)
        return verdict

    def _look_at_websockets(self, now: float) -> None:
        before, relays = self._relays, self._plane.open.relays
        watched = [relay for relay, record in relays.items() if record.instance in self._prefixes]
        self._relays = {}

        def look(relay: Relay) -> None:
            record = relays[relay]
            counts = before.get(relay)
            if counts is None:  # its first seconds
                self._relays[relay] = counted_messages(
                    record.target.removeprefix(self._prefixes[record.instance])
                )
                return
            self._relays[relay] = counts
            caller = relay.caller
            if caller.is_used:
                self._use(record.instance, now)
            if counts is CountedMessages.EACH:
                caller.watch()
            elif counts is CountedMessages.CHANGES:
                caller.watch_openings(is_change)

        def in_use(relay: Relay) -> None:
            # An instance that is used is not to be stopped: what cannot be looked at counts as use.
            self._use(relays[relay].instance, now)

        self._plane.faults.each("traffic", watched, look, broken=in_use)

    def _look_at_requests(self, now: float) -> None:
        before, self._bytes = self._bytes, {}

        def look(connection: OpenConnection) -> None:
            under_way = connection.under_way
            if under_way is None:
                return
            admission, method, _, size = under_way
            instance, route = admission.instance, admission.route
            if instance not in self._prefixes or not isinstance(route, Route):
                return
            if is_use(method, route.upstream_target):
                self._bytes[connection] = size
                if before.get(connection) != size:
                    self._use(instance, now)

        def in_use(_connection: OpenConnection) -> None:
            # It is not even known of which instance.
            self._used_at |= dict.fromkeys(self._notebooks.values(), now)

        self._plane.faults.each("traffic", self._plane.open.connections, look, broken=in_use)
