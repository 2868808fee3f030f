"""What two models do not share is left out of their files with the reason; what is broken is named."""

import dataclasses
import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import HF_CONFIG, make_unit, mesh_of, params_of, write_evaluation
from tiny_qwen3 import model_config

from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.drift_metrics import METRICS, Metric
from jaxreason.analysis.metric_types import Prepared
from jaxreason.errors import UserError
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import make_model
from jaxreason.results.drift_files import undefined_in
from jaxreason.verbs import outcome

CONFIG = DriftConfig(
    metrics=("pca_shift", "token_kl", "cosine", "weights"),
    decoding="t1",
    texts_per_benchmark=3,
    max_length=0,
    batch_size=4,
    logprob_chunk=64,
    resamples=3,
    confidence=0.95,
    seed=0,
)
UNIT = make_unit(((5, 7), (3, 20), (9, 1)))


def save(folder, params, **changes):
    model = make_model(model_config(""), architecture_from_hf(HF_CONFIG | changes))
    params = init_params(model, jax.random.key(5)) if params is None else params
    save_model(folder / "model", model, params, tokenizer_from=None, max_shard_bytes=10**9)
    write_evaluation(folder / "evaluation", UNIT)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save(tmp_path_factory.mktemp("base"), params_of(0))


def run(base, tuned, workdir, config=CONFIG):
    mesh = mesh_of(1)
    models = [model_config(str(folder / "model")) for folder in (base, tuned)]
    evaluations = [folder / "evaluation" for folder in (base, tuned)]
    with jax.set_mesh(mesh):
        run_drift(config, *models, mesh, workdir, *evaluations)
    folder = workdir / "analysis"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in config.metrics}


def undefined(files):
    return {name: found["details"].get("undefined") for name, found in files.items()}


def test_of_another_vocabulary_only_the_reason_is_told(base, tmp_path):
    """The weights are compared all the same, over the rows that both vocabularies have."""
    tuned = save(tmp_path, None, vocab_size=41)
    files = run(base, tuned, tmp_path / "run")
    of_weights = files.pop("weights")
    assert all(found["rows"] == found["groups"] == [] for found in files.values())
    assert {row["name"] for row in of_weights["rows"]} >= {"relative_l2", "changed_share"}
    reason = "the base has a vocabulary of 40 tokens, the tuned model one of 41"
    found = undefined(files)
    assert all(found[name].startswith(reason) for name in ("pca_shift", "token_kl", "cosine"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"num_hidden_layers": 3},
            "the base has 2 layers of width 16, the tuned model 3 layers of width 16",
        ),
        ({"hidden_size": 24}, "the tuned model 2 layers of width 24"),
    ],
)
def test_of_another_depth_or_width_what_tokens_get_is_compared_and_layers_are_not(
    base, tmp_path, changes, reason
):
    files = run(base, save(tmp_path, None, **changes), tmp_path / "run")
    found = undefined(files)
    assert reason in found["pca_shift"] and reason in found["cosine"] and found["weights"]
    assert found["token_kl"] is None
    values = {row["name"]: row["value"] for row in files["token_kl"]["rows"]}
    assert values["kl_forward"] > 0 and values["kl_reverse"] > 0


def test_another_family_of_the_same_sizes_is_compared_but_for_its_weights(base, tmp_path):
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    files = run(base, save(tmp_path, None, **llama), tmp_path / "run")
    assert files["pca_shift"]["rows"] and files["token_kl"]["rows"] and files["cosine"]["rows"]
    assert "has model.layers.0.self_attn.k_norm.weight and" in undefined(files)["weights"]


def test_equal_sizes_with_other_tokens_are_another_vocabulary(base, tmp_path):
    twins = [tmp_path / "base", tmp_path / "tuned"]
    for number, twin in enumerate(twins):
        save(twin, params_of(number))
        vocab = {"a": 0, "bc": 1 + number, "d": 2 - number}
        tokenizer = {"model": {"type": "BPE", "vocab": vocab}, "added_tokens": []}
        (twin / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    files = run(*twins, tmp_path / "run")
    assert undefined(files)["token_kl"] == (
        "other tokens: 'bc' is 1 in the base and 2 in the tuned model"
    )
    assert files["weights"]["rows"]  # which need no token


def with_kernel(change, layer=1, name="up_proj"):
    params = jax.tree.map(lambda x: x, params_of(0))
    kernel = params["layers"]["mlp"][name]["kernel"]
    params["layers"]["mlp"][name]["kernel"] = kernel.at[layer].set(change(kernel[layer]))
    return params


def test_weights_that_are_not_finite_are_named_and_nothing_is_measured(base, tmp_path):
    broken = save(tmp_path, with_kernel(lambda x: x.at[3, 4].set(jnp.nan).at[0, 0].set(jnp.inf)))
    found = undefined(run(base, broken, tmp_path / "run"))
    said = "model: not finite: layers.mlp.up_proj.kernel of layer 1 (2 values)"
    assert all(reason.endswith(said) for reason in found.values())


def test_states_that_are_not_finite_are_told_with_text_and_layer_and_weights_compared(
    base, tmp_path
):
    broken = save(tmp_path, with_kernel(lambda x: x * 1e38, layer=0))
    files = run(base, broken, tmp_path / "run")
    for name in ("pca_shift", "token_kl", "cosine"):
        assert files[name]["rows"] == []
        reasons = undefined_in(files[name])
        assert set(reasons) == {"sums.base", "sums.tuned"}
        said = r"text q\d: states of the tuned model are not finite from layer 1 on"
        assert all(re.fullmatch(said, reason) for reason in reasons.values())
    assert files["weights"]["rows"]


def test_a_truncated_weight_file_is_named_in_one_line(base, tmp_path):
    cut = save(tmp_path, params_of(1)) / "model"
    path = cut / "model.safetensors"
    (cut / "checksums.json").unlink(missing_ok=True)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(UserError, match=r"model\.safetensors: not a whole safetensors file") as e:
        run(base, tmp_path, tmp_path / "run")
    assert "\n" not in str(e.value)


def test_texts_end_at_the_positions_of_the_model_that_has_fewer(base, tmp_path):
    tuned = save(tmp_path, params_of(1), max_position_embeddings=20)
    files = run(base, tuned, tmp_path / "run", dataclasses.replace(CONFIG, metrics=("token_kl",)))
    units = files["token_kl"]["details"]["units"]
    assert [unit["num_cut"] for unit in units] == [1, 1]
    rows = {row["name"]: row for row in files["token_kl"]["rows"]}
    assert rows["kl_forward"]["num_texts"] == 3


def test_reasons_are_those_of_the_file_or_of_its_units():
    whole = {"details": {"undefined": "other vocabulary", "units": []}}
    units = [{"benchmark": "a", "source": "base"}, {"benchmark": "b", "source": "base"}]
    part = {"details": {"units": [units[0] | {"undefined": "2 texts"}, units[1]]}}
    assert undefined_in(whole) == {"": "other vocabulary"}
    assert undefined_in(part) == {"a.base": "2 texts"}


def run_mine(base, workdir, monkeypatch, prepare):
    monkeypatch.setitem(METRICS, "mine", Metric("texts", prepare))
    return run(base, base, workdir, dataclasses.replace(CONFIG, metrics=("mine",)))


def test_a_metric_of_ones_own_whose_values_are_all_nan_is_undefined_and_its_table_says_so(
    base, tmp_path, monkeypatch
):
    def mine(measured):
        return Prepared(lambda texts: {"a": float("nan"), "b": float("nan")}, {})

    files = run_mine(base, tmp_path, monkeypatch, mine)
    why = "all its values are NaN (a, b)"
    assert files["mine"]["rows"] == []
    assert undefined_in(files["mine"]) == {"sums.base": why, "sums.tuned": why}
    text = outcome.drift(tmp_path)
    assert f"mine of sums.base is undefined: {why}" in text and "nothing has been" not in text


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ([1.0], "mine.<locals>.<lambda>, got [1.0]"),
        (3.0, "expected {name: number}"),
        ({"a": [1.0, 2.0]}, "expected a finite number, or NaN, as 'a'"),
        ({"a": "x"}, "expected a finite number, or NaN, as 'a'"),
        ({"a": float("inf")}, "got inf"),
        ({}, "got neither"),
    ],
)
def test_a_metric_of_ones_own_that_gives_no_numbers_is_named_with_its_function(
    base, tmp_path, monkeypatch, returned, expected
):
    def mine(measured):
        return Prepared(lambda texts: returned, {})

    with pytest.raises(UserError, match="drift metric 'mine': ") as told:
        run_mine(base, tmp_path, monkeypatch, mine)
    assert expected in str(told.value) and "adding_metrics.md" in str(told.value)


def test_a_metric_of_ones_own_that_returns_no_prepared_is_named_with_its_function(
    base, tmp_path, monkeypatch
):
    def mine(measured):
        return {"a": 1.0}

    with pytest.raises(UserError, match=r"expected Prepared from .*mine, got {'a'"):
        run_mine(base, tmp_path, monkeypatch, mine)


def every_other(good, bad):
    """A statistic that is `good` on all texts in order, and `bad` on a resample of them."""
    return lambda texts: good if list(texts) == sorted(set(texts)) else bad


@pytest.mark.parametrize(
    ("prepared", "expected"),
    [
        (Prepared(every_other({"a": 1.0}, {"a": float("inf")}), {}), "got inf"),
        (Prepared(every_other({"a": 1.0}, {"a": None}), {}), "got None"),
        (
            Prepared(lambda texts: {"a": 1.0}, {}, lambda texts: {"a": np.ones(2)}),
            "expected 3 numbers, finite or NaN, as 'a'",
        ),
        (
            Prepared(lambda texts: {"a": 1.0}, {}, lambda texts: {"a": np.full(3, np.inf)}),
            "expected 3 numbers, finite or NaN, as 'a'",
        ),
        (Prepared(lambda texts: {"a": 1.0}, {}, lambda texts: {}), "as 'a'"),
        (Prepared(lambda texts: {"a": 1.0}, {"layers": np.ones(2)}), "details that JSON can hold"),
        (Prepared(lambda texts: {"a": 1.0}, {"layers": [float("nan")]}), "details that JSON can"),
        (Prepared(lambda texts: {1: 1.0}, {}), "expected text as the name of a value"),
    ],
)
def test_a_metric_of_ones_own_that_fails_on_a_resample_or_in_its_details_is_named_too(
    base, tmp_path, monkeypatch, prepared, expected
):
    with pytest.raises(UserError, match="drift metric 'mine': ") as told:
        run_mine(base, tmp_path, monkeypatch, lambda measured: prepared)
    assert expected in str(told.value) and "adding_metrics.md" in str(told.value)


@pytest.mark.parametrize("number", [np.float32(0.5), np.array(0.5), jnp.float32(0.5)])
def test_a_metric_of_ones_own_may_give_numbers_of_numpy_and_jax(
    base, tmp_path, monkeypatch, number
):
    files = run_mine(
        base, tmp_path, monkeypatch, lambda measured: Prepared(lambda texts: {"a": number}, {})
    )
    assert [row["value"] for row in files["mine"]["rows"]] == [0.5, 0.5]


def test_a_value_that_a_metric_leaves_out_of_a_resample_counts_as_undefined_there(
    base, tmp_path, monkeypatch
):
    def mine(measured):
        return Prepared(every_other({"a": 1.0, "b": 2.0}, {"b": 3.0}), {})

    rows = run_mine(base, tmp_path, monkeypatch, mine)["mine"]["rows"]
    found = {row["name"]: (row["value"], row["low"], row["high"]) for row in rows}
    assert found == {"a": (1.0, 1.0, 1.0), "b": (2.0, 3.0, 3.0)}


def test_a_metric_of_weights_of_ones_own_is_checked_as_one_of_texts_is(base, tmp_path, monkeypatch):
    monkeypatch.setitem(
        METRICS,
        "mine",
        Metric("weights", lambda compared: Prepared(lambda texts: {"a": np.nan, "b": 1}, {})),
    )
    rows = run(base, base, tmp_path, dataclasses.replace(CONFIG, metrics=("mine",)))["mine"]["rows"]
    assert [(row["name"], row["value"]) for row in rows] == [("b", 1.0)]
