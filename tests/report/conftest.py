"""The report of one made-up study, which tests of the page and of its files share."""

import pytest
from synthetic_study import CONFIG, write_study

from jaxreason.report.build import run_report


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Its folder; tests that change files work on a copy."""
    folder = write_study(tmp_path_factory.mktemp("study"), num_items=40)
    run_report(folder, CONFIG)
    return folder
