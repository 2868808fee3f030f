"""Folders and studies compared by their weights alone: what runs changed alike, and files that the drift stage has."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from program import call, refused
from stored_pair import ARCHITECTURE, UP, weights_of, write_weights
from tiny_qwen3 import model_config

from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.weight_folders import compare_folders, compare_study
from jaxreason.analysis.weight_overlap import Member, pair_rows
from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.results.drift_files import read_drift, read_overlap, write_drift_part

BASE = weights_of(0)
CONFIG = DriftConfig(
    metrics=("weights",),
    decoding="t1",
    texts_per_benchmark=4,
    max_length=64,
    batch_size=4,
    logprob_chunk=16,
    resamples=30,
    confidence=0.95,
    seed=0,
)


def changed(*rows):
    """The base with these rows of one matrix doubled."""
    weights = BASE | {UP: BASE[UP].copy()}
    weights[UP][list(rows)] *= 2
    return weights


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    write_weights(root / "base", BASE)
    write_weights(root / "one", changed(*range(30)))
    write_weights(root / "two", changed(*range(20, 50)), shards=2)
    write_weights(root / "three", changed(60, 61))
    return root


def nothing(saved):
    pass


def test_what_models_changed_alike_is_counted_pair_by_pair(folders, tmp_path):
    """Rows 0-29, 20-49 and 60-61: ten rows of fifty, and none."""
    paths = [str(folders / name) for name in ("one", "two", "three")]
    compare_folders(str(folders / "base"), paths, tmp_path, nothing)
    (found,) = read_overlap(tmp_path)["bases"]
    assert [member["arm"].split("--")[1] for member in found["members"]] == ["one", "two", "three"]
    first, second, third = found["pairs"]
    assert first["jaccard"] == pytest.approx(10 / 50)
    assert first["first_in_second"] == pytest.approx(1 / 3)
    assert first["cosine"] == pytest.approx(
        np.square(BASE[UP][20:30]).sum()
        / np.sqrt(np.square(BASE[UP][:30]).sum() * np.square(BASE[UP][20:50]).sum()),
        rel=1e-5,
    )
    assert second["jaccard"] == third["jaccard"] == second["cosine"] == 0
    assert found["by_kind"]["up_proj"][0]["jaccard"] == pytest.approx(1 / 5)
    assert found["by_kind"]["q_proj"][0]["jaccard"] is None  # nothing changed there
    # Within the matrix thirty of 96 rows changed in both.
    met = 30 * 30 / 96
    assert first["jaccard_chance_by_tensor"] == pytest.approx(met / (60 - met))
    assert first["jaccard_chance"] < first["jaccard_chance_by_tensor"] / 10
    assert not (tmp_path / "analysis").exists()


def test_a_third_model_with_a_head_of_its_own_does_not_count_the_tied_heads_of_two_others(tmp_path):
    tied = dataclasses.replace(ARCHITECTURE, tie_word_embeddings=True)
    weights, embedding = weights_of(architecture=tied), "model.embed_tokens.weight"
    base = write_weights(tmp_path / "base", weights, tied)
    paths = []
    for number, name in enumerate(("one", "two", "three"), 1):
        changed = weights[embedding].copy()
        changed[: 3 * number] *= 2
        paths.append(write_weights(tmp_path / name, weights | {embedding: changed}, tied))
    own = weights | {"lm_head.weight": weights[embedding] * 2}
    paths.insert(1, write_weights(tmp_path / "own", own))
    compare_folders(base, paths[::2], tmp_path / "two_models", nothing)
    (alone,) = read_overlap(tmp_path / "two_models")["bases"][0]["pairs"]
    compare_folders(base, paths, tmp_path / "all", nothing)
    found = read_overlap(tmp_path / "all")["bases"][0]
    (beside,) = [pair for pair in found["pairs"] if (pair["first"], pair["second"]) == (0, 2)]
    assert beside == alone | {"first": 0, "second": 2}
    assert beside["first_changed"] == 3 * 48 / sum(x.size for x in weights.values())
    heads = [(pair["first"], pair["second"]) for pair in found["by_kind"]["lm_head"]]
    assert heads == [(0, 1), (1, 2), (1, 3)]  # Those with the model that has a head.
    assert [pair["shared"] for pair in found["by_kind"]["lm_head"]] == [0.1, 0.2, 0.3]


def test_sets_drawn_at_random_overlap_as_chance_says():
    rng = np.random.default_rng(0)
    parts = []
    for number, share in ((40_000, 0.3), (60_000, 0.05)):
        one, two = rng.random((2, number)) < share
        counts = [int(one.sum()), int(two.sum())]
        both = {"shared": [int((one & two).sum())], "dot": [0.0]}
        parts.append({"num_weights": number, "changed": counts, "squared": [1.0, 1.0], **both})
    (row,) = pair_rows([Member("a", 0, ""), Member("a", 1, "")], parts)
    assert row["jaccard"] == pytest.approx(row["jaccard_chance_by_tensor"], rel=0.01)
    assert row["jaccard_chance"] < 0.9 * row["jaccard"]  # tensors differ in how much changed


def test_a_comparison_that_is_there_is_kept_and_one_of_other_models_is_refused(folders, tmp_path):
    base, one, two = (str(folders / name) for name in ("base", "one", "two"))
    compare_folders(base, [one], tmp_path, nothing)
    path = tmp_path / "analysis" / "weights.json"
    time = path.stat().st_mtime_ns
    write_drift_part(tmp_path, "weights.norm.scale.0", {})  # left by a kill while they are removed
    compare_folders(base, [one], tmp_path, nothing)
    assert path.stat().st_mtime_ns == time and not (path.parent / "parts").exists()
    with pytest.raises(ConfigError, match=r"models\.tuned\.sha256"):
        compare_folders(base, [two], tmp_path, nothing)
    with pytest.raises(ConfigError, match="the same name"):
        compare_folders(base, [one, one], tmp_path / "twice", nothing)


def test_the_drift_stage_makes_the_same_file_and_no_model_is_opened(folders, tmp_path, monkeypatch):
    base, one = (str(folders / name) for name in ("base", "one"))
    compare_folders(base, [one], tmp_path / "verb", nothing)
    monkeypatch.setattr("jaxreason.models.huggingface.ModelSource.open", None)
    configs = [
        dataclasses.replace(model_config(path), param_dtype="bfloat16") for path in (base, one)
    ]
    how = dataclasses.replace(CONFIG, decoding="none"), *configs, None
    run_drift(*how, tmp_path / "stage", tmp_path, tmp_path)
    verb, stage = (read_drift(tmp_path / name, "weights") for name in ("verb", "stage"))
    assert (verb["rows"], verb["details"]) == (stage["rows"], stage["details"])
    assert verb["made_with"] == stage["made_with"]
    run_drift(*how, tmp_path / "verb", tmp_path, tmp_path)  # there already
    assert not (tmp_path / "verb" / "analysis" / "parts").exists()


def test_a_file_from_before_weights_were_read_from_folders_is_kept(folders, tmp_path):
    base, one = (str(folders / name) for name in ("base", "one"))
    compare_folders(base, [one], tmp_path, nothing)
    path = tmp_path / "analysis" / "weights.json"
    old = json.loads(path.read_text())
    old["made_with"]["models"]["run"] = {"base": {"dtype": "bfloat16"}, "tuned": {}}
    path.write_text(json.dumps(old))
    how = dataclasses.replace(CONFIG, decoding="none"), model_config(base), model_config(one), None
    run_drift(*how, tmp_path, tmp_path, tmp_path)
    compare_folders(base, [one], tmp_path, nothing)
    assert json.loads(path.read_text()) == old


def write_study(folder, folders):
    """A study of a trained arm of two seeds, one of which is not trained yet, and two given arms."""
    shutil.copytree(folders / "one", folder / "rl" / "seed_0" / "model")
    given = {"two": str(folders / "two"), "three": str(folders / "three")}
    arms = [{"name": "rl", "method": "rl", "label": "RL", "seeds": [0, 1]}]
    arms += [{"name": n, "method": "given", "label": n, "seeds": [0]} for n in given]
    manifest = {"name": "s", "base": str(folders / "base"), "groups": {}, "decodings": []}
    (folder / "study.json").write_text(json.dumps(manifest | {"arms": arms}))
    recipe = {"study": {"arms": {name: {"path": path} for name, path in given.items()}}}
    (folder / "config.json").write_text(json.dumps(recipe))
    return folder


def test_a_studys_runs_are_compared_and_what_they_changed_alike(folders, tmp_path, capsys):
    study = write_study(tmp_path / "study", folders)
    assert call("weights", "--workdir", study) == 0
    told = capsys.readouterr()
    assert "seed_1: not trained yet" in told.err and "up_proj" in told.out
    for run in ("rl/seed_0", "two/seed_0", "three/seed_0"):
        assert read_drift(study / run, "weights")["rows"]
    (found,) = read_overlap(study)["bases"]
    assert [(m["arm"], m["seed"]) for m in found["members"]] == [
        ("rl", 0),
        ("two", 0),
        ("three", 0),
    ]
    shutil.copytree(folders / "two", study / "rl" / "seed_1" / "model")
    compare_study(study, nothing)  # a seed more: the pairs are counted again
    (found,) = read_overlap(study)["bases"]
    pairs = {(p["first"], p["second"]): p["jaccard"] for p in found["pairs"]}
    assert len(pairs) == 6 and pairs[1, 2] == 1  # seed 1 is a copy of `two`


def test_arms_that_are_compared_by_their_scores_alone_have_no_weights_and_one_run_has_no_pairs(
    folders, tmp_path
):
    study = write_study(tmp_path, folders)
    compare_study(study, nothing)
    assert read_overlap(study) is not None  # that of a larger study
    shutil.rmtree(study / "two")
    manifest = json.loads((study / "study.json").read_text())
    for arm in manifest["arms"]:
        arm["drift"] = arm["name"] == "three"
    (study / "study.json").write_text(json.dumps(manifest))
    assert compare_study(study, nothing) == [study / "three" / "seed_0"]
    assert read_drift(study / "two" / "seed_0", "weights") is None and read_overlap(study) is None


def test_a_run_that_does_not_fit_its_base_is_left_out_of_a_study_with_the_reason(
    folders, tmp_path, caplog
):
    study = write_study(tmp_path, folders)
    shallow = dataclasses.replace(ARCHITECTURE, num_hidden_layers=2)
    other = write_weights(tmp_path / "shallow", weights_of(architecture=shallow), shallow)
    recipe = {
        "study": {"arms": {"two": {"path": other}, "three": {"path": str(folders / "three")}}}
    }
    (study / "config.json").write_text(json.dumps(recipe))
    compare_study(study, nothing)
    assert "two/seed_0: left out." in caplog.text and "model.layers.2" in caplog.text
    (found,) = read_overlap(study)["bases"]
    assert [member["arm"] for member in found["members"]] == ["rl", "three"]


def test_the_program_compares_folders_without_a_recipe(folders, tmp_path, capsys):
    base, one, two = (folders / name for name in ("base", "one", "two"))
    words = ["weights", "--base", base, "--tuned", f"{one},{two}", "--workdir", tmp_path / "w"]
    assert call(*words) == 0
    told = capsys.readouterr().out
    assert "overlap, left" in told and "Jaccard" in told and "weights_overlap.json" in told
    assert "go together" in refused(capsys, "weights", "--base", base, "--workdir", tmp_path / "v")
    elsewhere = ["--tuned", f"{one},gcs://b/x", "--workdir", tmp_path / "v"]
    assert "gcs://b/x: expected" in refused(capsys, "weights", "--base", base, *elsewhere)
    assert "no study" in refused(capsys, "weights", "--workdir", tmp_path / "v")


def test_a_list_without_a_model_is_no_comparison_that_has_succeeded(folders, tmp_path, capsys):
    words = ["--base", folders / "base", "--tuned", " , ", "--workdir", tmp_path / "w"]
    assert "--tuned= , : expected one or more models" in refused(capsys, "weights", *words)


def test_weights_that_are_no_numbers_or_of_another_network_are_undefined_in_a_study(
    folders, tmp_path
):
    """A study goes on without them, and its file says which tensor is the reason."""
    broken = BASE | {UP: BASE[UP].copy()}
    broken[UP][3, 3] = np.nan
    shallow = dataclasses.replace(ARCHITECTURE, num_hidden_layers=2)
    wrong = {
        UP: write_weights(tmp_path / "nan", broken),
        "model.layers.2": write_weights(
            tmp_path / "shallow", weights_of(architecture=shallow), shallow
        ),
    }
    for number, (named, path) in enumerate(wrong.items()):
        workdir = tmp_path / str(number)
        config = dataclasses.replace(CONFIG, decoding="none")
        models = model_config(str(folders / "base")), model_config(path)
        run_drift(config, *models, None, workdir, tmp_path, tmp_path)
        found = read_drift(workdir, "weights")
        assert found["rows"] == [] and named in found["details"]["undefined"]
    with pytest.raises(UserError, match=UP):  # asked for by themselves they are refused
        compare_folders(str(folders / "base"), [wrong[UP]], tmp_path / "alone", nothing)
