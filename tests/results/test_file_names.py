"""The files that two stages meet in have their names, writer and reader in `results` and nowhere else."""

import ast
import functools
import json
import math
import pathlib
import re

import pytest

from jaxreason.errors import UserError
from jaxreason.results import (
    claims,
    drift_files,
    rollout_files,
    run_status,
    score_files,
    study_files,
    training_files,
)

PACKAGE = pathlib.Path(training_files.__file__).parents[1]
NAMES = {
    study_files.MANIFEST,
    study_files.TRANSFER,
    study_files.TRAJECTORY,
    training_files.METRICS,
    claims.DONE,
    drift_files.ANALYSIS,
    rollout_files.ROLLOUTS,
    score_files.SCORES,
    run_status.NAME,
}
SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if "recipes_data" not in p.parts)


def texts(path):
    """The texts in the code of a file, its docstrings left out."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


@functools.cache
def names_in(path):
    return {name for text in texts(path) for name in NAMES & set(text.strip().split("/"))}


def test_each_name_is_written_once_and_in_results():
    found = {}
    for path in SOURCES:
        for name in names_in(path):
            found.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    assert (
        set(found)
        == NAMES
        == {
            "study.json",
            "transfer.json",
            "metrics.jsonl",
            "done.json",
            "analysis",
            "rollouts",
            "scores.json",
            "status.json",
            "trajectory.json",
        }
    )
    assert {name: files for name, files in found.items() if len(files) > 1} == {}
    assert {pathlib.Path(files[0]).parts[0] for files in found.values()} == {"results"}


def test_a_name_inside_a_longer_path_would_be_found(tmp_path):
    (tmp_path / "x.py").write_text('"""study.json"""\npath = f"{folder}/study.json"\n')
    assert names_in(tmp_path / "x.py") == {"study.json"}


def test_the_order_of_groups_is_written_in_one_place():
    def sequences(path):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Tuple, ast.List)):
                values = [x.value for x in node.elts if isinstance(x, ast.Constant)]
                if {"math", "other"} <= set(values) or {"other", "non_reasoning"} <= set(values):
                    yield values

    assert {path.name for path in SOURCES if list(sequences(path))} == {"groups.py"}


def test_what_is_written_is_read_again(tmp_path):
    arm = {"name": "rl", "method": "rl", "label": "RL", "seeds": [0, 1]}
    manifest = {"name": "s", "base": "b", "groups": {}, "arms": [arm], "decodings": ["greedy"]}
    assert not study_files.is_study(tmp_path)
    study_files.write_manifest(tmp_path, manifest)
    assert study_files.is_study(tmp_path) and study_files.read_manifest(tmp_path) == manifest

    assert study_files.read_transfer(tmp_path) is None
    study_files.write_transfer(tmp_path, {}, {"greedy": {"math": 1.0}}, [{"ti": 1.0}], [])
    assert study_files.read_transfer(tmp_path)["rows"] == [{"ti": 1.0}]

    run = tmp_path / study_files.run_folder("rl", 1)
    assert drift_files.read_drift(run, "cka") is None and not list(drift_files.measured_drift(run))
    made = {"metric": "cka", "rows": [], "groups": [], "details": {}}
    drift_files.write_drift_part(run, "add.base", {"made_with": {}, "metrics": {"cka": {}}})
    drift_files.write_drift(run, "cka", made)
    assert drift_files.read_drift_part(run, "add.base")["metrics"] == {"cka": {}}
    drift_files.remove_drift_parts(run)
    assert drift_files.read_drift_part(run, "add.base") is None
    assert list(drift_files.measured_drift(run)) == [made]

    assert rollout_files.rollout_steps(run) == []
    for step in (10, 9):
        rollout_files.write_rollouts(run, step, [{"id": "ä", "reward": 1.0}, {"id": "b"}])
    assert rollout_files.rollout_steps(run) == [9, 10]
    assert rollout_files.read_rollouts(run, 10)[0] == {"id": "ä", "reward": 1.0}

    writer = training_files.metrics_writer(run, 0)
    for step in (1, 2, 3):
        writer.write({"step": step, "stage": "rl", "loss": 0.5})
    writer.close()
    training_files.metrics_writer(run, 2).close()
    lines = training_files.read_metrics(training_files.metrics_path(run))
    assert [line["step"] for line in lines] == [1, 2]
    assert study_files.run_folders(tmp_path, "rl") == [run]
    assert study_files.run_folders(tmp_path, "base") == [tmp_path / "base"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": "x"}, r"study\.json, arms: expected a list, got 'x'"),
        ({"arms": [{"name": "rl"}]}, r"study\.json, arms, method: expected a text, got nothing"),
    ],
)
def test_a_study_of_another_shape_is_refused_by_file_and_field(tmp_path, change, message):
    manifest = {"name": "s", "base": "b", "groups": {}, "arms": [], "decodings": []}
    (tmp_path / "study.json").write_text(json.dumps(manifest | change))
    with pytest.raises(UserError, match=message):
        study_files.read_manifest(tmp_path)


UNIT = {"benchmark": "add", "source": "base"}
ROW = {"name": "cka", "value": 0.5, "low": None, "high": None}


@pytest.mark.parametrize(
    ("part", "edited", "message"),
    [
        (
            "groups",
            [ROW | {"value": math.nan}],
            "groups, 1, value: expected a finite number, got nan",
        ),
        ("groups", [ROW | {"draws": [0.5, math.inf]}], "groups, 1, draws, 2: .*, got inf"),
        ("rows", [ROW, ROW | {"value": None}], "rows, 2, value: expected a number, got None"),
        ("rows", [ROW | {"name": 3}], "rows, 1, name: expected a text, got 3"),
        ("rows", [ROW | {"low": 0.1}], r"rows, 1: expected .* low and high, got \[0.1, None\]"),
        ("groups", ["text"], "groups, 1: expected an object, got 'text'"),
        ("details", {"units": [{"kl": math.nan}]}, "details, units, 1, kl: .*, got nan"),
        ("details", {"units": "x"}, "details, units: expected a list, got 'x'"),
        ("details", {"units": [UNIT, 7]}, "details, units, 2: expected an object, got 7"),
        (
            "details",
            {"units": [{"undefined": "x"}]},
            "details, units, 1, benchmark: expected a text",
        ),
        ("details", {"undefined": 7}, "details, undefined: expected a text, got 7"),
        ("details", {"whole": None}, "details, whole: expected an object, got None"),
    ],
)
def test_a_file_of_drift_that_was_edited_is_refused_with_the_place(tmp_path, part, edited, message):
    whole = {"metric": "cka", "rows": [ROW], "groups": [], "details": {}}
    drift_files.write_drift(tmp_path, "cka", whole)
    assert drift_files.read_drift(tmp_path, "cka") == whole
    drift_files.write_drift(tmp_path, "cka", whole | {part: edited})
    expected = rf"cka\.json, {message}.* remove it to have it made again"
    with pytest.raises(UserError, match=expected):
        drift_files.read_drift(tmp_path, "cka")
    with pytest.raises(UserError, match=expected):
        list(drift_files.measured_drift(tmp_path))


ODD = ("run[1]", "run*", "run?")


@pytest.mark.parametrize("name", ODD)
def test_a_folder_whose_name_is_a_pattern_stands_for_itself_alone(name, tmp_path):
    for folder, metric in ((name, "cka"), ("run1", "cosine")):
        drift_files.write_drift(
            tmp_path / folder, metric, {"metric": metric, "rows": [], "groups": [], "details": {}}
        )
        drift_files.write_drift_part(tmp_path / folder, "weights.a", {})
    own = tmp_path / name
    assert [found["metric"] for found in drift_files.measured_drift(own)] == ["cka"]
    drift_files.remove_drift_parts(own, "weights.")
    assert not drift_files.drift_part_path(own, "weights.a").exists()
    assert drift_files.drift_part_path(tmp_path / "run1", "weights.a").exists()
    (own / "arm" / "seed_3").mkdir(parents=True)
    assert study_files.run_folders(own, "arm") == [own / "arm" / "seed_3"]


def test_only_glob_in_asks_for_patterns_below_a_folder_of_a_user():
    of_the_machine = {"atomic_files.py", "recipes.py", "tpu_hosts.py", "jail_ways.py"}
    assert {p.name for p in SOURCES if re.search(r"\.glob\(", p.read_text())} <= of_the_machine
