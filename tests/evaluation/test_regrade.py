"""`jaxreason grade`: samples graded again, and completions that came from anywhere."""

import json
import shutil

import pytest
from tiny_evaluation import (
    dataset,
    eval_config,
    read_lines,
    sums,
    sums_config,
    write_questions,
)

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt, Variant
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_settings import BenchmarkRun
from jaxreason.evaluation.regrade import run_grade
from jaxreason.evaluation.response_matching import match
from jaxreason.evaluation.responses import run_responses


@pytest.fixture
def folder(copied):
    return copied / "evaluation"


def test_grades_and_scores_that_are_gone_are_made_again_from_samples_alone(
    folder, made, questions, tmp_path
):
    scores = json.loads((folder / "scores.json").read_text())
    shutil.rmtree(folder / "grades")
    (folder / "scores.json").unlink()
    run_grade(sums_config(questions, {"t1": 2}), [folder])
    assert read_lines(tmp_path, "sums.t1") == read_lines(made, "sums.t1")
    assert json.loads((folder / "scores.json").read_text()) == scores


def test_what_could_not_be_graded_is_graded_again_and_the_rest_stays(
    folder, made, questions, tmp_path
):
    path = folder / "grades" / "sums.own.t1.hash_answer.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1] |= {"scores": {}, "error": "timeout: no verdict", "extracted": None}
    lines[2]["extracted"] = "as it was"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_grade(sums_config(questions, {"t1": 2}), [folder])
    found, expected = read_lines(tmp_path, "sums.t1"), read_lines(made, "sums.t1")
    assert found[1] == expected[1] and found[2]["extracted"] == "as it was"


def test_samples_of_other_questions_are_refused(folder, tmp_path):
    more = write_questions(tmp_path / "more.jsonl", sums(7))
    with pytest.raises(UserError, match=r"samples of 6 questions, and the recipe asks 7"):
        run_grade(sums_config(more, {"t1": 2}), [folder])
    worded = write_questions(tmp_path / "worded.jsonl", [(f"{q}!", a) for q, a in sums(6)])
    with pytest.raises(UserError, match=r"line 1: question 'q0' is another one in the recipe"):
        run_grade(sums_config(worded, {"t1": 2}), [folder])
    other = sums_config(write_questions(tmp_path / "x.jsonl", sums(6)), {"greedy": 1})
    with pytest.raises(
        UserError, match=r"expected samples of sums\.own\.greedy; there are: sums\.own"
    ):
        run_grade(other, [folder])


# ---- completions that came from anywhere ----

REPLIES = ["#0", "it is #4", "#8", "#12", "no idea", "#20"]


def respond(tmp_path, questions, rows, fields=None, variants=()):
    file = tmp_path / "responses.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines), errors="surrogateescape")
    config = sums_config(questions, {"greedy": 1})
    run_responses(config, file, "sums", variants, fields or {}, tmp_path / "evaluation")
    scores = json.loads((tmp_path / "evaluation" / "scores.json").read_text())
    return next(row for row in scores["rows"] if row["primary"])


@pytest.mark.parametrize("by", ["id", "prompt", "place", "columns"])
def test_completions_find_their_questions_by_id_by_prompt_or_by_place(tmp_path, questions, by):
    asked = [text for text, _ in sums(6)]
    rows = [{"response": reply} for reply in REPLIES]
    fields = {}
    if by == "id":
        rows = [row | {"id": f"q{number}"} for number, row in enumerate(rows)][::-1]
    elif by == "prompt":
        rows = [row | {"input": f"<user>{text}</user>"} for row, text in zip(rows, asked)][::-1]
    elif by == "columns":
        rows = [{"said": r["response"], "key": f"q{n}"} for n, r in enumerate(rows)][::-1]
        fields = {"response": "said", "id": "key"}
    row = respond(tmp_path, questions, rows, fields)
    assert (row["mean"], row["n"], row["errors"]) == (pytest.approx(5 / 6), 6, 0)
    lines = read_lines(tmp_path, "sums.given")
    assert [line["completion"] for line in lines] == REPLIES
    assert {(line["finish_reason"], line["num_tokens"]) for line in lines} == {("given", None)}


def test_several_completions_of_a_question_are_its_samples(tmp_path, questions):
    rows = [{"id": f"q{n}", "output": f"#{4 * n + s}"} for s in range(2) for n in range(6)]
    row = respond(tmp_path, questions, rows)
    assert (row["mean"], row["n"], row["num_samples"], row["graded"]) == (0.5, 6, 2, 12)


def test_bad_lines_are_counted_and_cost_only_themselves(tmp_path, questions, caplog):
    rows = [
        {"id": "q0", "response": "#0"},
        {"id": "q1", "response": None},
        {"id": "q2"},
        {"id": "q3", "response": 12},
        "",
        "{broken",
        '"text"',
        {"id": "nobody", "response": "#1"},
        '{"id": "q4", "response": "\\ud800 #16"}',
        {"id": "q5", "response": "x" * 100_000 + "#20"},
    ]
    row = respond(tmp_path, questions, rows)
    assert (row["mean"], row["graded"], row["errors"]) == (1.0, 3, 3)
    errors = [line["error"] for line in read_lines(tmp_path, "sums.given")]
    assert errors[1:4] == [
        "sampling error: the completion is missing, not a text",
        "sampling error: the completion is missing, not a text",
        "sampling error: the completion is 12, not a text",
    ]
    assert "3 lines belong to no question, the first: 6, 7, 8" in caplog.text


def test_half_a_character_of_a_prompt_costs_no_line(tmp_path, questions):
    rows = [{"response": reply, "prompt": f"{q} \ud83d"} for reply, (q, _) in zip(REPLIES, sums(6))]
    row = respond(tmp_path, questions, rows)
    assert (row["graded"], row["errors"]) == (6, 0)
    assert read_lines(tmp_path, "sums.given")[1]["prompt"] == f"{sums(6)[1][0]} ?"


def test_a_mark_of_byte_order_is_no_part_of_the_first_line(tmp_path, questions):
    rows = [{"id": f"q{n}", "response": reply} for n, reply in enumerate(REPLIES)]
    row = respond(tmp_path, questions, ["\ufeff" + json.dumps(rows[0]), *rows[1:]])
    assert (row["graded"], row["errors"]) == (6, 0)


def test_a_question_without_a_completion_is_an_error_and_not_a_wrong_answer(
    tmp_path, questions, caplog
):
    row = respond(tmp_path, questions, [{"id": "q0", "response": "#0"}])
    assert (row["mean"], row["graded"], row["errors"]) == (1.0, 1, 5)
    assert "5 of 6 samples have no completion" in caplog.text


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        ([{"id": "q0", "said": "#0"}], {}, r"no column with completions .* it has id, said"),
        ([{"response": "#0"}], {"response": "reply"}, r"no line has the column 'reply'"),
        (
            [{"response": "#0"}],
            {"answer": "x"},
            r"--fields answer=\.\.\.: no such field; valid: resp",
        ),
        (
            [{"response": "#0"}],
            {},
            r"no completion belongs to a question of sums, whose ids are q0",
        ),
        ([], {}, r"expected completions, a JSON object a line; it has none"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, questions, rows, fields, message):
    with pytest.raises(UserError, match=message):
        respond(tmp_path, questions, rows, fields)


def test_all_variants_grade_completions_unless_their_gold_answers_differ(
    tmp_path, questions, monkeypatch
):
    data = dataset(questions)
    other = [(q, a if number else "x") for number, (q, a) in enumerate(sums(6))]
    turned = dataset(write_questions(tmp_path / "turned.jsonl", other))
    prompts = {
        "a": BenchmarkPrompt({"": data}, {}),
        "b": BenchmarkPrompt({"": turned}, {}, stop=("stop",)),
    }
    variants = {"robust": Variant("a", "hash_answer"), "paper": Variant("a", "last_number")}
    apart = {"robust": Variant("a", "hash_answer"), "paper": Variant("b", "hash_answer")}
    benchmarks = {
        "alike": Benchmark("Alike", "math", prompts, variants),
        "apart": Benchmark("Apart", "math", prompts, apart),
    }
    monkeypatch.setattr("jaxreason.evaluation.eval_settings.BENCHMARKS", benchmarks)
    file = tmp_path / "r.jsonl"
    file.write_text("".join(json.dumps({"output": f"#{4 * n} stop 8"}) + "\n" for n in range(6)))
    config = eval_config({}, {"alike": BenchmarkRun(0, {"greedy": 1})})

    def means(name, chosen):
        run_responses(config, file, name, chosen, {}, tmp_path / name)
        rows = json.loads((tmp_path / name / "scores.json").read_text())["rows"]
        return {row["variant"]: row["mean"] for row in rows if row["primary"]}

    assert means("alike", ()) == {"robust": 0.0, "paper": pytest.approx(1 / 6)}
    with pytest.raises(UserError, match=r"depend on how it was asked .*--variant: robust, paper"):
        means("apart", ())
    assert means("apart", ("paper",)) == {"paper": pytest.approx(5 / 6)}  # cut at "stop"


def test_a_short_question_is_found_by_the_story_that_it_is_about():
    def item(name, story, asked):
        text = f"{story}\n\nQ: {asked}\n\nAnswer the last question in a few words."
        metadata = {"question": asked}
        example = Example(name, "coqa", ({"role": "user", "content": text},), "x", "s", metadata)
        return EvalItem(name, example, "", name)

    stories = [f"In story number {n} a fox and a hen {'ran ' * n}to the barn." for n in range(4)]
    items = [item(f"q{n}", story, "Why?") for n, story in enumerate(stories)]
    told = [(None, f"<user>{story}  Q: Who? A: a fox Q: Why?\nA:") for story in stories]
    assert match(items, told[::-1]) == ["q3", "q2", "q1", "q0"]
    assert match(items, [*told[:3], (None, "Another story. Q: Why?")]) == ["q0", "q1", "q2", None]


def test_questions_that_cannot_be_told_apart_are_taken_in_turn():
    def item(name):
        example = Example(name, "t", ({"role": "user", "content": "How long?"},), "x", "s", {})
        return EvalItem(name, example, "", name)

    assert match([item("a"), item("b")], [(None, "How long?")] * 4) == ["a", "b", "a", "b"]


def test_ids_that_are_no_questions_are_said(tmp_path, questions, caplog):
    row = respond(tmp_path, questions, [{"id": n, "output": r} for n, r in enumerate(REPLIES)])
    assert row["mean"] == pytest.approx(5 / 6)  # by place
    assert "its ids (0, ...) are no ids of sums (q0, ...)" in caplog.text
    caplog.clear()
    respond(tmp_path, questions, [{"id": f"q{n}", "output": r} for n, r in enumerate(REPLIES)])
    assert "are no ids" not in caplog.text
