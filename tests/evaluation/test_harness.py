"""lm-eval drives our engine: its numbers against Hugging Face's on the same weights."""

import json

import jax
import pytest
from tiny_evaluation import SAMPLER
from tiny_qwen3 import model_config

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import open_model
from jaxreason.sampling.engine import Engine
from jaxreason.sharding import MeshConfig, make_mesh

lm_eval = pytest.importorskip("lm_eval", reason="needs the extra `harness`")


@pytest.fixture(scope="module")
def model(model_folder):
    from jaxreason.evaluation.harness import HarnessModel

    mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=1, context=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        tokenizer = load_tokenizer(model_folder)
        network, params = open_model(model_config(model_folder), mesh)
        ends = tokenizer.stop_ids, tokenizer.pad_id
        engine = Engine(network, params, SAMPLER, mesh, *ends, tokenizer.decode)
        yield HarnessModel(engine, tokenizer, "tiny", max_gen_toks=16)


def requests(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, pair, i) for i, pair in enumerate(arguments)]


def test_replies_end_before_the_stop_string(model):
    (whole,) = model.generate_until(requests("generate_until", [("3+4=", {"until": []})]))
    mark = whole[4:6]
    settings = {"until": [mark], "max_gen_toks": 16, "do_sample": False, "temperature": 0.7}
    (found,) = model.generate_until(requests("generate_until", [("3+4=", settings)]))
    assert found == whole[: whole.index(mark)]


@pytest.mark.parametrize(
    "setting",
    [
        {"num_beams": 4},
        {"typical_p": 0.9},
        {"no_repeat_ngram_size": 3},
        {"top_p": 1.5},
        {"top_k": -2},
    ],
)
def test_a_setting_that_cannot_be_honoured_is_refused(model, setting):
    (name,) = setting
    with pytest.raises(ValueError, match=name):
        model.generate_until(requests("generate_until", [("a", setting)]))


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 1.0, "top_p": 0.0},
        {"do_sample": True, "temperature": 2.0, "top_k": 1},
        {"do_sample": True, "temperature": 0.0},
        {"do_sample": False, "temperature": 2.0, "num_beams": 1, "use_cache": True},
        {"temperature": None, "top_p": None, "num_beams": None},
        {"top_k": -1},
    ],
)
def test_settings_that_mean_the_likeliest_tokens_give_them(model, settings):
    def reply(settings):
        (text,) = model.generate_until(
            requests("generate_until", [("3+4=", {"until": [], "max_gen_toks": 8, **settings})])
        )
        return text

    assert reply(settings) == reply({})


@pytest.mark.parametrize("name", ["max_gen_toks", "max_new_tokens", "max_tokens"])
def test_the_length_of_a_reply_has_the_names_that_lm_eval_knows(model, name):
    (text,) = model.generate_until(requests("generate_until", [("3+4=", {"until": [], name: 3})]))
    assert len(text) == 3


def test_lm_eval_runs_a_task_on_the_engine(model, tmp_path):
    rows = [{"q": f"{i}+1=", "a": str(i % 2)} for i in range(6)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "tiny_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": ["0", "1"],
        "doc_to_target": "a",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    results = lm_eval.simple_evaluate(
        model=model, tasks=[task], apply_chat_template=True, bootstrap_iters=0
    )
    prompts = [model.apply_chat_template([{"role": "user", "content": r["q"]}]) for r in rows]
    assert prompts[0] == "<user>0+1=<assistant>"
    right = 0
    for prompt, row in zip(prompts, rows, strict=True):
        pairs = requests("loglikelihood", [(prompt, "0"), (prompt, "1")])
        zero, one = (value for value, _ in model.loglikelihood(pairs, disable_tqdm=True))
        right += ("1" if one > zero else "0") == row["a"]
    assert results["results"]["tiny_choice"]["acc,none"] == pytest.approx(right / 6)
