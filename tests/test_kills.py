"""SIGKILL at random moments over all stages of a study, and damage: the same results, or a word on what is wrong.

    JAXREASON_KILLS=48 pytest -m slow tests/test_kills.py      # 6 unless set

Every run is the program itself, in a process of its own. The moments are drawn with a seed (JAXREASON_KILLS_SEED), but
which write a kill hits also depends on the machine.
"""

import json
import os
import random
import re
import shutil

import pytest
from study_runs import (
    NOT_RESULTS,
    ROOT,
    assert_same,
    kill_in_stage,
    last_stage,
    results,
    run,
    start,
)

BASE = ROOT / "configs" / "tiny_base"
NUM_KILLS = int(os.environ.get("JAXREASON_KILLS", "6"))
SEED = int(os.environ.get("JAXREASON_KILLS_SEED", "0"))
KILLS_A_STUDY = 6
LONGEST_S = 3.0  # from the stage that is drawn to the kill
NUM_STAGES = 9

pytestmark = pytest.mark.slow


def test_killed_at_random_moments_and_continued_a_study_gives_the_same_results(
    undisturbed, tmp_path
):
    expected, draw = results(undisturbed / "run"), random.Random(SEED)
    stages, rounds = [], 0
    while len(stages) < NUM_KILLS:
        rounds += 1
        folder = tmp_path / str(rounds)
        folder.mkdir()
        (folder / "log").write_text("")
        num = min(KILLS_A_STUDY, NUM_KILLS - len(stages))
        stages += kill_in_order(folder, sorted(draw.choices(range(NUM_STAGES + 1), k=num)), draw)
        code, output = run(folder)
        assert code == 0, output[-6000:]
        assert_same(results(folder / "run"), expected)
        shutil.rmtree(folder)
    counts = {stage: stages.count(stage) for stage in sorted(set(stages))}
    print(f"{NUM_KILLS} kills in {rounds} studies; by stage: {counts}")
    assert len(counts) >= min(4, NUM_KILLS // 2)  # not all in one place


def kill_in_order(folder, targets, draw):
    """Kills a study once in each of these stages, or soon after; the stages that it died in."""
    stages = []
    for number in targets:
        # Mostly soon: some stages take a moment only.
        seconds = LONGEST_S * draw.random() ** 3
        killed_in = kill_in_stage(start(folder), folder / "log", number, seconds)
        if killed_in is None:
            break
        stages.append(killed_in)
    return stages


# ---- damage that is made good ----


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """A study as a kill left it when the last step of both arms was made and their models were not written."""
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    for arm in (tmp_path / "run" / "sft_top" / "seed_3", tmp_path / "run" / "rl" / "seed_3"):
        for name in ("done.json", "model", "evaluation", "analysis"):
            path = arm / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(tmp_path / "run" / "report")
    return tmp_path


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit_of(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(checkpoint):
    flip_a_bit_of(largest_file(checkpoint))


def truncate(checkpoint):
    halve(largest_file(checkpoint))


def remove_a_file(checkpoint):
    largest_file(checkpoint).unlink()


def remove_the_table_of_arrays(checkpoint):
    (checkpoint / "_METADATA").unlink()


@pytest.mark.parametrize(
    "of_sft, of_rl", [(flip_a_bit, truncate), (remove_a_file, remove_the_table_of_arrays)]
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_gives_the_same(
    stopped, undisturbed, of_sft, of_rl
):
    of_sft(stopped / "run" / "sft_top" / "seed_3" / "checkpoints" / "4")
    of_rl(stopped / "run" / "rl" / "seed_3" / "checkpoints" / "4")
    code, output = run(stopped)
    assert code == 0, output[-6000:]
    for arm in ("sft_top", "rl"):
        assert re.search(rf"{arm}/seed_3/checkpoints/4 is damaged .*; continuing with", output)
    assert_same(results(stopped / "run"), results(undisturbed / "run"))


def test_what_can_be_made_again_is_cleaned_up_and_changes_nothing(undisturbed, tmp_path):
    """What a kill, a full disk or a power cut leaves, and files that are made of others."""
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    rl, sft = tmp_path / "run/rl/seed_3", tmp_path / "run/sft_top/seed_3"
    (sft / "done.json").unlink()
    with open(sft / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "sta')
    (sft / "checkpoints" / "99").mkdir()
    (rl / "done.json").write_text("")
    sample = rl / "evaluation" / "samples" / "add.own.t1.jsonl"
    sample.write_text(sample.read_text()[:-20])
    grades = rl / "evaluation" / "grades"
    halve(grades / "copy.own.t1.hash_answer.jsonl")
    halve(grades / "sort.own.t1.hash_answer.head.json")
    leave_parts_of_other_settings(rl / "analysis")
    made = [sft / "evaluation" / "scores.json", *(tmp_path / "run").glob("*.json")]
    for path in [*made, tmp_path / "run" / "report" / "summary.json"]:
        halve(path)
        path.with_name(f"{path.name}.tmp-1073741824").write_text("{")  # of a process that is gone
    shutil.copy(tmp_path / "run/base/evaluation/scores.json", rl / "evaluation" / "scores.json")
    code, output = run(tmp_path)
    assert code == 0, output[-6000:]
    for said in ("checkpoints/99 was never finished", "done.json: the file is empty"):
        assert said in output
    assert_same(results(tmp_path / "run"), results(undisturbed / "run"))


def leave_parts_of_other_settings(analysis):
    """As a kill in the middle of drift; one of the parts is broken."""
    (analysis / "cka.json").unlink()
    (analysis / "parts").mkdir(exist_ok=True)
    for benchmark in ("add", "copy", "sort"):
        part = {"made_with": {"settings": {"max_length": 7}}, "metrics": {"cka": {}}}
        (analysis / "parts" / f"{benchmark}.base.json").write_text(json.dumps(part))
    halve(analysis / "parts" / "add.base.json")


# ---- damage that is refused ----


def double_a_sample(workdir):
    path = workdir / "base/evaluation/samples/add.own.greedy.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])


def add_an_unknown_question(workdir):
    path = workdir / "base/evaluation/samples/add.own.greedy.jsonl"
    row = json.loads(path.read_text().splitlines()[0]) | {"id": "nobody"}
    path.write_text(path.read_text() + json.dumps(row) + "\n")


def halve_the_head_of_samples(workdir):
    halve(workdir / "base/evaluation/samples/add.own.greedy.head.json")


def empty_the_metrics(workdir):
    (workdir / "rl/seed_3/metrics.jsonl").write_text("")


def lose_a_line_of_the_metrics(workdir):
    path = workdir / "rl/seed_3/metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))


def halve_the_questions(workdir):
    path = workdir / "questions/sft.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))


def halve_the_record_of_a_run(workdir):
    halve(workdir / "rl/seed_3/config.json")


def flip_a_bit_of_the_model(workdir):
    flip_a_bit_of(workdir / "rl/seed_3/model/model.safetensors")


def halve_a_metric_of_drift(workdir):
    halve(workdir / "rl/seed_3/analysis/cka.json")


# Damage -> the stage that owns the file and refuses it (0: before the first), and what it says.
REFUSED = {
    double_a_sample: (1, "add.own.greedy.jsonl, line 5: sample 0 of"),
    add_an_unknown_question: (1, "add.own.greedy.jsonl, line 5: add has no question 'nobody'"),
    halve_the_head_of_samples: (1, "add.own.greedy.head.json: not valid JSON"),
    empty_the_metrics: (2, "rl/seed_3/metrics.jsonl: ends at step 0, but the run made 4"),
    lose_a_line_of_the_metrics: (2, "rl/seed_3/metrics.jsonl, line 2: expected step 2, got 3"),
    halve_the_questions: (0, "questions/sft.jsonl: holds other rows than the recipe makes"),
    halve_the_record_of_a_run: (2, "rl/seed_3/config.json: not valid JSON"),
    flip_a_bit_of_the_model: (3, "rl/seed_3/model/model.safetensors: not the bytes that were"),
    halve_a_metric_of_drift: (4, "rl/seed_3/analysis/cka.json: not valid JSON"),
}


@pytest.fixture(scope="module")
def copied(undisturbed, tmp_path_factory):
    """A copy for all damage that is refused, since nothing is changed then."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(undisturbed / "run", folder / "run")
    return folder


@pytest.mark.parametrize("damage", REFUSED)
def test_damage_that_cannot_be_made_good_is_refused_by_the_stage_that_owns_the_file(
    copied, undisturbed, damage
):
    stage, message = REFUSED[damage]
    damage(copied / "run")
    damaged = results_as_they_are(copied / "run")
    code, output = run(copied)
    assert code == 2, output[-6000:]
    assert message in output and "Traceback" not in output
    assert last_stage(output) == stage
    assert results_as_they_are(copied / "run") == damaged
    restore(copied / "run", undisturbed / "run")


def results_as_they_are(workdir):
    paths = (p for p in workdir.rglob("*") if p.is_file() and p.name not in NOT_RESULTS)
    # The study's own record and scores, which are made anew at each start, say the paths of this one.
    made = ("config.json", "study.json", "scores.json")
    return {p: p.read_bytes() for p in paths if p.name not in made}


def restore(workdir, undisturbed):
    for path in (p for p in workdir.rglob("*") if p.is_file() and p.name not in NOT_RESULTS):
        whole = undisturbed / path.relative_to(workdir)
        if path.read_bytes() != whole.read_bytes():
            shutil.copy(whole, path)


def test_a_flipped_bit_of_the_base_is_found_before_anything_is_compared_with_it(
    undisturbed, tmp_path
):
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    shutil.copytree(BASE, tmp_path / "base")
    flip_a_bit_of(tmp_path / "base" / "model.safetensors")
    code, output = run(tmp_path, "--config.model.path=base")
    assert code == 2 and last_stage(output) == 1, output[-6000:]
    assert "base/evaluation/samples/add.own.greedy.jsonl: made with something else" in output
    assert "model.sha256" in output and "Traceback" not in output
