"""What comparing and mixing two models takes of this machine's memory, in a process of its own."""

import dataclasses
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from stored_pair import ARCHITECTURE, UP, weights_of, write_weights

from jaxreason.data.character_tokenizer import save_character_tokenizer

LARGE = dataclasses.replace(ARCHITECTURE, vocab_size=56000, hidden_size=1024, intermediate_size=128)
PROGRAM = """
import sys
from jaxreason.analysis import surgery
from jaxreason.analysis.weight_run import stream_weights

surgery.SHARD_BYTES = 2**20  # a larger tensor has a file of its own
half = surgery.parse_surgery("interpolate", "0.5", None, None, None)

def peak():
    return next(int(x.split()[1]) << 10 for x in open("/proc/self/status") if x.startswith("VmHWM"))

def work(name, base, tuned):
    stream_weights(f"{sys.argv[1]}/{name}", base, tuned, {})
    yield peak()
    surgery.run_surgery(base, tuned, f"{sys.argv[1]}/{name}_half", half)
    yield peak()

list(work("small", *sys.argv[2:4]))  # what libraries take is no matter of models
before = peak()
print(*(found - before for found in work("large", *sys.argv[4:6])))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_models(tmp_path):
    """Two models of 230 MB each: compared in less than their largest tensor takes, mixed in three times that."""
    model = weights_of(architecture=dataclasses.replace(LARGE, vocab_size=8))
    rows = np.tile(model["model.embed_tokens.weight"], (7000, 1)).astype(ml_dtypes.bfloat16)
    model["model.embed_tokens.weight"] = model["lm_head.weight"] = rows
    small = write_weights(tmp_path / "small_base", weights_of())
    folders = [small, write_weights(tmp_path / "small_tuned", weights_of(1))]
    for name, scale in (("base", 1), ("tuned", 1.1)):
        weights = model | {UP: model[UP] * scale}
        folders.append(write_weights(tmp_path / name, weights, LARGE, "bfloat16"))
    for name in ("small_tuned", "tuned"):
        save_character_tokenizer(tmp_path / name, "0123456789")
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), *folders]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    compared, mixed = map(int, done.stdout.split())
    assert compared < rows.nbytes and mixed < 3 * rows.nbytes, done.stdout
