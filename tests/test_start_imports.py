"""What a start that answers people imports: nothing that only training, comparing or reporting needs."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason.verbs.catalogue import VERBS

ELSEWHERE = "datasets grain matplotlib math_verify orbax.checkpoint scipy.stats sympy tensorboardX tensorstore"
PROGRAM = """
import gc, sys
import configs.study_tiny, jaxreason.cli, jaxreason.verbs.answering, jaxreason.serve.server
print(gc.isenabled(), *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""

HIDDEN = """
import sys
from jaxreason.__main__ import hide_torch
hide_torch()
import transformers
print(transformers.utils.is_torch_available(), "torch" in sys.modules)
import torch
print(torch.__name__)
"""


def printed(program, *words):
    """What a program prints that knows the recipes."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    return done.stdout.split()


def test_serving_imports_no_library_that_only_other_verbs_need():
    assert printed(PROGRAM, ELSEWHERE) == ["True"]


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_tokenizers_are_loaded_without_pytorch_which_others_may_still_import():
    assert printed(HIDDEN) == ["False", "False", "torch"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_function_that_the_catalogue_names(verb):
    module, name = VERBS[verb].run.args
    assert callable(getattr(importlib.import_module(module), name))
