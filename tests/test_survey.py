"""configs/survey.py: what it names, and stand-ins of every family through the program from base to report."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import started_programs
from evaluation.benchmark_rows import write_files
from standins import MODELS, write_standins
from verbs.program import call

from jaxreason.recipes import load_recipe
from jaxreason.report.build import read_summary
from jaxreason.results.published import published_indices, published_models

ROOT = Path(__file__).parent.parent
RECIPE = Path(__file__).parent / "survey_standins.py"
ARMS = (
    *("simplerl_1_5b", "r1_distill_qwen_7b", "llama_3_1_8b_simplerl"),
    *("mistral_24b_reasoning", "unireason_rl"),
)


def arms_of(argument):
    return load_recipe(f"configs/survey.py:{argument}").study.arms


def test_it_names_the_eighteen_models_with_the_bases_that_the_paper_compares_them_with():
    arms = arms_of("v5p-64,general_reasoner_sft=/m/gr")
    named = {arm.published: (arm.path, arm.base) for arm in arms.values()}
    assert set(named) == set(published_indices())
    for name, (path, base) in named.items():
        model = published_models()[name]
        assert (path, base) == (model.path or "/m/gr", model.base_path)
    assert "general_reasoner_sft" not in arms_of("v5p-64")  # it was not released


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("8b,24b", {"llama_3_1_8b_simplerl", "mistral_24b_reasoning"}),
        ("h100-8,limo_32b,1.5b", {"limo_32b", "simplerl_1_5b"}),
        ("unireason_rl,modes", {"unireason_rl", "qwen3_14b_think", "qwen3_14b_no_think"}),
    ],
)
def test_sizes_and_names_choose_models(argument, names):
    assert set(arms_of(argument)) == names


def test_local_folders_stand_for_hub_names():
    (arm,) = arms_of("limo_32b,models=/models").values()
    assert (arm.path, arm.base) == ("/models/GAIR/LIMO", "/models/Qwen/Qwen2.5-32B-Instruct")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("general_reasoner_sft", "not released; give its folder, general_reasoner_sft=FOLDER"),
        ("limo_33b=/x", "'limo_33b': no such arm"),
        ("limo_33b", "no such slice"),
    ],
)
def test_what_it_cannot_choose_is_named(argument, message):
    with pytest.raises(ValueError, match=message):
        arms_of(argument)


def test_the_dry_run_of_all_tells_every_model_before_it_is_here(capsys):
    assert call("study", "--config", "configs/survey.py:v6e-64", "--dry-run") == 0
    out = capsys.readouterr().out
    for model in published_models().values():
        if model.path and model.method != "vendor":
            assert f"- {model.path} (a model: " in out
    assert "evaluate bases/Qwen--Qwen2.5-Math-7B" in out and "not known" not in out


def recipe(folders, *arms):
    return f"{RECIPE}:h100,{','.join(arms)},models={folders}/models,data={folders}/data"


def start(config, workdir):
    """The study in a process of its own, on one device; what it says is in the file `log` beside `workdir`."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    words = ["study", "--config", config, "--workdir", str(workdir)]
    with open(workdir.parent / "log", "w") as log:
        command = "from jaxreason.__main__ import main; main()"
        return started_programs.start(command, words, ROOT, environment, log)


def wait_for(path, process):
    for _ in range(3000):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)


def files_of(workdir):
    """When each sample and metric was written."""
    found = [*workdir.rglob("samples/*.jsonl"), *workdir.rglob("analysis/*.json")]
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
def test_stand_ins_of_every_family_go_through_and_what_is_not_comparable_is_left_out_with_the_reason(
    tmp_path,
):
    write_standins(tmp_path / "models")
    (tmp_path / "data").mkdir()
    write_files(tmp_path / "data")
    workdir, config = tmp_path / "survey", recipe(tmp_path, *ARMS)
    process = start(config, workdir)
    # The third evaluation has begun when the second has its scores.
    wait_for(
        workdir / "bases/mistralai--Mistral-Small-24B-Instruct-2501/evaluation/scores.json", process
    )
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = files_of(workdir)
    assert start(config, workdir).wait() == 0
    after = files_of(workdir)
    done = [p for p in before if (p.parent.parent / "scores.json").exists() and p in after]
    assert len(done) >= 3 and sum(before[path] == after[path] for path in done) >= 3
    summary = read_summary(workdir)
    assert {arm["name"] for arm in summary["arms"]} == set(ARMS)
    assert {row["arm"] for row in summary["differences"]} == set(ARMS)
    missing = "\n".join(summary["missing"])
    assert "SimpleRL-1.5B: " in missing and "2 layers of width 32" in missing
    assert "R1-Distill-Qwen-7B: " in missing and "a vocabulary of 259 tokens" in missing
    measured = {row["arm"] for row in summary["drift"]}
    assert measured >= set(ARMS[2:]) and "r1_distill_qwen_7b" not in measured
    limits = "\n".join(summary["limits"])
    assert "Base Qwen2.5-Math-7B had 512 tokens" in limits
    asked = {row["model"]: row["prompt_format"] for row in summary["asked"]}
    assert asked["bases/meta-llama--Llama-3.1-8B"] == "plain"
    assert asked["llama_3_1_8b_simplerl"] == "chat"
    scores = {(r["model"], r["where"]) for r in summary["fidelity"] if r["kind"] == "score"}
    assert {("unireason_rl", name) for name in ("math500", "gpqa_diamond", "coqa")} <= scores
    # A second start makes nothing again.
    assert start(config, workdir).wait() == 0
    assert files_of(workdir) == after


def broken(tmp_path, change):
    """The recipe of one arm whose model's folder was changed."""
    names = [name for name in MODELS if "Mistral" in name]
    write_standins(tmp_path / "models", names)
    (tmp_path / "data").mkdir()
    write_files(tmp_path / "data")
    change(tmp_path / "models" / names[1])
    return recipe(tmp_path, "mistral_24b_reasoning")


def test_check_sees_the_questions_and_the_models_of_all_arms(tmp_path, capsys):
    config = broken(tmp_path, lambda folder: None)
    assert call("check", "--config", config) == 0
    out = capsys.readouterr().out
    assert "model: none but those of the arms" in out
    assert "eval.gpqa_diamond.paper.paper: 2 questions\n" in out
    shutil.rmtree(tmp_path / "data/math")
    assert call("check", "--config", config) == 2
    assert "math500.jsonl: no such file" in capsys.readouterr().err
    write_files(tmp_path / "data")
    untemplated(tmp_path / "models/yentinglin/Mistral-Small-24B-Instruct-2501-reasoning")
    assert call("check", "--config", config) == 2
    said = capsys.readouterr().err
    assert "config.study.arms.mistral_24b_reasoning: " in said and "no chat template" in said


def refusal(capsys, config, workdir):
    """What the program ends with, after its messages."""
    assert call("study", "--config", config, "--workdir", workdir) == 2
    found = capsys.readouterr().err
    return found[found.rindex("jaxreason study: ") :]


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    (folder / "checksums.json").unlink(missing_ok=True)


def untemplated(folder):
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (cut, r"model.safetensors: not a whole safetensors file"),
        (untemplated, "the tokenizer has no chat template"),
    ],
)
def test_an_arm_that_cannot_be_asked_is_named_before_the_first_stage(
    tmp_path, capsys, change, message
):
    said = refusal(capsys, broken(tmp_path, change), tmp_path / "run")
    assert "config.study.arms.mistral_24b_reasoning: " in said and message in said
    assert not (tmp_path / "run" / "bases").exists()


def without_numbers(folder):
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    (folder / "checksums.json").unlink(missing_ok=True)


@pytest.mark.slow
def test_weights_that_are_no_numbers_stop_their_own_stage_and_are_named(tmp_path):
    process = start(broken(tmp_path, without_numbers), tmp_path / "run")
    assert process.wait() == 2
    said = (tmp_path / "log").read_text()
    assert "evaluate mistral_24b_reasoning/seed_0 (stage 2 of 5): " in said
    assert "model.layers.1.mlp.up_proj.weight holds 1 values that are NaN or infinite" in said
    assert "What was done stays" in said
    base = tmp_path / "run/bases/mistralai--Mistral-Small-24B-Instruct-2501"
    assert json.loads((base / "evaluation/scores.json").read_text())["rows"]
