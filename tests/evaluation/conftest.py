import pytest
from tiny_evaluation import make_folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("tiny"))
