"""botocore sessions that read what nbgate needs of AWS's service descriptions, and not all of it.

botocore describes some 400 operations of SageMaker, and every service's endpoints, in JSON: parsed they take 17 MB
and a tenth of a second, and nbgate calls five operations of one service. `models` holds those parts of both files,
unchanged (tests/aws/service_data.py writes them; a test compares them with the installed botocore). All other
data, endpoint rules and partitions among them, is the installed botocore's. Imported with botocore, in a worker
thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session

from proxy.aws.dial import DIRECT, Egress
from proxy.wire.egress import EgressProxy

MODELS: Final = Path(__file__).parent / "models"


def new_session(
    profile: str | None = None, *, ca_bundle: str | None = None, egress: Egress = DIRECT
) -> Session:
    """A session with our files before botocore's, and those of AWS_DATA_PATH between them.

    All its clients, those that fetch credentials included, leave by `egress`, trust `ca_bundle` (None: as botocore does
    by itself), and repeat nothing: `proxy.aws.sagemaker` does.
    """
    session = _Session(profile=profile)
    session.egress, session.ca_bundle = egress, ca_bundle
    data_path: str | None = session.get_config_variable("data_path")
    session.register_component(
        "data_loader", _Loader([str(MODELS), *(data_path.split(os.pathsep) if data_path else ())])
    )
    return session


class _Session(Session):
    egress: Egress
    ca_bundle: str | None

    def create_client(self, *args: Any, config: Config | None = None, **options: Any) -> Any:
        options["verify"] = options.get("verify") or self.ca_bundle

        def client(proxy: EgressProxy | None) -> Any:
            # Said in any case: otherwise botocore looks into the environment, whose word was taken already.
            proxies = {} if proxy is None else {"https": proxy.url}
            ours = Config(proxies=proxies, retries={"mode": "standard", "total_max_attempts": 1})
            options["config"] = ours if config is None else config.merge(ours)
            return super(_Session, self).create_client(*args, **options)

        made = client(self.egress.proxy)
        if self.egress.proxy is not None:
            # Only a client knows which host it is for.
            endpoint = urlsplit(made.meta.endpoint_url)
            if self.egress.proxy_for(endpoint.scheme, endpoint.hostname, endpoint.port or 443) is None:
                made.close()
                return client(None)
        return made


class _Loader(Loader):
    def is_builtin_path(self, path: str) -> bool:
        # botocore lets endpoints that are not its own overrule its endpoint rules; ours are its own.
        return Path(path).is_relative_to(MODELS) or super().is_builtin_path(path)
