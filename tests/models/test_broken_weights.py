"""Weights of a folder that are no numbers, found without a device."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from jaxreason.models import safetensors_reader
from jaxreason.models.safetensors_reader import ROWS, first_not_finite


def write(folder, **tensors):
    folder.mkdir(exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_first_tensor_with_a_value_that_is_none_is_named_with_how_many(tmp_path):
    whole = np.ones((ROWS + 3, 2), np.float32)
    bad = whole.copy()
    bad[0, 1], bad[ROWS + 2, 0] = np.nan, -np.inf  # in both blocks of rows
    said = first_not_finite(write(tmp_path, a=whole, b=bad, c=bad))
    assert said == f"{tmp_path}/model.safetensors: b holds 2 values that are NaN or infinite"


def test_bfloat16_and_single_numbers_are_looked_at_and_whole_weights_have_nothing_to_say(tmp_path):
    fine = {"a": np.ones((3, 2), ml_dtypes.bfloat16), "b": np.array(1.0, np.float32)}
    assert first_not_finite(write(tmp_path, **fine)) == ""
    worse = fine | {"b": np.array(np.nan, np.float32)}
    assert "b holds 1 values" in first_not_finite(write(tmp_path, **worse))
    worse = fine | {"a": np.full((3, 2), np.inf, ml_dtypes.bfloat16)}
    assert "a holds 6 values" in first_not_finite(write(tmp_path, **worse))


@pytest.mark.parametrize("kind", ["LocalFile", "RemoteFile"])
def test_buffers_that_no_model_loads_are_not_looked_at(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_reader, "LocalFile", getattr(safetensors_reader, kind))
    buffers = {
        "model.causal_mask": np.triu(np.full((4, 4), -np.inf, np.float32), 1),
        "model.layers.0.self_attn.bias": np.ones((1, 1, 4, 4), bool),
        "model.position_ids": np.arange(4),
        "model.extra": np.array(3),
        "v_head.weight": np.full(3, np.nan, np.float32),
        "model.layers.0.weight_scale": np.ones((2, 2), ml_dtypes.float8_e4m3fn),
    }
    weight = np.ones((3, 2), np.float32)
    assert first_not_finite(write(tmp_path, norm=weight, **buffers)) == ""
    weight[2, 1] = np.nan
    assert "norm holds 1 values" in first_not_finite(write(tmp_path, norm=weight, **buffers))
