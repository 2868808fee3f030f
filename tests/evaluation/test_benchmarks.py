"""The benchmarks read files shaped as the published ones are, whole and limited."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from benchmark_rows import HUB, write_files, write_jsonl

from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation import benchmarks
from jaxreason.evaluation.benchmark_spec import BenchmarkPrompt
from jaxreason.evaluation.benchmarks import BENCHMARKS, load_items
from jaxreason.results.clusters import SampleScores, cluster
from jaxreason.results.statistics import mean_interval, wilson

# The published sizes, of those whose whole files may be at hand; a cut of HaluEval has fewer.
SIZES = {"math500": 500, "gsm8k": 1319, "aime24": 30, "aime25": 30, "olympiadbench": 675}
SIZES |= {"acpbench": 280, "acpbench_test": 900, "headqa": 2742, "mc_taco": 9442, "ifeval": 541}
SHARED = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("JAXREASON_DATA", SHARED))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One to six made-up questions for every benchmark, in the form of its file."""
    root = tmp_path_factory.mktemp("data")
    write_files(root)
    return root


def items_of(benchmark, source, folder, limit, seed, variant="robust"):
    prompt = benchmark.prompts[benchmark.variants[variant].prompt]
    return load_items(benchmark.label, prompt, source, folder, limit, seed)


@pytest.mark.parametrize("name", HUB)
def test_every_benchmark_loads_with_ids_that_tell_its_questions_apart(name, folder):
    for variant in BENCHMARKS[name].variants:
        items = items_of(BENCHMARKS[name], "files", str(folder), 0, 0, variant)
        assert len({item.id for item in items}) == len(items) > 0
        assert all(item.example.messages[-1]["role"] == "user" for item in items)


def prompt(name, folder, number=0):
    item = items_of(BENCHMARKS[name], "files", str(folder), 0, 0)[number]
    return item, item.example.messages[-1]["content"]


def test_gsm8k_answer_is_what_follows_the_mark(folder):
    assert prompt("gsm8k", folder, 1)[0].example.answer == "4"


def test_acpbench_shows_context_and_options_and_ids_tell_subsets_apart(folder):
    item, text = prompt("acpbench", folder, 4)
    assert text.startswith("A ferry.\n\nWhich 0?\n\nA. ")
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
    with pytest.raises(
        ValueError, match=r"1 of its rows .*: 2 rows, 1 kept.*; first: \S+gsm8k_test\.jsonl:2: "
    ):
        items_of(BENCHMARKS["gsm8k"], "files", str(tmp_path), 0, 0)


def test_a_missing_file_is_refused_by_its_path(tmp_path):
    with pytest.raises(ValueError, match=r"math/aime24\.jsonl"):
        items_of(BENCHMARKS["aime24"], "files", str(tmp_path), 0, 0)


def test_a_benchmark_that_is_not_on_the_hub_says_so(folder):
    prompt = dataclasses.replace(BENCHMARKS["mc_taco"].prompts["question"], hub={})
    with pytest.raises(ValueError, match="MC-TACO: no data on the hub"):
        load_items("MC-TACO", prompt, "hub", "", 0, 0)


def test_every_benchmark_has_its_published_size():
    others = {"livecodebench": 511, "humaneval": 164, "mbpp": 257, "gpqa_diamond": 198}
    others |= {"mmlu": 14042, "coqa": 500, "halueval": 30000}
    assert SIZES | others == benchmarks.SIZES and set(benchmarks.SIZES) == set(BENCHMARKS)


@pytest.mark.skipif(not DATA.exists(), reason="JAXREASON_DATA: the folder of the real files")
@pytest.mark.parametrize("name", SIZES)
def test_the_real_files_have_their_published_sizes(name):
    for variant in BENCHMARKS[name].variants:
        assert len(items_of(BENCHMARKS[name], "files", str(DATA), 0, 0, variant)) == SIZES[name]


def test_questions_with_the_same_words_count_as_one_in_the_interval(tmp_path):
    """Every question stands in the file three times: 24 rows, of which a model gets the same six of eight right."""
    path = tmp_path / "thrice.jsonl"
    write_jsonl(path, [{"q": f"q{n % 8}", "a": "1"} for n in range(24)])
    data = DatasetConfig(
        "file",
        str(path),
        "",
        {"prompt": "q", "answer": "a"},
        "{prompt}",
        "last_number",
        (),
        0,
        0,
        {},
    )
    items = load_items("Thrice", BenchmarkPrompt({"": data}, {}), "files", "", 0, 0)
    right = np.array([item.example.messages[-1]["content"] < "q6" for item in items], float)

    def interval(number, clusters):
        scores = SampleScores(right[:number], np.ones(number), tuple(clusters), ("",) * number)
        return mean_interval(cluster([scores]), 0.95, 100)

    found = interval(24, (item.cluster for item in items))
    assert (found.mean, found.n) == (0.75, 8)
    # The error of clusters is made with one degree of freedom less.
    assert [found.low, found.high] == pytest.approx(
        [float(bound) for bound in wilson(0.75, 7, 0.95)]
    )
    assert interval(24, (item.id for item in items)).low > interval(8, "abcdefgh").low > found.low


def test_rows_that_group_by_names_are_a_cluster_though_their_columns_are_no_metadata(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"q": f"q{n}", "text": f"t{n // 2}", "a": "1"} for n in range(6)]
    write_jsonl(path, rows + [{"q": f"q{n}", "text": None, "a": "1"} for n in range(7, 11)])
    fields, options = {"prompt": "q", "answer": "a"}, {"group_by": "text, a"}
    data = DatasetConfig(
        "file", str(path), "", fields, "{prompt}", "last_number", (), 0, 0, options
    )
    items = load_items("Pairs", BenchmarkPrompt({"": data}, {}), "files", "", 0, 0)
    clusters = [item.cluster for item in items]
    assert clusters[:6:2] == clusters[1:6:2] and len(set(clusters[:6])) == 3
    # Rows without a text belong to no text: each is a cluster, as questions of other words are.
    assert len(set(clusters)) == 3 + 4
