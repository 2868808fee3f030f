"""What fuzz tests share: how many cases are tried, and how much memory they may take.

JAXREASON_FUZZ_CASES=100000 bash scripts/test.sh tests/fuzz      # 200 unless set
"""

import os
import resource

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("JAXREASON_FUZZ_CASES", "200"))
MOST_GROWTH = 1 << 30  # bytes
# A case may take seconds on a busy machine; one that takes a minute hangs.
FUZZ = settings(
    max_examples=CASES,
    deadline=60_000,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
