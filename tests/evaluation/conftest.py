import shutil

import pytest
from tiny_evaluation import evaluate, make_folder, sums, sums_config, write_questions

from jaxreason.evaluation import evaluator


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions") / "sums.jsonl", sums(6))


@pytest.fixture(scope="session")
def made(model_folder, questions, tmp_path_factory):
    """An evaluation that has ended."""
    workdir = tmp_path_factory.mktemp("made")
    evaluate(sums_config(questions, {"t1": 2}), model_folder, workdir)
    return workdir


@pytest.fixture
def copied(made, tmp_path, monkeypatch):
    """An evaluation that has ended and must not sample anything again."""
    shutil.copytree(made / "evaluation", tmp_path / "evaluation")
    monkeypatch.setattr(
        evaluator.ModelSource, "open", lambda *_, **__: pytest.fail("the model was loaded")
    )
    return tmp_path
