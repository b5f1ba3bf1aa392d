"""`GET /metrics`: what Prometheus asks for, read from counters that are there anyway.

The rule: nothing is counted here and nothing is kept, so that whoever is not asked pays nothing; this module, and
prometheus-client with it, is imported when somebody first asks. Names and units are by Prometheus's conventions
(prometheus.io/docs/practices/naming); a label's value is a word of ours or a name of the configuration's, never
something that a caller chose. It must not know HTTP.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from proxy import __version__
from proxy.aws.session_states import SessionEvent, SessionState
from proxy.config.sections import Limits, Timeouts
from proxy.dataplane.bounds import OF_CONNECTIONS, RAN_OUT
from proxy.dataplane.plane import DataPlane
from proxy.server.operations.admin_listener import OF_ADMIN
from proxy.server.operations.idleness import Idleness
from proxy.server.operations.longest_turn import LongestTurn
from proxy.server.reload import Reloader
from proxy.telemetry.logs import Logs

_SIGN_INS = {
    SessionEvent.SIGNED_IN.value: "succeeded",
    SessionEvent.FAILED.value: "failed",
    SessionEvent.LATE.value: "late",
}
_WITHDRAWN = {"websockets": "websocket", "requests": "request", "connections": "connection"}
_SERVING = frozenset({SessionState.LIVE, SessionState.REFRESHING, SessionState.REPLACING})
_SWITCHING_PROTOCOLS = 101
_LIMITS = (
    *(f"limits.{field.name.removesuffix('_bytes')}" for field in fields(Limits)),
    *(f"timeouts.{field.name.removesuffix('_seconds')}" for field in fields(Timeouts)),
)
_CLASSES = ("2xx", "3xx", "4xx", "5xx")


def exposition(
    *,
    plane: DataPlane,
    reloader: Reloader,
    idleness: Idleness,
    logs: Logs,
    longest_turn: LongestTurn,
    accept: str,
) -> tuple[bytes, str]:
    """All metrics of now, and their content type, in the format that the scraper's `Accept` asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Gateway(plane=plane, reloader=reloader, idleness=idleness, logs=logs, longest_turn=longest_turn)
    )
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Gateway(Collector):
    """The gateway's own families."""

    def __init__(
        self,
        *,
        plane: DataPlane,
        reloader: Reloader,
        idleness: Idleness,
        logs: Logs,
        longest_turn: LongestTurn,
    ) -> None:
        self._plane = plane
        self._reloader = reloader
        self._idleness = idleness
        self._logs = logs
        self._longest_turn = longest_turn

    def collect(self) -> Iterator[Metric]:
        info = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("nbgate_build", "The version that runs.", info)
        yield from self._configuration()
        yield from self._traffic()
        yield from self._sessions()
        yield from self._stops_and_starts()
        cpu, wall = self._longest_turn.seconds
        longest = GaugeMetricFamily(
            "nbgate_event_loop_longest_turn_seconds",
            "The longest turn of the event loop within the last one to two minutes, at most, in steps of 10 ms: by the "
            "thread's processor time, and by the wall's.",
            labels=["clock"],
        )
        longest.add_metric(["cpu"], cpu)
        longest.add_metric(["wall"], wall)
        yield longest
        yield CounterMetricFamily(
            "nbgate_log_lines_lost", "Log lines that were dropped.", value=self._logs.lost
        )
        yield _counter(
            "nbgate_faults",
            "Faults of the gateway's own that ended nothing but what they were met in: each is a bug.",
            "where",
            _single(self._plane.faults.counts),
        )

    def _configuration(self) -> Iterator[Metric]:
        status = self._reloader.status
        yield _counter(
            "nbgate_config_reloads",
            "Changed versions of the configuration: those that took effect, and those refused.",
            "result",
            [(("applied",), status.applied), (("refused",), status.refused)],
        )
        yield GaugeMetricFamily(
            "nbgate_config_last_reload_successful",
            "0 while the configuration files cannot be used as they are, and an earlier version stays in effect.",
            value=not status.problems,
        )
        if status.applied_at is not None:
            yield GaugeMetricFamily(
                "nbgate_config_applied_timestamp_seconds",
                "When the configuration in effect took effect.",
                value=status.applied_at.timestamp(),
            )
        yield GaugeMetricFamily(
            "nbgate_config_restart_needed",
            "1 while sections of the configuration wait for a restart.",
            value=bool(status.restart_for),
        )

    def _traffic(self) -> Iterator[Metric]:
        plane, counts = self._plane, self._logs.counts
        yield GaugeMetricFamily("nbgate_draining", "1 while the gateway is ending.", value=plane.leaving)
        yield GaugeMetricFamily(
            "nbgate_connections",
            "Callers' connections, WebSockets not counted.",
            value=len(plane.open.connections),
        )
        yield GaugeMetricFamily(
            "nbgate_connections_most",
            "How many connections of callers may be open, WebSockets included.",
            value=plane.budgets.most,
        )
        met = plane.limits_met.counts
        yield _counter(
            "nbgate_connections_refused",
            "Connections of callers that were cut, or told of a limit and closed, by the limit's code in the log.",
            "reason",
            [((bound.code.lower(),), met[bound]) for bound in (*OF_CONNECTIONS, *OF_ADMIN)],
        )
        settings = Counter(dict.fromkeys(_LIMITS, 0))
        for bound, count in (*met.items(), *plane.pool.ended.items()):
            settings[bound.setting] += count
        yield _counter(
            "nbgate_limits_met",
            "How often a limit or timeout was met, by where it is set.",
            "limit",
            [((name,), settings[name]) for name in _LIMITS],
        )
        yield CounterMetricFamily(
            "nbgate_descriptors_exhausted",
            "How often something failed because there was no file descriptor left.",
            value=met[RAN_OUT],
        )
        yield GaugeMetricFamily("nbgate_websockets", "Open WebSockets.", value=len(plane.open.relays))
        yield GaugeMetricFamily(
            "nbgate_upstream_connections",
            "Connections to notebooks, WebSockets included.",
            value=len(plane.pool),
        )
        yield _counter(
            "nbgate_withdrawn",
            "What ended because a later configuration, or a date in it, did not let its caller stay.",
            "kind",
            [((word,), plane.open.withdrawn[kind]) for kind, word in _WITHDRAWN.items()],
        )
        # What has not happened yet is 0, not absent: else Prometheus would not see it happen for the first time.
        instances = ("", *self._reloader.settings.instances)
        denied = dict.fromkeys(instances, 0) | counts.denied
        websockets = dict.fromkeys(instances, 0)
        requests = Counter({(instance, code): 0 for instance in instances for code in _CLASSES})
        for (instance, code), number in counts.finished.items():
            if code == _SWITCHING_PROTOCOLS:
                websockets[instance] = websockets.get(instance, 0) + number
            else:
                requests[instance, f"{code // 100}xx" if code else "none"] += number
        yield _counter(
            "nbgate_requests",
            "HTTP requests that have ended, by the class of their status; none: no answer went out.",
            ("instance", "code"),
            requests.items(),
        )
        yield _counter(
            "nbgate_websockets_ended", "WebSockets that have ended.", "instance", _single(websockets)
        )
        yield _counter(
            "nbgate_requests_denied",
            "Requests and WebSockets that the policy denied.",
            "instance",
            _single(denied),
        )

    def _sessions(self) -> Iterator[Metric]:
        counted = self._logs.counts.sessions
        keepers = set(self._reloader.keepers.values())
        live = Counter({keeper.key.notebook: 0 for keeper in keepers})
        for keeper in keepers:
            live[keeper.key.notebook] += keeper.state in _SERVING
        # Those of the configuration, and those that were in it.
        notebooks = dict.fromkeys((*live, *(notebook for notebook, _ in counted)))
        yield _gauge("nbgate_sessions", "Sessions with SageMaker that serve.", "notebook", _single(live))
        yield _counter(
            "nbgate_sign_ins",
            "Attempts to sign in to a notebook: a presigned URL, and its exchange for a session. Late: callers were "
            "told to come again; it succeeds or fails all the same.",
            ("notebook", "result"),
            [
                ((notebook, word), counted[notebook, event])
                for notebook in notebooks
                for event, word in _SIGN_INS.items()
            ],
        )
        yield _counter(
            "nbgate_sessions_lost",
            "Sessions that expired unused, or that SageMaker no longer honoured.",
            "notebook",
            _single({notebook: counted[notebook, SessionEvent.LOST.value] for notebook in notebooks}),
        )

    def _stops_and_starts(self) -> Iterator[Metric]:
        lifecycle = self._idleness.lifecycle
        yield CounterMetricFamily(
            "nbgate_idle_stops", "Instances stopped because nobody used them.", value=lifecycle.stops
        )
        yield CounterMetricFamily(
            "nbgate_idle_saved_seconds",
            "How long instances have not run because they were stopped for that, in all.",
            value=lifecycle.saved_hours * 3600,
        )
        yield CounterMetricFamily(
            "nbgate_starts_on_open",
            "Instances started for a visitor.",
            value=self._idleness.opening.starts,
        )


_Samples = Iterable[tuple[tuple[str, ...], int]]


def _single(values: Mapping[str, int]) -> _Samples:
    return [((label,), value) for label, value in values.items()]


def _counter(name: str, documentation: str, labels: str | tuple[str, ...], samples: _Samples) -> Metric:
    return _filled(CounterMetricFamily(name, documentation, labels=_names(labels)), samples)


def _gauge(name: str, documentation: str, labels: str | tuple[str, ...], samples: _Samples) -> Metric:
    return _filled(GaugeMetricFamily(name, documentation, labels=_names(labels)), samples)


def _names(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    return (labels,) if isinstance(labels, str) else labels


def _filled(family: CounterMetricFamily | GaugeMetricFamily, samples: _Samples) -> Metric:
    for values, value in samples:
        family.add_metric(values, value)
    return family
