"""Benchmarks' nested formats become flat rows, from files and from the hub, bad rows by name."""

import collections
import csv
import gzip
import json

import datasets
import pytest

from jaxreason.data.conversions import CONVERSIONS, read_rows
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog
from jaxreason.errors import UserError

TURNS = [("Who ran?", "Ada"), ("Where?", "home"), ("Why?", "rain")]
FURTHER = {"0": ["Ada", "to her home", "it rained"], "1": ["she", "home", "Rain."]}


def coqa_original(**changes):
    def turns(texts):
        return [{"input_text": text, "turn_id": n} for n, text in enumerate(texts, start=1)]

    story = {"id": "s1", "source": "own", "story": "Ada ran home. It rained."}
    story["questions"] = turns(question for question, _ in TURNS)
    story["answers"] = turns(answer for _, answer in TURNS)
    story["additional_answers"] = {person: turns(texts) for person, texts in FURTHER.items()}
    return story | changes


def turned(objects):
    """A list of objects as an object of lists: how the hub shows it."""
    return {name: [item[name] for item in objects] for name in objects[0]}


def coqa_hub(**changes):
    story = coqa_original()
    further = story["additional_answers"].items()
    nested = {name: turned(story[name]) for name in ("questions", "answers")}
    return story | nested | {"additional_answers": {k: turned(v) for k, v in further}} | changes


COQA = {
    "id": "s1",
    "story": "Ada ran home. It rained.",
    "dialogue": "\n\nQ: Who ran?\n\nA: Ada\n\nQ: Where?\n\nA: home",
    "question": "Why?",
    "answer": "rain",
    "references": ["rain", "it rained", "Rain."],
}


def headqa_question(**changes):
    answers = [{"aid": n, "atext": text} for n, text in enumerate(["Heart", "Liver"], start=1)]
    question = {"qid": "7", "qtext": "It pumps blood:", "ra": "1", "answers": answers}
    return question | {"image": ""} | changes


def headqa_exams(*questions, **exams):
    about = {"name": "2016_B", "category": "biology", "year": "2016"}
    return {"language": "en", "exams": {"2016_B": about | {"data": list(questions)}} | exams}


def headqa_hub(**changes):
    flat = headqa_question(qid=7, ra=1) | {"name": "2016_B", "category": "biology"}
    return flat | changes


HEADQA = {
    "id": "2016_B/7",
    "question": "It pumps blood:",
    "category": "biology",
    "choices": {"label": ["A", "B"], "text": ["Heart", "Liver"]},
    "answer": "A",
    "answer_text": "Heart",
    "options": "A. Heart\nB. Liver",
    "options_in_line": "A) Heart, B) Liver",
}


def gpqa_row(number=0, **changes):
    answers = {"Correct Answer": f"{number} m\n"}
    answers |= {f"Incorrect Answer {n}": f"{number + n} m" for n in (1, 2, 3)}
    about = {"Record ID": f"rec{number}", "High-level domain": "Physics", "Subdomain": "Optics"}
    return {"Question": f" How far is {number} m?\n"} | answers | about | changes


def mmlu_hub(**changes):
    row = {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "sums"}
    return row | changes


def acpbench_row(**changes):
    row = {"id": -3, "group": "app", "context": "A ferry.", "answer": "B", "query": "Which?"}
    row["question"] = "Which applies? A. sail to l1. B. board c0."
    return row | {"choices": {"label": ["A", "B"], "text": ["sail to l1", "board c0"]}} | changes


def halueval_pair(number=0, **changes):
    row = {"knowledge": "Ada ran.", "question": f"Who ran {number}?"}
    return row | {"right_answer": "Ada", "hallucinated_answer": "Bob"} | changes


def halueval_sample(**changes):
    row = {"document": "Ada ran.", "summary": "Bob ran.", "hallucination": "yes"}
    return row | changes


def taco(**changes):
    row = {"sentence": "It rained.", "question": "How long?", "candidate": "an hour"}
    return row | {"label": "yes", "category": "Event Duration"} | changes


@pytest.fixture
def convert(tmp_path, make_config):
    """The rows that a conversion makes of the objects of a json file."""

    def made(name, content, file="rows.json", **options):
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (tmp_path / file).write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
        return list(read_rows(make_config(tmp_path / file, options={"rows": name} | options)))

    return made


@pytest.fixture
def from_hub(tmp_path, make_config, monkeypatch):
    """The rows that a conversion makes of a dataset as `datasets` keeps it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def made(name, objects, **options):
        saved = datasets.DatasetDict({"test": datasets.Dataset.from_list(objects)})
        saved.save_to_disk(str(tmp_path / "hub"))
        options = {"rows": name} | options
        config = make_config(tmp_path / "hub", source="huggingface", split="test", options=options)
        return list(read_rows(config))

    return made


def columns(rows):
    assert [row.problem for row in rows] == [None] * len(rows)
    return [row.columns for row in rows]


def reasons(rows):
    return [(row.number, row.problem and row.problem.reason) for row in rows]


def test_coqa_asks_the_last_turn_of_either_shape(convert, from_hub):
    assert columns(convert("coqa", {"version": "1.0", "data": [coqa_original()]})) == [COQA]
    assert columns(convert("coqa", [coqa_original()])) == [COQA]
    assert columns(from_hub("coqa", [coqa_hub()])) == [COQA]


def test_coqa_without_earlier_turns_or_further_answers_has_neither(convert):
    first = {name: coqa_original()[name][:1] for name in ("questions", "answers")}
    (row,) = columns(convert("coqa", [coqa_original(**first, additional_answers={})]))
    assert (row["dialogue"], row["references"]) == ("", ["Ada"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"story": None}, "missing field"),
        ({"story": ["Ada"]}, "wrong type"),
        ({"questions": "Who?"}, "wrong type"),
        ({"questions": []}, "wrong length"),
        ({"answers": coqa_original()["answers"][:2]}, "wrong length"),
        ({"answers": coqa_original()["answers"][::-1]}, "wrong order"),
        ({"answers": {"input_text": ["a", "b", "c"], "turn_id": [1]}}, "wrong length"),
        ({"additional_answers": {"0": coqa_original()["answers"][:1]}}, "wrong length"),
        ({"additional_answers": ["Ada"]}, "wrong type"),
        ({"answers": [{"input_text": " ", "turn_id": n} for n in (1, 2, 3)]}, "empty"),
    ],
)
def test_a_story_that_cannot_be_asked_is_a_bad_row_by_itself(convert, changes, reason):
    rows = convert("coqa", {"data": [coqa_original(id="s0"), coqa_original(**changes), 3]})
    assert reasons(rows) == [(1, None), (2, reason), (3, "not an object")]
    assert rows[1].where.endswith("rows.json:2")


def test_headqa_exams_and_flat_rows_are_the_same_questions(convert, from_hub):
    assert columns(convert("headqa", headqa_exams(headqa_question()))) == [HEADQA]
    assert columns(from_hub("headqa", [headqa_hub()])) == [HEADQA]
    lists = headqa_hub(answers=turned(headqa_question()["answers"]))
    assert columns(convert("headqa", [lists])) == [HEADQA]


def test_headqa_bad_questions_are_numbered_through_the_exams(convert):
    questions = [headqa_question(), headqa_question(qid="8", ra="3"), "text"]
    second = {"data": [headqa_question(qid="1", ra="one"), headqa_question(qid="7")]}
    rows = convert("headqa", headqa_exams(*questions, b=second, c={"data": 1}))
    expected = [None, "wrong answer", "not an object", "wrong type", None, "missing field"]
    assert reasons(rows) == list(enumerate(expected, start=1))
    assert rows[4].columns["id"] == "b/7"


def test_a_question_that_occurs_twice_is_a_bad_row_that_names_the_first(convert):
    rows = convert("headqa", headqa_exams(headqa_question(), headqa_question()))
    assert reasons(rows) == [(1, None), (2, "duplicate")]
    assert "'2016_B/7' was used before, in " in rows[1].problem.detail
    assert rows[1].problem.detail.endswith("rows.json:1")


def test_gpqa_in_the_papers_order_has_the_right_answer_at_d_and_texts_as_they_are(convert):
    rows = columns(convert("gpqa", [gpqa_row(n) for n in range(5)], shuffle="paper"))
    assert [row["answer"] for row in rows] == ["D"] * 5
    assert rows[1]["options_in_line"] == "A) 3 m, B) 2 m, C) 4 m, D) 1 m\n"
    assert rows[1]["question"] == " How far is 1 m?\n"


def test_gpqa_by_a_seed_has_every_letter_equally_often_whatever_the_order_of_rows(convert):
    items = [gpqa_row(n) for n in range(400)]
    rows = columns(convert("gpqa", items, shuffle="7"))
    counts = collections.Counter(row["answer"] for row in rows)
    assert set(counts) == set("ABCD") and min(counts.values()) >= 75
    by_id = {row["id"]: row for row in rows}
    again = columns(convert("gpqa", items[::-3], shuffle=7))
    assert all(by_id[row["id"]] == row for row in again)
    other = columns(convert("gpqa", items, shuffle="8"))
    assert [row["answer"] for row in other] != [row["answer"] for row in rows]
    for row in rows:
        place = row["choices"]["label"].index(row["answer"])
        assert row["choices"]["text"][place] == row["answer_text"] == f"{row['id'][3:]} m"


def test_gpqa_is_read_from_csv_and_from_the_hub_alike(tmp_path, convert, from_hub, make_config):
    items = [gpqa_row(n) for n in range(3)]
    with (tmp_path / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(items[0]))
        writer.writeheader()
        writer.writerows(items)
    options = {"rows": "gpqa", "shuffle": "0"}
    rows = list(read_rows(make_config(tmp_path / "own.csv", options=options)))
    assert columns(rows) == columns(from_hub("gpqa", items, shuffle="0"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Incorrect Answer 2": None}, "missing field"),
        ({"Correct Answer": " \n"}, "empty"),
        ({"Record ID": "rec0"}, "duplicate"),
        ({"Question": {"text": "?"}}, "wrong type"),
    ],
)
def test_a_gpqa_row_that_cannot_be_asked_is_named(convert, changes, reason):
    rows = convert("gpqa", [gpqa_row(), gpqa_row(1, **changes)], shuffle="0")
    assert reasons(rows) == [(1, None), (2, reason)]


def test_mmlu_csv_without_header_and_hub_rows_are_the_same_questions(convert, from_hub):
    text = b'2 + 2?,3,4,5,6,B\n"Two\nlines?",a,b,c,d,E\n1 + 1?,1,2,,4,B\n'
    names = "question,A,B,C,D,answer"
    rows = convert("mmlu", text, "sums_test.csv", columns=names)
    assert reasons(rows) == [(1, None), (2, "wrong answer"), (4, "empty")]
    (hub,) = columns(from_hub("mmlu", [mmlu_hub()]))
    assert rows[0].columns == hub
    assert (hub["answer"], hub["subject"], hub["choices"]["text"]) == ("B", "sums", list("3456"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": 4}, "wrong answer"),
        ({"answer": "B"}, "wrong type"),
        ({"answer": None}, "missing field"),
        ({"choices": ["4"], "answer": 0}, "wrong length"),
        ({"choices": [str(n) for n in range(30)]}, "wrong length"),
        ({"choices": ["3", None, "5", "6"]}, "missing field"),
        ({"choices": "3456"}, "missing field"),
    ],
)
def test_an_mmlu_row_that_cannot_be_asked_is_named(convert, changes, reason):
    assert reasons(convert("mmlu", [mmlu_hub(**changes)])) == [(1, reason)]


@pytest.mark.parametrize("answer", ["AB", "ABC", "E", "b"])
def test_an_mmlu_answer_that_is_not_one_letter_is_refused(convert, answer):
    row = {"question": "2 + 2?", **dict(zip("ABCD", "3456")), "answer": answer}
    assert reasons(convert("mmlu", [row])) == [(1, "wrong answer")]


def test_mmlu_can_be_shuffled_by_a_seed(convert):
    items = [mmlu_hub(question=f"2 + {n}?") for n in range(100)]
    rows = columns(convert("mmlu", items, shuffle="1"))
    assert {row["answer"] for row in rows} == set("ABCD")
    assert all(row["answer_text"] == "4" for row in rows)


def test_acpbench_options_are_told_apart_from_the_question_also_in_a_compressed_file(convert):
    (row,) = columns(convert("acpbench", [acpbench_row()], "app.test.json.gz"))
    assert row["question"] == "Which applies?"
    assert row["asked"] == "Which applies? A. sail to l1. B. board c0."
    assert (row["id"], row["answer"], row["options"]) == ("-3", "B", "A. sail to l1\nB. board c0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": "C"}, "wrong answer"),
        ({"question": "Which applies?"}, "wrong question"),
        ({"choices": {"label": ["A"], "text": ["a", "b"]}}, "wrong length"),
        ({"context": ""}, "empty"),
    ],
)
def test_an_acpbench_row_that_cannot_be_asked_is_named(convert, changes, reason):
    assert reasons(convert("acpbench", [acpbench_row(**changes)])) == [(1, reason)]


def test_halueval_takes_one_of_two_candidates_by_the_seed_and_the_row_alone(convert):
    items = [halueval_pair(n) for n in range(200)]
    rows = columns(convert("halueval", items, pick=3))
    assert {(row["candidate"], row["answer"]) for row in rows} == {("Ada", "no"), ("Bob", "yes")}
    assert 75 <= sum(row["answer"] == "yes" for row in rows) <= 125
    assert columns(convert("halueval", items[::-1], pick="3")) == rows[::-1]
    assert columns(convert("halueval", items, pick=4)) != rows


def test_halueval_original_files_have_one_object_a_line_under_the_name_json(convert):
    lines = b"".join(json.dumps(halueval_pair(n)).encode() + b"\n" for n in range(3))
    rows = convert("halueval", lines + b"{broken\n", "qa_data.json")
    assert reasons(rows) == [(1, None), (2, None), (3, None), (4, "not JSON")]


def test_halueval_samples_of_the_hub_keep_their_candidate(from_hub):
    rows = columns(from_hub("halueval", [halueval_sample(), halueval_sample(hallucination="no")]))
    shown = {"document": "Ada ran.", "candidate": "Bob ran."}
    assert rows == [shown | {"answer": "yes"}, shown | {"answer": "no"}]
    talk = {"knowledge": "k", "dialogue_history": "h", "response": "r", "hallucination": "no"}
    expected = {"knowledge": "k", "dialogue_history": "h", "candidate": "r", "answer": "no"}
    assert columns(from_hub("halueval", [talk])) == [expected]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (halueval_sample(hallucination="maybe"), "wrong answer"),
        (halueval_sample(hallucination=None), "missing field"),
        (halueval_sample(summary=""), "empty"),
        (halueval_pair(right_answer=["Ada"]), "wrong type"),
        ({"question": "?"}, "missing field"),
    ],
)
def test_a_halueval_row_that_cannot_be_judged_is_named(convert, row, reason):
    assert reasons(convert("halueval", [row])) == [(1, reason)]


def test_mc_taco_rows_of_file_and_hub_are_the_same(convert, from_hub):
    hub = {"sentence": "It rained.", "question": "How long?", "answer": "an hour", "label": 1}
    expected = [taco()]
    assert columns(convert("mc_taco", [taco()])) == expected
    assert columns(from_hub("mc_taco", [hub | {"category": "Event Duration"}])) == expected
    assert reasons(convert("mc_taco", [taco(label="2")])) == [(1, "wrong answer")]


def test_bytes_that_are_not_utf8_spoil_their_own_story_only(tmp_path, convert, make_config):
    text = json.dumps({"data": [coqa_original(), coqa_original(id="s2", story="X")]})
    convert("coqa", text.encode().replace(b'"X"', b'"\xff"'))
    fields = {"id": "id", "prompt": "story", "answer": "answer"}
    config = make_config(tmp_path / "rows.json", fields=fields, options={"rows": "coqa"})
    drops = DropLog()
    assert [example.id for example in load_examples(config, drops)] == ["s1"]
    assert drops.to_json()[config.label]["dropped"] == {"not UTF-8": 1}


def test_templates_fields_and_metadata_work_on_the_flat_columns(tmp_path, convert, make_config):
    convert("gpqa", [gpqa_row(n) for n in range(4)])
    config = make_config(
        tmp_path / "rows.json",
        fields={"id": "id", "prompt": "question", "answer": "answer"},
        prompt_template="{prompt}\n\n{options}",
        metadata=("choices", "domain"),
        options={"rows": "gpqa", "shuffle": "paper"},
    )
    example = load_examples(config, DropLog())[2]
    assert example.messages[0]["content"].endswith("\n\nA. 4 m\nB. 3 m\nC. 5 m\nD. 2 m\n")
    assert (example.id, example.answer, example.metadata["domain"]) == ("rec2", "D", "Physics")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rows": "coqua"}, "no such conversion 'coqua'.*did you mean 'coqa'"),
        ({"rows": "coqa", "shuffle": "0"}, "options.shuffle: rows='coqa' does not read it"),
        ({"pick": 3}, "options.pick needs options.rows"),
        ({"rows": "gpqa", "shuffle": "random"}, "options.shuffle: expected a seed"),
        ({"rows": "halueval", "pick": -1}, "options.pick: expected a seed"),
    ],
)
def test_options_of_conversions_are_checked(tmp_path, make_config, options, expected):
    (tmp_path / "a.json").write_text(json.dumps([gpqa_row()]))
    fields = {"prompt": "question", "answer": "answer"}
    with pytest.raises(UserError, match=expected):
        load_examples(make_config(tmp_path / "a.json", fields=fields, options=options), DropLog())


# A row of each format, and columns that it has when it is flat.
FLAT = {
    "acpbench": (acpbench_row(), {"id": "-3", "question": "Which applies?", "answer": "B"}),
    "alpaca": (
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"prompt": "Add.\n\n1 and 2", "output": "3"},
    ),
    "coqa": (coqa_original(), COQA),
    "gpqa": (gpqa_row(2), {"id": "rec2", "answer_text": "2 m", "domain": "Physics"}),
    "halueval": (halueval_sample(), {"document": "Ada ran.", "candidate": "Bob ran.", "answer": "yes"}),
    "headqa": (headqa_hub(), HEADQA),
    "humaneval": (
        {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "test": "def check(c): 0"},
        {"id": "HumanEval/0", "function": "f", "test": "def check(c): 0"},
    ),
    "livecodebench": (
        {
            "question_id": "abc1_a",
            "question_content": "Print 1.",
            "public_test_cases": '[{"input": "", "output": "1", "testtype": "stdin"}]',
        },
        {"id": "abc1_a", "prompt": "Print 1.", "kind": "stdin", "num_tests": 1},
    ),
    "mbpp": (
        {"task_id": 2, "prompt": "Add one.", "code": "def f(x): 0", "test_list": ["assert f(1) == 2"]},
        {"id": "2", "prompt": "Add one.", "assertions": ["assert f(1) == 2"]},
    ),
    "mc_taco": (taco(), taco()),
    "mmlu": (mmlu_hub(), {"question": "2 + 2?", "answer": "B", "subject": "sums"}),
    "verl": (
        {"question": "What is $2^5$?", "reward_model": {"ground_truth": "32"}},
        {"question": "What is $2^5$?", "answer": "32"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CONVERSIONS))
def test_every_conversion_makes_a_row_of_its_format_flat(convert, name):
    assert set(FLAT) == set(CONVERSIONS)
    row, expected = FLAT[name]
    (found,) = columns(convert(name, [row]))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("name", sorted(CONVERSIONS))
@pytest.mark.parametrize("row", [{}, {"question": 1}, {"data": 3}, {"exams": {"a": None}}])
def test_no_row_however_odd_ends_a_conversion(convert, name, row):
    long = {"question": "x" * 100_000, "story": "\ud800", "answers": {"input_text": None}}
    rows = convert(name, [row, long, 7])
    assert len(rows) == 3 and all(row.problem for row in rows)
