"""A whole distillation: the tiny base model answers sums, and what it got right is a dataset that every stage reads."""

import dataclasses
import functools
import json
import shutil

import datasets
import failing_tasks
import jax
import pytest
from processes import run_processes
from serving import make_state, one_device, served
from tiny_distill import (
    MODEL,
    RECIPE,
    at,
    config_of,
    dataset,
    distill,
    distill_everywhere,
    files_of,
    replies_of,
    rows_of,
    write_questions,
    yield_of,
)

from jaxreason.config import ConfigError, parse
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.distill import distiller, judging, passes, teacher_engine
from jaxreason.distill.distill_config import DistillConfig, TeacherConfig, check_distill
from jaxreason.distill.judging import needs_verdict, split_reply
from jaxreason.errors import UserError
from jaxreason.recipes import load_recipe
from jaxreason.results import jsonl
from jaxreason.rl.prompts import load_prompts
from jaxreason.rl.rl_config import RLConfig
from jaxreason.sampling.sampling_params import Completion, SamplingParams
from jaxreason.training import sft
from jaxreason.training.sft_config import SFTConfig

GREEDY = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=64, stop=())


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def finished(questions, tmp_path_factory):
    """A distillation that has ended."""
    workdir = tmp_path_factory.mktemp("finished")
    distill(config_of(questions), workdir)
    return workdir


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    """One that has ended and must not ask anything again."""
    shutil.copytree(finished / "distill", tmp_path / "distill")
    monkeypatch.setattr(
        distiller.ModelSource, "open", lambda *_, **__: pytest.fail("the teacher was loaded")
    )
    return tmp_path


def test_a_row_a_question_with_the_first_right_reply_and_all_replies(finished):
    rows, told = rows_of(finished), yield_of(finished)
    assert [row["id"] for row in rows] == [f"sums/q{i}" for i in range(12)]
    kept = [row for row in rows if row["no_think_response"]]
    assert 0 < len(kept) < 12 and told["all"]["kept"] == len(kept)
    for row in rows:
        right = [reply["content"] for reply in row["replies"] if reply["correct"]]
        assert row["no_think_response"] == (right[0] if right else "")
        assert row["think_response"] == "" and len(row["replies"]) == 3
        assert all(text.endswith(f"#{row['answer']}") for text in right)
    assert told["all"]["asked"] == 36
    assert told["all"]["right"] == sum(r["correct"] for row in rows for r in row["replies"])


def test_a_finished_distillation_does_nothing(copied, questions):
    before = files_of(copied)
    distill(config_of(questions), copied)
    assert files_of(copied) == before


def test_another_choice_costs_no_reply(copied, questions):
    changed = config_of(questions, keep="all", cutoff=60, shard_rows=5, difficulty="level")
    rows = distill(changed, copied)
    right = sum(r["correct"] for row in rows for r in row["replies"])
    assert len([row for row in rows if row["no_think_response"]]) == right
    names = sorted(p.name for p in (copied / "distill" / "data").iterdir())
    assert names == [f"{n:05d}.jsonl" for n in range(1, -(-len(rows) // 5) + 1)]
    assert list(yield_of(copied)["by_difficulty"]) == ["0", "1", "2"]
    distill(config_of(questions), copied)
    assert sorted(p.name for p in (copied / "distill" / "data").iterdir()) == ["00001.jsonl"]


def test_another_tokenizer_of_as_many_tokens_counts_anew(copied, questions, tmp_path):
    folder = shutil.copytree(MODEL.path, tmp_path / "wordy")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("'<user>'", "'<user>' + '1' * 500"))
    config = config_of(questions, cutoff=100)
    distill(config, copied)
    assert yield_of(copied)["all"]["kept"]
    with pytest.raises(UserError, match=r"none is kept: \d+ are longer than cutoff=100"):
        distill(dataclasses.replace(config, tokenizer=str(folder)), copied)


def test_another_grader_grades_the_same_replies_again(copied, questions, monkeypatch):
    before = files_of(copied)
    for module in (judging, passes):
        monkeypatch.setattr(module, "grader_version", lambda task: "newer")
    distill(config_of(questions), copied)
    after = files_of(copied)
    name = "verdicts/main.jsonl"
    assert (
        after[name] != before[name] and after["replies/main.jsonl"] == before["replies/main.jsonl"]
    )
    assert after["data/00001.jsonl"] == before["data/00001.jsonl"]


def test_a_corrected_gold_answer_makes_new_verdicts_for_its_question_alone(
    copied, questions, tmp_path
):
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    lines[0]["answer"] = "1"
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = (copied / "distill/verdicts/main.jsonl").read_text().splitlines()
    rows = distill(config_of(changed), copied)
    after = (copied / "distill/verdicts/main.jsonl").read_text().splitlines()
    assert rows[0]["no_think_response"] == "" and rows[0]["answer"] == "1"
    assert before[3:] == after[3:] and before[:3] != after[:3]


@pytest.mark.parametrize("cut", [0, 1, 700])
def test_a_run_that_was_killed_goes_on_and_leaves_the_same_files(
    finished, questions, tmp_path, cut
):
    """A kill leaves a part of the lines, the last of them perhaps cut off."""
    shutil.copytree(finished / "distill", tmp_path / "distill")
    (tmp_path / "distill" / "done.json").unlink()
    for name in ("replies", "verdicts"):
        path = tmp_path / "distill" / name / "main.jsonl"
        path.write_bytes(path.read_bytes()[: cut and len(path.read_bytes()) // 2 + cut])
    distill(config_of(questions), tmp_path)
    assert files_of(tmp_path) == files_of(finished)


def test_what_was_sampled_is_not_sampled_again(finished, questions, tmp_path, monkeypatch):
    """More samples and more questions: the new ones alone are asked for, and the old ones stay as they are."""
    shutil.copytree(finished / "distill", tmp_path / "distill")
    more = write_questions(tmp_path / "more", 14)
    asked, generate = [], distiller.teacher_engine.Engine.generate

    def watch(engine, requests, *rest, **options):
        asked.extend(requests)
        return generate(engine, requests, *rest, **options)

    monkeypatch.setattr(distiller.teacher_engine.Engine, "generate", watch)
    distill(config_of(more, samples=4), tmp_path)
    assert len(asked) == 14 * 4 - 36
    lines = {(line["id"], line["sample"]): line for line in replies_of(tmp_path)}
    assert len(lines) == 56
    assert [lines[x["id"], x["sample"]] for x in replies_of(finished)] == replies_of(finished)
    undisturbed = tmp_path / "undisturbed"
    distill(config_of(more, samples=4), undisturbed)
    assert files_of(undisturbed) == files_of(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["slots", "devices"])
def test_replies_depend_neither_on_slots_nor_on_devices(finished, questions, tmp_path, how):
    config, number = config_of(questions), 1
    if how == "slots":
        sampler = dataclasses.replace(config.sampler, slots=3, prefill_tokens=16, decode_block=5)
        config = dataclasses.replace(config, sampler=sampler)
    else:
        number = 8
    distill(config, tmp_path, num_devices=number)
    assert files_of(tmp_path) == files_of(finished)


@pytest.mark.slow
def test_two_processes_write_what_one_writes(finished, questions, tmp_path):
    found = run_processes(distill_everywhere, 2, str(questions), str(tmp_path), timeout_s=600.0)
    assert found[0] == found[1] == rows_of(finished)
    assert files_of(tmp_path) == files_of(finished)


@pytest.mark.parametrize(
    ("changes", "seed", "named"),
    [
        ({"decoding": GREEDY}, 0, "decoding.temperature: 1.0 -> 0.0"),
        ({"thinking": True}, 0, "thinking: None -> True"),
        ({}, 1, "seed: 0 -> 1"),
    ],
)
def test_replies_that_were_made_otherwise_are_refused(copied, questions, changes, seed, named):
    with pytest.raises(ConfigError, match=named):
        distill(config_of(questions, **changes), copied, seed=seed)


def test_another_teacher_or_a_question_in_other_words_is_refused(
    finished, questions, copied, tmp_path
):
    other = shutil.copytree(MODEL.path, tmp_path / "other")
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 1e-5}))
    with pytest.raises(ConfigError, match="teacher"):
        distill(config_of(questions, teacher=TeacherConfig(path=str(other))), copied)
    template = dataset(questions, prompt_template="{prompt}=")
    with pytest.raises(ConfigError, match="'sums/q0' was asked in other words"):
        distill(config_of(questions, datasets={"sums": template}), copied)


def test_a_teacher_that_answers_nothing_right_is_told_of_and_files_stay(questions, tmp_path):
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(questions.read_text().replace('"answer": "', '"answer": "9'))
    with pytest.raises(UserError, match=r"answered nothing right \(main\): 36 replies to 12"):
        distill(config_of(wrong), tmp_path)
    assert len(rows_of(tmp_path)) == 12 and len(replies_of(tmp_path)) == 36
    assert not (tmp_path / "distill" / "done.json").exists()


@pytest.mark.slow
def test_replies_whose_grader_hangs_cost_bounded_time_and_are_counted(
    copied, questions, monkeypatch
):
    pool = functools.partial(distiller.VerifierPool, tasks="failing_tasks:HANGING")
    monkeypatch.setattr(distiller, "VerifierPool", pool)
    (copied / "distill" / "verdicts" / "main.jsonl").unlink()
    (copied / "distill" / "done.json").unlink()
    config = config_of(questions, grader_timeout_s=1.0, max_ungraded_share=1.0)
    distill(config, copied)
    texts = [line["content"] for line in replies_of(copied) if needs_verdict(line)]
    hung = sum(failing_tasks.hangs(split_reply(text, None).text) for text in texts)
    assert 0 < hung <= yield_of(copied)["all"]["not_gradable"]


def test_answers_that_the_grader_does_not_find_are_told_of_above_a_share(copied, questions):
    boxed = {"sums": dataset(questions, task="math_strict")}
    with pytest.raises(UserError, match=r"100% have no answer.*max_ungraded_share=0.5"):
        distill(config_of(questions, datasets=boxed), copied)
    with pytest.raises(UserError, match="nothing right"):
        distill(config_of(questions, datasets=boxed, max_ungraded_share=1.0), copied)


def test_questions_without_a_gold_answer_are_counted(finished, questions, tmp_path):
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    lines[3]["answer"], lines[5]["answer"] = None, " "
    holed = tmp_path / "holed.jsonl"
    holed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = distill(config_of(holed), tmp_path)
    told = json.loads((tmp_path / "distill" / "yield.json").read_text())
    (counts,) = told["datasets"].values()
    assert counts["dropped"] == {"missing field": 1, "empty": 1} and counts["kept"] == 10
    assert {row["id"] for row in rows} == {f"sums/q{i}" for i in range(12) if i not in (3, 5)}
    expected = {row["id"]: row for row in rows_of(finished)}
    assert rows == [expected[row["id"]] for row in rows]


def test_a_dataset_without_an_answer_column_is_not_gradable(copied, questions, caplog):
    fields = {"id": "id", "prompt": "question"}
    blind = {"sums": dataset(questions, task="math_strict", fields=fields)}
    boxed = [json.dumps(line | {"content": r"\boxed{3}"}) for line in replies_of(copied)]
    (copied / "distill/replies/main.jsonl").write_text("\n".join(boxed) + "\n")
    with pytest.raises(UserError, match=r"100% have no answer.*first error: UserError"):
        distill(config_of(questions, datasets=blind), copied)
    assert yield_of(copied)["all"]["not_gradable"] == 36
    assert "by the task 'math_strict' (12 of 12 questions)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difficulty": "hardness"}, "difficulty='hardness': expected a column among .*level"),
        ({"datasets": {}}, "at least one dataset"),
        ({"no_think_samples": 2}, "no_think='drop': expected 'generate'"),
        ({"thinking": False, "no_think": "none"}, "no_think='none': expected 'drop'"),
        ({"teacher": TeacherConfig(path="a", url="http://b")}, "one teacher is asked"),
        ({"teacher": TeacherConfig(url="http://b")}, "teacher.name=''"),
        ({"teacher": TeacherConfig(url="b/v1", name="x")}, "teacher.url='b/v1'"),
        (
            {"decoding": dataclasses.replace(GREEDY, max_tokens=96)},
            "decoding.max_tokens=96: expected less than",
        ),
        ({"samples": 0}, "distill.samples: expected at least 1, got 0"),
        ({"datasets": {"a": dataset("f", task="headqa")}}, "datasets.a.task='headqa'"),
        ({"datasets": {"a": dataset("f", metadata=("replies",))}}, "a.metadata='replies'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(questions, changes, message):
    with pytest.raises(UserError, match=message):
        check_distill(config_of(questions, **changes))


def test_a_think_budget_at_an_endpoint_and_a_second_time_that_asks_the_same_are_refused(
    questions, tmp_path
):
    budget = dataclasses.replace(config_of(questions).decoding, think_budget=5)
    with pytest.raises(ConfigError, match=r"decoding.think_budget=5: expected 0"):
        check_distill(config_of(questions, decoding=budget, teacher=at("http://x/v1")))
    with pytest.raises(ConfigError, match="this one asks the same"):
        distill(config_of(questions, no_think="generate"), tmp_path)


def test_sections_of_a_recipe_that_say_little_get_the_defaults():
    section = {k: RECIPE.distill[k] for k in ("datasets", "decoding", "sampler")}
    assert parse(DistillConfig, section, "distill").teacher == TeacherConfig()


def rows_as(workdir, column, **changes):
    fields = {"id": "id", "prompt": "question", "answer": "answer", "response": column}
    pattern = workdir / "distill" / "data" / "*.jsonl"
    return dataset(pattern, **({"fields": fields, "metadata": ("replies",)} | changes))


def test_sft_learns_from_the_rows_and_counts_those_without_a_response(finished, tmp_path):
    column = rows_as(finished, "no_think_response")
    section = parse(SFTConfig, RECIPE.sft, "sft")
    section = dataclasses.replace(section, datasets={"own": column}, batch_size=4, log_every=1)
    with jax.set_mesh(one_device()):
        sft.run_sft(section, MODEL, one_device(), tmp_path, 0)
    losses = [json.loads(x)["loss"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    data = json.loads((tmp_path / "data.json").read_text())
    (counts,) = data["datasets"].values()
    kept = yield_of(finished)["all"]["kept"]
    assert (counts["kept"], counts["dropped"]["empty"]) == (kept, 12 - kept)
    assert losses and all(0 < loss < 5 for loss in losses)


def test_the_rows_are_read_by_datasets_and_as_examples_with_their_replies(finished):
    pattern = str(finished / "distill" / "data" / "*.jsonl")
    table = datasets.load_dataset("json", data_files=pattern, split="train")
    assert table.num_rows == 12 and table[0]["replies"] == rows_of(finished)[0]["replies"]
    bare = {"fields": {"id": "id", "prompt": "question", "answer": "answer"}}
    examples = load_examples(rows_as(finished, "", **bare), DropLog())
    assert len(examples) == 12 and len(examples[0].metadata["replies"]) == 3


def test_rl_takes_the_replies_of_the_rows(finished):
    bare = {"fields": {"id": "id", "prompt": "question", "answer": "answer"}}
    recipe = load_recipe("configs/study_tiny.py").rl
    recipe.update(samples={"given": 3, "refresh_every": 1}, group_size=3)
    config = parse(RLConfig, recipe, "rl")
    config = dataclasses.replace(config, datasets={"own": rows_as(finished, "", **bare)})
    found = load_prompts(config, load_tokenizer(MODEL.path))
    assert found.replies == {"own": {"used": 36}}
    said = [[reply["content"] for reply in row["replies"]] for row in rows_of(finished)]
    assert [[given.text for given in prompt.replies] for prompt in found.prompts] == said


def thinking_teacher(folder):
    """The tiny base model with a chat template that asks otherwise without thinking."""
    shutil.copytree(MODEL.path, folder)
    template, mark = folder / "chat_template.jinja", "{{ '<assistant>' }}"
    switch = "{%- if enable_thinking is defined and not enable_thinking -%}{{ ' ' }}{%- endif -%}"
    assert mark in template.read_text()
    template.write_text(template.read_text().replace(mark, mark + switch))
    return folder


def test_the_engine_asks_a_second_time_without_thinking(questions, tmp_path):
    """This teacher never thinks, so that only the second time gives responses; that is said."""
    teacher = TeacherConfig(path=str(thinking_teacher(tmp_path / "teacher")))
    config = config_of(questions, teacher=teacher, no_think="generate", no_think_samples=2)
    with pytest.raises(UserError, match=r"right and none is kept.*[1-9]\d* have no thoughts"):
        distill(config, tmp_path / "run")
    assert len(replies_of(tmp_path / "run")) == 36
    assert len(replies_of(tmp_path / "run", "no_think")) == 24
    rows = rows_of(tmp_path / "run")
    for row in rows:
        right = [reply["content"] for reply in row["no_think_replies"] if reply["correct"]]
        assert row["no_think_response"] == (right[0] if right else "")
    kept = sum(bool(row["no_think_response"]) for row in rows)
    assert yield_of(tmp_path / "run", "no_think")["all"]["kept"] == kept


def test_a_thought_that_the_prompt_opens_is_a_thought_of_the_reply(questions):
    tokenizer = load_tokenizer(questions.parent / "tokenizer")
    opened = tuple(tokenizer.encode_part("1+1<think>\n"))
    one = passes.Pass("main", None, GREEDY, 1, [opened, opened[:3]], ["a", "b"], {})
    asked = [passes.TeacherQuestion(key, "s", None) for key in ("q0", "q1")]
    tokens = tuple(tokenizer.encode_part("so 2</think>#2"))
    lines = [
        teacher_engine._line(tokenizer, one, asked, Completion(f"{n} 0", 0, tokens, (), "stop"))
        for n in range(2)
    ]
    assert [line["content"] for line in lines] == [
        "<think>\nso 2</think>#2",
        "so 2</think>#2",
    ]


def test_our_own_server_gives_what_the_engine_gives(questions, tmp_path):
    """Greedy replies, which depend on no seed."""
    config = config_of(questions, decoding=GREEDY, samples=1)
    found = distill(config, tmp_path / "engine")
    with served(make_state()) as server:
        teacher = at(f"{server.url}/v1", name="tiny_base")
        assert distill(dataclasses.replace(config, teacher=teacher), tmp_path / "served") == found


def test_a_line_that_is_no_reply_is_refused_by_file_and_line(copied, questions):
    path = copied / "distill/replies/main.jsonl"
    lines = path.read_text().splitlines()
    lines[4] = json.dumps(json.loads(lines[4]) | {"content": None})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"main.jsonl, line 5, content: expected str, got None"):
        distill(config_of(questions), copied)


def test_verdicts_that_a_kill_left_in_another_order_and_with_older_ones_are_put_in_order(
    copied, questions, finished
):
    path = copied / "distill/verdicts/main.jsonl"
    (copied / "distill/done.json").unlink()
    lines = jsonl.read_jsonl(path)
    jsonl.write_jsonl(path, [lines[0] | {"of": "older"}, *reversed(lines)])
    distill(config_of(questions), copied)
    assert files_of(copied) == files_of(finished)


def test_verdicts_that_are_damaged_are_made_again(copied, questions, finished):
    path = copied / "distill/verdicts/main.jsonl"
    (copied / "distill/done.json").unlink()
    path.write_text('{"id": 3}\n' + path.read_text())
    distill(config_of(questions), copied)
    assert files_of(copied) == files_of(finished)
    assert jsonl.read_jsonl(path) == jsonl.read_jsonl(finished / "distill/verdicts/main.jsonl")
