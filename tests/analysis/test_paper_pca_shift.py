"""The study's PCA shift: its states against Hugging Face's with flash attention's padding, its numbers against
scikit-learn's.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
import transformers
from tiny_pair import mesh_of, params_of, question_states, question_unit, tiny_model

from jaxreason.analysis.pca_shift import paper_pca_shift
from jaxreason.analysis.raw_questions import LENGTH, QuestionStates, load_question_units, padding_of
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.hf_export import save_model
from jaxreason.results.sample_files import write_questions

RECORDED = json.loads((pathlib.Path(__file__).parent / "scikit_learn_shift.json").read_text())


def states(seed: int, texts=40, layers=3, width=24, moved=0.0) -> np.ndarray:
    """Float32 features by a formula, so that a recorded number stays that of these states."""
    n, z, d = np.meshgrid(np.arange(texts), np.arange(layers), np.arange(width), indexing="ij")
    wave = np.sin(1.7 * n * (d + 1) + z + seed) * np.exp(-d / 5) * (1 + z)
    return (wave + 0.5 * np.cos(0.3 * n * n + d) + moved * (d == 3)).astype(np.float32)


def released(base: np.ndarray, tuned: np.ndarray, components) -> float:
    """analyse_PCA_Shift.py in words of our own, on features of every layer."""
    rows = {"base": [], "tuned": []}
    for layer in range(base.shape[1]):
        first, second = components(base[:, layer])
        one = [float((x[:, layer] @ first).mean()) for x in (base, tuned)]
        two = [float((x[:, layer] @ second).mean()) for x in (base, tuned)]
        rows["base"].append((0.0, two[0]))
        rows["tuned"].append((one[1] - one[0], two[1]))
    return float(np.linalg.norm(np.mean(rows["tuned"], 0) - np.mean(rows["base"], 0)))


def shift(base, tuned) -> float:
    return paper_pca_shift(QuestionStates(base, tuned)).statistic(np.arange(len(base)))["shift"]


def test_the_distance_is_scikit_learns_on_the_same_states():
    for entry in RECORDED["shifts"]:
        base, tuned = states(0, width=entry["width"]), states(2, width=entry["width"], moved=3.0)
        assert shift(base, tuned) == pytest.approx(entry["shift"], rel=1e-5)


def test_the_distance_is_that_of_the_scikit_learn_that_is_installed():
    decomposition = pytest.importorskip("sklearn.decomposition")
    for width in (24, 600):  # from 500 on the script's PCA is a randomised one
        base, tuned = states(0, width=width), states(2, width=width, moved=3.0)
        np.random.seed(42)  # as the script does
        fit = lambda x: decomposition.PCA(n_components=2).fit(x).components_  # noqa: E731
        assert shift(base, tuned) == pytest.approx(released(base, tuned, fit), rel=1e-5)


def zero_at_padding(module, query, key, value, attention_mask, scaling, **_):
    """Attention as flash attention 2 gives it: 0 at padding, which nobody sees."""
    import torch

    real = attention_mask.bool()
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    causal = torch.ones(scores.shape[-2:]).tril().bool()
    scores = scores.masked_fill(~(causal & real[:, None, None, :]), -1e9)
    out = torch.softmax(scores, -1) @ value * real[:, None, :, None]
    return out.transpose(1, 2).contiguous(), None


def of_hugging_face(folder, unit, dtype) -> np.ndarray:
    """The script's features: left padding, one batch, plain mean over the positions."""
    import torch

    transformers.AttentionInterface.register("zero_at_padding", zero_at_padding)
    transformers.AttentionMaskInterface.register(
        "zero_at_padding", lambda *_, attention_mask=None, **__: attention_mask
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="zero_at_padding"
    ).eval()
    longest = max(len(text.tokens) for text in unit.texts)
    rows = [[0] * (longest - len(t.tokens)) + list(t.tokens) for t in unit.texts]
    mask = [[0] * (longest - len(t.tokens)) + [1] * len(t.tokens) for t in unit.texts]
    with torch.no_grad():
        found = model(
            torch.tensor(rows), attention_mask=torch.tensor(mask), output_hidden_states=True
        ).hidden_states
    return np.stack([x.float().mean(1).numpy() for x in found], axis=1)


def test_the_states_are_hugging_faces_with_padding_averaged_in(tmp_path):
    torch = pytest.importorskip("torch")
    folder = tmp_path / "model"
    save_model(folder, tiny_model(), params_of(0), tokenizer_from=None, max_shard_bytes=10**9)
    found = question_states(params_of(0), params_of(0)).base
    exact = of_hugging_face(folder, question_unit(), torch.float32)
    theirs = of_hugging_face(folder, question_unit(), torch.bfloat16)
    # As close to the exact states as the script's own rounding is.
    error, rounding = np.abs(found - exact).max(), np.abs(theirs - exact).max()
    assert error < 2 * rounding < 0.1
    alone = [dataclasses.replace(question_unit(), texts=(t,)) for t in question_unit().texts]
    unpadded = np.concatenate([of_hugging_face(folder, one, torch.float32) for one in alone])
    assert np.abs(found - unpadded).max() > 10 * error  # so padding does count


def test_the_shift_of_a_planted_change_is_found_and_that_of_none_is_zero():
    moved = jax.tree.map(lambda x: x, params_of(0))
    moved["layers"] = moved["layers"] | {
        "mlp": jax.tree.map(lambda x: 2 * x, moved["layers"]["mlp"])
    }
    itself, planted = (question_states(params_of(0), x) for x in (params_of(0), moved))
    assert paper_pca_shift(itself).statistic(np.arange(5)) == {"shift": 0.0}
    assert paper_pca_shift(planted).statistic(np.arange(5))["shift"] > 0.05


@pytest.mark.slow  # compiles for eight devices
def test_batches_and_devices_change_nothing():
    one = question_states(params_of(0), params_of(1))
    many = question_states(params_of(0), params_of(1), num_devices=8)
    for ours, theirs in zip(one, many, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.01)
    assert mesh_of(8).size == 8


def test_details_are_the_scripts_records():
    base, tuned = states(0), states(2)
    details = paper_pca_shift(QuestionStates(base, tuned)).details
    assert [pair[0] for pair in details["base"]] == [0.0, 0.0, 0.0]
    centre = np.mean(details["tuned"], 0) - np.mean(details["base"], 0)
    assert np.linalg.norm(centre) == pytest.approx(shift(base, tuned))


def test_questions_that_begin_with_the_same_tokens_have_no_shift():
    """Only the first 128 tokens are read, and a long preamble may fill them."""
    x = np.tile(np.random.default_rng(0).normal(size=(3, 6)), (5, 1, 1))
    same = paper_pca_shift(QuestionStates(x, x + 1))
    assert same.statistic(np.arange(5)) == {}
    assert same.details == {"undefined": "the base's features vary in no layer"}


def test_two_questions_span_no_plane():
    few = paper_pca_shift(QuestionStates(states(0, texts=2), states(1, texts=2)))
    assert few.statistic(np.arange(2)) == {}
    assert few.details == {"undefined": "2 questions span no plane; it takes 3"}


@pytest.fixture
def evaluation(tmp_path):
    save_character_tokenizer(tmp_path / "model", "abc ")
    texts = ["abc", "ab" * 100, "abd", "c  a"]
    value = {"benchmark": "sums", "group": "math", "columns": ["question"], "num_rows": 4}
    write_questions(tmp_path / "evaluation", value | {"texts": texts})
    return tmp_path


def test_questions_are_the_first_tokens_of_their_text_and_unknown_characters_drop_it(evaluation):
    tokenizer = load_tokenizer(evaluation / "model")
    (unit,) = load_question_units(evaluation / "evaluation", tokenizer)
    assert [len(text.tokens) for text in unit.texts] == [3, LENGTH, 4]
    assert (unit.num_cut, unit.num_dropped, unit.source) == (1, 1, "questions")
    assert padding_of(tokenizer) == tokenizer.named_pad_id == 0


def test_an_evaluation_without_questions_says_how_to_get_them(evaluation):
    tokenizer = load_tokenizer(evaluation / "model")
    with pytest.raises(UserError, match="Evaluate again with the same command"):
        load_question_units(evaluation / "model", tokenizer)
