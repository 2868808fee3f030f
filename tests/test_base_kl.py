"""KL(base || policy) on training prompts: numbers by hand, the base's replies, and what a resumed run measures on."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_evaluation import make_folder
from tiny_qwen3 import model_config

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.decoder import abstract_params, forward
from jaxreason.models.huggingface import static_model
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.base_kl import (
    BaseKL,
    BaseKLConfig,
    ReplyRows,
    choose_prompts,
    open_base,
    row_sums,
)

CONFIG = BaseKLConfig(every=2, prompts=3, max_tokens=6)
PROMPTS = [(5, 6, 7), (8, 9), (5, 6, 7), (11, 12, 13, 14), (15,)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("base"))


def mesh_of(devices):
    sizes = MeshConfig(data=1, fsdp=devices, tensor=1, context=1)
    return make_mesh(sizes, jax.devices()[:devices])


def open_kl(base, workdir, devices=1, config=CONFIG, seed=0):
    """A measurement, and a policy that is a little off the base."""
    mesh, tokenizer = mesh_of(devices), load_tokenizer(str(base))
    with jax.set_mesh(mesh):
        measured = BaseKL(
            config, model_config(base), mesh, tokenizer, PROMPTS, workdir, 5, seed, chunk=4
        )
        model, params = open_base(model_config(base), mesh, seed)
    noise = iter(jax.random.split(jax.random.key(3), len(jax.tree.leaves(params))))
    off = jax.tree.map(lambda x: x + 0.05 * jax.random.normal(next(noise), x.shape), params)
    return measured, model, params, off


def measure(measured, params, step=2, devices=1):
    with jax.set_mesh(mesh_of(devices)):
        return measured.measure(step, params)


def replies_of(workdir):
    return json.loads((workdir / "base_replies.json").read_text())["replies"]


@pytest.mark.slow
def test_it_is_the_sum_over_the_vocabulary_at_each_token_of_the_bases_replies(base, tmp_path):
    measured, model, params, off = open_kl(base, tmp_path)
    prompts = choose_prompts(PROMPTS, CONFIG, 0, 512)
    in_reply, in_prompt = [], []
    log_softmax = jax.jit(lambda x, *place: jax.nn.log_softmax(forward(model, x, *place).logits))
    for prompt, reply in zip(prompts, replies_of(tmp_path), strict=True):
        tokens = np.zeros((1, 16), int)  # padding after the end changes nothing before it
        tokens[0, : len(prompt) + len(reply)] = [*prompt, *reply]
        place = tokens, np.arange(16)[None], np.ones_like(tokens)
        log_p, log_q = (np.asarray(log_softmax(x, *place)[0], float) for x in (params, off))
        kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)  # of tokens 1, 2, ...
        in_prompt.append(kl[: len(prompt) - 1])
        in_reply.append(kl[len(prompt) - 1 : len(prompt) + len(reply) - 1])
    found = measure(measured, off)
    assert found["base_kl"] == pytest.approx(np.concatenate(in_reply).mean(), rel=1e-4)
    assert found["base_kl_sequence"] == pytest.approx(
        np.mean([x.sum() for x in in_reply]), rel=1e-4
    )
    assert found["base_kl_prompt"] == pytest.approx(np.concatenate(in_prompt).mean(), rel=1e-4)


def test_the_base_is_at_no_distance_from_itself(base, tmp_path):
    measured, _, params, _ = open_kl(base, tmp_path)
    assert set(measure(measured, params).values()) == {0.0}


def test_it_is_due_every_n_steps_and_after_the_last(base, tmp_path):
    measured, _, params, _ = open_kl(base, tmp_path)
    assert [step for step in range(1, 6) if measure(measured, params, step)] == [2, 4, 5]


def test_nothing_is_loaded_or_measured_where_it_is_off(tmp_path):
    off = BaseKL(BaseKLConfig(), None, None, None, [], tmp_path, 5, 0, 4)
    assert off.measure(5, None) == {} and not (tmp_path / "base_replies.json").exists()


def test_replies_are_drawn_once_and_a_resumed_run_measures_on_them(base, tmp_path):
    open_kl(base, tmp_path)
    drawn = replies_of(tmp_path)
    assert len(drawn) == 3 and all(1 <= len(reply) <= 6 for reply in drawn)
    path = tmp_path / "base_replies.json"
    record = json.loads(path.read_text())
    record["replies"] = [[20], [21], [22, 23]]  # whatever stands there is used
    path.write_text(json.dumps(record))
    measured, _, _, _ = open_kl(base, tmp_path)
    assert [int(rows.in_reply.sum()) for rows in measured._batches] == [1, 1, 2]
    record["made_with"]["weights"] = "of another base"
    path.write_text(json.dumps(record))
    open_kl(base, tmp_path)
    assert replies_of(tmp_path) == drawn


def test_eight_devices_measure_what_one_does(base, tmp_path):
    one, _, _, off = open_kl(base, tmp_path)
    several, _, _, off_too = open_kl(base, tmp_path, devices=8)
    found = measure(one, off)
    for name, value in measure(several, off_too, devices=8).items():
        assert value == pytest.approx(found[name], rel=1e-5)


def test_prompts_are_drawn_by_the_seed_each_once_and_with_room(base):
    everything = BaseKLConfig(every=1, prompts=9, max_tokens=6)
    assert choose_prompts(PROMPTS, everything, 0, 512) == [*PROMPTS[:2], *PROMPTS[3:]]
    drawn = {tuple(choose_prompts(PROMPTS, CONFIG, seed, 512)) for seed in range(9)}
    assert len(drawn) > 1 and all(len(x) == len(set(x)) == 3 for x in drawn)
    assert choose_prompts(PROMPTS, everything, 0, 8) == [(8, 9), (15,)]
    with pytest.raises(UserError, match=r"base_kl\.max_tokens=6: no training prompt leaves room"):
        choose_prompts(PROMPTS, CONFIG, 0, 6)


def test_casts_of_a_wider_policy_stay_in_the_loop_over_its_layers(base):
    """Or the compiler would keep all of its weights in the dtype of the products as well."""
    config = dataclasses.replace(model_config(base), dtype="bfloat16", attention="plain")
    policy = static_model(dataclasses.replace(config, param_dtype="float32"))
    params, narrow = (
        abstract_params(dataclasses.replace(policy, param_dtype=dtype))
        for dtype in ("float32", "bfloat16")
    )
    whole = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    rows = ReplyRows(whole, whole, whole, jax.ShapeDtypeStruct((1, 8), jnp.float32))

    def barriers(one):
        return str(jax.make_jaxpr(lambda *x: row_sums(held, *x, chunk=4))(one, narrow, rows)).count(
            "optimization_barrier"
        )

    held = dataclasses.replace(policy, param_dtype="bfloat16")  # as `open_base` opens the base
    assert barriers(params) == barriers(narrow) + 1
