"""Copying stored tensors into parameters: the values are those that numpy gives."""

import sys
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxreason.models import huggingface
from jaxreason.models.huggingface import ModelConfig, load_params, static_model
from jaxreason.models.safetensors_reader import LocalFile
from jaxreason.models.weight_copy import copy_into, short_turns

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)


@pytest.mark.parametrize("shape", [(1, 1), (32, 7), (33, 64), (100, 31), (0, 5), (5, 0)])
@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("kept", DTYPES)
def test_a_transposed_matrix_is_copied_and_cast_as_numpy_does(shape, stored, kept):
    values = np.random.default_rng(0).standard_normal(shape).astype(stored)
    out = np.empty(shape[::-1], kept)
    copy_into(out, values.T)
    assert out.tobytes() == np.ascontiguousarray(values.astype(kept).T).tobytes()


def test_a_part_of_a_transposed_matrix_goes_into_a_part_of_an_array():
    values, out = np.arange(600, dtype=np.float32).reshape(20, 30), np.zeros((3, 10, 12))
    copy_into(out[1], values[4:16, 10:20].T)
    np.testing.assert_array_equal(out[1], values[4:16, 10:20].T)
    assert not out[0].any() and not out[2].any()


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), ()])
def test_what_is_not_transposed_is_copied(shape):
    values = np.asarray(np.random.default_rng(0).standard_normal(shape), np.float32)
    out = np.empty(shape, ml_dtypes.bfloat16)
    copy_into(out, values)
    np.testing.assert_array_equal(out, values.astype(ml_dtypes.bfloat16))


def test_a_local_file_gives_its_own_bytes_which_cannot_be_written(tmp_path):
    values = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "n": np.arange(3)}
    save_file(values, tmp_path / "model.safetensors")
    file = LocalFile(tmp_path / "model.safetensors")
    part = file.read("a", (slice(1, 3), slice(0, 2)))
    np.testing.assert_array_equal(part, values["a"][1:, :2])
    assert not part.flags.writeable and not part.flags.owndata
    np.testing.assert_array_equal(file.read("n", (slice(0, 3),)), values["n"])
    assert jax.numpy.asarray(part).sum() == values["a"][1:, :2].sum()


def test_threads_take_short_turns_while_weights_are_read_and_long_ones_after_it(monkeypatch):
    folder, before = Path(__file__).parents[2] / "configs/tiny_base", sys.getswitchinterval()
    how = "float32", "float32", "none", "plain", 1
    config, seen = ModelConfig(str(folder), "pretrained", {}, *how), []

    def copy(out, stored):
        seen.append(sys.getswitchinterval())
        copy_into(out, stored)

    monkeypatch.setattr(huggingface, "copy_into", copy)
    load_params(folder, static_model(config), None)
    assert max(seen) == pytest.approx(1e-4) and before == pytest.approx(5e-3)
    assert sys.getswitchinterval() == before
    with pytest.raises(KeyError), short_turns():
        raise KeyError
    assert sys.getswitchinterval() == before


def test_turns_stay_short_until_the_last_reader_has_ended():
    before, first, second = sys.getswitchinterval(), short_turns(), short_turns()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(1e-4)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == before
