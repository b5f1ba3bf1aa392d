"""/metrics: what happened is counted once, under names of ours, and costs nobody anything who doesn't ask."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from proxy import __version__
from tests.harness.gateway import Rig, body_of, open_rig, status_of
from tests.harness.waiting import PATIENCE_SECONDS

Samples = dict[tuple[str, ...], float]
UPGRADE = (
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Connection: Upgrade\r\n"
)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def scrape(rig: Rig, accept: str = "text/plain") -> bytes:
    address = rig.gateway.admin_address
    assert address is not None
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    assert status_of(answer) == 200
    return answer


async def families(rig: Rig) -> dict[str, Metric]:
    return {family.name: family for family in read_text(body_of(await scrape(rig)).decode())}


async def samples(rig: Rig) -> Samples:
    """Values by the sample's name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in (await families(rig)).values()
        for sample in family.samples
    }


async def reloaded(rig: Rig, text: str) -> bool:
    rig.log_file.with_name("nbgate.yaml").write_text(text)
    return await rig.gateway.reloader.reload_now()


async def test_a_configuration_that_was_refused_is_a_metric_until_it_is_mended(rig: Rig) -> None:
    """Issue 4: "an invalid one leaves everything as it was, and is shouted in the log, in a metric and in /readyz"."""
    valid = rig.log_file.with_name("nbgate.yaml").read_text()
    before = await samples(rig)
    assert before["nbgate_config_last_reload_successful",] == 1
    assert before["nbgate_config_reloads_total", "refused"] == 0
    assert not await reloaded(rig, "policy: 1")
    after = await samples(rig)
    assert after["nbgate_config_last_reload_successful",] == 0
    assert after["nbgate_config_reloads_total", "refused"] == 1
    assert after["nbgate_config_reloads_total", "applied"] == 0
    assert await reloaded(rig, valid)
    assert (await samples(rig))["nbgate_config_last_reload_successful",] == 1


async def test_a_configuration_that_took_effect_and_one_that_waits_for_a_restart(rig: Rig) -> None:
    before = await samples(rig)
    assert before["nbgate_config_restart_needed",] == 0
    changed = yaml.safe_load(rig.log_file.with_name("nbgate.yaml").read_text())
    changed |= {"policy": {"allow": ["elsewhere"]}, "admin": {"bind": "127.0.0.1:1"}}
    assert await reloaded(rig, yaml.safe_dump(changed))
    after = await samples(rig)
    assert after["nbgate_config_reloads_total", "applied"] == 1
    assert after["nbgate_config_restart_needed",] == 1
    at = "nbgate_config_applied_timestamp_seconds"
    assert after[at,] > before[at,] > 1.7e9


async def test_requests_are_counted_by_instance_and_class_and_denials_by_instance(rig: Rig) -> None:
    for path in ("/status/204", "/status/204", "/status/404", "/status/503"):
        await rig.get(path)
    assert status_of(await rig.get(host="stranger.test")) == 421
    settings = yaml.safe_load(rig.log_file.with_name("nbgate.yaml").read_text())
    assert await reloaded(rig, yaml.safe_dump({**settings, "policy": {"allow": ["elsewhere"]}}))
    assert status_of(await rig.get("/status/204")) == 403
    counted = await samples(rig)
    requests = {
        labels[1:]: count
        for labels, count in counted.items()
        if labels[0] == "nbgate_requests_total" and count
    }
    assert requests == {
        ("2xx", "research"): 2,
        ("4xx", "research"): 2,
        ("5xx", "research"): 1,
        ("4xx", ""): 1,
    }
    assert counted["nbgate_requests_denied_total", "research"] == 1


async def test_without_access_lines_requests_are_counted_all_the_same(tmp_path: Path) -> None:
    async with open_rig(tmp_path, log={"format": "json", "access": False}) as rig:
        await rig.get("/status/204")
        assert (await samples(rig))["nbgate_requests_total", "2xx", "research"] == 1


async def test_what_is_open_and_what_a_change_ends(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(f"GET /ws HTTP/1.1\r\nHost: {rig.authority}\r\n{UPGRADE}\r\n".encode())
    assert status_of(await reader.readuntil(b"\r\n\r\n")) == 101
    kept, keeping = await asyncio.open_connection("127.0.0.1", rig.port)
    keeping.write(f"GET /status/204 HTTP/1.1\r\nHost: {rig.authority}\r\n\r\n".encode())
    assert status_of(await kept.readuntil(b"\r\n\r\n")) == 204
    counted = await samples(rig)
    assert counted["nbgate_websockets",] == 1
    assert counted["nbgate_connections",] == 1
    assert counted["nbgate_upstream_connections",] == 2
    assert counted["nbgate_withdrawn_total", "websocket"] == 0
    settings = yaml.safe_load(rig.log_file.with_name("nbgate.yaml").read_text())
    assert await reloaded(rig, yaml.safe_dump({**settings, "policy": {"allow": ["elsewhere"]}}))
    assert (await asyncio.wait_for(reader.readexactly(4), PATIENCE_SECONDS))[2:] == b"\x03\xf0"
    writer.write(b"\x88\x82\0\0\0\0\x03\xf0")
    await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    assert await asyncio.wait_for(kept.read(), PATIENCE_SECONDS) == b""
    counted = await samples(rig)
    assert counted["nbgate_websockets",] == counted["nbgate_connections",] == 0
    assert counted["nbgate_withdrawn_total", "websocket"] == 1
    assert counted["nbgate_withdrawn_total", "connection"] == 1
    assert counted["nbgate_withdrawn_total", "request"] == 0
    assert counted["nbgate_websockets_ended_total", "research"] == 1
    writer.close()
    keeping.close()


async def test_sign_ins_and_sessions_are_counted_by_notebook(rig: Rig) -> None:
    assert (await samples(rig))["nbgate_sessions", "research-gpu-1"] == 0
    await rig.get("/status/204")
    counted = await samples(rig)
    assert counted["nbgate_sessions", "research-gpu-1"] == 1
    assert counted["nbgate_sign_ins_total", "research-gpu-1", "succeeded"] == 1
    assert counted["nbgate_sessions_lost_total", "research-gpu-1"] == 0
    rig.gateway.reloader.keepers["research"].close()
    counted = await samples(rig)
    assert counted["nbgate_sessions", "research-gpu-1"] == 0
    assert counted["nbgate_sessions_lost_total", "research-gpu-1"] == 1


async def test_a_sign_in_that_fails_is_counted(tmp_path: Path) -> None:
    async with open_rig(tmp_path, mounted={"gone": {"notebook": "gone", "mount": "root"}}) as rig:
        assert status_of(await rig.get()) == 404
        assert (await samples(rig))["nbgate_sign_ins_total", "gone", "failed"] == 1


async def test_the_build_the_process_and_lost_lines_are_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.gateway.logs.sink, "_lost", 3)
    counted = await samples(rig)
    [build] = (await families(rig))["nbgate_build_info"].samples
    assert build.labels["version"] == __version__
    assert build.value == 1
    assert counted["nbgate_log_lines_lost_total",] == 3
    assert counted["nbgate_draining",] == 0
    assert counted["process_resident_memory_bytes",] > 1e6
    assert counted["process_cpu_seconds_total",] > 0


async def test_connections_that_are_refused_are_counted_by_reason(tmp_path: Path) -> None:
    async with open_rig(
        tmp_path, limits={"connections_per_stranger": 1}, policy={"allow": ["elsewhere"]}
    ) as rig:
        counted = await samples(rig)
        assert counted["nbgate_connections_most",] == rig.gateway.plane.budgets.most
        assert counted["nbgate_descriptors_exhausted_total",] == 0
        refused = {
            labels[1]: count
            for labels, count in counted.items()
            if labels[0] == "nbgate_connections_refused_total"
        }
        assert set(refused.values()) == {0}
        assert {"too_many_connections", "too_many_from_address", "tls_timeout"} <= set(refused)
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        assert await rig.raw(b"") == b""
        assert (await samples(rig))["nbgate_connections_refused_total", "too_many_from_stranger"] == 1
        writer.close()


async def test_nothing_that_a_caller_chooses_is_a_label(rig: Rig) -> None:
    for target, host, method in (
        ("/secret-path?authToken=x", None, "GET"),
        ("/", "chosen.example", "GET"),
        ("/", None, "BREW"),
        ("/", "a b", "GET"),
    ):
        await rig.get(target, host=host, method=method, extra="User-Agent: chosen\r\n")
    for family in (await families(rig)).values():
        for sample in family.samples:
            assert set(sample.labels) <= {
                "instance",
                "code",
                "notebook",
                "result",
                "clock",
                "kind",
                "limit",
                "reason",
                "version",
                "python",
                "where",
            }
            assert sample.labels.get("instance", "") in ("", "research")
            assert sample.labels.get("code", "none") in ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


async def test_names_keep_to_prometheus_conventions(rig: Rig) -> None:
    await rig.get("/status/204")
    for name, family in (await families(rig)).items():
        assert name.startswith(("nbgate_", "process_")), name
        assert family.documentation, name
        assert family.type in ("counter", "gauge"), name
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter"), sample.name


async def test_what_has_not_happened_yet_is_zero_and_not_absent(rig: Rig) -> None:
    """Else `increase()` would miss the first denial, and an alert on it."""
    counted = await samples(rig)
    for sample in (
        ("nbgate_requests_denied_total", ""),
        ("nbgate_requests_denied_total", "research"),
        ("nbgate_websockets_ended_total", "research"),
        ("nbgate_requests_total", "5xx", "research"),
        ("nbgate_sign_ins_total", "research-gpu-1", "failed"),
        ("nbgate_sessions_lost_total", "research-gpu-1"),
        ("nbgate_config_reloads_total", "refused"),
        ("nbgate_withdrawn_total", "websocket"),
    ):
        assert counted[sample] == 0


async def test_an_instance_that_is_gone_keeps_what_it_counted(rig: Rig) -> None:
    """A counter that vanished and came back would look like a restart."""
    await rig.get("/status/204")
    changed = yaml.safe_load(rig.log_file.with_name("nbgate.yaml").read_text())
    changed |= {"instances": {"other": {"notebook": "other", "mount": "root"}}}
    assert await reloaded(rig, yaml.safe_dump(changed))
    counted = await samples(rig)
    assert counted["nbgate_requests_total", "2xx", "research"] == 1
    assert counted["nbgate_sign_ins_total", "research-gpu-1", "succeeded"] == 1
    assert counted["nbgate_sign_ins_total", "other", "succeeded"] == 0
    assert ("nbgate_sessions", "research-gpu-1") not in counted


async def test_both_formats_are_spoken(rig: Rig) -> None:
    text, openmetrics = await scrape(rig), await scrape(rig, OPEN_METRICS)
    assert b"\r\nContent-Type: text/plain; version=" in text.partition(b"\r\n\r\n")[0]
    assert b"\r\nContent-Type: application/openmetrics-text; version=1.0.0" in openmetrics
    names = {family.name for family in read_openmetrics(body_of(openmetrics).decode())}
    assert {"nbgate_build", "nbgate_config_reloads", "nbgate_websockets"} <= names


def test_the_library_is_not_loaded_before_somebody_asks() -> None:
    """Start-up time and memory are measured."""
    code = "import sys, proxy.cli, proxy.server.run; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
