"""A working directory belongs to what made it."""

import pytest
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.results.claims import claim


def test_an_old_working_directory_refuses_another_configuration_and_names_the_difference(tmp_path):
    path = epath.Path(tmp_path)
    claim(path, {"sft": {"steps": 3, "stop": ("a",)}})
    claim(path, {"sft": {"steps": 3, "stop": ("a",)}})
    with pytest.raises(ConfigError, match=r"sft.steps: 3 -> 4"):
        claim(path, {"sft": {"steps": 4, "stop": ("a",)}})
