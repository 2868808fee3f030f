"""Changes planted in a tiny model's weights are found by the metrics of hidden states that are about them, and by no
other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from state_features import rotation
from tiny_pair import measure_pair, params_of

from jaxreason.analysis.drift_metrics import METRICS

WIDTH, TEXTS, POOLS = 16, 5, ("reply", "all", "reply_no_sinks", "all_no_sinks")
READS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
WRITES = ("self_attn.o_proj", "mlp.down_proj")
TURN = jnp.asarray(rotation(WIDTH), jnp.float32)


def changed(kernels=None, embedding=None):
    """The base with its kernels and its embedding replaced by functions of them."""
    params = jax.tree.map(lambda leaf: leaf, params_of(0))
    for path, change in (kernels or {}).items():
        part, name = path.split(".")
        kernel = params["layers"][part][name]["kernel"]
        params["layers"][part][name] = {"kernel": change(kernel)}
    if embedding is not None:
        table = params["embed_tokens"]["embedding"]
        params["embed_tokens"] = {"embedding": embedding(table)}
    return params


def writes_turned(block):
    """What one block adds to the residual stream is rotated."""
    return changed({name: lambda k: k.at[block].set(k[block] @ TURN) for name in WRITES})


def all_turned():
    """The whole residual stream is rotated, and everything that reads it with it: it says the same."""
    kernels = {name: lambda k: jnp.einsum("ij,lik->ljk", TURN, k) for name in READS}
    kernels |= {name: lambda k: k @ TURN for name in WRITES}
    return changed(kernels, lambda table: table @ TURN)


READ = [name for name, metric in METRICS.items() if metric.reads == "texts"]


@functools.cache
def seen(make, *arguments):
    return measure_pair(params_of(0), make(*arguments))


def found(metric, make, *arguments):
    prepared = METRICS[metric].prepare(seen(make, *arguments))
    return prepared.statistic(np.arange(TEXTS)), prepared.details


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize(
    ("metric", "part"),
    [("subspaces", "angle"), ("procrustes", "rotation"), ("frechet", "covariance")],
)
def test_a_block_whose_output_is_rotated_is_found_at_its_state_and_none_before(metric, part, block):
    for pool in POOLS:
        by_layer = np.array(found(metric, writes_turned, block)[1][pool][part])
        assert np.flatnonzero(by_layer > 1e-6).tolist() == list(range(block + 1, 3))


def test_a_rotated_residual_stream_is_a_rotation_and_says_the_same():
    moved = {metric: found(metric, all_turned)[0] for metric in READ}
    for pool in POOLS:
        assert moved["subspaces"][f"angle.{pool}"] > 5
        assert moved["procrustes"][f"rotation.{pool}"] > 0.1
        assert moved["frechet"][f"covariance.{pool}"] > 0.1
        for name in ("scaling", "rest"):
            assert moved["procrustes"][f"{name}.{pool}"] == pytest.approx(0, abs=1e-6)
        for name in ("distance", "debiased_distance"):
            assert moved["cka"][f"{name}.{pool}"] == pytest.approx(0, abs=1e-5)
    assert moved["token_kl"]["kl_forward"] == pytest.approx(0, abs=1e-5)
    assert moved["sinks"]["largest_state"] == pytest.approx(0, abs=1e-5)


def shifted():
    return changed(embedding=lambda table: table + 0.5)


def doubled():
    return changed(embedding=lambda table: 2 * table)


def of_embeddings(make):
    """Every part's value in the state 0, where the change is as it was planted."""
    parts = {"frechet": ("mean", "covariance"), "procrustes": ("rotation", "scaling", "rest")}
    parts |= {"subspaces": ("angle",), "cka": ("debiased_distance",)}
    return {
        name: found(metric, make)[1]["all"][name][0]
        for metric, names in parts.items()
        for name in names
    }


def test_shifted_embeddings_are_seen_by_the_mean_part_alone():
    values = of_embeddings(shifted)
    variance = seen(shifted).base["all"][:, 0].var(0).sum()
    assert values.pop("mean") == pytest.approx(0.25 * WIDTH / variance, rel=1e-4)
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-3)


def test_doubled_embeddings_are_seen_by_scaling_and_both_parts_of_the_distance():
    values = of_embeddings(doubled)
    assert values.pop("scaling") == pytest.approx(1, rel=1e-4)
    assert values.pop("covariance") == pytest.approx(1, rel=1e-4)
    assert values.pop("mean") > 0.1
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-3)
