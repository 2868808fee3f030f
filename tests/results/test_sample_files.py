"""A sample file counts only if every line is a sample, and every sample is there once."""

import json

import pytest
from sample_lines import GRADER, key_of, write_samples

from jaxreason.errors import UserError
from jaxreason.results.grade_files import (
    graded_samples,
    grades_path,
    read_grades,
    read_sample_scores,
)
from jaxreason.results.sample_files import check_samples, read_samples

KEY = key_of("sums", "greedy")


def questions(count=3, samples=2):
    return [{"id": f"q{i}", "sample": s} for i in range(count) for s in range(samples)]


@pytest.fixture
def file(tmp_path):
    return write_samples(tmp_path, "sums", "greedy", questions())


def change(path, edit):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = edit(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_finished_file_is_read_in_order(file, tmp_path):
    lines = read_samples(tmp_path, KEY)
    assert [(line["id"], line["sample"]) for line in lines] == [
        (f"q{i}", s) for i in range(3) for s in range(2)
    ]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda x: x[:-1] + x[:1], r"line 6: sample 0 of 'q0' is in line 1 already\. Remove one"),
        (lambda x: x[:-1], r"sums\.own\.greedy\.jsonl: has 5 samples, expected 6 .*Evaluate again"),
        (lambda x: [], r"has 0 samples, expected 6"),
        (
            lambda x: x[2:4] + x[1:2] + x[0:1] + x[4:],
            r"line 3: expected sample 0 of 'q0', got sample 1",
        ),
        (lambda x: x[1].update(sample=2), r"line 2: expected a sample of 0 to 1, got 2"),
        (
            lambda x: x[1].update(sample=-1),
            r"line 2, sample: expected a whole number from 0, got -1",
        ),
        (lambda x: x[1].update(sample=True), r"line 2, sample: expected a whole number"),
        (lambda x: x[3].pop("cluster"), r"line 4: no field 'cluster'"),
        (lambda x: x[3].update(id=7), r"line 4, id: expected a text, got 7"),
        (lambda x: x[3].update(tokens=[1, "2"]), r"line 4, tokens: expected a list of token ids"),
        (
            lambda x: x[3].update(choice_logprobs=None),
            r"line 4, choice_logprobs: expected a list of",
        ),
        (
            lambda x: x[3].update(choice_logprobs=["a"]),
            r"line 4, choice_logprobs: expected .* got \['a",
        ),
        (
            lambda x: x[0].update(benchmark="other"),
            r"line 1: expected a sample of 'sums', got 'oth",
        ),
    ],
)
def test_what_is_not_the_finished_file_is_refused_with_file_line_and_advice(
    file, tmp_path, edit, message
):
    def edited(lines):
        made = edit(lines)
        return made if isinstance(made, list) else lines

    change(file, edited)
    if not message.startswith(("sums", "has")):
        message = r"sums\.own\.greedy\.jsonl, " + message
    with pytest.raises(UserError, match=message):
        read_samples(tmp_path, KEY)


def test_an_object_is_expected_in_every_line(file, tmp_path):
    file.write_text(file.read_text() + "[1]\n")
    with pytest.raises(UserError, match=r"line 7: expected an object, got \[1\]"):
        read_samples(tmp_path, KEY)


def test_an_unknown_question_is_refused_where_the_questions_are_known(file, tmp_path):
    lines = read_samples(tmp_path, KEY)
    check_samples(lines, "f", "sums", 2, ["q0", "q1", "q2"])
    with pytest.raises(UserError, match=r"f, line 5: sums has no question 'q2'\. Remove the line"):
        check_samples(lines, "f", "sums", 2, ["q0", "q1"])


def test_a_missing_file_or_head_is_named(file, tmp_path):
    (tmp_path / "samples" / "sums.own.greedy.head.json").unlink()
    with pytest.raises(UserError, match=r"sums\.own\.greedy\.head\.json: not found"):
        read_samples(tmp_path, KEY)
    file.unlink()
    with pytest.raises(UserError, match=r"sums\.own\.greedy\.jsonl: not found"):
        read_samples(tmp_path, KEY)


def test_a_missing_metric_is_named(file, tmp_path):
    with pytest.raises(UserError, match=r"item 'q0': no score 'wrong' \(it has right\)"):
        read_sample_scores(tmp_path, KEY, GRADER, "wrong", None)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda x: x.update(scores={"right": "1"}), r"line 4, scores: expected an object of num"),
        (lambda x: x.update(scores={"right": float("nan")}), r"line 4, scores: expected an object"),
        (lambda x: x.update(scores={}), r"line 4: expected scores or an error, got {} and None"),
        (lambda x: x.update(error="timeout: 5 s"), r"line 4: expected scores or an error"),
        (lambda x: x.pop("of"), r"line 4: no field 'of'"),
    ],
)
def test_what_is_no_grade_is_refused_with_file_and_line(file, tmp_path, edit, message):
    def edited(lines):
        edit(lines[3])
        return lines

    change(grades_path(tmp_path, KEY, GRADER), edited)
    with pytest.raises(UserError, match=message):
        read_grades(tmp_path, KEY, GRADER)


def test_grades_of_other_samples_are_refused(file, tmp_path):
    samples, grades = read_samples(tmp_path, KEY), read_grades(tmp_path, KEY, GRADER)
    assert graded_samples(samples, grades, "f")[5]["extracted"] == "1"
    samples[4]["completion"] = "another reply"
    with pytest.raises(
        UserError, match=r"f, line 5: not the grade of sample 0 of 'q2' as it stands"
    ):
        graded_samples(samples, grades, "f")
    with pytest.raises(UserError, match=r"f: has 6 grades of 5 samples"):
        graded_samples(samples[:5], grades, "f")
