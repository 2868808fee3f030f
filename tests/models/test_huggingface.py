"""Folders to sharded parameters and back: what is read, what is written, and what is refused."""

import functools
import json
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tokenizers
import transformers
from etils import epath
from tiny_models import (
    SIZES,
    counting,
    make_architecture,
    make_model,
    random_params,
    random_tokens,
    run,
)

from jaxreason.errors import UserError
from jaxreason.models import decoder, hf_export, huggingface, safetensors_reader
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, load_params, open_model
from jaxreason.sharding import MeshConfig, make_mesh, unstacked

SETTINGS = dict(dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1)


@pytest.fixture(scope="module")
def model():
    return make_model(make_architecture(sliding_window=8))


@pytest.fixture(scope="module")
def params(model):
    return random_params(decoder.abstract_params(model))


@pytest.fixture
def folder(model, params, tmp_path):
    """The model, saved in a few files."""
    save_model(tmp_path / "saved", model, params, tokenizer_from=None, max_shard_bytes=20_000)
    return tmp_path / "saved"


def _assert_same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def _edit(folder, change):
    """Applies `change` to the tensors of all files, rewritten as one."""
    (folder / "checksums.json").unlink(missing_ok=True)
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= safetensors.numpy.load_file(file)
        file.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    change(tensors)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def test_what_is_saved_is_loaded_back_exactly(folder, model, params):
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 3
    _assert_same(load_params(folder, model, None), params)
    opened, again = open_model(ModelConfig(str(folder), "pretrained", {}, **SETTINGS), None)
    assert opened == model
    _assert_same(again, params)


def test_every_file_keeps_to_the_size_and_the_index_names_each_key_once(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    held = {f.name: set(safetensors.numpy.load_file(f)) for f in folder.glob("*.safetensors")}
    assert {k: n for n, keys in held.items() for k in keys} == index["weight_map"]
    for name, keys in held.items():
        assert (
            len(keys) == 1 or (folder / name).stat().st_size < 20_000 + 4_000
        )  # the header comes on top
    total = sum(
        x.nbytes
        for f in folder.glob("*.safetensors")
        for x in safetensors.numpy.load_file(f).values()
    )
    assert total == index["metadata"]["total_size"]


def test_saving_from_eight_devices_writes_the_same_files(folder, model, params, tmp_path):
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    spread = jax.device_put(params, decoder.param_shardings(model, mesh))
    save_model(tmp_path / "spread", model, spread, tokenizer_from=None, max_shard_bytes=20_000)
    names = sorted(f.name for f in folder.iterdir())
    assert names == sorted(f.name for f in (tmp_path / "spread").iterdir())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "spread" / name).read_bytes()


def test_on_a_mesh_each_part_of_a_checkpoint_is_read_once(folder, model, params, monkeypatch):
    reads = []
    read = safetensors_reader.LocalFile.read

    def recorded(self, key, index):
        part = read(self, key, index)
        reads.append((key, str(index), part.size))
        return part

    monkeypatch.setattr(safetensors_reader.LocalFile, "read", recorded)
    mesh = make_mesh(MeshConfig(2, 2, 2, 1))  # two copies of every part
    _assert_same(load_params(folder, model, mesh), params)
    assert len({(key, index) for key, index, _ in reads}) == len(reads)
    assert sum(size for *_, size in reads) == sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["qwen3", "qwen2", "llama", "mistral"])
def test_transformers_loads_what_is_saved_with_identical_logits(model_type, tied, tmp_path):
    torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
    qwen2 = model_type == "qwen2"
    arch = make_architecture(
        model_type=model_type,
        tie_word_embeddings=tied,
        qk_norm=model_type == "qwen3",
        attention_bias=qwen2,
        attention_output_bias=False,
        sliding_window=6 if model_type == "mistral" else None,
    )
    model = make_model(arch)
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "out", model, params, tokenizer_from=None, max_shard_bytes=30_000)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert type(theirs).__name__.lower() == f"{model_type}forcausallm"
    tokens = random_tokens((2, 20))
    with torch.no_grad():
        reference = theirs(torch.tensor(tokens).long()).logits
    np.testing.assert_allclose(
        run(model, params, tokens, counting(tokens)).logits, reference, atol=1e-4
    )
    theirs.save_pretrained(tmp_path / "back")
    _assert_same(load_params(tmp_path / "back", model, None), params)


def test_bfloat16_is_written_and_read_without_a_detour(model, params, tmp_path):
    save_model(
        tmp_path / "b", model, params, tokenizer_from=None, max_shard_bytes=10**9, dtype="bfloat16"
    )
    stored = safetensors.numpy.load_file(tmp_path / "b" / "model.safetensors")
    assert {x.dtype for x in stored.values()} == {np.dtype(ml_dtypes.bfloat16)}
    assert json.loads((tmp_path / "b" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    rounded = jax.tree.map(lambda x: np.asarray(x.astype(jnp.bfloat16).astype(jnp.float32)), params)
    _assert_same(load_params(tmp_path / "b", model, None), rounded)
    half = make_model(model.architecture, param_dtype="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(load_params(tmp_path / "b", half, None))} == {
        jnp.dtype("bfloat16")
    }


EMBEDDING = "model.embed_tokens.weight"
Q_PROJ, NORM = "model.layers.1.self_attn.q_proj.weight", "model.norm.weight"
REFUSALS = {
    "model.layers.0.mlp.gate.weight": (
        safetensors_reader.UnmappedKeyError,
        lambda t: t.update({"model.layers.0.mlp.gate.weight": t[NORM]}),
    ),
    "model.layers.7.self_attn.q_proj.weight": (
        safetensors_reader.UnexpectedTargetError,
        lambda t: t.update({"model.layers.7.self_attn.q_proj.weight": t[Q_PROJ]}),
    ),
    "model.layers.2.mlp.up_proj.weight": (
        safetensors_reader.NeverSetError,
        lambda t: t.pop("model.layers.2.mlp.up_proj.weight"),
    ),
    Q_PROJ: (safetensors_reader.WrongShapeError, lambda t: t.update({Q_PROJ: t[Q_PROJ].T.copy()})),
}


@pytest.mark.parametrize("key", REFUSALS)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_key(key, folder, model):
    error, change = REFUSALS[key]
    _edit(folder, change)
    with pytest.raises(error, match=key.replace(".", r"\.")):
        load_params(folder, model, None)


@pytest.mark.parametrize("later", [True, False])
def test_a_weight_in_two_files_is_refused_with_the_key_if_the_two_differ(
    folder, model, params, later
):
    # transformers takes the one of the last file, whatever the index says.
    files = sorted(folder.glob("model-*.safetensors"))
    owner, other = (files[0], files[1]) if later else (files[1], files[0])
    (folder / "checksums.json").unlink()
    key, value = next(iter(safetensors.numpy.load_file(owner).items()))
    tensors = safetensors.numpy.load_file(other)
    safetensors.numpy.save_file(tensors | {key: value}, other)
    _assert_same(load_params(folder, model, None), params)
    safetensors.numpy.save_file(tensors | {key: value + 1}, other)
    with pytest.raises(safetensors_reader.SetTwiceError, match=key):
        load_params(folder, model, None)


def test_two_files_may_hold_the_same_weights_behind_a_network(folder, model):
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    both = safetensors.numpy.load_file(first) | safetensors.numpy.load_file(second)
    safetensors.numpy.save_file(both, second)
    wanted = huggingface.weight_shapes(decoder.abstract_params(model))
    remote = safetensors_reader.RemoteFile
    found = safetensors_reader.find_sources(epath.Path(folder), wanted, remote)
    assert set(found) == set(wanted)


@pytest.mark.parametrize("buffer", [None, "model.layers.0.self_attn.rotary_emb.inv_freq"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_files_of_the_base_model_have_names_without_its_prefix(tied, head, buffer, tmp_path):
    arch = make_architecture(
        tie_word_embeddings=tied, attention_bias=False, attention_output_bias=False
    )
    model = make_model(arch)
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "t", model, params, tokenizer_from=None, max_shard_bytes=20_000)

    def rename(tensors):
        tensors.setdefault("lm_head.weight", tensors[EMBEDDING].copy())
        if not head:
            del tensors["lm_head.weight"]
        for key in [key for key in tensors if key.startswith("model.")]:
            tensors[key.removeprefix("model.")] = tensors.pop(key)
        if buffer:
            tensors[buffer] = BUFFERS[buffer]

    _edit(tmp_path / "t", rename)
    if not tied and not head:
        with pytest.raises(safetensors_reader.NeverSetError, match=r"lm_head\.weight"):
            load_params(tmp_path / "t", model, None)
        return
    _assert_same(load_params(tmp_path / "t", model, None), params)
    tokens = random_tokens((1, 9))
    ours = run(model, params, tokens, counting(tokens)).logits
    np.testing.assert_allclose(ours, _logits_of_transformers(tmp_path / "t", tokens), atol=1e-4)


def test_names_with_and_without_the_prefix_do_not_mix(folder, model):
    _edit(folder, lambda t: t.update({"norm.weight": t.pop(NORM)}))
    with pytest.raises(safetensors_reader.UnmappedKeyError, match=r"norm\.weight"):
        load_params(folder, model, None)


def test_a_head_without_the_prefix_that_differs_from_its_tied_twin_is_refused(tmp_path):
    model = make_model(make_architecture(tie_word_embeddings=True))
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "t", model, params, tokenizer_from=None, max_shard_bytes=10**9)

    def rename(tensors):
        for key in list(tensors):
            tensors[key.removeprefix("model.")] = tensors.pop(key)
        tensors["lm_head.weight"] = tensors["embed_tokens.weight"] + 1

    _edit(tmp_path / "t", rename)
    with pytest.raises(safetensors_reader.UnexpectedTargetError, match=r"lm_head\.weight"):
        load_params(tmp_path / "t", model, None)


def test_a_bias_that_the_architecture_lacks_is_unexpected(folder, model):
    arch = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(arch | dict(attention_bias=False)))
    with pytest.raises(safetensors_reader.UnexpectedTargetError, match=r"k_proj\.bias"):
        open_model(ModelConfig(str(folder), "pretrained", {}, **SETTINGS), None)


def test_a_tied_head_that_is_stored_again_is_accepted_only_if_it_is_the_embedding(tmp_path):
    model = make_model(make_architecture(tie_word_embeddings=True))
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "t", model, params, tokenizer_from=None, max_shard_bytes=10**9)
    _edit(
        tmp_path / "t",
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].copy()}),
    )
    _assert_same(load_params(tmp_path / "t", model, None), params)
    _edit(
        tmp_path / "t",
        lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].astype(np.float64)}),
    )
    _assert_same(load_params(tmp_path / "t", model, None), params)
    _edit(
        tmp_path / "t", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1})
    )
    with pytest.raises(safetensors_reader.UnexpectedTargetError, match=r"lm_head\.weight"):
        load_params(tmp_path / "t", model, None)


BUFFERS = {
    "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(5, np.float32),
    "model.rotary_emb.inv_freq": np.ones(5, np.float32),
    "model.rotary_emb.original_inv_freq": np.ones(5, np.float32),
    "model.layers.1.self_attn.rotary_emb.cos_cached": np.ones((5, 4), np.float32),
    "model.layers.1.self_attn.rotary_emb.sin_cached": np.ones((5, 4), np.float32),
    "model.layers.0.self_attn.masked_bias": np.float32([-1e4]),
    "model.layers.0.self_attn.bias": np.ones((1, 1, 4, 4), bool),
    "model.layers.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8),
    "model.position_ids": np.arange(5),
    "model.layers.0.self_attn._extra_state": np.zeros(0, np.uint8),
    "v_head.summary.weight": np.ones((1, 5), np.float32),
    "v_head.summary.bias": np.ones(1, np.float32),
    "score.weight": np.ones((1, 5), np.float32),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_that_checkpoints_hold_beside_the_weights_are_passed_over(
    name, folder, model, params
):
    _edit(folder, lambda t: t.update({name: BUFFERS[name]}))
    _assert_same(load_params(folder, model, None), params)


def _logits_of_transformers(folder, tokens):
    torch = pytest.importorskip("torch", reason="Hugging Face's models need torch")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return theirs(torch.tensor(tokens).long()).logits


def test_a_tied_head_that_is_stored_under_its_own_name_alone_is_the_embedding(tmp_path):
    arch = make_architecture(
        tie_word_embeddings=True, attention_bias=False, attention_output_bias=False
    )
    model = make_model(arch)
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "t", model, params, tokenizer_from=None, max_shard_bytes=10**9)
    _edit(tmp_path / "t", lambda t: t.update({"lm_head.weight": t.pop(EMBEDDING)}))
    _assert_same(load_params(tmp_path / "t", model, None), params)
    tokens = random_tokens((2, 12))
    ours = run(model, params, tokens, counting(tokens)).logits
    np.testing.assert_allclose(ours, _logits_of_transformers(tmp_path / "t", tokens), atol=1e-4)
    untied = make_model(make_architecture(attention_bias=False, attention_output_bias=False))
    with pytest.raises(safetensors_reader.NeverSetError, match="embed_tokens"):
        load_params(tmp_path / "t", untied, None)


LEFT_OVER = "model.layers.5.mlp.up_proj.weight"


@pytest.mark.parametrize("name", [LEFT_OVER, "model.layers.0.mlp.gate.weight", "something.else"])
def test_a_tensor_that_the_index_does_not_name_is_passed_over(name, folder, model, params):
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    tensors = safetensors.numpy.load_file(shard)
    safetensors.numpy.save_file(
        tensors | {name: np.ones((3, 2), np.float32)}, shard, {"format": "pt"}
    )
    (folder / "checksums.json").unlink()
    _assert_same(load_params(folder, model, None), params)
    tokens = random_tokens((1, 9))
    ours = run(model, params, tokens, counting(tokens)).logits
    np.testing.assert_allclose(ours, _logits_of_transformers(folder, tokens), atol=1e-4)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][name] = shard.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(safetensors_reader.LoadError, match=name.replace(".", r"\.")):
        load_params(folder, model, None)


def test_a_head_outside_the_index_that_differs_from_its_tied_twin_is_refused(tmp_path):
    model = make_model(make_architecture(tie_word_embeddings=True))
    params = random_params(decoder.abstract_params(model))
    save_model(tmp_path / "t", model, params, tokenizer_from=None, max_shard_bytes=20_000)
    (tmp_path / "t" / "checksums.json").unlink()
    shard = sorted((tmp_path / "t").glob("model-*.safetensors"))[-1]
    tensors = safetensors.numpy.load_file(shard)
    embedding = np.asarray(params["embed_tokens"]["embedding"])
    safetensors.numpy.save_file(tensors | {"lm_head.weight": embedding}, shard)
    _assert_same(load_params(tmp_path / "t", model, None), params)
    safetensors.numpy.save_file(tensors | {"lm_head.weight": embedding + 1}, shard)
    with pytest.raises(safetensors_reader.UnexpectedTargetError, match=r"lm_head\.weight"):
        load_params(tmp_path / "t", model, None)


def test_a_folder_with_weights_in_another_form_says_how_to_convert_them(model, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"found pytorch_model\.bin\..*save_pretrained"):
        load_params(tmp_path, model, None)


def test_files_that_are_missing_or_of_another_kind_are_named(folder, model, tmp_path):
    next(iter(sorted(folder.glob("model-00002-*")))).unlink()
    with pytest.raises(ValueError, match="model-00002-of-"):
        load_params(folder, model, None)
    with pytest.raises(
        ValueError, match=r"neither model\.safetensors\.index\.json nor model\.safetensors"
    ):
        load_params(tmp_path, model, None)
    with pytest.raises(ValueError, match=r"no config\.json"):
        huggingface.read_architecture(tmp_path)
    _edit(folder, lambda t: t.update({NORM: np.ones(24, np.int8)}))
    with pytest.raises(ValueError, match=r"model\.norm\.weight is I8"):
        load_params(folder, model, None)


def test_a_remote_file_gives_the_same_parts_as_a_local_one(folder):
    path = sorted(folder.glob("*.safetensors"))[1]
    local, remote = (
        kind(path) for kind in (safetensors_reader.LocalFile, safetensors_reader.RemoteFile)
    )
    assert local.tensors() == remote.tensors()
    for key, (shape, _) in local.tensors().items():
        index = tuple(slice(size // 3, size - 1) for size in shape)
        np.testing.assert_array_equal(local.read(key, index), remote.read(key, index))


@pytest.mark.parametrize("kind", ["LocalFile", "RemoteFile"])
@pytest.mark.parametrize("sizes", [None, (1, 2, 2, 1)], ids=str)
def test_layers_that_threads_read_are_those_of_the_whole(folder, model, kind, sizes, monkeypatch):
    monkeypatch.setattr(safetensors_reader, "LocalFile", getattr(safetensors_reader, kind))
    mesh = None if sizes is None else make_mesh(MeshConfig(*sizes), jax.devices()[:4])
    whole = load_params(folder, model, mesh)["layers"]
    read = huggingface.open_params(folder, model, mesh)
    paths = jax.tree_util.tree_leaves_with_path(decoder.abstract_params(model))
    paths = [path for path, _ in paths if path[0].key == "layers"]
    with ThreadPoolExecutor(8) as pool:
        found = {
            (path, layer): pool.submit(read, path, None, layer)
            for path in paths
            for layer in range(model.architecture.num_hidden_layers)
        }
    for (path, layer), reading in found.items():
        stacked = functools.reduce(lambda tree, entry: tree[entry.key], path[1:], whole)
        np.testing.assert_array_equal(reading.result(), stacked[layer])
        assert reading.result().sharding == unstacked(stacked.sharding)


@pytest.fixture
def source(tmp_path):
    """A folder with a tokenizer, a template, and token ids in its configs."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "tokenizer.json").write_text('{"model": "ünïcode"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    (folder / "config.json").write_text(
        '{"eos_token_id": 3, "hidden_size": 999, "pad_token_id": 0}'
    )
    (folder / "model.safetensors").write_bytes(b"not copied")
    return folder


def test_tokenizer_template_and_token_ids_come_along(source, model, params, tmp_path):
    save_model(tmp_path / "out", model, params, tokenizer_from=source, max_shard_bytes=10**9)
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"], config["hidden_size"]) == (3, 0, 24)
    (source / "tokenizer.json").unlink()
    (source / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="no tokenizer to copy"):
        save_model(tmp_path / "out", model, params, tokenizer_from=source, max_shard_bytes=10**9)


@pytest.mark.parametrize("source_dtype", ["float32", "bfloat16"])
def test_values_that_float16_cannot_hold_are_refused_and_the_old_folder_stays(
    model, params, tmp_path, source_dtype
):
    params = jax.tree.map(lambda x: x.astype(source_dtype), params)
    how = {"tokenizer_from": None, "max_shard_bytes": 10**9, "dtype": "float16"}
    large = params | {"norm": {"scale": params["norm"]["scale"].at[1].set(65504)}}
    if source_dtype == "float32":
        save_model(tmp_path / "out", model, large, **how)
        stored = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
        assert stored["model.norm.weight"][1] == 65504
    larger = params | {"norm": {"scale": params["norm"]["scale"].at[1].set(-70144)}}
    with pytest.raises(
        UserError, match=r"norm\.weight: expected .* at most 65504.* found 70144\. "
    ):
        save_model(tmp_path / "out", model, larger, **how)
    assert (tmp_path / "out").exists() == (source_dtype == "float32")


def test_templates_beside_the_default_one_come_along(source, model, params, tmp_path):
    templates = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0})),
        chat_template=templates,
    )
    tokenizer.save_pretrained(source)
    save_model(tmp_path / "out", model, params, tokenizer_from=source, max_shard_bytes=10**9)
    loaded = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    assert loaded.chat_template == templates


def test_a_save_that_dies_leaves_the_old_folder_whole_and_the_next_one_succeeds(
    folder, model, params, monkeypatch
):
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    doubled = jax.tree.map(lambda x: 2 * x, params)
    with monkeypatch.context() as patch:
        patch.setattr(
            hf_export, "_write_rest", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            save_model(folder, model, doubled, tokenizer_from=None, max_shard_bytes=9_000)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    save_model(folder, model, doubled, tokenizer_from=None, max_shard_bytes=9_000)
    _assert_same(load_params(folder, model, None), doubled)
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]


def test_random_initialisation_takes_the_architecture_of_the_recipe():
    config = dict(model_type="llama", **SIZES)
    settings = SETTINGS | dict(param_dtype="bfloat16")
    model, params = open_model(
        ModelConfig("", "random", config, **settings), None, jax.random.key(0)
    )
    assert model.architecture.model_type == "llama"
    assert params["norm"]["scale"].dtype == jnp.bfloat16
    for bad, message in [
        (ModelConfig("some/where", "random", config, **settings), "init='random'"),
        (ModelConfig("", "random", config | dict(vocab_size=None), **settings), "vocab_size"),
        (ModelConfig("", "guessed", {}, **settings), "init='guessed'"),
        (ModelConfig("x", "pretrained", config, **settings), "model.architecture"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_model(bad, None, jax.random.key(0))


def test_a_name_is_a_folder_or_on_the_hub_or_refused(tmp_path, monkeypatch):
    assert huggingface.resolve(str(tmp_path)) == tmp_path
    for path in ("", str(tmp_path / "no" / "such"), "just-a-name"):
        with pytest.raises(ValueError, match="no such folder"):
            huggingface.resolve(path)
    asked = []

    def download(name, allow_patterns, **_):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface.huggingface_hub, "snapshot_download", download)
    assert pathlib.Path(huggingface.resolve("owner/model")) == tmp_path
    assert (
        asked[0][0] == "owner/model"
        and "*.safetensors" in asked[0][1]
        and "*.bin" not in asked[0][1]
    )
    huggingface.resolve("owner/model", weights=False)  # as a study looks at all its models first
    assert "*.json" in asked[1][1] and "*.safetensors" not in asked[1][1]

    def unreachable(name, **_):
        raise OSError("no network")

    monkeypatch.setattr(huggingface.huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        ValueError, match=r"(?s)'owner/model'.*no network.*path of a downloaded folder"
    ):
        huggingface.resolve("owner/model")


def test_copies_of_the_weights_that_are_never_read_are_not_downloaded(tmp_path, monkeypatch):
    read = ["config.json", "additional_chat_templates/tools.jinja", "model-1-of-1.safetensors"]
    unread = ["consolidated.safetensors", "checkpoint-500/model.safetensors", "model.bin"]
    asked = []

    def download(name, **patterns):
        asked.append(patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface.huggingface_hub, "snapshot_download", download)
    huggingface.resolve("mistralai/Mistral-7B-v0.3")
    taken = huggingface_hub.utils.filter_repo_objects([*read, *unread], **asked[0])
    assert list(taken) == read


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_refused_also_beside_whole_weights(whole, folder):
    if not whole:
        (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-14B"}')
    with pytest.raises(UserError, match=r"adapter_config\.json makes it an adapter.*Merge it"):
        huggingface.read_architecture(folder)


def test_of_two_that_write_one_folder_at_once_the_second_is_told_so(folder, model, params):
    files = hf_export.plan_files(model, params, 10**9, None)
    doubled = jax.tree.map(lambda x: 2 * x, params)

    def tensor(weight):
        return weight.to_host(doubled, None)

    def rest():
        with pytest.raises(UserError, match=rf"^{folder}: another program is writing this folder"):
            save_model(folder, model, params, tokenizer_from=None, max_shard_bytes=10**9)
        return hf_export.settings_files(model, {}, files, None)

    hf_export.write_folder(folder, files, tensor, rest)
    _assert_same(load_params(folder, model, None), doubled)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not (folder / ".lock").exists()
    with pytest.raises(UserError, match=rf"^{folder}: exists already"):
        hf_export.write_folder(folder, files, tensor, rest, new=True)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_models_place_is_replaced_and_what_it_leads_to_stays(
    model, params, tmp_path, there
):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "m"
    if there:
        elsewhere.mkdir()
        (elsewhere / "theirs").write_text("kept")
    folder.symlink_to(elsewhere)
    save_model(folder, model, params, tokenizer_from=None, max_shard_bytes=10**9)
    _assert_same(load_params(folder, model, None), params)
    assert not folder.is_symlink() and elsewhere.exists() == there
    assert not there or (elsewhere / "theirs").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} <= {"elsewhere", "m"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_saved_model_has_the_rights_that_the_users_mask_gives(
    model, params, tmp_path, mask, mode
):
    before = os.umask(mask)
    try:
        save_model(tmp_path / "m", model, params, tokenizer_from=None, max_shard_bytes=10**9)
    finally:
        os.umask(before)
    rights = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()}
    assert set(rights.values()) == {mode}, rights
