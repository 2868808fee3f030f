"""Several studies in one report: whose arms are whose, and what must be alike."""

import concurrent.futures
import json
import os
import shutil
import time

import bucket
import pytest
from etils import epath
from full_disks import files_of_at_most
from report.followed_study import STEPS, write_followed
from report.published_study import TRANSFER, write_published
from verbs.program import call, refused

from jaxreason.config import ConfigError, to_dict
from jaxreason.errors import UserError
from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary
from jaxreason.report.report_tables import find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.summary import over_training
from jaxreason.results.study_files import read_manifest, read_transfer
from jaxreason.studies.joined_studies import join_studies

REPORT = ReportConfig("Joined", "q", (), 0.95, 20, 0, "paper")
BENCHMARKS = ("math500", "acpbench", "coqa", "ifeval")


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """Two studies with an arm of one name, in folders of one name; the first has a recipe."""
    monkeypatch.setattr(build, "FIGURES", {})
    arms = ({"rl": "SimpleRL-7B", "sft": "OpenThinker2-7B"}, {"rl": "UniReason RL"})
    folders = [tmp_path / where / "study" for where in ("a", "b")]
    for folder, members in zip(folders, arms, strict=True):
        write_published(folder, members, benchmarks=BENCHMARKS)
    recipe = {"seed": 0, "report": to_dict(REPORT), "transfer": to_dict(TRANSFER)}
    (folders[0] / "config.json").write_text(json.dumps(recipe))
    return folders


def test_arms_of_one_name_are_kept_apart_with_the_bases_of_their_own_study(studies, tmp_path):
    workdir = tmp_path / "all"
    assert call("report", *studies, "--workdir", workdir) == 0
    summary = read_summary(workdir)
    assert [arm["name"] for arm in summary["arms"]] == ["study--rl", "study--sft", "study_2--rl"]
    bases = {arm["name"]: arm["base"] for arm in summary["arms"]}
    assert bases["study--rl"] == "study--bases--Qwen--Qwen2.5-7B"
    assert bases["study_2--rl"] == "study_2--bases--Qwen--Qwen3-14B-Base"
    labels = [arm["label"] for arm in summary["arms"]]
    assert labels == ["SimpleRL-7B (study)", "OpenThinker2-7B (study)", "UniReason RL (study_2)"]
    for arm, change in (("study--rl", 70 - 60), ("study_2--rl", 88 - 60)):
        row = find(summary["differences"], arm=arm, benchmark="math500")
        assert row["mean"] == pytest.approx(change)
    assert find(summary["fidelity"], model="study_2--rl", where="math500")["published"] == 87.8
    text = (workdir / "report" / "report.md").read_text()
    assert "Base Qwen3-14B-Base (study_2)" in text


def test_pooled_deviations_are_those_of_all_studies_together(studies, tmp_path):
    workdir = tmp_path / "all"
    call("report", *studies, "--workdir", workdir)
    alone = [read_transfer(folder)["scales"]["paper"]["math"] for folder in studies]
    # the gains on the one benchmark of math: 10 and 16 points in one study, 28 in the other, of one arm
    found = read_transfer(workdir)
    assert alone[0] != found["scales"]["paper"]["math"] > 0
    assert {row["arm"] for row in found["rows"]} == {"study--rl", "study--sft", "study_2--rl"}


def test_the_same_call_again_changes_nothing_and_a_study_of_its_own_is_not_written_into(
    studies, tmp_path, capsys
):
    workdir = tmp_path / "all"
    call("report", *studies, "--workdir", workdir)
    before = (workdir / "report" / "summary.json").read_bytes()
    assert call("report", *studies, "--workdir", workdir) == 0
    assert (workdir / "report" / "summary.json").read_bytes() == before
    assert os.readlink(workdir / "study--rl") == str(studies[0] / "rl")
    assert "a study's own folder" in refused(capsys, "report", *studies, "--workdir", studies[1])
    assert "given twice" in refused(capsys, "report", studies[0], studies[0], "--workdir", workdir)
    message = refused(capsys, "report", studies[1], "--workdir", workdir)
    assert "config.json: not found; give the recipe with --config" in message


def test_a_study_and_a_link_to_it_are_one_given_twice(studies, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to(studies[0])
    message = refused(capsys, "report", studies[0], link, "--workdir", tmp_path / "all")
    assert f"{link}: given twice" in message


def test_runs_of_two_studies_that_would_have_one_name_are_refused(tmp_path):
    pair = tmp_path / "x", tmp_path / "x--a"
    for folder, arms in zip(pair, ({"a--rl": "SimpleRL-7B"}, {"rl": "UniReason RL"}), strict=True):
        write_published(folder, arms, benchmarks=BENCHMARKS)
    with pytest.raises(ConfigError, match=f"^x--a--rl: a run of {pair[0]} and one of {pair[1]} "):
        join_studies(pair, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_two_joint_reports_in_one_folder_at_once_are_that_of_one(studies, tmp_path, monkeypatch):
    workdir, link = tmp_path / "all", os.symlink

    def slow(*arguments):
        time.sleep(0.1)
        link(*arguments)

    monkeypatch.setattr(os, "symlink", slow)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(join_studies, studies, workdir) for _ in range(2)]
    first, second = (one.result() for one in both)
    assert first == second == read_manifest(workdir)
    assert os.readlink(workdir / "study_2--rl") == str(studies[1] / "rl")


def test_a_joint_report_that_ends_halfway_leaves_no_contents_or_index_of_the_studies_before(
    studies, tmp_path, capsys
):
    workdir = tmp_path / "all"
    call("report", studies[0], "--workdir", workdir)
    shutil.copy(studies[0] / "config.json", studies[1])
    with files_of_at_most(50):  # links find room
        assert call("report", studies[1], "--workdir", workdir) == 2
    assert os.readlink(workdir / "study--rl") == str(studies[1] / "rl")
    shutil.copy(studies[0] / "config.json", workdir)
    assert "study.json: not found" in refused(capsys, "report", "--workdir", workdir)
    assert not (workdir / "transfer.json").exists()
    assert call("report", studies[1], "--workdir", workdir) == 0
    assert [arm["label"] for arm in read_summary(workdir)["arms"]] == ["UniReason RL (study)"]


def all_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_copies_on_a_bucket_have_no_file_that_the_study_has_not(studies, monkeypatch):
    store = bucket.use(monkeypatch)
    workdir, start = epath.Path("gs://bucket/all"), "bucket/all/study--rl/"
    for folder in (studies[1], studies[0]):  # of one name
        (folder / "rl/seed_0/analysis").mkdir()
        (folder / f"rl/seed_0/analysis/{folder.parent.name}.json").write_text("{}")
        join_studies([folder], workdir)
        copied = {n.removeprefix(start): x for n, x in store.objects.items() if n.startswith(start)}
        assert copied == all_below(folder / "rl")


def test_a_study_of_a_bucket_in_the_place_of_a_linked_one_leaves_that_alone(
    studies, tmp_path, monkeypatch
):
    store = bucket.use(monkeypatch)
    join_studies(studies[:1], tmp_path / "all")
    before = all_below(studies[0])
    for name, data in all_below(studies[1]).items():
        store.put(f"bucket/study/{name}", data)
    join_studies(["gs://bucket/study"], tmp_path / "all")
    assert all_below(studies[0]) == before
    assert all_below(tmp_path / "all/study--rl") == all_below(studies[1] / "rl")


def test_studies_that_asked_a_benchmark_differently_are_refused_with_the_setting(studies, tmp_path):
    for base in (studies[1] / "bases").iterdir():
        (path,) = (base / "evaluation/samples").glob("math500*.head.json")
        head = json.loads(path.read_text())
        path.write_text(json.dumps(head | {"decoding_settings": {"temperature": 0.7}}))
    with pytest.raises(UserError, match=r"study and study_2 asked math500 .*temperature.*0\.7"):
        join_studies(studies, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def heads(base, length):
    for path in (base / "evaluation/samples").glob("*.head.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"max_length": length}))


def test_the_longest_of_a_studys_bases_says_how_long_it_asked(studies, tmp_path):
    first, second = sorted((studies[0] / "bases").iterdir())
    heads(first, 512)  # a model of few positions
    heads(second, 1024)
    (other,) = (studies[1] / "bases").iterdir()
    heads(other, 1024)
    join_studies(studies, tmp_path / "all")
    heads(other, 2048)
    with pytest.raises(UserError, match="differently: max_length: 1024 -> 2048"):
        join_studies(studies, tmp_path / "other")


def test_a_benchmark_of_one_name_with_another_grader_is_refused(studies, tmp_path):
    for base in (studies[1] / "bases").iterdir():
        path = base / "evaluation/scores.json"
        path.write_text(path.read_text().replace("hash_answer", "last_number"))
    with pytest.raises(UserError, match="differently: grader: 'hash_answer' -> 'last_number'"):
        join_studies(studies, tmp_path / "all")


def test_a_benchmark_that_not_all_studies_have_is_left_out_and_said(studies, tmp_path):
    shutil.rmtree(studies[1])
    write_published(studies[1], {"rl": "UniReason RL"}, benchmarks=(*BENCHMARKS[:3], "halueval"))
    workdir = tmp_path / "all"
    assert call("report", *studies, "--workdir", workdir) == 0
    summary = read_summary(workdir)
    assert {b for group in summary["groups"] for b in group["benchmarks"]} == set(BENCHMARKS[:3])
    said = [text for text in summary["missing"] if "left out, since not every study" in text]
    assert [text.split(": ")[-1] for text in said] == ["ifeval.", "halueval."]


def test_what_is_no_finished_study_is_named(studies, tmp_path, capsys):
    (studies[1] / "rl/seed_0/evaluation/scores.json").unlink()
    message = refused(capsys, "report", *studies, "--workdir", tmp_path / "all")
    assert "b/study: not finished: no scores of rl/seed_0" in message
    message = refused(capsys, "report", studies[0], tmp_path, "--workdir", tmp_path / "all")
    assert "study.json: not found; this is no study's folder" in message


def test_curves_of_followed_runs_are_whole_and_those_of_each_study(tmp_path):
    first = write_followed(tmp_path / "first")
    second = shutil.copytree(first, tmp_path / "second")
    join_studies([first, second], tmp_path / "both")
    alone, joined = (
        over_training(reader, read_study(reader), Resampling(0.95, 20, 0))
        for reader in map(Reader, (first, tmp_path / "both"))
    )
    assert joined["decoding"] == alone["decoding"] == "t1" and joined["missed"] == []
    ours = [row for row in alone["curves"] if row["arm"] == "rl"]
    curves = [row for row in joined["curves"] if row["arm"] == "second--rl"]
    assert [row["curve"] for row in curves] == [row["curve"] for row in ours]
    for one, two in zip(ours, curves, strict=True):
        points = [[(p["step"], p["mean"]) for p in row["points"]] for row in (one, two)]
        assert points[0] == points[1] and points[0][-1][0] == STEPS[-1]
    assert len(joined["forgetting"]["points"]) == 2 * len(alone["forgetting"]["points"])
