"""The report of one made-up study, which tests of the page and of its files share."""

import pytest
from made_once import made_once
from synthetic_study import CONFIG, write_study

from jaxreason.report.build import run_report


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Its folder; tests that change files work on a copy. To draw all its figures takes half a minute."""

    def make(folder):
        run_report(write_study(folder, num_items=40), CONFIG)

    return made_once(tmp_path_factory, "synthetic_study", make)
