"""Examples in the documents: python runs as it stands, command lines name what exists, data give what is said."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from jaxreason import cli
from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.config import parse
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.sources import SOURCES
from jaxreason.evaluation.benchmarks import load_items
from jaxreason.evaluation.eval_settings import EvalConfig, find_benchmarks
from jaxreason.models.families import FAMILIES
from jaxreason.recipes import load_recipe
from jaxreason.rl.advantages import ADVANTAGES
from jaxreason.rl.policy_losses import POLICY_LOSSES
from jaxreason.studies.arms import arm_section, arms_of
from jaxreason.studies.recipe_sections import check_recipe, section_classes
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.workers import grade_reply
from jaxreason.verbs.flags import parse_flags
from jaxreason.verbs.overrides import apply_overrides

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a python block needs that a test has not: it is compiled only. Any other block is run.
NEEDS = {
    "openai.OpenAI(": "a running server",
    "HarnessModel(": "an engine with a model",
    "engine = Engine(": "an engine with a model",
}


def blocks(path: pathlib.Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.M | re.S)


def all_blocks(language: str) -> list:
    found = [
        (path, number, text)
        for path in DOCUMENTS
        for number, text in enumerate(blocks(path, language))
    ]
    return [pytest.param(text, id=f"{path.name}-{number}") for path, number, text in found]


def outputs(path: pathlib.Path) -> dict[str, str]:
    """Each python block that a text block follows, with that text: what the page says that it prints."""
    lines = r"(?:(?!```)[^\n]*\n)*"
    shown = rf"^```python\n({lines})```\n{lines}```text\n({lines})```$"
    return dict(re.findall(shown, path.read_text(), re.M))


OUTPUTS = {text: shown for path in DOCUMENTS for text, shown in outputs(path).items()}


def commands() -> list:
    found = []
    for path in DOCUMENTS:
        for text in blocks(path, "bash"):
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                found += [pytest.param(words[1:], id=f"{path.name}: {' '.join(words)}")] * (
                    words[:1] == ["jaxreason"]
                )
    return found


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty working directory in which `configs` is found, as in a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    return tmp_path


def test_every_link_of_a_document_leads_to_a_file():
    pages = [*DOCUMENTS, ROOT / "tpu" / "README.md"]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert len(links) > 50
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_short_and_says_of_every_verb_where_it_was_verified():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    matrix = text[text.index("## What has been verified") : text.index("## What is not here")]
    rows = [line.split("|")[1] for line in matrix.splitlines() if line.startswith("| `")]
    named = re.findall(r"`([a-z-]+)`", " ".join(rows))
    assert sorted(named) == sorted(cli.VERBS)


def test_the_readme_leads_to_every_page_of_the_documents():
    text = (ROOT / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if f"(docs/{page})" not in text} == set()


def test_the_documents_have_examples_of_every_kind():
    assert (
        len(all_blocks("python")) >= 5 and len(commands()) >= 12 and len(all_blocks("jsonl")) >= 1
    )


@pytest.fixture
def dicts_as_they_were():
    """What an example adds to the package's dicts is taken out again."""
    dicts = [METRICS, ADVANTAGES, POLICY_LOSSES, FAMILIES, SOURCES]
    before = [dict(one) for one in dicts]
    yield
    for one, old in zip(dicts, before, strict=True):
        one.clear()
        one.update(old)


@pytest.mark.parametrize("text", all_blocks("python"))
def test_a_python_example_runs_as_it_stands_and_prints_what_the_page_shows(
    text, checkout, dicts_as_they_were, capsys
):
    program = compile(text, "example", "exec")
    if not any(mark in text for mark in NEEDS):
        exec(program, {})
        assert capsys.readouterr().out == OUTPUTS.get(text, "")


def test_each_page_on_adding_something_shows_what_its_example_prints():
    pages = sorted((ROOT / "docs").glob("adding_*.md"))
    assert len(pages) == 5
    assert [page.name for page in pages if not outputs(page)] == []


def test_the_recipe_with_a_new_arm_trains_it_after_the_arm_that_it_starts_from(checkout, capsys):
    _, recipe = blocks(ROOT / "docs" / "study.md", "python")
    (checkout / "my_recipe.py").write_text(recipe)
    cli.main(["jaxreason", "study", "--config", "my_recipe.py", "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    order = [line.rsplit(maxsplit=2)[0] for line in lines if line.startswith("train sft_")]
    assert order.index("train sft_rl seed 20") > order.index("train sft_top seed 20")
    config = load_recipe("my_recipe.py")
    assert arm_section(config, "sft_rl", arms_of(config)["sft_rl"]).num_steps == 30


def test_the_page_of_commands_has_an_example_of_every_verb():
    text = "".join(blocks(ROOT / "docs" / "commands.md", "bash"))
    shown = {line.split()[1] for line in text.splitlines() if line.startswith("jaxreason ")}
    assert shown == set(cli.VERBS)


@pytest.mark.parametrize("arguments", commands())
def test_a_command_line_names_a_verb_flags_a_recipe_and_fields_that_exist(arguments, checkout):
    verb, *rest = arguments
    assert verb in cli.VERBS
    recipe = rest[rest.index("--config") + 1] if "--config" in rest else None
    if recipe is not None:
        # `init` writes my_recipe.py, with the sections that the tiny study has.
        config = load_recipe("configs/study_tiny.py" if recipe == "my_recipe.py" else recipe)
        rest = apply_overrides(config, section_classes(config), rest)
        check_recipe(config)
    parse_flags(verb, rest)


def test_the_recomputation_of_the_papers_pairs_runs_as_the_readme_says(checkout, capsys):
    (found,) = {tuple(param.values[0]) for param in commands() if param.values[0][0] == "transfer"}
    cli.main(["jaxreason", *found])
    assert len(json.loads((checkout / "runs/paper/transfer.json").read_text())["rows"]) >= 36


def test_the_page_of_rl_gives_the_mini_batches_of_the_14b_recipe():
    config = load_recipe("configs/rl_qwen3_14b.py").rl
    updates = config.prompts_per_step // config.mini_batch_prompts
    page = " ".join((ROOT / "docs/rl.md").read_text().split())
    told = f"mini-batches of {config.mini_batch_prompts} prompts, so {updates} updates a step and "
    assert f"{told}`optimizer.warmup_steps={config.optimizer.warmup_steps}`" in page


def test_the_data_example_trains_replies_that_its_own_grader_scores_1(checkout):
    path = ROOT / "docs" / "adding_data.md"
    (lines,) = blocks(path, "jsonl")
    text, _ = blocks(path, "python")
    (checkout / "data").mkdir()
    (checkout / "data" / "questions.jsonl").write_text(lines)
    made: dict = {}
    exec(text, made)
    drops = DropLog()
    examples = load_examples(parse(DatasetConfig, made["dataset"], "dataset"), drops)
    assert len(examples) == len(lines.splitlines())
    for example in examples:
        task = TASKS[example.task]
        assert "End with the answer in \\boxed{}." in example.messages[0]["content"]
        reply = example.messages[-1]["content"]
        assert grade_reply(task, example, reply).scores[task.primary] == 1.0, reply


def test_the_benchmark_example_makes_a_benchmark(checkout):
    text = blocks(ROOT / "docs" / "adding_benchmarks.md", "python")[0]
    (checkout / "data").mkdir()
    row = {"key": "a", "question": "Which is red? (A) a rose (B) snow", "letter": "A"}
    (checkout / "data" / "trivia.jsonl").write_text(json.dumps(row) + "\n")
    made: dict = {}
    exec(text, made)
    config = parse(EvalConfig, made["config"].eval, "eval")
    assert set(find_benchmarks(config)) == {"math500", "trivia"}
    (prompt,) = find_benchmarks(config)["trivia"].prompts.values()
    (item,) = load_items("Trivia", prompt, "files", "", 0, 0)
    assert (item.id, item.example.answer) == ("a", "A")


def test_the_site_builds_without_a_warning(tmp_path):
    recipe = ROOT / "scripts" / "mkdocs.yml"
    words = ["build", "--strict", "--quiet", "--config-file", recipe, "--site-dir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    api = (tmp_path / "api" / "index.html").read_text()
    for name in ("open_model", "Engine", "make_sft_loss", "transfer_index", "extract_states"):
        assert f".{name}" in api
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {page for page in pages if not (tmp_path / page / "index.html").exists()} == set()


def test_the_drawing_of_the_imports_is_of_the_present_source():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import draw_imports
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    assert draw_imports.PAGE.read_text() == draw_imports.page(), (
        "python scripts/draw_imports.py draws it anew"
    )
    assert ("rl", "training") in draw_imports.drawn(draw_imports.imports())


@pytest.mark.slow
def test_the_tutorial_goes_from_questions_to_a_report(checkout, capsys):
    page = ROOT / "docs" / "tutorial.md"
    (make,) = blocks(page, "python")
    exec(make, {})
    (checkout / "configs").symlink_to(ROOT / "configs")
    for text in blocks(page, "bash"):
        for line in text.splitlines():
            cli.main(shlex.split(line))
    said = capsys.readouterr().out
    assert "nothing was found that would stop a run" in said
    report = checkout / "runs/study/report/report.html"
    assert "My questions" in report.read_text()
    assert re.search(r"rl/seed_0 +yes +yes +yes", said)
