"""Question files that a recipe has made for it."""

import pathlib

from etils import epath
from ml_collections import ConfigDict

from jaxreason.questions import prepare, with_workdir


def test_a_relative_working_directory_stands_in_texts_as_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = ConfigDict({"a": {"path": "{workdir}/questions/x.jsonl", "more": ("{workdir}", 3)}})
    found = with_workdir(config, epath.Path("runs/one"))
    assert found.a.path == f"{tmp_path}/runs/one/questions/x.jsonl"
    assert found.a.more == (f"{tmp_path}/runs/one", 3)
    assert config.a.path == "{workdir}/questions/x.jsonl"


def test_a_bucket_stays_as_it_is():
    config = ConfigDict({"path": "{workdir}/x"})
    assert with_workdir(config, epath.Path("gs://bucket/run")).path == "gs://bucket/run/x"


def test_question_files_are_written_once_where_the_recipe_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sums = dict(seed=0, draws=30, min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    recipe = {
        "sums": {**sums, "held_out": 1, "parts": 3},
        "file": "{workdir}/questions/sums_test.jsonl",
    }
    file = pathlib.Path(prepare(ConfigDict(recipe), epath.Path("run")).file)
    written = file.read_text()
    assert '"answer"' in written
    file.write_text("changed by hand")
    prepare(ConfigDict(recipe), epath.Path("run"))
    assert file.read_text() == "changed by hand"
