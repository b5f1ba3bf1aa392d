"""The Regions that this version knows. A new one may be missing here, and works all the same: AWS's answer decides.

The rule: read from the endpoints that are shipped (`models`), without botocore, which takes a quarter of a second to
import. It must not call anything.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def known_regions() -> frozenset[str]:
    """The codes of all partitions' Regions."""
    # Beside `service_data`, whose import is dear.
    text = (Path(__file__).parent / "models" / "endpoints.json").read_text("utf-8")
    return frozenset(
        region for partition in json.loads(text)["partitions"] for region in partition["regions"]
    )
