"""What tests of graders share."""

import pytest

from jaxreason.tasks.verify import VerifierPool


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(1, 60.0) as pool:
        yield pool
