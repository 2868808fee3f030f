"""Raw questions with their gold answers, joined as the study's PCA script joins the columns of its datasets.

The script takes those of a list of columns that exist, as Python prints them, with two spaces in between. It shuffles
all rows with seed 42 and keeps the first ones. It silently skips wrong columns, so that of HaluEval only the knowledge
is left. For a benchmark that is not in the script, question and answer are joined.
"""

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from etils import epath

from jaxreason.data.choice_rows import exam_questions
from jaxreason.data.conversions import read_rows
from jaxreason.data.examples import question
from jaxreason.data.flat_rows import records, unfold
from jaxreason.data.reading_rows import stories
from jaxreason.data.rows import CONVERSION_OPTIONS, DatasetConfig
from jaxreason.evaluation.benchmark_spec import Benchmark
from jaxreason.evaluation.benchmarks import in_folder, load_items
from jaxreason.evaluation.eval_settings import EvalConfig, find_benchmarks
from jaxreason.results.sample_files import question_path, write_questions

NUMBER = 100  # The study's k.
SEED = 42
Columns = dict[str, Any]


@dataclass(frozen=True)
class Script:
    """The columns of a benchmark that the paper's script reads.

    Attributes:
      columns: in order; a column that a row lacks, or that is null there, is skipped.
      subset: our subset, if the script reads only one.
      inner: returns the rows inside a row of our file, if it has several.
      as_published: returns a row with the columns of the dataset that the script reads.
      separator: between columns.
      draw: the draw from all rows: shuffled, or sampled (both by Python's generator, whose draws differ).
    """

    columns: tuple[str, ...]
    subset: str = ""
    inner: Callable[[Columns], Iterable[Any] | None] = lambda columns: None
    as_published: Callable[[Columns], Columns] = lambda columns: columns
    separator: str = "  "
    draw: Literal["shuffle", "sample"] = "shuffle"


def _coqa(columns: Columns) -> Columns:
    asked, told = records(columns, "questions"), records(columns, "answers")
    answers = {
        name: [turn.get(ours) for turn in told]
        for name, ours in (
            ("input_text", "input_text"),
            ("answer_start", "span_start"),
            ("answer_end", "span_end"),
        )
    }
    return columns | {"questions": [turn["input_text"] for turn in asked], "answers": answers}


def _mc_taco(columns: Columns) -> Columns:
    return columns | {"answer": columns.get("candidate", columns.get("answer"))}


_GPQA = ("Question", "Correct Answer", *(f"Incorrect Answer {n}" for n in (1, 2, 3)), "Explanation")
SCRIPTS: dict[str, Script] = {
    "math500": Script(("problem", "solution", "answer")),
    "aime24": Script(("problem", "solution")),
    "aime25": Script(("problem", "answer")),
    "olympiadbench": Script(("question", "solution", "final_answer"), separator=" ", draw="sample"),
    "livecodebench": Script(("question_content", "public_test_cases")),
    "gpqa_diamond": Script(tuple(f"Pre-Revision {name}" for name in _GPQA)),
    "acpbench": Script(("context", "question", "answer"), subset="app"),
    "headqa": Script(("qtext", "ra", "answers"), inner=exam_questions),
    "coqa": Script(("story", "questions", "answers"), inner=stories, as_published=_coqa),
    "ifeval": Script(("prompt",)),
    "halueval": Script(
        ("knowledge", "dialogue_history", "right_response", "hallucinated_response"), subset="qa"
    ),
    "mc_taco": Script(("question", "answer"), as_published=_mc_taco),
}


def keep_questions(config: EvalConfig, evaluation: epath.Path) -> None:
    """Writes the questions of every benchmark of a recipe into its `evaluation` folder, unless they are there.

    Raises:
      UserError: questions cannot be read.
    """
    for name, benchmark in find_benchmarks(config).items():
        if question_path(evaluation, name).exists():
            continue
        script = SCRIPTS.get(name, Script(("question", "answer")))
        rows = (
            _raw(config, benchmark, script) if name in SCRIPTS else _asked(config, name, benchmark)
        )
        texts = [text for row in rows if (text := joined(script, row))]
        value = {
            "benchmark": name,
            "group": benchmark.group,
            "columns": list(script.columns),
            "num_rows": len(texts),
            "texts": drawn(script, texts),
        }
        write_questions(evaluation, value)


def joined(script: Script, row: Columns) -> str:
    """Returns the text of a row as the script makes it."""
    shown = script.as_published(row)
    return script.separator.join(
        str(shown[name]) for name in script.columns if shown.get(name) is not None
    )


def drawn(script: Script, texts: list[str]) -> list[str]:
    """Returns the texts that the script keeps, from all texts in the order of the dataset."""
    generator = random.Random(SEED)
    if script.draw == "sample":
        return generator.sample(texts, min(NUMBER, len(texts)))
    shuffled = list(texts)
    generator.shuffle(shuffled)
    return shuffled[:NUMBER]


def _raw(config: EvalConfig, benchmark: Benchmark, script: Script) -> Iterator[Columns]:
    prompt = next(iter(benchmark.prompts.values()))
    datasets = prompt.files if config.source == "files" else prompt.hub
    for subset, dataset in datasets.items():
        if subset == script.subset or not script.subset:
            rows = unfold(read_rows(_unconverted(dataset, config.data_folder)), script.inner)
            yield from (row.columns for row in rows if row.problem is None)


def _unconverted(dataset: DatasetConfig, folder: str) -> DatasetConfig:
    """Returns the dataset with its columns as they were published."""
    made = ("rows", *CONVERSION_OPTIONS)
    options = {name: value for name, value in dataset.options.items() if name not in made}
    return dataclasses.replace(in_folder(dataset, folder), options=options)


def _asked(config: EvalConfig, name: str, benchmark: Benchmark) -> Iterator[Columns]:
    prompt = next(iter(benchmark.prompts.values()))
    source = config.source, config.data_folder, config.benchmarks[name].limit, config.items_seed
    for item in load_items(benchmark.label, prompt, *source):
        yield {"question": question(item.example), "answer": item.example.answer or None}
