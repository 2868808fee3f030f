"""Four pairs of tiny models with a known change: every metric sees it where it was planted, or sees nothing."""

import jax
import numpy as np
import pytest
from state_features import rotation
from tiny_pair import HF_CONFIG, make_unit, mesh_of, question_unit
from tiny_qwen3 import model_config

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.paired_forward import make_measure, measure_unit
from jaxreason.analysis.raw_questions import make_question_measure, measure_questions
from jaxreason.analysis.texts import Batching
from jaxreason.analysis.weight_run import stream_weights
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import make_model

SMALL = HF_CONFIG | {"num_hidden_layers": 3, "tie_word_embeddings": False}
MODEL = make_model(model_config(""), architecture_from_hf(SMALL))
TEXTS, STATES, BOOSTED = 5, range(4), 7  # states: embeddings, then three blocks
POOLS = ("reply", "all", "last", "reply_no_sinks", "all_no_sinks")


def planted():
    """The base under `itself`; a block, a token, a matrix of it changed."""
    base = init_params(MODEL, jax.random.key(0))
    return {
        "itself": base,
        "rotated": _rotated(base, 1),
        "boosted": _boosted(base),
        "low_rank": _low_rank(base, 2),
    }


def _replaced(tree, path, change):
    head, *rest = path
    return tree | {head: _replaced(tree[head], rest, change) if rest else change(tree[head])}


def _rotated(params, block):
    """What one block writes to the residual stream is rotated."""
    turn = rotation(16).astype(np.float32)
    for path in (("self_attn", "o_proj"), ("mlp", "down_proj")):
        place = ("layers", *path, "kernel")
        params = _replaced(params, place, lambda k: k.at[block].set(k[block] @ turn))
    return params


def _boosted(params):
    """One token is scored higher wherever the model is: along the mean of the final states."""
    states = _read(params, params).base["all"][:, -1].mean(0)
    return _replaced(params, ("lm_head", "kernel"), lambda k: k.at[:, BOOSTED].add(6 * states))


def _low_rank(params, block):
    """One matrix of one block moves along one direction."""
    rng = np.random.default_rng(0)
    update = np.outer(rng.normal(size=16), rng.normal(size=32)).astype(np.float32)
    place = ("layers", "mlp", "up_proj", "kernel")
    return _replaced(params, place, lambda k: k.at[block].add(update))


def _read(base, tuned):
    with jax.set_mesh(mesh_of(1)):
        measure = make_measure(MODEL, MODEL, chunk=16)
        return measure_unit(measure, base, tuned, mesh_of(1), make_unit(), Batching(5, 10**6, 64))


def _asked(base, tuned):
    with jax.set_mesh(mesh_of(1)):
        measure = make_question_measure(MODEL, MODEL)
        given = question_unit(), Batching(5, 2**20, 64)
        return measure_questions(measure, base, tuned, mesh_of(1), *given, pad_id=0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(values, details) by pair and metric."""
    root, models = tmp_path_factory.mktemp("planted"), planted()
    base = models["itself"]
    for name, params in models.items():
        save_model(root / name, MODEL, params, tokenizer_from=None, max_shard_bytes=10**9)
    result = {}
    for pair, params in models.items():
        seen = {"texts": _read(base, params), "questions": _asked(base, params)}
        for name, metric in METRICS.items():
            if metric.reads == "weights":
                folders = (root / "itself", root / pair)
                prepared = stream_weights(root / f"of_{pair}", *map(str, folders), {})
            else:
                prepared = metric.prepare(seen[metric.reads])
            result[pair, name] = prepared.statistic(np.arange(TEXTS)), prepared.details
    return result


def _moved(details, pool):
    ends = [np.array(details[pool][f"{name}_centre"]) for name in ("base", "tuned")]
    return np.abs(ends[1] - ends[0]).max(1)


def _of_paper(details):
    base, tuned = (np.array(details[name]) for name in ("base", "tuned"))
    return np.abs(np.stack([tuned[:, 0], tuned[:, 1] - base[:, 1]])).max(0)


def _of_sinks(details):
    return np.abs(np.subtract(details["tuned_ratio"], details["base_ratio"]))


def _parts(*names):
    """Every part of every pooling has to see it."""
    return lambda details: np.min([details[p][n] for p in POOLS for n in names], axis=0)


BY_STATE = {  # metric -> how far each state moved, as its details say
    "pca_shift": lambda details: np.min([_moved(details, pool) for pool in POOLS], axis=0),
    "paper_pca_shift": _of_paper,
    "cka": _parts("debiased_distance"),
    "subspaces": _parts("angle"),
    "frechet": _parts("mean", "covariance"),
    "procrustes": _parts("rest"),
    "sinks": _of_sinks,
    "cosine": lambda details: details["by_layer"],
}
OF_TOKENS = ("token_kl", "shifted_tokens")
WHERE = {"itself": [], "rotated": [2, 3], "boosted": [], "low_rank": [3]}  # states after the change


def test_every_metric_has_its_known_answers():
    assert {*BY_STATE, *OF_TOKENS, "weights"} == set(METRICS)


def states_that_move(metric, pair):
    """After the final norm all states are of one length, so that no one is longer than the others there."""
    return [state for state in WHERE[pair] if metric != "sinks" or state != STATES[-1]]


@pytest.mark.parametrize("pair", WHERE)
@pytest.mark.parametrize("metric", BY_STATE)
def test_states_moved_behind_the_change_and_not_before_it(found, metric, pair):
    values, details = found[pair, metric]
    moved, expected = np.array(BY_STATE[metric](details)), states_that_move(metric, pair)
    assert np.flatnonzero(moved > 1e-5).tolist() == expected, moved
    if expected:
        assert min(values.values()) > 1e-4, values
    else:
        assert max(map(abs, values.values())) < 1e-6, values


@pytest.mark.parametrize("pair", WHERE)
def test_what_tokens_get_moved_with_every_change_but_none(found, pair):
    values, _ = found[pair, "token_kl"]
    if pair == "itself":
        assert max(map(abs, values.values())) < 1e-6
    else:
        assert min(values[n] for n in ("kl_forward", "kl_reverse", "js", "paper_kl")) > 1e-3
    tokens = found[pair, "shifted_tokens"][1]["tokens"]
    promoted = {row["token"] for row in tokens}
    assert promoted == {BOOSTED} if pair == "boosted" else (len(promoted) > 1) == bool(WHERE[pair])


MATRICES = {  # pair -> (layer, kind) of the weights that differ
    "itself": set(),
    "rotated": {(1, "o_proj"), (1, "down_proj")},
    "boosted": {(None, "lm_head")},
    "low_rank": {(2, "up_proj")},
}


@pytest.mark.parametrize("pair", MATRICES)
def test_weights_differ_in_the_matrices_that_were_changed_and_in_no_other(found, pair):
    values, details = found[pair, "weights"]
    expected = MATRICES[pair]
    kinds = {kind for kind, of in details["by_kind"].items() if of["update_l2"] > 0}
    layers = {n for n, of in enumerate(details["by_layer"]) if of["update_l2"] > 0}
    assert kinds == {kind for _, kind in expected}
    assert layers == {layer for layer, _ in expected} - {None}
    assert (values["relative_l2"] > 0) == (values["changed_share"] > 0) == bool(expected)


def test_the_low_rank_update_has_one_direction_and_the_boosted_token_one_column(found):
    whole = found["low_rank", "weights"][1]["by_kind"]["up_proj"]
    assert whole["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert found["boosted", "weights"][1]["by_kind"]["lm_head"]["changed_share"] == pytest.approx(
        1 / 40
    )
