"""`run_eval` on a tiny random model: against Hugging Face, resumed, refused, in processes."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import transformers
from processes import run_processes
from tiny_evaluation import (
    GREEDY,
    SAMPLER,
    dataset,
    eval_config,
    evaluate,
    evaluate_sums,
    make_folder,
    read_lines,
    sums,
    sums_config,
    write_questions,
)

from jaxreason.config import ConfigError, parse, to_dict
from jaxreason.errors import UserError
from jaxreason.evaluation import evaluator
from jaxreason.evaluation.eval_settings import BenchmarkRun, OwnBenchmark
from jaxreason.evaluation.evaluator import EvalConfig, benchmark_groups
from jaxreason.evaluation.grading import Grader
from jaxreason.results.card_scores import NO_SCORES
from jaxreason.results.claims import digest
from jaxreason.results.sample_files import read_questions
from jaxreason.sampling.engine import Engine
from jaxreason.tasks.verify import VerifierPool

LINE = {"id", "benchmark", "sample", "subset", "cluster", "prompt", "prompt_tokens", "completion"}
LINE |= {"tokens", "answer", "extracted", "scores", "error", "num_tokens", "finish_reason", "of"}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions") / "sums.jsonl", sums(12))


@pytest.fixture(scope="module")
def reference(model_folder):
    torch = pytest.importorskip("torch")
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    return model, transformers.AutoTokenizer.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def finished(model_folder, questions, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    return workdir, evaluate(config, model_folder, workdir)


def test_greedy_lines_hold_hugging_faces_prompts_and_replies(finished, reference, questions):
    model, tokenizer = reference
    lines = read_lines(finished[0], "sums.greedy")
    assert [line["id"] for line in lines] == [f"q{i}" for i in range(12)]
    for line, (question, answer) in zip(lines, sums(12), strict=True):
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        end = {"eos_token_id": tokenizer.eos_token_id, "max_new_tokens": GREEDY.max_tokens}
        reply = model.generate(prompt, do_sample=False, **end)
        reply = reply[0, prompt.shape[1] :].tolist()
        assert (line["prompt_tokens"], line["tokens"]) == (prompt[0].tolist(), reply)
        assert line["completion"] == tokenizer.decode(reply, skip_special_tokens=True)
        assert (line["prompt"], line["answer"]) == (question, answer)
        ended = reply[-1] == tokenizer.eos_token_id
        assert line["finish_reason"] == ("stop" if ended else "length")
        assert set(line) == LINE and line["num_tokens"] == len(reply)


def test_scores_are_the_means_of_the_lines(finished):
    workdir, scores = finished
    rows = {(r["decoding"], r["metric"]): r for r in scores["rows"]}
    for decoding in ("greedy", "t1"):
        lines = read_lines(workdir, f"sums.{decoding}")
        for metric in ("accuracy", "answered", "direct"):
            expected = np.mean([line["scores"][metric] for line in lines])
            row = rows[decoding, metric]
            assert row["mean"] == pytest.approx(expected)
            assert row["low"] <= row["mean"] <= row["high"]
            assert (row["n"], row["graded"], row["errors"]) == (12, len(lines), 0)
    assert rows["t1", "accuracy"]["num_samples"] == 3
    assert [r["metric"] for r in scores["rows"] if r["primary"]] == ["accuracy"] * 2
    assert rows["t1", "pass@2"]["formula"].startswith("1 - C(n - c, 2)")


def test_scores_name_groups_and_replies(finished):
    workdir, scores = finished
    assert [(g["group"], g["decoding"], g["benchmarks"]) for g in scores["groups"]] == [
        ("math", "greedy", ["sums"]),
        ("math", "t1", ["sums"]),
    ]
    replies = {reply["decoding"]: reply for reply in scores["replies"]}
    lines = read_lines(workdir, "sums.t1")
    assert replies["t1"]["samples"] == 36
    assert replies["t1"]["mean_tokens"] == pytest.approx(np.mean([x["num_tokens"] for x in lines]))
    cut = np.mean([x["finish_reason"] == "length" for x in lines])
    assert replies["t1"]["truncated"] == pytest.approx(cut)


def test_an_evaluation_leaves_its_raw_questions_and_what_its_tokenizer_puts_before_a_text(finished):
    folder = finished[0] / "evaluation"
    (value,) = read_questions(folder)
    assert (value["benchmark"], value["num_rows"], len(value["texts"])) == ("sums", 12, 12)
    assert sorted(value["texts"]) == sorted(f"{q}  {a}" for q, a in sums(12))
    head = json.loads(next((folder / "samples").glob("*.head.json")).read_text())
    assert head["told"]["begin"] == []


def test_samples_of_a_question_differ(finished):
    lines = read_lines(finished[0], "sums.t1")
    assert [(x["id"], x["sample"]) for x in lines[:4]] == [
        ("q0", 0),
        ("q0", 1),
        ("q0", 2),
        ("q1", 0),
    ]
    assert len({tuple(line["tokens"]) for line in lines}) > 30


def test_a_finished_evaluation_is_not_run_again(finished, model_folder, questions, monkeypatch):
    workdir, scores = finished
    monkeypatch.setattr(
        evaluator.ModelSource, "open", lambda *_, **__: pytest.fail("the model was loaded")
    )
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    assert evaluate(config, model_folder, workdir) == scores


def test_samples_and_grades_of_an_older_version_stay(
    finished, model_folder, questions, tmp_path, monkeypatch
):
    """Its heads did not say how model and cache are held, nor what decodings have learned since."""
    workdir, scores = finished
    shutil.copytree(workdir, tmp_path / "run")
    folder = tmp_path / "run/evaluation"
    for path in (folder / "samples").glob("*.head.json"):
        head = json.loads(path.read_text())
        del head["held"], head["decoding_settings"]["think_budget"]
        path.write_text(json.dumps(head))
        for grades in (folder / "grades").glob(path.name.replace(".head.json", ".*.head.json")):
            of_grades = json.loads(grades.read_text())
            told = {name: value for name, value in head.items() if name != "told"}
            grades.write_text(json.dumps(of_grades | {"samples": digest(told)}))
    before = {p: p.read_bytes() for p in folder.glob("*/*")}
    fail = lambda *_, **__: pytest.fail("asked or graded again")  # noqa: E731
    monkeypatch.setattr(evaluator.ModelSource, "open", fail)
    monkeypatch.setattr(VerifierPool, "score", fail)
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    assert evaluate(config, model_folder, tmp_path / "run") == scores
    assert {p: p.read_bytes() for p in folder.glob("*/*")} == before


def test_a_cache_held_otherwise_needs_another_directory(finished, model_folder, questions):
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    other = dataclasses.replace(config.sampler, cache_dtype="int8", slots=4)
    with pytest.raises(ConfigError, match=r"\): held\.sampler\.cache_dtype: 'auto' -> 'int8'\. To"):
        evaluate(dataclasses.replace(config, sampler=other), model_folder, finished[0])


def test_scores_stand_in_the_card_of_the_runs_own_model_alone(
    finished, model_folder, questions, tmp_path
):
    for name in ("model", "other"):  # the same weights, so nothing is sampled again
        shutil.copytree(model_folder, tmp_path / name)
        (tmp_path / name / "README.md").write_text(f"# A\n\n{NO_SCORES}")
    shutil.copytree(finished[0] / "evaluation", tmp_path / "evaluation")
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    cards = [tmp_path / name / "README.md" for name in ("model", "other")]
    evaluate(config, tmp_path / "other", tmp_path)
    assert [card.read_text() for card in cards] == [f"# A\n\n{NO_SCORES}"] * 2
    scores = evaluate(config, tmp_path / "model", tmp_path)
    row = next(r for r in scores["rows"] if r["primary"] and r["decoding"] == "t1")
    line = f"| Sums | {row['variant']} | t1 | {row['metric']} | {100 * row['mean']:.1f} |"
    assert line in cards[0].read_text() and cards[1].read_text() == f"# A\n\n{NO_SCORES}"


def test_an_interrupted_evaluation_continues_to_the_same_file(
    finished, model_folder, questions, tmp_path
):
    folder = tmp_path / "evaluation" / "samples"
    folder.mkdir(parents=True)
    source = finished[0] / "evaluation" / "samples"
    for name in ("sums.own.greedy", "sums.own.t1"):
        (folder / f"{name}.head.json").write_text((source / f"{name}.head.json").read_text())
    lines = (source / "sums.own.t1.jsonl").read_text().splitlines(keepends=True)
    # Some samples in another order, one edited so that it is recognised, the last one cut in half.
    kept = json.loads(lines[7]) | {"completion": "written before the kill"}
    half = lines[20][: len(lines[20]) // 2]
    (folder / "sums.own.t1.jsonl").write_text(lines[30] + json.dumps(kept) + "\n" + lines[0] + half)
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    evaluate(config, model_folder, tmp_path)
    found, expected = read_lines(tmp_path, "sums.t1"), read_lines(finished[0], "sums.t1")
    assert found[7]["completion"] == kept["completion"] and found[7]["extracted"] is None
    assert found[:7] + found[8:] == expected[:7] + expected[8:]
    assert read_lines(tmp_path, "sums.greedy") == read_lines(finished[0], "sums.greedy")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda x: x + x[3:4],
            r"sums\.own\.t1\.jsonl, line 37: sample 0 of 'q1' is in line 4 already",
        ),
        (lambda x: x[:5] + [x[5] | {"id": "q99"}], r"line 6: sums has no question 'q99'"),
        (lambda x: x[:5] + [x[5] | {"sample": 3}], r"line 6: expected a sample of 0 to 2, got 3"),
        (lambda x: x[:5] + [{"id": "q1"}], r"line 6: no field 'benchmark'"),
    ],
)
def test_a_line_that_is_no_sample_of_the_benchmark_stops_it_before_the_model_is_loaded(
    finished, model_folder, questions, tmp_path, monkeypatch, edit, message
):
    shutil.copytree(finished[0] / "evaluation", tmp_path / "evaluation")
    path = tmp_path / "evaluation" / "samples" / "sums.own.t1.jsonl"
    lines = edit([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(
        evaluator.ModelSource, "open", lambda *_, **__: pytest.fail("the model was loaded")
    )
    with pytest.raises(UserError, match=message):
        evaluate(sums_config(questions, {"greedy": 1, "t1": 3}), model_folder, tmp_path)


def test_an_evaluation_without_a_single_score_is_an_error_and_leaves_no_scores(
    model_folder, tmp_path
):
    long = write_questions(tmp_path / "long.jsonl", [("?" * 300, "1"), ("!" * 300, "2")])
    for _ in range(2):  # the second time nothing is sampled, and it is still an error
        with pytest.raises(
            UserError, match=r"none of its samples has a score.*sampling error: 2.*=\d+\. When"
        ):
            evaluate(sums_config(long, {"greedy": 1}), model_folder, tmp_path)
        assert not (tmp_path / "evaluation" / "scores.json").exists()


def test_samples_that_all_failed_do_not_block_the_settings_with_which_they_can_be_made(
    model_folder, questions, tmp_path
):
    two = {"greedy": 1, "t1": 3}
    short = dataclasses.replace(SAMPLER, max_length=4)
    with pytest.raises(UserError, match="none of its samples has a score"):
        evaluate(sums_config(questions, two, sampler=short), model_folder, tmp_path / "run")
    scores = evaluate(sums_config(questions, two), model_folder, tmp_path / "run")
    assert scores == evaluate(sums_config(questions, two), model_folder, tmp_path / "new")
    for name in ("sums.greedy", "sums.t1"):
        assert read_lines(tmp_path / "run", name) == read_lines(tmp_path / "new", name)


def test_one_sample_that_was_made_keeps_its_file_for_its_own_settings(model_folder, tmp_path):
    path = write_questions(tmp_path / "q.jsonl", [("1=", "2"), ("1" * 300, "3")])
    evaluate(sums_config(path, {"greedy": 1}), model_folder, tmp_path)
    longer = dataclasses.replace(SAMPLER, max_length=384)
    with pytest.raises(ConfigError, match="max_length: 256 -> 384"):
        evaluate(sums_config(path, {"greedy": 1}, sampler=longer), model_folder, tmp_path)


def test_a_benchmark_with_some_failures_says_how_many_and_why(model_folder, tmp_path, caplog):
    mixed = write_questions(tmp_path / "mixed.jsonl", [("?" * 300, "1"), ("1+1=", "2")])
    scores = evaluate(sums_config(mixed, {"greedy": 1}), model_folder, tmp_path)
    assert "1 of 2 samples without a score. sampling error: 1" in caplog.text
    row = next(row for row in scores["rows"] if row["primary"])
    assert (row["errors"], row["graded"], row["n"]) == (1, 1, 1)
    assert scores["replies"][0]["errors"] == {"hash_answer": {"sampling error": 1}}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_was_graded_and_the_next_run_ends_with_the_same_files(
    finished, model_folder, questions, tmp_path, monkeypatch, capsys, number
):
    grade = Grader.put

    signals = iter([number])  # a second one would act at once

    def put_and_signal(self, item, line):
        grade(self, item, line)
        for one in signals:
            os.kill(os.getpid(), one)

    config = sums_config(questions, {"greedy": 1, "t1": 3})
    with monkeypatch.context() as patch:
        patch.setattr(Grader, "put", put_and_signal)
        with pytest.raises(SystemExit) as stopped:
            evaluate(config, model_folder, tmp_path)
    assert stopped.value.code == 143
    said = f"Stopped by {number.name}. The samples and grades that were made are saved."
    assert said in capsys.readouterr().out
    assert not (tmp_path / "evaluation" / "scores.json").exists()
    evaluate(config, model_folder, tmp_path)
    for name in ("sums.greedy", "sums.t1"):
        assert read_lines(tmp_path, name) == read_lines(finished[0], name)


def test_a_signal_before_the_first_reply_does_not_wait_for_one(
    model_folder, questions, tmp_path, monkeypatch
):
    decode, blocks = Engine._dispatch_decode, []

    def decode_and_signal(self, *args):
        blocks.append(len(blocks))
        if len(blocks) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return decode(self, *args)

    monkeypatch.setattr(Engine, "_dispatch_decode", decode_and_signal)
    with pytest.raises(SystemExit) as stopped:
        evaluate(sums_config(questions, {"greedy": 1}), model_folder, tmp_path)
    assert stopped.value.code == 143 and len(blocks) == 1
    assert (tmp_path / "evaluation" / "samples" / "sums.own.greedy.jsonl").read_text() == ""


def test_a_head_without_samples_does_not_block_other_settings(
    finished, model_folder, questions, tmp_path
):
    folder = tmp_path / "evaluation" / "samples"
    folder.mkdir(parents=True)
    for name in ("sums.own.greedy", "sums.own.t1"):
        (folder / f"{name}.head.json").write_text('{"seed": 9}')
    (folder / "sums.own.t1.jsonl").write_text("")
    evaluate(sums_config(questions, {"greedy": 1, "t1": 3}), model_folder, tmp_path)
    assert read_lines(tmp_path, "sums.t1") == read_lines(finished[0], "sums.t1")


def test_a_broken_head_is_refused_with_what_would_help(finished, model_folder, questions, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    head = tmp_path / "run" / "evaluation" / "samples" / "sums.own.t1.head.json"
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    head.write_text(head.read_text()[:50])
    with pytest.raises(
        UserError, match=r"sums\.own\.t1\.head\.json.* remove sums\.own\.t1\.jsonl and"
    ):
        evaluate(config, model_folder, tmp_path / "run")
    for path in (head, head.with_name("sums.own.t1.jsonl")):  # as the message says
        path.unlink()
    evaluate(config, model_folder, tmp_path / "run")
    assert read_lines(tmp_path / "run", "sums.t1") == read_lines(finished[0], "sums.t1")


def test_benchmarks_share_the_slots_and_get_the_replies_they_get_alone(
    finished, model_folder, questions, tmp_path, monkeypatch
):
    calls, generate = [], Engine.generate

    def counted(self, requests, decoding, **options):
        requests = list(requests)
        calls.append({request.id.split(".")[0] for request in requests})
        return generate(self, requests, decoding, **options)

    monkeypatch.setattr(Engine, "generate", counted)
    more = write_questions(tmp_path / "more.jsonl", sums(5))  # equal ids: q0 … q4
    own = {
        "sums": OwnBenchmark("Sums", "math", dataset(questions)),
        "few": OwnBenchmark("Few", "other", dataset(more)),
    }
    runs = {"sums": BenchmarkRun(0, {"greedy": 1, "t1": 3}), "few": BenchmarkRun(0, {"greedy": 1})}
    evaluate(eval_config(own, runs), model_folder, tmp_path)
    assert calls == [{"sums", "few"}, {"sums"}]
    for name in ("sums.greedy", "sums.t1"):
        assert read_lines(tmp_path, name) == read_lines(finished[0], name)
    first = [line["tokens"] for line in read_lines(tmp_path, "sums.greedy")[:5]]
    assert [line["tokens"] for line in read_lines(tmp_path, "few.greedy")] == first


@pytest.mark.parametrize("change", ["decoding", "questions", "seed", "model", "template"])
def test_samples_made_with_something_else_are_not_mixed(
    finished, model_folder, questions, tmp_path, change
):
    config, model, seed = sums_config(questions, {"greedy": 1, "t1": 3}), model_folder, 0
    data = config.own["sums"].data
    if change == "decoding":
        decodings = config.decodings | {"t1": dataclasses.replace(GREEDY, temperature=0.5)}
        config = dataclasses.replace(config, decodings=decodings)
    elif change == "questions":
        data = dataset(write_questions(tmp_path / "other.jsonl", sums(11)))
    elif change == "template":
        data = dataclasses.replace(data, prompt_template="{prompt}?")
    elif change == "seed":
        seed = 1
    else:
        model = make_folder(tmp_path / "other", seed=1)
    config = dataclasses.replace(config, own={"sums": OwnBenchmark("Sums", "math", data)})
    what = {"model": "model.sha256", "questions": "num_questions", "template": "prompts"}
    what |= {"decoding": "decoding_settings.temperature: 1.0 -> 0.5", "seed": "seed: 0 -> 1"}
    with pytest.raises(
        ConfigError, match=f"sums.*made with something else.*\n?(.*\n)*.*{what[change]}"
    ):
        evaluate(config, model, finished[0], seed=seed)


def test_samples_of_unknown_origin_are_refused(model_folder, questions, tmp_path):
    (tmp_path / "evaluation" / "samples").mkdir(parents=True)
    (tmp_path / "evaluation" / "samples" / "sums.own.greedy.jsonl").write_text("")
    with pytest.raises(ConfigError, match="not known"):
        evaluate(sums_config(questions, {"greedy": 1}), model_folder, tmp_path)


def test_a_limit_takes_the_same_questions_whatever_the_sampling_seed(
    model_folder, questions, tmp_path
):
    names = []
    for seed in (0, 1):
        config = sums_config(questions, {"greedy": 1}, limit=5)
        evaluate(config, model_folder, tmp_path / str(seed), seed=seed)
        names.append([line["id"] for line in read_lines(tmp_path / str(seed), "sums.greedy")])
    assert names[0] == names[1] and len(names[0]) == 5
    assert names[0] != [f"q{i}" for i in range(5)]


def test_failed_grades_are_errors_and_not_zeros(model_folder, tmp_path):
    asked = ["punctuation:no_comma", "not:known", "punctuation:no_comma"]
    rows = [
        {"id": f"q{i}", "prompt": f"{i}", "instruction_id_list": [x]} for i, x in enumerate(asked)
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields, columns = {"id": "id", "prompt": "prompt"}, ("instruction_id_list",)
    source = dataclasses.replace(dataset(path, task="ifeval"), fields=fields, metadata=columns)
    own = {"n": OwnBenchmark("N", "non_reasoning", source)}
    config = eval_config(own, {"n": BenchmarkRun(0, {"greedy": 1})})
    scores = evaluate(config, model_folder, tmp_path)
    lines = read_lines(tmp_path, "n.greedy", grader="ifeval")
    failed = [line for line in lines if line["error"]]
    assert [line["id"] for line in failed] == ["q1"]
    assert "'not:known'] unknown" in failed[0]["error"] and failed[0]["scores"] == {}
    row = next(row for row in scores["rows"] if row["primary"])
    assert (row["errors"], row["n"], row["graded"]) == (1, 2, 2)
    assert scores["replies"][0]["errors"] == {"ifeval": {"UserError": 1}}


def test_a_prompt_that_does_not_fit_is_an_error_of_that_question_only(model_folder, tmp_path):
    path = write_questions(tmp_path / "q.jsonl", [("1+1=", "2"), ("1" * 300, "3")])
    scores = evaluate(sums_config(path, {"greedy": 1}), model_folder, tmp_path)
    lines = read_lines(tmp_path, "sums.greedy")
    assert lines[0]["error"] is None
    assert lines[1]["error"].startswith("sampling error: a prompt of 302 tokens")
    assert scores["rows"][0]["errors"] == 1 and scores["rows"][0]["n"] == 1


def test_a_prompt_that_cannot_be_encoded_is_an_error_of_that_question_only(
    model_folder, tmp_path, caplog
):
    path = write_questions(tmp_path / "q.jsonl", [("1+1=", "2"), ("\u00e9?", "3"), ("2=", "2")])
    scores = evaluate(sums_config(path, {"greedy": 1}), model_folder, tmp_path)
    lines = read_lines(tmp_path, "sums.greedy")
    assert [line["error"] is None for line in lines] == [True, False, True]
    assert "item 'q1'" in lines[1]["error"] and "characters that are no tokens" in lines[1]["error"]
    assert scores["rows"][0]["errors"] == 1 and "item 'q1'" in caplog.text
    path = write_questions(tmp_path / "all.jsonl", [("\u00e9?", "3"), ("\u00e8", "2")])
    with pytest.raises(UserError, match=r"item 'q0': .*cannot encode"):
        evaluate(sums_config(path, {"greedy": 1}), model_folder, tmp_path / "all")


def test_likelihoods_of_choices_are_hugging_faces(model_folder, reference, tmp_path):
    torch = pytest.importorskip("torch")
    model, tokenizer = reference
    rows = [
        f"It was {i} today.\tHow long?\t{i} days\t{'yes' if i % 3 else 'no'}\tx" for i in range(7)
    ]
    (tmp_path / "general").mkdir()
    (tmp_path / "general" / "mc_taco_test.tsv").write_text("\n".join(rows) + "\n")
    runs = {"mc_taco": BenchmarkRun(0, {"greedy": 1})}
    scores = evaluate(eval_config({}, runs, data_folder=str(tmp_path)), model_folder, tmp_path)
    lines = read_lines(tmp_path, "mc_taco.greedy", "question", "mc_taco")
    for line in lines:
        found = {}
        for word in ("no", "yes"):
            ids = tokenizer.encode(word)
            tokens = torch.tensor([line["prompt_tokens"] + ids])
            with torch.no_grad():
                logprobs = model(tokens).logits[0].log_softmax(-1)
            start = len(line["prompt_tokens"]) - 1
            found[word] = sum(float(logprobs[start + i, t]) for i, t in enumerate(ids))
        assert dict(zip(line["choices"], line["choice_logprobs"], strict=True)) == pytest.approx(
            found, abs=1e-4
        )
        assert line["completion"] == max(found, key=found.get) == line["extracted"]
        assert line["finish_reason"] == "choice"
    metrics = {row["metric"] for row in scores["rows"]}
    assert {"accuracy", "yes", "balanced_accuracy", "question_em", "question_f1"} <= metrics
    row = next(row for row in scores["rows"] if row["metric"] == "accuracy")
    expected = np.mean([line["completion"] == line["answer"] for line in lines])
    assert row["mean"] == pytest.approx(expected)
    assert row["graded"] == 7 and row["n"] == 7


def test_eight_devices_write_the_same_samples_as_one(finished, model_folder, questions, tmp_path):
    config = sums_config(questions, {"greedy": 1, "t1": 3})
    evaluate(config, model_folder, tmp_path, num_devices=8)
    for name in ("sums.greedy", "sums.t1"):
        assert read_lines(tmp_path, name) == read_lines(finished[0], name)


@pytest.mark.slow
def test_two_processes_write_the_same_samples_as_one(finished, model_folder, questions, tmp_path):
    found = run_processes(
        evaluate_sums, 2, str(questions), str(model_folder), str(tmp_path), timeout_s=600.0
    )
    assert found[0] == found[1]
    expected = [x for x in read_lines(finished[0], "sums.t1") if x["sample"] == 0]
    assert found[0] == expected + read_lines(finished[0], "sums.greedy")


@pytest.mark.slow
def test_two_processes_grade_what_a_kill_left_without_grades(model_folder, questions, tmp_path):
    evaluate(sums_config(questions, {"greedy": 1, "t1": 1}), model_folder, tmp_path)
    before = read_lines(tmp_path, "sums.greedy")
    for path in (tmp_path / "evaluation" / "grades").glob("*.jsonl"):
        path.write_text("")
    run_processes(
        evaluate_sums, 2, str(questions), str(model_folder), str(tmp_path), timeout_s=120.0
    )
    assert read_lines(tmp_path, "sums.greedy") == before


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "eval.benchmarks: expected at least one of math500, "),
        ({"math50": BenchmarkRun(0, {"greedy": 1})}, "math50: no such benchmark; .*'math500'"),
        (
            {"math500": BenchmarkRun(0, {"greed": 1})},
            "samples.greed: no such decoding; .*'greedy'.*has greedy",
        ),
        ({"math500": BenchmarkRun(0, {})}, "at least one decoding"),
        ({"math500": BenchmarkRun(0, {"t1": 0})}, "samples.t1: expected at least 1"),
    ],
)
def test_benchmarks_that_do_not_fit_are_refused_by_name(runs, message):
    with pytest.raises(ConfigError, match=message):
        benchmark_groups(eval_config({}, runs))


def test_a_benchmark_of_ones_own_takes_no_shipped_name_and_its_unknown_task_is_named(questions):
    taken = {"gsm8k": OwnBenchmark("Mine", "math", dataset(questions))}
    with pytest.raises(ConfigError, match=r"eval\.own\.gsm8k: .*comes with the package; .*another"):
        benchmark_groups(eval_config(taken, {"gsm8k": BenchmarkRun(0, {"greedy": 1})}))
    misspelt = {"mine": OwnBenchmark("Mine", "math", dataset(questions, task="last_numbr"))}
    message = "eval.benchmarks.mine: Mine has the task 'last_numbr', .*did you mean 'last_number'"
    with pytest.raises(ConfigError, match=message):
        benchmark_groups(eval_config(misspelt, {"mine": BenchmarkRun(0, {"greedy": 1})}))


def test_a_recipe_section_becomes_the_configuration(questions):
    config = sums_config(questions, {"greedy": 1})
    assert parse(EvalConfig, to_dict(config), "eval") == config
    assert benchmark_groups(config) == {"sums": "math"}


def test_a_model_of_fewer_positions_is_asked_within_them_where_the_recipe_allows_it():
    config = eval_config({}, {})
    assert evaluator.fitting(config, 128) == config  # refused later, by the engine
    allowed = dataclasses.replace(config, within_positions=True)
    assert evaluator.fitting(allowed, 128).sampler.max_length == 128
    assert evaluator.fitting(allowed, 512) == allowed
