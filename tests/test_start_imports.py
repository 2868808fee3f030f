"""What a start that answers people imports: nothing that only training, comparing or reporting needs."""

import importlib
import subprocess
import sys

import pytest

from jaxreason.verbs.catalogue import VERBS

ELSEWHERE = "datasets grain matplotlib math_verify orbax.checkpoint scipy.stats sympy tensorboardX tensorstore"
PROGRAM = """
import gc, sys
import jaxreason.cli, jaxreason.verbs.answering, jaxreason.serve.server
print(gc.isenabled(), *sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""


def test_serving_imports_no_library_that_only_other_verbs_need():
    words = [sys.executable, "-c", PROGRAM, ELSEWHERE]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_function_that_the_catalogue_names(verb):
    module, name = VERBS[verb].run.args
    assert callable(getattr(importlib.import_module(module), name))
