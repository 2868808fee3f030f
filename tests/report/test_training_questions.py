"""What a report says of the questions that arms were not trained on."""

import pytest
from synthetic_study import write_study
from test_build import CONFIG

from jaxreason.report import build
from jaxreason.report.build import read_summary, run_report
from jaxreason.report.contents import FIGURES
from jaxreason.results.training_files import write_decontamination

FOUND = {
    "enabled": True,
    "questions": 2000,
    "kept": 1996,
    "benchmarks": {"synthetic_add": 40},
    "unread": {},
    "removed": {"sums": {"synthetic_add": 3}, "more": {"synthetic_add": 1}},
    "reasons": {"same question": 4},
    "alike": 0,
    "found_later": {},
    "items": [],
}


@pytest.fixture
def report(tmp_path, monkeypatch):
    """The markdown and the summary of a study, one arm of which has such a file in every run."""
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})

    def write(found):
        folder = write_study(tmp_path, num_items=20)
        run = sorted(folder.glob("*/seed_*"))
        for path in run:
            if path.parent == run[0].parent and found is not None:
                write_decontamination(path, found)
        run_report(folder, CONFIG)
        return (folder / "report" / "report.md").read_text(), read_summary(folder)

    return write


def test_the_methods_say_how_many_questions_each_arm_went_without(report):
    text, summary = report(FOUND)
    label = summary["training_questions"][0]["label"]
    assert (
        text.count(f"{label}: 4 of 2,000 questions left out (4 of ") == 1
    )  # seeds have the same data


def test_an_arm_that_was_trained_on_everything_limits_the_study(report):
    text, summary = report(FOUND | {"enabled": False, "questions": 0, "kept": 0, "removed": {}})
    assert any("turned the comparison of training questions" in line for line in summary["limits"])
    assert "not compared." in text


def test_a_benchmark_that_could_not_be_read_limits_the_study(report):
    _, summary = report(FOUND | {"unread": {"gsm8k": "no such file"}})
    assert any("not compared with those of gsm8k" in line for line in summary["limits"])


def test_questions_of_a_benchmark_that_came_later_limit_the_study(report):
    _, summary = report(FOUND | {"found_later": {"sums": {"gsm8k": 2}}})
    assert any("learned from questions that they ask: 2 of gsm8k." in x for x in summary["limits"])


def test_runs_without_the_file_say_nothing_of_it(report):
    text, summary = report(None)
    assert summary["training_questions"] == [] and "Training questions" not in text
