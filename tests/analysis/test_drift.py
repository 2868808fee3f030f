import dataclasses
import json
import os
import shutil
import signal
import sys

import jax
import numpy as np
import pytest
from processes import run_processes
from tiny_pair import (
    CHARACTERS,
    drift_values,
    make_unit,
    measure_pair,
    mesh_of,
    params_of,
    tiny_model,
    write_evaluation,
)
from tiny_qwen3 import model_config

from jaxreason.analysis import drift, metric_files
from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.metric_files import drift_group_rows
from jaxreason.analysis.metric_types import Bootstrapped
from jaxreason.analysis.reading import load_token_bytes
from jaxreason.analysis.texts import _order
from jaxreason.config import ConfigError, parse
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.hf_export import save_model
from jaxreason.results.state_files import read_states, read_token_states

CONFIG = DriftConfig(
    metrics=tuple(METRICS),
    decoding="t1",
    texts_per_benchmark=4,
    max_length=64,
    batch_size=4,
    logprob_chunk=16,
    resamples=30,
    confidence=0.95,
    seed=0,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models, of which the base has a tokenizer, and an evaluation of each."""
    root = tmp_path_factory.mktemp("drift")
    save_character_tokenizer(root / "tokenizer", CHARACTERS)
    for name, seed, tokenizer in (("base", 0, root / "tokenizer"), ("tuned", 1, None)):
        folder = root / name / "model"
        params = params_of(seed)
        save_model(folder, tiny_model(), params, tokenizer_from=tokenizer, max_shard_bytes=10**9)
        write_evaluation(root / name / "evaluation", make_unit())
    swapped = [dataclasses.replace(t, tokens=t.tokens[::-1]) for t in make_unit().texts]
    unit = dataclasses.replace(make_unit(), texts=tuple(swapped))
    write_evaluation(root / "tuned" / "evaluation", unit)
    return root


def run(folders, workdir, config=CONFIG, tuned="tuned"):
    mesh = mesh_of(1)
    with jax.set_mesh(mesh):
        run_drift(
            config,
            model_config(str(folders / "base" / "model")),
            model_config(str(folders / tuned / "model")),
            mesh,
            workdir,
            folders / "base" / "evaluation",
            folders / "tuned" / "evaluation",
        )
    return {
        path.stem: json.loads(path.read_text()) for path in (workdir / "analysis").glob("*.json")
    }


@pytest.fixture(scope="module")
def finished(folders, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, run(folders, workdir)


def test_a_file_for_every_metric_and_nothing_else_is_left(finished):
    workdir, files = finished
    assert set(files) == set(METRICS)
    assert sorted(p.name for p in (workdir / "analysis").glob("*.json")) == sorted(
        f"{name}.json" for name in METRICS
    )
    parts = sorted(p.name for p in (workdir / "analysis" / "parts").iterdir())
    assert parts == ["sums.base.json", "sums.questions.json", "sums.tuned.json"]


def test_every_file_says_what_was_compared_and_in_which_way_its_tasks_were_measured(finished):
    for value in finished[1].values():
        assert (value["decoding"], value["variant"]) == (CONFIG.decoding, CONFIG.variant)


def test_rows_hold_values_of_both_sources_inside_their_intervals(finished):
    rows = finished[1]["token_kl"]["rows"]
    assert {row["source"] for row in rows} == {"base", "tuned"}
    assert {(row["benchmark"], row["group"]) for row in rows} == {("sums", "math")}
    for row in rows:
        assert row["low"] <= row["high"] and row["num_texts"] == 4
    forward = next(r for r in rows if (r["name"], r["source"]) == ("kl_forward", "base"))
    assert forward["low"] <= forward["value"] <= forward["high"]


def test_values_are_those_of_the_texts_that_were_chosen(finished):
    chosen = {text.id for text in make_unit().texts}
    units = finished[1]["token_kl"]["details"]["units"]
    assert [unit["num_texts"] for unit in units] == [4, 4]
    first = sorted(chosen, key=_order)[:4]
    texts = tuple(
        sorted((t for t in make_unit().texts if t.id in first), key=lambda t: _order(t.id))
    )
    measured = measure_pair(
        params_of(0), params_of(1), dataclasses.replace(make_unit(), texts=texts)
    )
    expected = measured.tokens["kl_forward"].sum() / measured.mask.sum()
    rows = finished[1]["token_kl"]["rows"]
    row = next(r for r in rows if (r["name"], r["source"]) == ("kl_forward", "base"))
    assert row["value"] == pytest.approx(expected, rel=1e-4)


def test_group_rows_keep_their_draws(finished):
    groups = finished[1]["pca_shift"]["groups"]
    assert all(len(row["draws"]) == 30 for row in groups)
    shift = next(r for r in groups if (r["name"], r["source"]) == ("layer_shift.reply", "base"))
    assert shift["low"] == pytest.approx(np.quantile(shift["draws"], 0.025), rel=1e-4)


def test_as_many_principal_axes_are_kept_as_the_recipe_asks_for(folders, tmp_path):
    config = dataclasses.replace(CONFIG, metrics=("pca_shift", "subspaces"), components=1)
    files = run(folders, tmp_path, config)
    layers = files["pca_shift"]["details"]["units"][0]["reply"]["explained_variance"]
    assert [len(shares) for shares in layers] == [1, 1, 1]
    ten = run(folders, tmp_path / "ten", dataclasses.replace(config, components=10))
    angles = [file["subspaces"]["rows"][0]["value"] for file in (files, ten)]
    assert abs(angles[0] - angles[1]) > 1


def test_group_values_are_means_over_benchmarks():
    parts = [Bootstrapped({"x": v}, {"x": np.full(3, v)}) for v in (1.0, 3.0)]
    (row,) = drift_group_rows("math", "base", parts, 0.95)
    assert (row["value"], row["low"], row["high"], row["num_benchmarks"]) == (2.0, 2.0, 2.0, 2)


def test_a_benchmark_on_which_a_metric_is_undefined_is_left_out_of_its_group():
    defined, not_defined = Bootstrapped({"x": 1.0}, {"x": np.ones(3)}), Bootstrapped({}, {})
    (row,) = drift_group_rows("math", "base", [not_defined, defined], 0.95)
    assert (row["value"], row["num_benchmarks"]) == (1.0, 1)
    assert drift_group_rows("math", "base", [not_defined], 0.95) == []


def test_values_that_not_all_benchmarks_have_are_means_over_those_that_have_them():
    whole = Bootstrapped({"x": 1.0, "y": 4.0}, {"x": np.ones(3), "y": np.full(3, 4.0)})
    part = Bootstrapped({"x": 3.0}, {"x": np.full(3, 3.0)})
    x, y = drift_group_rows("math", "base", [part, whole], 0.95)
    assert (x["name"], x["value"], x["num_benchmarks"]) == ("x", 2.0, 2)
    assert (y["name"], y["value"], y["draws"], y["num_benchmarks"]) == ("y", 4.0, [4.0] * 3, 1)


def test_shifted_tokens_stand_in_the_file_as_text_with_the_list_of_words(finished):
    details = finished[1]["shifted_tokens"]["details"]
    assert "wait" in details["word_classes"]["logical"]["doubt"]
    unit = details["units"][0]
    markers = ("<pad>", "<user>", "<assistant>", "<end>")
    known = dict(enumerate((*markers, *CHARACTERS)))
    assert unit["tokens"] and all(row["text"] == known[row["token"]] for row in unit["tokens"])
    assert sum(row["shifted"] for row in unit["tokens"]) == unit["num_shifted"] > 0
    assert len(unit["view"]["texts"]) == unit["view"]["num_tokens"]
    assert unit["view"]["id"] in {text.id for text in make_unit().texts}


def test_a_model_without_a_tokenizer_is_compared_with_a_word_about_it(folders, caplog):
    assert load_token_bytes(str(folders / "tuned" / "model")) is None
    assert "Tokens will be shown by their ids: " in caplog.text


def test_another_threshold_is_of_the_shifted_tokens_alone(finished, folders, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    other = dataclasses.replace(CONFIG, shift_threshold=0.05)
    with pytest.raises(
        ConfigError, match=r"(?s)shifted_tokens\.json.*shift_threshold: 0\.1 -> 0\.05"
    ):
        run(folders, tmp_path / "run", other)
    (tmp_path / "run" / "analysis" / "shifted_tokens.json").unlink()
    files = run(folders, tmp_path / "run", other)
    assert files["token_kl"] == finished[1]["token_kl"]
    shares = [
        next(r["value"] for r in found["shifted_tokens"]["rows"] if r["name"] == "js_above")
        for found in (finished[1], files)
    ]
    assert shares[1] > shares[0] > 0


def test_a_finished_metric_is_not_measured_again(finished, folders, monkeypatch):
    workdir, before = finished
    monkeypatch.setattr(
        drift.ModelSource, "open", lambda *_, **__: pytest.fail("models were loaded")
    )
    assert run(folders, workdir) == before


def test_a_killed_run_goes_on_where_it_was(finished, folders, tmp_path, monkeypatch):
    calls = []
    measure_unit = drift.measure_unit

    def killed_at_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_unit(*args)

    monkeypatch.setattr(drift, "measure_unit", killed_at_second)
    with pytest.raises(KeyboardInterrupt):
        run(folders, tmp_path)
    assert not list((tmp_path / "analysis").glob("*.json"))
    files = run(folders, tmp_path)
    assert len(calls) == 3  # one before the kill, the killed one, and only that one again
    assert files == finished[1]


def test_another_tuned_model_in_a_used_directory_is_refused(finished, folders):
    with pytest.raises(
        ConfigError,
        match=r"made with something else.* models\.tuned\.sha256: .* To go on here, set it back; ",
    ):
        run(folders, finished[0], tuned="base")


def test_other_settings_in_a_used_directory_are_refused_unless_they_change_no_number(
    finished, folders
):
    workdir, before = finished
    shorter = dataclasses.replace(CONFIG, max_length=30)
    with pytest.raises(ConfigError, match=r"settings\.max_length: 64 -> 30"):
        run(folders, workdir, shorter)
    other_batches = dataclasses.replace(CONFIG, batch_size=2, logprob_chunk=8)
    assert run(folders, workdir, other_batches) == before


def test_files_of_a_version_that_had_fewer_settings_are_not_measured_again(
    finished, folders, tmp_path, monkeypatch
):
    shutil.copytree(finished[0], tmp_path / "run")
    for path in (tmp_path / "run/analysis").glob("*.json"):
        value = json.loads(path.read_text())
        for name in ("variant", "components", "shift_threshold"):
            value["made_with"].get("settings", {}).pop(name, None)
        path.write_text(json.dumps(value))
    monkeypatch.setattr(
        drift.ModelSource, "open", lambda *_, **__: pytest.fail("models were loaded")
    )
    run(folders, tmp_path / "run")
    other = dataclasses.replace(CONFIG, shift_threshold=0.4)
    with pytest.raises(
        ConfigError, match=r"tokens\.json: .* settings\.shift_threshold: 0\.1 -> 0\.4"
    ):
        run(folders, tmp_path / "run", other)


def test_replies_that_changed_under_a_measurement_are_refused(finished, folders, tmp_path):
    shutil.copytree(folders, tmp_path / "pair")
    shorter = dataclasses.replace(make_unit(), texts=make_unit().texts[1:])
    write_evaluation(tmp_path / "pair" / "base" / "evaluation", shorter)
    with pytest.raises(ConfigError, match=r"texts\.sums\.base\.sha256"):
        run(tmp_path / "pair", finished[0])


def test_a_metric_that_is_added_is_measured_alone(finished, folders, tmp_path, monkeypatch):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "analysis" / "cka.json").unlink()
    for path in (tmp_path / "run" / "analysis" / "parts").iterdir():
        part = json.loads(path.read_text())
        part["metrics"].pop("cka", None)  # as of a recipe that did not ask for it
        path.write_text(json.dumps(part))
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "analysis").glob("*.json")}
    asked, part = [], metric_files.part
    monkeypatch.setattr(metric_files, "part", lambda *a: (asked.append(a[0]), part(*a))[1])
    assert run(folders, tmp_path / "run") == finished[1]
    assert asked == [("cka",)] * 2
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_benchmark_that_a_study_gained_is_measured_with_the_others(
    finished, folders, tmp_path, monkeypatch
):
    pair, workdir = tmp_path / "pair", tmp_path / "run"
    shutil.copytree(folders, pair)
    shutil.copytree(finished[0], workdir)
    more = dataclasses.replace(make_unit(), benchmark="more", group="other")
    for name in ("base", "tuned"):
        folder = pair / name / "evaluation"
        rows = json.loads((folder / "scores.json").read_text())["rows"]
        write_evaluation(folder, more)
        rows += json.loads((folder / "scores.json").read_text())["rows"]
        (folder / "scores.json").write_text(json.dumps({"rows": rows}))
    times = (workdir / "analysis" / "weights.json").stat().st_mtime_ns
    measured, measure_unit = [], drift.measure_unit
    with monkeypatch.context() as patch:
        note = lambda *a: (measured.append(a[4].benchmark), measure_unit(*a))[1]  # noqa: E731
        patch.setattr(drift, "measure_unit", note)
        files = run(pair, workdir)
    assert measured == ["more", "more"]  # what was measured of the others is kept
    assert {row["benchmark"] for row in files["token_kl"]["rows"]} == {"sums", "more"}
    old = [row for row in files["token_kl"]["rows"] if row["benchmark"] == "sums"]
    assert old == finished[1]["token_kl"]["rows"]
    assert (workdir / "analysis" / "weights.json").stat().st_mtime_ns == times
    # Without it again: what it gave stays in its parts, and no model is loaded.
    monkeypatch.setattr(
        drift.ModelSource, "open", lambda *_, **__: pytest.fail("models were loaded")
    )
    assert run(folders, workdir) == finished[1]
    assert (workdir / "analysis/parts/more.base.json").exists()


def test_parts_that_a_kill_left_of_other_settings_are_not_used(
    finished, folders, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(drift, "stream_weights", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            run(folders, tmp_path, dataclasses.replace(CONFIG, seed=7, max_length=40))
    assert len(list((tmp_path / "analysis" / "parts").iterdir())) == 3
    assert run(folders, tmp_path) == finished[1]


@pytest.mark.parametrize("content", ["[]", "null", '{"rows": []}', '{"made_with": 3}', '{"made'])
def test_a_file_that_holds_something_else_than_was_written_is_refused_with_its_name(
    finished, folders, tmp_path, content
):
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "analysis" / "cka.json").write_text(content)
    with pytest.raises(UserError, match=r"cka\.json(:|, metric:) .* remove it to have it made"):
        run(folders, tmp_path / "run")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made_with": {}, "metrics": []}', '{"made'])
def test_a_broken_part_is_measured_anew_with_a_word(finished, folders, tmp_path, caplog, content):
    parts = tmp_path / "analysis" / "parts"
    parts.mkdir(parents=True)
    (parts / "sums.base.json").write_text(content)
    assert run(folders, tmp_path) == finished[1]
    assert "Measured anew: " in caplog.text and "sums.base.json" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_measurement_at_the_next_batch(
    folders, tmp_path, monkeypatch, capsys, number
):
    opened = drift.ModelSource.open

    def open_and_signal(source, **changes):
        os.kill(os.getpid(), number)
        return opened(source, **changes)

    monkeypatch.setattr(drift.ModelSource, "open", open_and_signal)
    with pytest.raises(SystemExit) as stopped:
        run(folders, tmp_path)
    assert stopped.value.code == 143
    assert f"Stopped by {number.name}. Nothing was measured yet." in capsys.readouterr().out


def test_a_signal_while_the_models_are_looked_at_ends_the_run_with_a_message(
    folders, tmp_path, monkeypatch, capsys
):
    of_folder, sent = drift.ModelSource.of_folder, []

    def look_and_signal(*about):
        # Without a handler of ours, and at a second signal, it would end this process.
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        if not sent:
            os.kill(os.getpid(), signal.SIGTERM)
        sent.append(about)
        return of_folder(*about)

    monkeypatch.setattr(drift.ModelSource, "of_folder", look_and_signal)
    with pytest.raises(SystemExit) as stopped:
        run(folders, tmp_path)
    assert stopped.value.code == 143
    assert "Stopped by SIGTERM. Nothing was measured yet." in capsys.readouterr().out


@pytest.mark.parametrize(
    "axis",
    ["tensor", *(pytest.param(a, marks=pytest.mark.slow) for a in ("fsdp", "context"))],
)
def test_two_processes_measure_the_same_whichever_axis_joins_them(
    finished, folders, tmp_path, axis
):
    """With `tensor` or `context` both read the same rows: once they took halves of them, and other numbers came out."""
    kept = {"keep_states": ("reply",), "keep_token_states": (1,)}
    config = dataclasses.replace(CONFIG, batch_size=4 if axis == "fsdp" else 2, **kept)
    config = dataclasses.asdict(config)
    paths = [str(folder) for folder in (folders / "base", folders / "tuned", tmp_path)]
    arguments = config, *paths, {axis: 4}
    first, second = run_processes(drift_values, 2, *arguments, num_devices=2, timeout_s=400.0)
    assert first == second and set(first) == set(METRICS)
    for name, values in first.items():
        expected = [row["value"] for row in finished[1][name]["rows"]]
        # Questions are read in bfloat16, as the study does: sums in another order differ in its 8 bits.
        close = 1e-2 if METRICS[name].reads == "questions" else 1e-3
        np.testing.assert_allclose(values, expected, rtol=close, atol=1e-5)
    states = read_states(tmp_path, "sums.base")
    texts = {text.id: text for text in make_unit().texts}
    unit = dataclasses.replace(make_unit(), texts=tuple(texts[name] for name in states.ids))
    one = measure_pair(params_of(0), params_of(1), unit)
    np.testing.assert_allclose(states.tuned["reply"], one.tuned["reply"], rtol=1e-3, atol=1e-4)
    tokens = list(read_token_states(tmp_path, "sums.base"))
    assert [x.base.shape for x in tokens] == [(1, len(t.tokens), 16) for t in unit.texts]


def test_weights_alone_need_no_texts(folders, tmp_path):
    config = dataclasses.replace(CONFIG, metrics=("weights",), decoding="none")
    assert set(run(folders, tmp_path, config)) == {"weights"}


def test_unknown_metrics_and_impossible_numbers_are_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'token_kl'"):
        run(folders, tmp_path, dataclasses.replace(CONFIG, metrics=("token_lk",)))
    for field, value in (("batch_size", 0), ("confidence", 1.5), ("resamples", 0)):
        section = dataclasses.asdict(CONFIG) | {field: value}
        with pytest.raises(ConfigError, match=rf"drift\.{field}: expected"):
            parse(DriftConfig, section, "drift")


def test_a_batch_that_the_mesh_cannot_share_out_is_refused_before_models_are_loaded(
    folders, tmp_path
):
    config = dataclasses.replace(CONFIG, batch_size=3)
    models = [model_config("nowhere")] * 2
    with pytest.raises(UserError, match=r"drift.batch_size=3: .* multiple of 4.*nearest: 4"):
        run_drift(config, *models, mesh_of(8), tmp_path, folders / "base", folders / "tuned")


def test_the_section_of_a_recipe_is_strict():
    section = dataclasses.asdict(CONFIG)
    assert parse(DriftConfig, section, "drift") == CONFIG
    with pytest.raises(ConfigError, match=r"drift\.bach_size"):
        parse(DriftConfig, section | {"bach_size": 3}, "drift")
