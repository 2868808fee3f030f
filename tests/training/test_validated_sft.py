"""SFT runs that validate and compare themselves with their base; and MFU in their metrics."""

import itertools
import json

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file
from tiny_sft import MODEL, make_recipe, train, write_inputs

from jaxreason.data.batches import TokenBatch
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import make_model
from jaxreason.models.model_flops import training_flops, weight_products
from jaxreason.results.atomic_files import read_json
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.training.base_kl import BaseKLConfig
from jaxreason.training.sft_data import prompts_of
from jaxreason.training.sft_metrics import Recorder, make_flops_of
from jaxreason.validation import ValidationConfig

HOW = ValidationConfig(every=3, benchmark="sums", choose=True)


def best_in_the_middle(folder, identity, model, params, tokenizer, engine, check):
    assert engine is None  # training has none
    return float(identity["step"] == 3)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder):
    return load_file(epath.Path(folder) / "model" / "model.safetensors")


@pytest.mark.slow
def test_a_run_notes_scores_and_distance_and_exports_the_best_step(tmp_path):
    write_inputs(tmp_path)
    base_kl = BaseKLConfig(every=3, prompts=5, max_tokens=4)
    whole = make_recipe(tmp_path, keep=1, validation=HOW, base_kl=base_kl)
    run, plain = tmp_path / "run", tmp_path / "plain"
    train(whole, run, validator=best_in_the_middle)
    found = {row["step"]: row for row in lines(run)}
    last = max(found)
    due = [step for step in found if step % 3 == 0 or step == last]
    assert [step for step, row in found.items() if "validation/sums" in row] == due
    assert [step for step, row in found.items() if row.get("base_kl", 0) > 0] == due
    assert found[3]["validation/sums"] == 1.0 and found[last]["validation/best_step"] == 3
    assert read_json(run / "done.json")["exported_step"] == 3

    train(make_recipe(tmp_path, keep=0, checkpoint_every=3), plain)
    for name, value in weights_of(plain).items():
        assert np.abs(value - weights_of(run)[name]).max() > 0  # the last step's
    others = [{k: row[k] for k in ("loss", "grad_norm", "tokens")} for row in lines(plain)]
    assert [{k: row[k] for k in others[0]} for row in lines(run)] == others


def test_prompts_are_what_stands_before_the_first_target():
    sequences = [([5, 6, 7, 8], [0, 0, 1, 1]), ([5, 6], [0, 0]), ([4, 9, 3], [0, 1, 0])]
    assert prompts_of(sequences) == [(5, 6), (4,)]


def test_the_flops_of_rows_are_those_of_the_sequences_in_them():
    model = make_model(MODEL, architecture_from_hf(MODEL.architecture))
    params = abstract_params(model)
    segments = np.array([[1, 1, 2, 2, 2, 0], [1, 0, 0, 0, 0, 0], [0] * 6])
    rows = TokenBatch(segments, segments, segments, segments)
    number = weight_products(params, True)
    wanted = training_flops(model.architecture, number, [2, 3, 1])
    assert make_flops_of(model, params)(rows) == wanted > 0


def test_time_that_is_no_steps_is_not_counted_and_mfu_needs_a_peak(tmp_path, monkeypatch):
    clock = itertools.cycle([0.0, 10.0, 10.0])  # when a recorder is made, and twice when it writes
    monkeypatch.setattr("jaxreason.training.sft_metrics.time.perf_counter", lambda: next(clock))
    for peak in (None, 4e12):
        with MetricsWriter(tmp_path / str(peak), "sft", 2, False, 0) as metrics:
            recorder = Recorder(metrics, lambda step: 0.1, 2, float, 1, lambda *_: None, peak)
            recorder.add(1, {"loss": 1.0}, 30, 6e12)
            recorder.note(1, {"validation/sums": 0.5}, 4.0)
            recorder.flush()
        row = lines(tmp_path / str(peak))[0]
        assert (row["step_seconds"], row["tokens_per_second"]) == (6.0, 5.0)
        assert row["validation/sums"] == 0.5
        assert row.get("mfu") == (None if peak is None else pytest.approx(0.25))
