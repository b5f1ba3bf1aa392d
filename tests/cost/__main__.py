"""`python -m tests.cost`: what each reader costs at most, in milliseconds of this machine's CPU. For people: see
`test_cost.py` for what is promised.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cost.measures import seconds
from tests.cost.readers import READERS


def main() -> None:
    """The worst family of each reader, the dearest first."""
    rows = []
    for reader in READERS:
        costs = {name: seconds(reader.read, make, reader.most) for name, make in reader.families.items()}
        worst = max(costs, key=lambda name: costs[name])
        rows.append((costs[worst] * 1000, reader, worst))
    for milliseconds, reader, family in sorted(rows, key=lambda row: -row[0]):
        print(f"{milliseconds:8.2f} ms  {reader.most:7} bytes  {reader.name}: {family}")


if __name__ == "__main__":
    main()
