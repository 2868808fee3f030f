"""Weights compared as they are stored: what was planted is found where it was planted, what is broken is named."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy
from stored_pair import ARCHITECTURE, UP, static, weights_of, write_weights

from jaxreason.analysis import weight_run
from jaxreason.analysis.loaded_weights import compare_weights, weight_drift
from jaxreason.analysis.weight_run import stream_weights
from jaxreason.errors import UserError
from jaxreason.models.huggingface import load_params
from jaxreason.models.stored_tensors import open_stored, shared_places


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("stored") / "base", weights_of())


def compare(tmp_path, base, tuned):
    """Values over all weights, and the records by Hugging Face's name."""
    prepared = stream_weights(tmp_path / "work", base, tuned, {"models": str(tuned)})
    keys = {place: tensor.key for place, tensor in open_stored(base).tensors.items()}
    records = prepared.details["tensors"]
    named = {keys.get((r["path"], r["layer"] or 0), "head"): r for r in records}
    return prepared.statistic(None), prepared.details, named


def with_change(tmp_path, change) -> str:
    """The base with a change to the up projection of layer 1."""
    weights = weights_of()
    return write_weights(tmp_path / "tuned", weights | {UP: change(weights[UP])})


def orthonormal(rows, columns, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def test_a_model_against_itself_has_moved_nowhere(base, tmp_path):
    values, details, records = compare(tmp_path, base, base)
    assert set(values.values()) == {0.0}
    assert not any(record["num_changed"] or record["directions"] for record in records.values())
    assert details["num_weights"] == sum(x.size for x in weights_of().values())


def test_a_planted_update_of_rank_3_is_found_in_its_matrix_and_layer_and_nowhere_else(
    base, tmp_path
):
    values = np.array([3.0, 3.0, 3.0])
    update = (orthonormal(96, 3) * values) @ orthonormal(48, 3, 1).T
    tuned = with_change(tmp_path, lambda x: (x + update).astype(np.float32))
    whole, details, records = compare(tmp_path, base, tuned)
    assert [key for key, record in records.items() if record["squared_change"]] == [UP]
    found = records[UP]["directions"]
    assert found["effective_rank"] == pytest.approx(3, rel=1e-4)
    assert found["stable_rank"] == pytest.approx(3, rel=1e-4)
    assert found["top_10"] == pytest.approx(1, abs=1e-6) and found["exact"]
    np.testing.assert_allclose(found["values"][:3], values, rtol=1e-4)
    assert found["values"][3] < 1e-5
    assert whole["update_l2"] == pytest.approx(np.sqrt(27), rel=1e-4)
    moved = [layer["relative_l2"] > 0 for layer in details["by_layer"]]
    assert moved == [False, True, False]
    assert {k for k, v in details["by_kind"].items() if v["update_l2"]} == {"up_proj"}
    assert details["by_kind"]["up_proj"]["rank_share"] == pytest.approx(3 / 48, rel=1e-4)


def test_an_update_along_the_bases_leading_directions_is_at_an_angle_of_0_to_them(base, tmp_path):
    left, values, right = np.linalg.svd(weights_of()[UP].astype(np.float64), full_matrices=False)
    tuned = with_change(
        tmp_path, lambda x: (x + 0.1 * (left[:, :4] * values[:4]) @ right[:4]).astype(np.float32)
    )
    found = compare(tmp_path, base, tuned)[2][UP]["directions"]
    for side in ("left", "right"):
        assert found[f"angle_{side}"] < 0.05
        assert found[f"overlap_{side}"] == pytest.approx(1, abs=1e-5)
        assert found[f"energy_{side}"] == pytest.approx(1, abs=1e-5)
        assert (
            found[f"rotation_{side}"] < 1
        )  # of twelve, the last of which are close to their neighbours
    grown = np.linalg.norm(0.1 * values[:4]) / np.linalg.norm(values)
    assert found["spectral_drift"] == pytest.approx(grown, rel=1e-4)


def test_an_update_off_the_leading_directions_does_not_meet_them(base, tmp_path):
    """The mark of reinforcement learning in 2511.08567."""
    left, _, right = np.linalg.svd(weights_of()[UP].astype(np.float64), full_matrices=False)
    tuned = with_change(tmp_path, lambda x: (x + left[:, -4:] @ right[-4:]).astype(np.float32))
    found = compare(tmp_path, base, tuned)[2][UP]["directions"]
    assert found["overlap_left"] < 1e-5 and found["energy_right"] < 1e-5
    assert found["angle_left"] > 89


def test_a_random_update_meets_the_leading_directions_as_often_as_chance_says(base, tmp_path):
    moved = {k: x + 0.01 * weights_of(7)[k] for k, x in weights_of().items()}
    _, details, records = compare(tmp_path, base, write_weights(tmp_path / "tuned", moved))
    whole = details["whole"]
    for side in ("left", "right"):
        assert whole[f"overlap_{side}"] == pytest.approx(whole[f"chance_{side}"], rel=0.05)
        assert whole[f"energy_{side}"] == pytest.approx(whole[f"chance_{side}"], rel=0.03)
    assert records[UP]["directions"]["chance_left"] == 12 / 96
    assert records[UP]["directions"]["chance_right"] == 12 / 48
    assert 0.5 < whole["rank_share"] < 1  # nearly full rank


def test_every_number_of_a_matrix_is_that_of_numpy_in_float64(base, tmp_path):
    tuned = with_change(tmp_path, lambda x: x + 0.05 * weights_of(3)[UP])
    one, other = (
        x.astype(np.float64)
        for x in (weights_of()[UP], weights_of()[UP] + 0.05 * weights_of(3)[UP])
    )
    found = compare(tmp_path, base, tuned)[2][UP]["directions"]
    (lb, sb, rb), (_, st, rt), (ld, sd, _) = (
        np.linalg.svd(x, full_matrices=False) for x in (one, other, other - one)
    )
    np.testing.assert_allclose(found["base_values"], sb[:12], rtol=1e-5)
    np.testing.assert_allclose(found["tuned_values"], st[:12], rtol=1e-5)
    np.testing.assert_allclose(found["values"], sd[:12], rtol=1e-4)
    drift = np.linalg.norm(st - sb) / np.linalg.norm(sb)
    assert found["spectral_drift"] == pytest.approx(drift, rel=1e-3)
    cosines = np.linalg.svd(lb[:, :12].T @ ld[:, :12], compute_uv=False)
    assert found["overlap_left"] == pytest.approx(np.square(cosines).mean(), rel=1e-3)
    angle = np.degrees(np.arccos(cosines)).mean()
    assert found["angle_left"] == pytest.approx(angle, rel=1e-3)
    inside = np.square((other - one) @ rb[:12].T).sum() / np.square(other - one).sum()
    assert found["energy_right"] == pytest.approx(inside, rel=1e-3)
    turned = np.linalg.svd(rb[:12] @ rt[:12].T, compute_uv=False).clip(-1, 1)
    assert found["rotation_right"] == pytest.approx(np.degrees(np.arccos(turned)).mean(), rel=1e-2)


def test_from_the_disk_come_the_numbers_of_models_on_devices(base, tmp_path):
    tuned = write_weights(tmp_path / "tuned", {k: x * 1.01 for k, x in weights_of().items()})
    values, details, _ = compare(tmp_path, base, tuned)
    params = (load_params(folder, static(), None) for folder in (base, tuned))
    prepared = weight_drift(compare_weights(*params))
    expected = prepared.statistic(np.arange(0))
    for name in ("relative_l2", "changed_share"):
        assert values[name] == pytest.approx(expected[name], rel=1e-5)
    assert details["num_weights"] == prepared.details["num_weights"]
    for kind, found in prepared.details["by_kind"].items():
        assert details["by_kind"][kind]["changed_share"] == found["changed_share"]
    for ours, theirs in zip(details["by_layer"], prepared.details["by_layer"], strict=True):
        assert ours["relative_l2"] == pytest.approx(theirs["relative_l2"], rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_files_and_dtypes_play_no_part_in_which_weights_changed(base, tmp_path, dtype):
    """A rounded copy has not changed in bfloat16, whatever the numbers were kept in, in however many files."""
    copy = write_weights(tmp_path / "tuned", weights_of(), dtype=dtype, shards=3)
    values, *_ = compare(tmp_path, base, copy)
    assert values["changed_share"] < (1e-6 if dtype != "float16" else 0.1)  # rounded twice
    assert values["relative_l2"] < 3e-3


def test_a_share_of_changed_weights_is_counted_by_kind(base, tmp_path):
    """As of 2505.11711: which share is unchanged once both are rounded to bfloat16."""
    chosen = np.random.default_rng(0).random((96, 48)) < 0.3
    tuned = with_change(tmp_path, lambda x: np.where(chosen, x * 1.5, x * (1 + 1e-5)))
    _, details, records = compare(tmp_path, base, tuned)
    assert records[UP]["num_changed"] == pytest.approx(chosen.sum(), rel=0.01)
    assert details["by_kind"]["up_proj"]["changed_share"] == pytest.approx(
        chosen.sum() / (3 * 96 * 48), rel=0.01
    )
    assert details["by_kind"]["down_proj"]["changed_share"] == 0


def test_a_head_of_ones_own_is_compared_with_the_tied_embedding(tmp_path):
    tied = dataclasses.replace(ARCHITECTURE, tie_word_embeddings=True)
    weights = weights_of(architecture=tied)
    base = write_weights(tmp_path / "base", weights, tied)
    head = weights["model.embed_tokens.weight"].copy()
    head[3] += 1
    tuned = write_weights(tmp_path / "tuned", weights | {"lm_head.weight": head})
    _, details, records = compare(tmp_path, base, tuned)
    assert records["head"]["num_changed"] == 48
    assert records["model.embed_tokens.weight"]["num_changed"] == 0
    assert details["num_weights"] == sum(x.size for x in weights.values()) + head.size
    alone = compare(tmp_path / "again", base, base)
    assert "head" not in alone[2]  # counted once where both share it


def test_a_padded_vocabulary_is_compared_over_the_rows_that_both_have(base, tmp_path):
    more = dataclasses.replace(ARCHITECTURE, vocab_size=32)
    weights = weights_of()
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[key] = np.concatenate([weights[key], np.ones((2, 48), np.float32)])
    tuned = write_weights(tmp_path / "tuned", weights, more)
    values, details, _ = compare(tmp_path, base, tuned)
    assert values["changed_share"] == 0
    assert details["vocabulary"] == {"base": 30, "tuned": 32, "compared": 30}


def refused(tmp_path, base, weights, architecture=ARCHITECTURE):
    tuned = write_weights(tmp_path / "broken", weights, architecture)
    with pytest.raises(UserError) as error:
        stream_weights(tmp_path / "work", base, tuned, {})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_models_that_do_not_fit_together_are_refused_by_a_line_that_names_the_tensor(
    base, tmp_path
):
    shorter = dataclasses.replace(ARCHITECTURE, num_hidden_layers=2)
    said = refused(tmp_path / "a", base, weights_of(architecture=shorter), shorter)
    assert "model.layers.2.input_layernorm.weight" in said and "has not" in said
    wider = dataclasses.replace(ARCHITECTURE, intermediate_size=100)
    said = refused(tmp_path / "b", base, weights_of(architecture=wider), wider)
    assert "mlp." in said and "(100, 48)" in said + "(100, 48)" and "has shape" in said
    missing = {k: x for k, x in weights_of().items() if k != UP}
    assert UP in refused(tmp_path / "c", base, missing)
    extra = weights_of() | {"model.layers.0.mlp.router.weight": np.ones((2, 2), np.float32)}
    assert "mlp.router" in refused(tmp_path / "d", base, extra)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("key", [UP, "model.embed_tokens.weight", "model.norm.weight"])
def test_a_value_that_is_not_finite_is_named(base, tmp_path, key, value):
    weights = weights_of()
    weights[key].flat[5] = value
    said = refused(tmp_path, base, weights)
    assert key in said and "NaN or an infinity" in said and "broken" in said


def test_a_file_that_is_cut_off_is_named(base, tmp_path):
    tuned = pathlib.Path(write_weights(tmp_path / "tuned", weights_of(), shards=2))
    file = tuned / "model-1.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model-1\.safetensors: not a whole safetensors file"):
        stream_weights(tmp_path / "work", base, str(tuned), {})


def test_a_killed_comparison_goes_on_with_the_tensors_that_are_left(base, tmp_path, monkeypatch):
    tuned = write_weights(tmp_path / "tuned", weights_of(4))
    whole = stream_weights(tmp_path / "whole", base, tuned, {"a": 1}).details
    made, compared = [], weight_run.compare_tensor
    monkeypatch.setattr(weight_run, "compare_tensor", lambda *a: made.append(a[2]) or compared(*a))

    def stop_after_five(saved):
        if len(made) == 5:
            raise SystemExit(saved)

    with pytest.raises(SystemExit, match="whole tensors is saved"):
        stream_weights(tmp_path / "work", base, tuned, {"a": 1}, stop_after_five)
    part = next((tmp_path / "work" / "analysis" / "parts").iterdir())
    part.write_text(part.read_text()[:50])  # damaged by the kill: made again
    found = stream_weights(tmp_path / "work", base, tuned, {"a": 1}).details
    places = shared_places([open_stored(base), open_stored(tuned)])
    assert len(made) == len(places) + 1 and found == whole
    stream_weights(tmp_path / "work", base, tuned, {"a": 2})  # of other models: all again
    assert len(made) == 2 * len(places) + 1


def test_of_a_broken_safetensors_header_the_file_is_named(base, tmp_path):
    tuned = pathlib.Path(write_weights(tmp_path / "tuned", weights_of()))
    (tuned / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(UserError, match=re.escape(str(tuned / "model.safetensors"))):
        stream_weights(tmp_path / "work", base, str(tuned), {})


def test_the_values_kept_are_plain_json(base, tmp_path):
    tuned = write_weights(tmp_path / "tuned", weights_of(9))
    prepared = stream_weights(tmp_path / "work", base, tuned, {})
    text = json.dumps(prepared.details, allow_nan=False)
    assert json.loads(text)["by_kind"].keys() == prepared.details["by_kind"].keys()
    assert safetensors.numpy.load_file(f"{tuned}/model.safetensors").keys() == weights_of().keys()
