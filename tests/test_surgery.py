"""Models made of two: the ends are the two, what is restored is what numpy says, and a folder is there whole or not."""

import dataclasses
import json
import pathlib
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from program import call, refused
from stored_pair import ARCHITECTURE, UP, static, weights_of, write_weights

from jaxreason.analysis import surgery
from jaxreason.analysis.surgery import parse_surgery, run_surgery
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.decoder import forward
from jaxreason.models.huggingface import load_params

DOWN = "model.layers.0.mlp.down_proj.weight"
BASE, TUNED = weights_of(0), weights_of(1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    names = write_weights(root / "base", BASE), write_weights(root / "tuned", TUNED)
    save_character_tokenizer(root / "tuned", "0123456789+=")
    (root / "tuned" / "generation_config.json").write_text(json.dumps({"max_new_tokens": 7}))
    return names


def mixed(pair, target, dtype=None, **words):
    """The tensors of the folder that the words give."""
    asked = [words.get(name) for name in ("change", "amount", "layers", "kinds", "rest")]
    asked[0] = asked[0] or "interpolate"
    run_surgery(*pair, str(target), parse_surgery(*asked), dtype)
    return safetensors.numpy.load_file(target / "model.safetensors")


def same(found, expected, keys=None):
    return all(np.array_equal(found[key], expected[key]) for key in keys or expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ends_of_an_interpolation_are_the_two_models_bit_for_bit(pair, tmp_path, dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
    for amount, expected in (("0", BASE), ("1", TUNED)):
        found = mixed(pair, tmp_path / amount, dtype, amount=amount)
        assert same(found, {key: x.astype(kind) for key, x in expected.items()})
        assert found.keys() == expected.keys() and found[UP].dtype == kind


def test_between_the_ends_and_beyond_them_weights_lie_on_the_line_through_both(pair, tmp_path):
    for amount in (0.25, -0.5, 2.0):
        found = mixed(pair, tmp_path / str(amount), amount=str(amount))
        for key in BASE:
            expected = BASE[key] + amount * (TUNED[key].astype(np.float64) - BASE[key])
            np.testing.assert_allclose(found[key], expected, atol=1e-6)


def test_layers_and_kinds_alone_are_the_tuned_models(pair, tmp_path):
    found = mixed(pair, tmp_path / "layers", layers="0,2")
    inside = [key for key in BASE if ".layers.0." in key or ".layers.2." in key]
    assert same(found, TUNED, inside) and same(found, BASE, set(BASE) - set(inside))
    found = mixed(pair, tmp_path / "kinds", kinds="up_proj,norm", layers="1-2,outside")
    inside = [UP, UP.replace("1", "2"), "model.norm.weight"]
    assert same(found, TUNED, inside) and same(found, BASE, set(BASE) - set(inside))
    found = mixed(pair, tmp_path / "rest", kinds="up_proj", amount="0", rest="tuned")
    inside = [key for key in BASE if "up_proj" in key]
    assert same(found, BASE, inside) and same(found, TUNED, set(BASE) - set(inside))


def test_all_layers_and_what_lies_outside_of_them_are_the_tuned_model(pair, tmp_path):
    assert same(mixed(pair, tmp_path / "all", layers="0-2,outside"), TUNED)
    inside = [key for key in BASE if ".layers." in key]
    found = mixed(pair, tmp_path / "layers", layers="0-2")
    assert same(found, TUNED, inside) and same(found, BASE, set(BASE) - set(inside))


@pytest.mark.parametrize("change", ["singular_values", "singular_vectors"])
def test_restored_singular_values_or_vectors_are_the_bases_as_numpy_has_them(
    pair, tmp_path, change
):
    found = mixed(pair, tmp_path / "out", change=change)
    for key in (UP, DOWN):
        base, tuned = (
            np.linalg.svd(x[key].astype(np.float64), full_matrices=False) for x in (BASE, TUNED)
        )
        values, vectors = (base, tuned) if change == "singular_values" else (tuned, base)
        expected = (vectors[0] * values[1]) @ vectors[2]
        np.testing.assert_allclose(found[key], expected, atol=1e-5)
        made = np.linalg.svd(found[key].astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(made, values[1], rtol=1e-4, atol=1e-5)
    others = [key for key in TUNED if not (".layers." in key and TUNED[key].ndim == 2)]
    assert same(found, TUNED, others)


def test_a_matrix_that_was_not_changed_is_kept_bit_for_bit(pair, tmp_path):
    folder = write_weights(tmp_path / "tuned", BASE | {UP: TUNED[UP]})
    save_character_tokenizer(tmp_path / "tuned", "0123456789+=")
    found = mixed((pair[0], folder), tmp_path / "out", change="singular_values")
    assert same(found, BASE, set(BASE) - {UP}) and not np.array_equal(found[UP], TUNED[UP])


def logits(folder):
    tokens = jnp.arange(12).reshape(1, 12)
    positions = jnp.broadcast_to(jnp.arange(12), tokens.shape)
    run = jax.jit(forward, static_argnums=0)
    return np.asarray(run(static(), load_params(folder, static(), None), tokens, positions).logits)


def test_the_folder_is_whole_its_logits_are_the_tuned_models_and_its_card_says_what_was_done(
    pair, tmp_path
):
    folder = tmp_path / "out"
    mixed(pair, folder, layers="0-2,outside")
    np.testing.assert_array_equal(logits(folder), logits(pair[1]))
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.stop_tokens == load_tokenizer(pair[1]).stop_tokens
    assert json.loads((folder / "generation_config.json").read_text()) == {"max_new_tokens": 7}
    card = (folder / "README.md").read_text()
    assert '"change": "interpolate"' in card and '"outside": true' in card and "commit" in card
    torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = model(torch.arange(12)[None]).logits.detach().numpy()
    np.testing.assert_allclose(theirs, logits(pair[1]), atol=1e-4)


def test_a_tied_and_an_untied_model_make_an_untied_one(pair, tmp_path):
    tied = dataclasses.replace(ARCHITECTURE, tie_word_embeddings=True)
    folder = write_weights(
        tmp_path / "tied", {k: x for k, x in BASE.items() if k != "lm_head.weight"}, tied
    )
    found = mixed((folder, pair[1]), tmp_path / "out", amount="0")
    assert np.array_equal(found["lm_head.weight"], BASE["model.embed_tokens.weight"])
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    )


def test_a_killed_surgery_leaves_nothing_that_is_read_as_a_model(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(surgery, "SHARD_BYTES", 20_000)
    left = iter(range(20))

    def stop():
        if next(left, None) is None:
            raise SystemExit("killed")

    how = parse_surgery("interpolate", "0.5", None, None, None)
    with pytest.raises(SystemExit, match="killed"):
        run_surgery(*pair, str(tmp_path / "out"), how, None, stop)
    assert list((tmp_path / "out.incomplete").iterdir()) and not (tmp_path / "out").exists()
    assert not (tmp_path / "out.incomplete" / "config.json").exists()
    run_surgery(*pair, str(tmp_path / "out"), how)
    assert (tmp_path / "out" / "model.safetensors.index.json").exists()
    assert not (tmp_path / "out.incomplete").exists()
    load_params(tmp_path / "out", static(), None)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"rope_theta": 5e5}, "rope_theta"),
        ({"num_hidden_layers": 2}, "layers.2"),
        ({"vocab_size": 31}, "vocab_size"),
    ],
)
def test_two_networks_are_not_mixed_and_what_differs_is_named(pair, tmp_path, changes, name):
    other = dataclasses.replace(ARCHITECTURE, **changes)
    folder = write_weights(tmp_path / "other", weights_of(architecture=other), other)
    with pytest.raises(UserError, match=name):
        mixed((folder, pair[1]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_nowhere_is_no_free_name(pair, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "missing")
    with pytest.raises(UserError, match=r"out: exists already; choose another folder"):
        mixed(pair, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_values_that_are_not_finite_or_do_not_fit_are_named(pair, tmp_path):
    for number, value in enumerate((np.nan, 1e6)):
        weights = {key: x.copy() for key, x in BASE.items()}
        weights[UP][3, 3] = value
        folder = write_weights(tmp_path / str(number), weights)
        with pytest.raises(UserError, match=UP):
            mixed((folder, pair[1]), tmp_path / "out", "float16", amount="0.5")
    assert not (tmp_path / "out").exists()


def test_an_amount_beyond_float32_names_a_tensor_and_warns_of_nothing(pair, tmp_path):
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(UserError, match="has values that float32 cannot hold"),
    ):
        mixed(pair, tmp_path / "out", "float32", amount="1e39")
    assert not (tmp_path / "out").exists()


def test_the_program_writes_a_folder_and_refuses_words_that_say_nothing(pair, tmp_path, capsys):
    words = [
        "surgery",
        "--base",
        pair[0],
        "--tuned",
        pair[1],
        "--target",
        tmp_path / "out",
        "--change",
    ]
    for more, said in (
        (["swap"], "--change=swap: expected one of"),
        (["singular_values", "--amount", "0.5"], "--amount=0.5: is for --change interpolate"),
        (["interpolate", "--amount", "nan"], "--amount=nan: expected a number"),
        (["interpolate", "--layers", "1-x"], "--layers=1-x: expected layers as 0-3,7"),
        (["interpolate", "--layers", "2-1,0"], "--layers=2-1,0: expected layers as 0-3,7"),
        (
            ["interpolate", "--layers", "0-99999999999"],
            "--layers=0-99999999999: expected layers as",
        ),
        (["interpolate", "--layers", "9" * 99], "expected layers as 0-3,7"),
        (["interpolate", "--layers", "1-9"], "layer 9, and the models have 3"),
        (["interpolate", "--kinds", "up_prj"], "did you mean 'up_proj'"),
        (["singular_values", "--kinds", "norm"], "nothing would be changed"),
        (["interpolate", "--rest", "mine"], "--rest=mine: expected base or tuned"),
        (["interpolate", "--dtype", "int8"], "--dtype=int8: expected one of"),
    ):
        assert said in refused(capsys, *words, *more)
    assert not (tmp_path / "out").exists()
    assert call(*words, "interpolate", "--amount", "0.5", "--dtype", "bfloat16") == 0
    assert f"wrote {tmp_path / 'out'}" in capsys.readouterr().out
    config = json.loads(pathlib.Path(tmp_path / "out" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    assert "exists already" in refused(capsys, *words, "interpolate")
