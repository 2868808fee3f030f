"""A newcomer's way: init writes a recipe for a model and a file, check looks it over, it trains, show tells of it."""

import dataclasses
import json
import math
import re
import shlex
from pathlib import Path

import huggingface_hub
import pytest
from program import call, refused
from sample_lines import write_samples

from jaxreason.config import parse
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog
from jaxreason.models.huggingface import read_architecture
from jaxreason.recipes import load_recipe
from jaxreason.training.sft_config import SFTConfig
from jaxreason.verbs import starter_recipe

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "configs/tiny_base")
MEASURED = ("variant", "group", "decoding", "mean", "low", "high", "n")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_rows(name, *rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def sums(number=60):
    for i in range(number):
        a, b = 10 + i, 5 + 7 * i % 80
        yield {
            "question": f"{a}+{b}",
            "answer": str(a + b),
            "solution": f"{a}+{b}={a + b}!#{a + b}",
        }


def init(data="mine.jsonl", target="mine.py"):
    assert call("init", "--model", MODEL, "--data", data, "--target", target) == 0


def test_the_next_command_that_init_prints_can_be_copied_if_names_have_spaces(capsys):
    write_rows("my sums.jsonl", *sums())
    init("my sums.jsonl", "it's mine.py")
    words = shlex.split(capsys.readouterr().out.splitlines()[-1].split("next: jaxreason ")[1])
    assert words == ["check", "--config", "it's mine.py"] and call(*words) == 0


def test_the_recipe_that_init_writes_passes_check_trains_and_is_shown(capsys):
    write_rows("mine.jsonl", *(row | {"choices": "a or b"} for row in sums()))
    init()
    said = capsys.readouterr().out
    assert "columns that are not read: choices" in said
    assert "prompt = question, answer = answer, response = solution" in said
    assert call("check", "--config", "mine.py") == 0
    shown = capsys.readouterr().out
    assert "model: " in shown and "454,720 parameters" in shown
    assert "a reply ends with '<end>' (3)" in shown
    assert "<user>11+12<assistant>«11+12=23!#23<end>»" in shown
    assert "nothing was found that would stop a run" in shown
    more = ("--config.mesh.fsdp=1", "--config.mesh.data=-1", "--config.sft.epochs=1.0")
    assert call("sft", "--config", "mine.py", "--workdir", "run", *more) == 0
    said = capsys.readouterr()
    assert "step 1: loss" in said.out and "model: run/model" in said.out
    for line in (
        "devices: 8 x cpu",
        "454,720 parameters",
        "writes: run",
        "data: ",
        "loading",
        "compiling",
    ):
        assert line in said.err and line in Path("run/log.txt").read_text()
    assert call("show", "run") == 0
    assert "step 1: loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "sections", "task"),
    [
        ({"problem": "1+1", "answer": "2"}, {"rl", "study"}, "last_number"),
        ({"prompt": "1+1", "response": "2"}, {"sft"}, ""),
        ({"question": "1+1", "answer": "1 and 1 #### 2"}, {"sft", "rl", "study"}, "gsm8k"),
    ],
)
def test_the_sections_follow_the_columns(row, sections, task):
    prompt = next(name for name in row if name not in ("answer", "response"))
    write_rows("mine.jsonl", *({**row, prompt: f"{i}+1"} for i in range(40)))
    init()
    text = Path("mine.py").read_text()
    assert {s for s in ("sft", "rl", "study") if f"config.{s} = " in text} == sections
    assert f"task={task!r}" in text
    assert (f"task = '{task}_strict'" in text) == ("rl" in sections)


def test_init_replaces_no_file_and_names_columns_that_it_does_not_know(capsys):
    write_rows("mine.jsonl", {"text": "1+1", "result": "2"})
    message = refused(capsys, "init", "--model", MODEL, "--data", "mine.jsonl", "--target", "a.py")
    assert "no column is known as the question" in message and "text, result" in message
    assert not Path("a.py").exists()
    Path("a.py").touch()
    message = refused(capsys, "init", "--model", MODEL, "--data", "mine.jsonl", "--target", "a.py")
    assert "--target a.py: exists already" in message


def test_init_puts_alpacas_input_below_its_instruction(capsys):
    rows = [{"instruction": "Add.", "input": f"{n}+1", "output": f"{n + 1}"} for n in range(60)]
    write_rows("mine.jsonl", *rows, {"instruction": "What is 1+1?", "input": "", "output": "2"})
    init()
    told = capsys.readouterr().out
    assert (
        "columns: prompt = instruction and input, response = output" in told
        and "not read" not in told
    )
    (data,) = parse(SFTConfig, load_recipe("mine.py").sft, "sft").datasets.values()
    asked = {example.messages[0]["content"] for example in load_examples(data, DropLog())}
    assert len(asked) > 30 and asked < {"What is 1+1?", *(f"Add.\n\n{n}+1" for n in range(60))}


def test_init_reads_a_whole_question_though_there_are_alpacas_columns_too(capsys):
    more = {"instruction": None, "input": None}
    write_rows("mine.jsonl", *(row | more for row in sums()))
    init()
    assert "columns: prompt = question, answer = answer, resp" in capsys.readouterr().out


def test_a_recipe_for_a_cpu_has_sizes_for_its_memory(monkeypatch):
    """For one twice as deep as SmolLM2-135M: 92,160 bytes of keys and values for a position, in float32."""
    write_rows("mine.jsonl", *({k: row[k] for k in ("question", "answer")} for row in sums()))
    arch = dataclasses.replace(
        read_architecture(Path(MODEL)),
        num_hidden_layers=60,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        max_position_embeddings=8192,
    )
    monkeypatch.setattr(starter_recipe, "read_architecture", lambda folder: arch)
    init()
    text = Path("mine.py").read_text()
    length = int(re.search(r"row_length=(\d+)", text)[1])
    assert 512 < length < 1024
    assert (
        "micro_batch_rows=1," in text
        and f"sections.sampler({(2 << 30) // (length * 92160)}, " in text
    )
    config = load_recipe("mine.py")
    assert config.model.attention == "blockwise"  # Its memory is linear in the length.
    assert "--config.model.path=runs/rl/model --workdir runs/rl" in text and "runs/sft" not in text


def test_a_tenth_of_the_steps_that_sft_will_make_warms_up(capsys):
    """Most replies are far shorter than a row, so that one row holds several examples of a step."""
    rows = [{"question": f"{n}+{n}", "solution": f"#{2 * n}"} for n in range(400)]
    write_rows("mine.jsonl", *rows, {"question": "1+0", "solution": "1" * 150})
    init()
    held = int(re.search(r"questions: (\d+) to learn from", capsys.readouterr().out)[1])
    warm = re.search(r"warmup_steps\": (\d+)", Path("mine.py").read_text())[1]
    assert int(warm) == math.ceil(held * 2.0 / 8) // 10 > 5


def test_init_says_why_no_row_can_be_read(capsys):
    Path("mine.jsonl").write_text('{"question": "1+1"')
    message = refused(capsys, "init", "--model", MODEL, "--data", "mine.jsonl", "--target", "a.py")
    assert "no row can be read; the first bad one is " in message and "mine.jsonl:1: not" in message
    Path("mine.jsonl").write_text("")
    message = refused(capsys, "init", "--model", MODEL, "--data", "mine.jsonl", "--target", "a.py")
    assert "mine.jsonl: no row can be read; it has none." in message


def test_check_says_how_many_answers_no_reply_could_match(capsys):
    write_rows("mine.jsonl", *sums())
    init()
    capsys.readouterr()
    change = "--config.rl.datasets.mine.task=multiple_choice"
    assert call("check", "--config", "mine.py", change) == 0
    told = r"by the task 'multiple_choice' \((\d+) of \1 questions\)"
    assert re.search(told, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.sft.datasets.mine.path=gone.jsonl", "gone.jsonl"),
        ("--config.sft.datasets.mine.fields.prompt=qestion", "no row has the column 'qestion'"),
        ("--config.model.path=gone", "gone"),
        ("--config.model.dtype=float8", "model.dtype='float8': expected one of float32, bfloat16"),
        ("--config.sft.length=999999", "max_position_embeddings"),
        ("--config.sft.length=8", "all examples are longer than 8 tokens"),
        ("--config.rl.sampler.max_length=66", "all prompts are longer than 2 tokens"),
        ("--config.rl.datasets.mine.task=mc_taco", "expected a task of kind generate"),
    ],
)
def test_check_finds_what_would_stop_a_run(change, message, capsys):
    write_rows("mine.jsonl", *sums())
    init()
    assert message in refused(capsys, "check", "--config", "mine.py", change)


@pytest.mark.parametrize("words", [["-config", "mine.py"], ["-config=mine.py"]])
def test_flags_may_have_one_dash(words, capsys):
    write_rows("mine.jsonl", *sums())
    init()
    capsys.readouterr()
    assert call("check", *words, "-config.sft.epochs=1.0") == 0
    assert "nothing was found that would stop a run" in capsys.readouterr().out


@pytest.mark.parametrize(("dtype", "times"), [("bfloat16", 1), ("float32", 0)])
def test_check_warns_once_of_parameters_in_which_small_steps_are_lost(dtype, times, capsys):
    write_rows("mine.jsonl", *sums())
    init()
    assert call("check", "--config", "mine.py", f"--config.model.param_dtype={dtype}") == 0
    assert capsys.readouterr().err.count("a step changes no weight by less than") == times


@pytest.mark.parametrize("copies", [1, 2])
def test_check_says_how_many_questions_of_a_benchmark_repeat_earlier_ones(copies, capsys):
    write_rows("mine.jsonl", *(row for row in sums() for _ in range(copies)))
    init()
    assert call("check", "--config", "mine.py") == 0
    said = capsys.readouterr().out
    number = int(re.search(r"eval\.mine\.own\.greedy: (\d+) questions,", said)[1])
    line = f"eval.mine.own.greedy: {number // 2} questions repeat an earlier one; intervals count "
    assert (line in said) == (copies == 2) and ("repeat" in said) == (copies == 2)


def test_check_counts_questions_that_an_evaluation_cannot_put_and_refuses_none_of_them(capsys):
    unknown = ({"question": f"é{n}", "answer": str(n), "solution": f"#{n}"} for n in range(30))
    write_rows("mine.jsonl", *sums(), *unknown)
    init()
    capsys.readouterr()
    assert call("check", "--config", "mine.py") == 0
    said = capsys.readouterr().out
    told = r"eval\.mine\.own\.greedy: (\d+) of (\d+) questions cannot be put and count as errors"
    bad, number = map(int, re.search(told, said).groups())
    assert 0 < bad < number
    assert f"eval.mine.own.greedy: {number} questions, longest prompt 7 tokens" in said


def test_check_finds_a_folder_without_weights(capsys):
    write_rows("mine.jsonl", *sums())
    init()
    Path("bare").mkdir()
    for file in Path(MODEL).iterdir():
        if file.suffix != ".safetensors":
            (Path("bare") / file.name).write_bytes(file.read_bytes())
    message = refused(capsys, "check", "--config", "mine.py", "--config.model.path=bare")
    assert "no *.safetensors file" in message


def test_check_reads_the_settings_of_a_model_of_the_hub_and_leaves_its_weights(capsys, monkeypatch):
    asked = []

    def download(path, allow_patterns, **_):
        asked.append((path, allow_patterns))
        return MODEL

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    write_rows("mine.jsonl", *sums())
    init()
    words = ("check", "--config", "mine.py", "--config.model.path=owner/tiny")
    capsys.readouterr()
    assert call(*words) == 0
    assert re.search(r"^model: owner/tiny, [\d,]+ parameters$", capsys.readouterr().out, re.M)
    message = refused(capsys, *words, "--config.rl.sampler.max_length=999999")
    assert "max_position_embeddings" in message
    assert {path for path, _ in asked} == {"owner/tiny"}
    assert not any("safetensors" in pattern for _, patterns in asked for pattern in patterns)


def test_check_of_a_model_that_is_not_here_still_refuses_how_it_would_be_run(capsys):
    write_rows("mine.jsonl", *sums())
    init()
    words = ("--config.model.path=owner/tiny", "--config.model.attention=blockwize")
    message = refused(capsys, "check", "--config", "mine.py", *words)
    assert "model.attention='blockwize': expected one of " in message


def test_show_prints_scores_with_intervals_and_replies_of_an_evaluation(capsys):
    folder = Path("run/evaluation")
    folder.mkdir(parents=True)
    row = {"benchmark": "add", "label": "Adding", "decoding": "greedy", "metric": "accuracy"}
    row |= {
        "group": "math",
        "prompt": "own",
        "grader": "last_number",
        "variant": "robust",
        "primary": True,
        "mean": 0.5,
        "low": 0.25,
        "high": 0.75,
        "n": 8,
        "errors": 1,
    }
    scores = {"confidence": 0.995, "rows": [row], "groups": []}
    (folder / "scores.json").write_text(json.dumps(scores))
    line = {"id": "q1", "completion": "two", "answer": "2", "extracted": None}
    line |= {"prompt": "1+1", "scores": {"accuracy": 0.0}, "error": None}
    write_samples(folder, "add", "greedy", [line])
    for path in ("run", "run/evaluation"):
        assert call("show", path) == 0
        shown = capsys.readouterr().out
        assert "99.5% interval" in shown
        assert "50.0   25.0 to 75.0    8" in shown and "1 samples could not be graded" in shown
        assert "question q1: 1+1\nreply: two\nanswer '2', found None; accuracy 0" in shown
    assert call("show", "run", "--replies", "0") == 0
    assert "reply: two" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            {"confidence": 0.95, "rows": [{"benchmark": "add"}], "groups": []},
            "expected a list 'rows'",
        ),
        ({"confidence": 0.95, "rows": [], "groups": [{"mean": 0.5}]}, "expected a list 'groups'"),
        ({"rows": [], "groups": []}, "expected a number 'confidence'"),
        (
            {"confidence": 0.95, "rows": [], "groups": [dict.fromkeys(MEASURED, "x")]},
            "groups: high: expected a number or null, got 'x'",
        ),
    ],
)
def test_show_refuses_scores_that_are_none(scores, message, capsys):
    Path("run").mkdir()
    (Path("run") / "scores.json").write_text(json.dumps(scores))
    assert message in refused(capsys, "show", "run")


@pytest.mark.parametrize("verb", ["show", "status", "report"])
def test_a_folder_that_is_not_there_or_is_a_file_is_refused(verb, capsys):
    begin = [verb, *(["--workdir"] if verb == "report" else [])]
    Path("file").touch()
    assert "gone: no such folder." in refused(capsys, *begin, "gone")
    assert "file: expected a folder, is a file." in refused(capsys, *begin, "file")


def test_show_refuses_a_folder_that_holds_nothing(capsys):
    Path("empty").mkdir()
    assert "no run, evaluation or study is here" in refused(capsys, "show", "empty")


def test_init_refuses_a_file_whose_benchmark_check_would_refuse(capsys):
    write_rows("mine.jsonl", *sums())
    lines = Path("mine.jsonl").read_text().splitlines()
    lines[30] = '{"question": "cut'
    Path("mine.jsonl").write_text("\n".join(lines) + "\n")
    assert call("init", "--model", MODEL, "--data", "mine.jsonl", "--target", "mine.py") == 2
    said = capsys.readouterr().err
    assert "mine.jsonl: 1 of its rows cannot be used" in said and "Traceback" not in said
    assert "mine.jsonl:31: " in said and "Mend or remove them." in said
    assert not Path("mine.py").exists()
    # Without answers there is no benchmark, and training leaves the line out.
    rows = [{"prompt": row["question"], "response": row["solution"]} for row in sums()]
    write_rows("mine.jsonl", *rows)
    with open("mine.jsonl", "a") as file:
        file.write(lines[30] + "\n")
    init()
