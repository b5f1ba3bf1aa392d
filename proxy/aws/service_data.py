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
from typing import Final

from botocore.loaders import Loader
from botocore.session import Session

MODELS: Final = Path(__file__).parent / "models"


def new_session(profile: str | None = None) -> Session:
    """A session with our files before botocore's, and those of AWS_DATA_PATH between them."""
    session = Session(profile=profile)
    data_path: str | None = session.get_config_variable("data_path")
    session.register_component(
        "data_loader", _Loader([str(MODELS), *(data_path.split(os.pathsep) if data_path else ())])
    )
    return session


class _Loader(Loader):
    def is_builtin_path(self, path: str) -> bool:
        # botocore lets endpoints that are not its own overrule its endpoint rules; ours are its own.
        return Path(path).is_relative_to(MODELS) or super().is_builtin_path(path)
