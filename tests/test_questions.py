"""Question files that a recipe has made for it."""

import pathlib

import pytest
from etils import epath
from ml_collections import ConfigDict
from processes import run_processes

from jaxreason.errors import UserError
from jaxreason.results.locks import LOCK, locked
from jaxreason.studies.question_set import prepare_questions, with_workdir


def test_a_relative_working_directory_stands_in_texts_as_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ConfigDict({"a": {"path": "{workdir}/questions/x.jsonl", "more": ("{workdir}", 3)}})
    found = with_workdir(config, epath.Path("runs/one"))
    assert found.a.path == f"{tmp_path}/runs/one/questions/x.jsonl"
    assert found.a.more == (f"{tmp_path}/runs/one", 3)
    assert config.a.path == "{workdir}/questions/x.jsonl"


def test_a_path_that_climbs_out_of_a_link_is_the_one_that_the_system_opens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")
    workdir = epath.Path("link/../run")
    with locked(workdir):
        found = prepare_questions(recipe(), workdir)
    assert found.file == f"{tmp_path}/far/run/questions/sums_test.jsonl"
    assert pathlib.Path(found.file).exists() and (tmp_path / "far/run" / LOCK).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far", "link"]


def test_a_bucket_stays_as_it_is():
    config = ConfigDict({"path": "{workdir}/x"})
    assert with_workdir(config, epath.Path("gs://bucket/run")).path == "gs://bucket/run/x"


SUMS = dict(seed=0, draws=30, min_terms=2, max_terms=2, min_digits=1, max_digits=1)


def recipe(**changes):
    section = {**SUMS, "held_out": 1, "parts": 3, **changes}
    return ConfigDict({"sums": section, "file": "{workdir}/questions/sums_test.jsonl"})


def test_question_files_are_written_once_where_the_recipe_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = pathlib.Path(prepare_questions(recipe(), epath.Path("run")).file)
    assert '"answer"' in file.read_text()
    time = file.stat().st_mtime_ns
    prepare_questions(recipe(), epath.Path("run"))
    assert file.stat().st_mtime_ns == time


def test_a_question_file_that_was_cut_is_refused_with_the_numbers_of_rows(tmp_path):
    file = pathlib.Path(prepare_questions(recipe(), epath.Path(tmp_path)).file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))
    there, made = len(lines) // 2, len(lines)
    with pytest.raises(UserError, match=rf"sums_test.jsonl: .*{there} lines there, {made} made"):
        prepare_questions(recipe(), epath.Path(tmp_path))


def test_a_recipe_that_makes_other_questions_needs_another_directory(tmp_path):
    prepare_questions(recipe(), epath.Path(tmp_path))
    with pytest.raises(UserError, match="holds other rows than the recipe makes"):
        prepare_questions(recipe(seed=1), epath.Path(tmp_path))


def prepare_in_process(workdir: str) -> str:
    """For several processes: the file that each reads right after `prepare`."""
    return pathlib.Path(prepare_questions(recipe(), epath.Path(workdir)).file).read_text()


@pytest.mark.slow
def test_every_process_reads_the_questions_only_when_they_are_written(tmp_path):
    first, second = run_processes(prepare_in_process, 2, str(tmp_path))
    assert first == second and first.count("\n") > 5
