"""Which requests are use, and which only say that a tab is open: those that JupyterLab and Notebook really send."""

from __future__ import annotations

import pytest

from proxy.lifecycle.use import is_use

USE = [
    ("GET", "/"),
    ("GET", "/lab"),
    ("GET", "/lab?reset"),
    ("GET", "/lab/tree/team/a.ipynb"),
    ("GET", "/lab/workspaces/auto-4"),
    ("GET", "/tree"),
    ("GET", "/tree/work"),
    ("GET", "/notebooks/a.ipynb"),
    ("GET", "/edit/a.py"),
    ("GET", "/files/data.csv?download=1"),
    ("GET", "/nbconvert/html/a.ipynb?download=true"),
    ("PUT", "/api/contents/a.ipynb"),
    ("PATCH", "/api/contents/a.ipynb"),
    ("DELETE", "/api/contents/a.ipynb"),
    ("POST", "/api/contents/a.ipynb/checkpoints"),
    ("POST", "/api/sessions"),
    ("POST", "/api/kernels/8b7e/interrupt"),
    ("POST", "/api/terminals"),
    ("DELETE", "/api/terminals/1"),
    ("PUT", "/lab/api/settings/@jupyterlab/apputils-extension:themes"),
    ("POST", "/proxy/8050/_dash-update-component"),
    ("POST", "/git/team/commit"),
    ("POST", "/git/team/push"),
    ("PROPFIND", "/anything"),
]

POLLS = [
    ("GET", "/api/kernels"),
    ("GET", "/api/kernels?1700000000000"),
    ("GET", "/api/sessions"),
    ("GET", "/api/terminals"),
    ("GET", "/api/status"),
    ("GET", "/api/kernelspecs"),
    ("GET", "/api/contents?content=1&hash=0"),
    ("GET", "/api/contents/work?content=1"),
    ("GET", "/api/contents/files/data.csv"),
    ("GET", "/api/metrics/v1"),
    ("GET", "/api/me"),
    ("GET", "/lab/api/workspaces/default"),
    ("GET", "/lab/api/settings/"),
    ("GET", "/lab/extensions/@jupyterlab/git/static/remoteEntry.js"),
    ("GET", "/static/lab/main.js"),
    ("GET", "/favicon.ico"),
    ("GET", "/proxy/8501/_stcore/health"),
    ("GET", "/laboratory"),
    ("GET", "/treehouse/"),
    ("HEAD", "/files/data.csv"),
    ("HEAD", "/lab"),
    ("OPTIONS", "/api/contents"),
    ("POST", "/git/team/status"),
    ("POST", "/git/team/branch"),
    ("POST", "/git/team/remote/fetch?x=1"),
    ("POST", "/api/security/csp-report?reportOnly=1"),
]


@pytest.mark.parametrize(("method", "target"), USE)
def test_what_somebody_does_is_use(method: str, target: str) -> None:
    assert is_use(method, target)


@pytest.mark.parametrize(("method", "target"), POLLS)
def test_what_a_page_asks_by_itself_is_not(method: str, target: str) -> None:
    assert not is_use(method, target)
