"""The benchmarks read files shaped as the published ones are, whole, limited, and from the hub."""

import dataclasses
import json
import os
from pathlib import Path

import datasets
import pytest

from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.benchmarks import BENCHMARKS, Prompt, load_items
from jaxreason.tasks.registry import TASKS

SIZES = {"math500": 500, "gsm8k": 1319, "aime24": 30, "aime25_i": 15, "olympiadbench": 675}
SIZES |= {"acpbench": 280, "mc_taco": 9442, "ifeval": 541}


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two or three made-up questions for every benchmark, in the form of its file."""
    root = tmp_path_factory.mktemp("data")
    problems = [{"problem": f"What is $x_{n}$?", "answer": str(n)} for n in range(3)]
    write_jsonl(
        root / "math/math500.jsonl", [p | {"unique_id": f"u/{p['answer']}"} for p in problems]
    )
    for name in ("aime24", "aime25"):
        rows = [p | {"id": 60 + int(p["answer"]), "answer": int(p["answer"])} for p in problems]
        write_jsonl(root / f"math/{name}.jsonl", rows)
    gsm = [
        {"question": "How many?", "answer": f"2*{n} = <<2*{n}={2 * n}>>\n#### {2 * n}"}
        for n in (1, 2)
    ]
    write_jsonl(root / "math/gsm8k_test.jsonl", gsm)
    olympiad = {"id": 1, "question": "Solve.", "final_answer": ["1, 2"], "is_multiple_answer": True}
    olympiad |= {"unit": None, "error": None, "subfield": "Algebra", "answer_type": "Numerical"}
    write_jsonl(root / "math/olympiadbench.jsonl", [olympiad])
    for name in BENCHMARKS["acpbench"].prompts["letter"].files:
        choices = {"text": ["go", "stay"], "label": ["A", "B"]}
        rows = [
            {
                "id": n,
                "group": name,
                "context": "A ferry.",
                "question": f"Which {n}? A. go. B. stay.",
            }
            | {"choices": choices, "answer": "B", "query": "Which?"}
            for n in range(4)
        ]
        path = root / f"general/acpbench_mcq_{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows))
    pairs = [
        f"It rained.\tFor how {w}?\t{n} days\t{'yes' if n else 'no'}\tx"
        for w in ("long", "much")
        for n in range(3)
    ]
    (root / "general/mc_taco_test.tsv").write_text("\n".join(pairs) + "\n")
    ifeval = {"key": 1000, "prompt": "Say {it}.", "instruction_id_list": ["punctuation:no_comma"]}
    write_jsonl(root / "general/ifeval.jsonl", [ifeval | {"kwargs": [{}]}])
    return root


def items_of(benchmark, source, folder, limit, seed, variant="robust"):
    prompt = benchmark.prompts[benchmark.variants[variant].prompt]
    return load_items(benchmark.label, prompt, source, folder, limit, seed)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_loads_and_names_a_task(name, folder):
    benchmark = BENCHMARKS[name]
    items = items_of(benchmark, "files", str(folder), 0, 0)
    assert all(variant.task in TASKS for variant in benchmark.variants.values())
    assert len({item.id for item in items}) == len(items) > 0
    assert all(item.example.messages[-1]["role"] == "user" for item in items)


def prompt(name, folder, number=0):
    item = items_of(BENCHMARKS[name], "files", str(folder), 0, 0)[number]
    return item, item.example.messages[-1]["content"]


def test_mathematics_asks_for_a_box(folder):
    item, text = prompt("math500", folder)
    assert text.startswith("What is $x_0$?\n\n") and r"\boxed{}" in text
    assert (item.id, item.example.answer) == ("u/0", "0")


def test_gsm8k_answer_is_what_follows_the_mark(folder):
    assert prompt("gsm8k", folder, 1)[0].example.answer == "4"


def test_acpbench_shows_context_and_options_and_ids_tell_subsets_apart(folder):
    item, text = prompt("acpbench", folder, 4)
    assert text.startswith("A ferry.\n\nWhich 0? A. go. B. stay.")
    assert (item.id, item.subset) == ("app/0", "app")
    assert item.example.metadata["choices"]["label"] == ["A", "B"]


def test_mc_taco_pairs_of_a_question_share_a_cluster(folder):
    items = items_of(BENCHMARKS["mc_taco"], "files", str(folder), 0, 0)
    assert [item.cluster == items[0].cluster for item in items] == [True] * 3 + [False] * 3
    assert (
        "It rained.\n\nQuestion: For how long?\nCandidate answer: 0 days"
        in prompt("mc_taco", folder)[1]
    )
    assert len(items_of(BENCHMARKS["mc_taco"], "files", str(folder), 1, 0)) == 3


def test_ifeval_prompt_is_unchanged(folder):
    assert prompt("ifeval", folder)[1] == "Say {it}."


def test_a_limit_is_spread_over_subsets_and_drawn_by_the_seed(folder):
    items = items_of(BENCHMARKS["acpbench"], "files", str(folder), 9, 0)
    subsets = BENCHMARKS["acpbench"].prompts["letter"].files
    counts = [sum(item.subset == name for item in items) for name in subsets]
    assert counts == [2, 2, 1, 1, 1, 1, 1]
    assert items == items_of(BENCHMARKS["acpbench"], "files", str(folder), 9, 0)
    other = items_of(BENCHMARKS["acpbench"], "files", str(folder), 9, 5)
    assert [item.id for item in items] != [item.id for item in other]


def test_a_row_that_cannot_be_used_is_refused_with_its_number(folder, tmp_path):
    rows = [{"question": "q", "answer": "#### 1"}, {"question": "", "answer": "#### 2"}]
    write_jsonl(tmp_path / "math/gsm8k_test.jsonl", rows)
    with pytest.raises(ValueError, match=r"1 rows cannot be used.*gsm8k_test\.jsonl:2"):
        items_of(BENCHMARKS["gsm8k"], "files", str(tmp_path), 0, 0)


def test_a_missing_file_is_refused_by_its_path(tmp_path):
    with pytest.raises(ValueError, match=r"math/aime24\.jsonl"):
        items_of(BENCHMARKS["aime24"], "files", str(tmp_path), 0, 0)


def test_questions_from_the_hub_are_those_of_the_file(folder, tmp_path):
    rows = [json.loads(x) for x in (folder / "math/gsm8k_test.jsonl").read_text().splitlines()]
    saved = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    saved.save_to_disk(str(tmp_path / "gsm8k"))
    benchmark = BENCHMARKS["gsm8k"]
    prompt = benchmark.prompts["boxed"]
    hub = dataclasses.replace(prompt.hub[""], path=str(tmp_path / "gsm8k"))
    found = load_items("GSM8K", dataclasses.replace(prompt, hub={"": hub}), "hub", "", 0, 0)
    expected = items_of(benchmark, "files", str(folder), 0, 0)
    assert [i.example.messages for i in found] == [i.example.messages for i in expected]
    assert [i.example.answer for i in found] == ["2", "4"]


def test_a_benchmark_that_is_not_on_the_hub_says_so():
    with pytest.raises(ValueError, match="MC-TACO: no data on the hub"):
        items_of(BENCHMARKS["mc_taco"], "hub", "", 0, 0)


@pytest.mark.skipif("JAXREASON_DATA" not in os.environ, reason="JAXREASON_DATA: the real files")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_real_files_have_their_published_sizes(name):
    items = items_of(BENCHMARKS[name], "files", os.environ["JAXREASON_DATA"], 0, 0)
    assert len(items) == SIZES[name]


def test_rows_that_group_by_names_are_a_cluster_though_their_columns_are_no_metadata(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, [{"q": f"q{n}", "text": f"t{n // 2}", "a": "1"} for n in range(6)])
    fields, options = {"prompt": "q", "answer": "a"}, {"group_by": "text, a"}
    data = DatasetConfig(
        "file", str(path), "", fields, "{prompt}", "last_number", (), 0, 0, options
    )
    items = load_items("Pairs", Prompt({"": data}, {}), "files", "", 0, 0)
    clusters = [item.cluster for item in items]
    assert clusters[::2] == clusters[1::2] and len(set(clusters)) == 3
