"""Raw questions with their gold answers, as the study's PCA script joins the columns of its datasets."""

import json
import random

import pytest
from tiny_evaluation import (
    dataset,
    eval_config,
    sums,
    write_questions,
)

from jaxreason.evaluation.benchmarks import BENCHMARKS
from jaxreason.evaluation.eval_settings import BenchmarkRun, OwnBenchmark
from jaxreason.evaluation.paper_questions import SCRIPTS, drawn, joined, keep_questions
from jaxreason.results.sample_files import read_questions

# Rows in the files' own formats -> the text that the script's column list makes of them.
ROWS = {
    "math500": (
        "math/math500.jsonl",
        {"problem": "1+1?", "solution": "Add.", "answer": "2", "unique_id": "a"},
        "1+1?  Add.  2",
    ),
    "olympiadbench": (
        "math/olympiadbench.jsonl",
        {"id": 1, "question": "Which?", "solution": ["So."], "final_answer": ["$3$"]},
        "Which? ['So.'] ['$3$']",
    ),
    "headqa": (
        "benchmarks/headqa/test_HEAD_EN.json",
        {
            "exams": {
                "e": {
                    "name": "e",
                    "data": [
                        {
                            "qid": "1",
                            "qtext": "Is it?",
                            "ra": "2",
                            "answers": [{"aid": 1, "atext": "No"}, {"aid": 2, "atext": "Yes"}],
                        }
                    ],
                }
            }
        },
        "Is it?  2  [{'aid': 1, 'atext': 'No'}, {'aid': 2, 'atext': 'Yes'}]",
    ),
    "livecodebench": (
        "benchmarks/livecodebench/test.jsonl",
        {
            "question_content": "Add.",
            "public_test_cases": '[{"input": "1"}]',
            "private_test_cases": "x",
        },
        'Add.  [{"input": "1"}]',
    ),
    "coqa": (
        "benchmarks/coqa/coqa-dev-v1.0.json",
        {
            "data": [
                {
                    "story": "A cat sat.",
                    "questions": [{"input_text": "Who?", "turn_id": 1}],
                    "answers": [
                        {"input_text": "A cat", "turn_id": 1, "span_start": 0, "span_end": 5}
                    ],
                }
            ]
        },
        "A cat sat.  ['Who?']  {'input_text': ['A cat'], 'answer_start': [0], 'answer_end': [5]}",
    ),
    "halueval": (
        "benchmarks/halueval/qa_data.json",
        {
            "knowledge": "Vienna lies at the Danube.",
            "question": "?",
            "right_answer": "a",
            "hallucinated_answer": "b",
        },
        "Vienna lies at the Danube.",  # the other columns of the list are those of the dialogues
    ),
    "gpqa_diamond": (
        "benchmarks/gpqa/gpqa_diamond.csv",
        "Question,Pre-Revision Question,Pre-Revision Correct Answer,Pre-Revision Explanation\n"
        "New?,Old?,yes,why\n",
        "Old?  yes  why",
    ),
    "mc_taco": (
        "general/mc_taco_test.tsv",
        "She slept.\tHow long?\ta night\tyes\tDuration\n",
        "How long?  a night",
    ),
    "ifeval": (
        "general/ifeval.jsonl",
        {"key": 1, "prompt": "Write.", "instruction_id_list": []},
        "Write.",
    ),
}


def write(folder, path, row) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(row if isinstance(row, str) else json.dumps(row) + "\n")


def kept(folder, *benchmarks, own=None) -> dict:
    own = own or {}
    runs = {name: BenchmarkRun(0, {"greedy": 1}) for name in (*benchmarks, *own)}
    keep_questions(eval_config(own, runs, data_folder=str(folder)), folder / "evaluation")
    return {value["benchmark"]: value for value in read_questions(folder / "evaluation")}


@pytest.mark.parametrize("name", ROWS)
def test_a_question_is_what_the_scripts_columns_make_of_its_row(tmp_path, name):
    path, row, text = ROWS[name]
    write(tmp_path, path, row)
    if name == "halueval":
        for other in ("dialogue", "summarization"):
            write(tmp_path, f"benchmarks/halueval/{other}_data.json", {"knowledge": "not read"})
    value = kept(tmp_path, name)[name]
    assert value["texts"] == [text]
    assert (value["num_rows"], value["group"]) == (1, BENCHMARKS[name].group)


def test_every_column_of_figure_3_and_all_of_the_study_are_among_the_scripts():
    assert {"math500", "headqa", "livecodebench", "coqa", "halueval"} <= set(SCRIPTS)
    assert {name for name, b in BENCHMARKS.items() if "paper" in b.variants} - set(SCRIPTS) == {
        "acpbench_test"  # the study scores the other split
    }


def test_a_column_that_is_null_or_absent_is_passed_over():
    row = {"problem": "1+1?", "solution": None, "answer": 2}
    assert joined(SCRIPTS["math500"], row) == "1+1?  2"
    assert joined(SCRIPTS["math500"], {"answer": 2}) == "2"


def test_the_first_of_all_shuffled_with_the_scripts_seed_are_kept():
    texts = [str(number) for number in range(300)]
    random.seed(42)  # as the script does, with the global generator
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert drawn(SCRIPTS["math500"], texts) == shuffled[:100]
    random.seed(42)
    assert drawn(SCRIPTS["olympiadbench"], texts) == random.sample(texts, 100)
    assert sorted(drawn(SCRIPTS["olympiadbench"], texts[:7])) == texts[:7]


def test_a_benchmark_that_the_script_does_not_have_joins_question_and_answer(tmp_path):
    own = {
        "sums": OwnBenchmark(
            "Sums", "math", dataset(write_questions(tmp_path / "q.jsonl", sums(3)))
        )
    }
    value = kept(tmp_path, own=own)["sums"]
    assert sorted(value["texts"]) == sorted(f"{q}  {a}" for q, a in sums(3))


def test_questions_that_are_there_are_not_read_again(tmp_path):
    path, row, _ = ROWS["ifeval"]
    write(tmp_path, path, row)
    first = kept(tmp_path, "ifeval")
    (tmp_path / path).unlink()
    assert kept(tmp_path, "ifeval") == first
