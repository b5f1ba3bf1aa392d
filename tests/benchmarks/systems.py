"""The systems that are measured: how each is configured and started.

The rule: one worker, keep-alive connections to the origin, no access log on disk, everything else as each is
shipped; nothing is tuned but what a rule of the benchmark asks for. nbgate runs as it would in production, access
log on. Knows no metric.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.install import BASELINE_SOURCES, BUILD, PYTHON

DIRECT = "direct"
BASELINE = "baseline"
"""nbgate at an earlier commit: `install.check_out` puts it there."""
KEPT_CONNECTIONS = 128


@dataclass(frozen=True, slots=True)
class Site:
    """Where a system listens, what it stands in front of, and a directory of its own."""

    directory: Path
    port: int
    origin_port: int

    def write(self, name: str, text: str) -> str:
        """A configuration file; its path."""
        file = self.directory / name
        file.write_text(text)
        return str(file)


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line and what its environment has besides ours."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def nginx(site: Site, *, buffers: str = "") -> Launch:
    """As shipped. Bodies are streamed, both ways: the benchmark's rule is that nothing goes to a disk."""
    temporary = "".join(
        f"  {kind}_temp_path {site.directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""
{"user root root;" if os.geteuid() == 0 else ""}
worker_processes 1;
daemon off;
pid {site.directory}/pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
{temporary}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream origin {{
    server 127.0.0.1:{site.origin_port};
    keepalive {KEPT_CONNECTIONS};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    allow 127.0.0.0/8;
    deny all;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;
    send_timeout 1h;
{buffers}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""
    return Launch(
        ("nginx", "-e", "stderr", "-p", str(site.directory), "-c", site.write("nginx.conf", config))
    )


def nginx_64k(site: Site) -> Launch:
    """With 64 KiB buffers wherever nginx has one."""
    return nginx(
        site,
        buffers="    proxy_buffer_size 64k;\n    proxy_buffers 8 64k;\n    proxy_busy_buffers_size 128k;\n"
        "    client_body_buffer_size 64k;\n",
    )


def haproxy(site: Site) -> Launch:
    config = f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  http-reuse always
frontend callers
  bind 127.0.0.1:{site.port} backlog 4096
  http-request deny unless {{ src 127.0.0.0/8 }}
  option forwardfor
  default_backend origin
backend origin
  server origin 127.0.0.1:{site.origin_port} pool-max-conn {KEPT_CONNECTIONS}
"""
    return Launch(("haproxy", "-db", "-f", site.write("haproxy.cfg", config)))


def caddy(site: Site) -> Launch:
    config = f"""
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{site.port} {{
  @elsewhere not remote_ip 127.0.0.0/8
  abort @elsewhere
  reverse_proxy 127.0.0.1:{site.origin_port} {{
    transport http {{
      keepalive_idle_conns_per_host {KEPT_CONNECTIONS}
    }}
  }}
}}
"""
    return Launch(
        ("caddy", "run", "--adapter", "caddyfile", "--config", site.write("Caddyfile", config)),
        # One worker: one thread that runs Go code.
        {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(site.directory), "XDG_CONFIG_HOME": str(site.directory)},
    )


def chp(site: Site) -> Launch:
    """JupyterHub's proxy, configurable-http-proxy; its API listens beside it."""
    script = BUILD / "chp/node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    return Launch(
        (
            *("node", str(script), "--ip", "127.0.0.1", "--port", str(site.port)),
            *("--api-ip", "127.0.0.1", "--api-port", "0", "--log-level", "error"),
            *("--default-target", f"http://127.0.0.1:{site.origin_port}"),
        ),
        {"NODE_ENV": "production"},
    )


def aiohttp_plain(site: Site) -> Launch:
    argv = (str(PYTHON), "-m", "tests.benchmarks.aiohttp_plain", str(site.port), str(site.origin_port))
    return Launch(argv)


def nbgate(site: Site, *, more: str = "timeouts: {drain_delay: 0s}") -> Launch:
    """All its work on: the access log as JSON on standard output, which is /dev/null."""
    origin = f"http://127.0.0.1:{site.origin_port}"
    config = f"""
hostname: 127.0.0.1
listeners: [{{bind: '127.0.0.1:{site.port}'}}]
admin: null
aws: {{region: us-east-1, endpoint_url: '{origin}', notebook_origins: ['{origin}']}}
allowlists: {{here: [127.0.0.0/8]}}
policy: {{allow: [here]}}
instances: {{benchmark: {{notebook: benchmark, mount: root}}}}
limits:
  # All callers of the benchmark have one address.
  connections_per_address: 10000
  upstream_connections: 10000
  upstream_idle_connections: {KEPT_CONNECTIONS}
{more}
log: {{format: json}}
"""
    return Launch(
        (str(PYTHON), "-m", "proxy", "serve", "--config", site.write("nbgate.yaml", config)),
        {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            # As installed: compiled files are there.
            "PYTHONDONTWRITEBYTECODE": "",
        },
    )


def baseline(site: Site) -> Launch:
    """An earlier commit, in the same environment and with the same configuration."""
    # Only settings that every commit since 0.1.0 has.
    launch = nbgate(site, more="")
    # The directory that this runs in has a package of that name, too, and would come first.
    return Launch(launch.argv, {**launch.env, "PYTHONPATH": str(BASELINE_SOURCES), "PYTHONSAFEPATH": "1"})


SYSTEMS: Mapping[str, Callable[[Site], Launch] | None] = {
    DIRECT: None,
    "nginx": nginx,
    "nginx-64k": nginx_64k,
    "haproxy": haproxy,
    "caddy": caddy,
    "chp": chp,
    "aiohttp-plain": aiohttp_plain,
    "nbgate": nbgate,
    BASELINE: baseline,
}
"""By name; the direct way to the origin needs no process."""
