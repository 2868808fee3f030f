"""Every fuzz test leaves the process about as large as it was."""

import pytest
from fuzzing import MOST_GROWTH, peak_bytes


@pytest.fixture(autouse=True, scope="module")
def memory_does_not_blow_up():
    before = peak_bytes()
    yield
    assert peak_bytes() - before < MOST_GROWTH
