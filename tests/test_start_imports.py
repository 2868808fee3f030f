"""What a start imports: nothing that its verb does not need, or not before its recipe is checked."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason.verbs.catalogue import VERBS

# Needed at some point of a verb's work, but not by its start.
LATER = (
    "datasets grain math_verify matplotlib orbax.checkpoint pyarrow scipy sympy tensorboardX tensorstore torch "
    "transformers jax.experimental.pallas"
)
NO_JAX = f"{LATER} jax flax optax"
TINY = "--config configs/study_tiny.py"
# Each command ends at a fault of its words, those with a recipe after that has been checked.
STARTS = {
    "--help": f"{NO_JAX} numpy",
    "study --help": f"{NO_JAX} numpy",
    "status nowhere": NO_JAX,
    "show nowhere": NO_JAX,
    "report nowhere --workdir nowhere": f"{LATER} flax optax",
    f"report {TINY} --workdir nowhere --unknown": LATER,
    f"study {TINY} --workdir nowhere --unknown": LATER,
    f"sft {TINY} --workdir nowhere --unknown": LATER,
    f"eval {TINY} --workdir nowhere --best=add": LATER,
}
START = """
import sys
from jaxreason import cli
try:
    cli.main(["jaxreason", *sys.argv[2:]])
except SystemExit:
    pass
print()
print("imported", *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""
GRADER = """
import sys
import jaxreason.tasks.verify
print(*sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""
ENGINE = """
import sys
from jaxreason.sampling.admission_control import Lengths
before = "scipy.special" in sys.modules
Lengths()
print(before, "scipy.special" in sys.modules)
"""
PROGRAM = """
import gc, sys
import configs.study_tiny, jaxreason.cli, jaxreason.verbs.answering, jaxreason.serve.server
print(gc.isenabled(), *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""

HIDDEN = """
import sys
from jaxreason.data.tokenizer_library import hide_torch, tokenizer_library
hide_torch()
transformers = tokenizer_library()
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
    assert printed(PROGRAM, LATER) == ["True"]


@pytest.mark.parametrize("command", STARTS)
def test_a_command_starts_without_the_libraries_that_it_does_not_need_yet(command):
    words = printed(START, STARTS[command], *command.split())
    assert words[words.index("imported") :] == ["imported"]


def test_a_grading_worker_starts_without_the_libraries_that_only_its_task_may_need():
    assert printed(GRADER, NO_JAX) == []


def test_an_engine_has_what_a_request_needs_before_the_first_one():
    assert printed(ENGINE) == ["False", "True"]


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="PyTorch is not installed")
def test_tokenizers_are_loaded_without_pytorch_which_others_may_still_import():
    assert printed(HIDDEN) == ["False", "False", "torch"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_function_that_the_catalogue_names(verb):
    module, name = VERBS[verb].run.args
    assert callable(getattr(importlib.import_module(module), name))
