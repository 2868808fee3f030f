"""The pages about files name every field that is in them: of files that are written here, or of the shapes that readers
ask for.
"""

import pathlib
import re
from collections.abc import Iterator

import numpy as np
import pytest
from etils import epath

from jaxreason.analysis.weight_overlap import Member, pair_rows
from jaxreason.analysis.weight_run import weight_details
from jaxreason.analysis.weight_stream import update_directions
from jaxreason.evaluation.grading import OPENED
from jaxreason.evaluation.index_rows import index_rows, sensitivity_rows
from jaxreason.evaluation.transfer_inputs import Comparison, GroupScores
from jaxreason.recipes import load_recipe
from jaxreason.report.forgetting import DEGREES
from jaxreason.results import drift_shapes, study_files
from jaxreason.results.fits import Fit
from jaxreason.results.grade_files import GRADE_FIELDS
from jaxreason.results.run_status import at_hosts, at_progress, at_stage, keep_status, read_status
from jaxreason.results.sample_files import QUESTIONS_SHAPE, SAMPLE_FIELDS
from jaxreason.results.shapes import ANY
from jaxreason.studies.manifest import write_study

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def words_of_code(text: str) -> set[str]:
    """The words that stand as code in a text, but for blocks of it."""
    codes = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return {word for code in codes for word in re.findall(r"\w+", code)}


def named(*pages: str) -> set[str]:
    """The words that stand as code on the pages."""
    return set().union(*(words_of_code((DOCS / f"{page}.md").read_text()) for page in pages))


def keys(shape: object) -> Iterator[str]:
    """The names in a shape, or in a value, at any depth."""
    if isinstance(shape, dict):
        yield from (name.removesuffix("?") for name in shape if name != ANY)
    parts = shape.values() if isinstance(shape, dict) else shape
    if isinstance(parts, (str, bytes)) or not isinstance(parts, (list, tuple, type({}.values()))):
        return
    for part in parts:
        yield from keys(part)


def test_the_page_of_drift_names_what_is_read_of_its_files():
    of_units = [shape for _, shape in drift_shapes.OF_UNIT.values()]
    shapes = drift_shapes.FILE, drift_shapes.GROUP_ROW, drift_shapes.UNIT
    found = set(keys([*shapes, of_units, list(drift_shapes.OF_FILE.values())]))
    assert len(found) > 70
    assert found - named("drift", "weights") == set()


def test_the_page_of_evaluations_names_the_fields_of_samples_grades_and_questions():
    optional = {OPENED, "choices", "choice_logprobs"}
    assert {*SAMPLE_FIELDS, *GRADE_FIELDS, *QUESTIONS_SHAPE, *optional} - named(
        "evaluation_files"
    ) == set()


@pytest.fixture
def comparison():
    scores = np.array([20.0, 40.0])
    part = GroupScores(("a", "b"), scores, scores + 10, np.array([50.0, 50.0]), None)
    groups = {"math": part, "other": part}
    return Comparison("tuned", "arm", "base", 0, "greedy", groups, {})


def test_the_page_of_evaluations_names_the_fields_of_the_index(comparison):
    scales = {"math": 1.0, "other": 1.0}
    rows = index_rows(comparison, ["v2_pooled"], scales, 0.95, 10, 0)
    rows += sensitivity_rows([comparison], ["v2_pooled"], scales)
    found = {name for row in rows for name in row}
    said = named("evaluation_files")
    # The ends of the two degrees' intervals are named by their endings.
    ends = {f"{name}{end}" for name in ("di", "di_math") for end in ("_low", "_high")}
    assert {"ti", "gain", "without"} < found and ends < found and {"_low", "_high"} < said
    assert found - ends - said == set()


def test_the_page_of_weights_names_the_fields_of_its_two_files():
    base, tuned = np.random.default_rng(0).normal(size=(2, 8, 12)).astype(np.float32)
    sums = {"squared_change": 1.0, "squared_base": 2.0, "num_changed": 3, "num_weights": 96}
    about = {"path": "layers.mlp.up_proj.kernel", "kind": "up_proj", "layer": 0}
    record = about | sums | {"directions": update_directions(base, tuned)}
    details = weight_details([record]).details
    counts = {
        "num_weights": 96,
        "changed": [3, 4],
        "squared": [1.0, 1.0],
        "shared": [2],
        "dot": [0.5],
    }
    (pair,) = pair_rows([Member("rl", 0, "x"), Member("sft", 0, "y")], [counts])
    found = {*details, *details["whole"], *record, *record["directions"], *pair}
    assert len(found) > 40
    assert found - named("weights") == set()


def test_the_page_of_the_working_directory_names_the_fields_of_a_status(tmp_path):
    with keep_status(
        epath.Path(tmp_path), "sft", lambda: {"kind": "cpu", "devices": 1, "processes": 1}
    ):
        at_stage("train", 1, 2)
        at_progress("sft", 1, 4)
        at_hosts([1.0, 2.0])
    status = read_status(tmp_path)
    parts = ("stage", "progress", "spent", "device", "slowest")
    found = {*status, *(name for part in parts for name in status[part])}
    assert {"seconds_left", "others_seconds", "every"} < found
    assert found - named("working_directory") == set()


def test_the_page_of_the_working_directory_names_the_fields_of_a_trajectory():
    shapes = study_files.TRAJECTORY_SHAPE, study_files.TRAJECTORY_DEFAULTS, study_files.STEP_SHAPE
    found = {name for shape in shapes for name in shape} - {"step"}
    page = (DOCS / "working_directory.md").read_text()
    part = page[page.index("`trajectory.json` has") :]
    assert found - words_of_code(part) == set()


def test_the_page_of_the_report_names_the_fields_of_a_study(tmp_path):
    recipe = load_recipe("configs/study_tiny.py")
    write_study(recipe, recipe, epath.Path(tmp_path))
    study = study_files.read_manifest(tmp_path)
    page = (DOCS / "report_files.md").read_text()
    said = set(re.findall(r"`(\w+)`", page[page.index("`study.json`:") : page.index("## Written")]))
    found = {*study, *study["arms"][0], *study["bases"][0]}
    assert {"config", "asked", "traits", "published"} < found
    assert found - said == set()


def test_the_page_of_forgetting_names_the_fields_of_a_fit():
    kept = set(Fit.__dataclass_fields__) - {"r2_draws", "coefficient_draws"}
    assert {*kept, *DEGREES, "best", "curve", "first", "undefined"} - named("forgetting") == set()
