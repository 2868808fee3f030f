"""A model folder is not believed: whole-file hashes, and files that lie, hang or lead elsewhere."""

import contextlib
import json
import os
import pathlib
import random
import struct
import time

import jax
import numpy as np
import pytest
import safetensors.numpy
import transformers
from processes import run_processes
from tiny_models import make_architecture, make_model, random_params

from jaxreason.errors import UserError
from jaxreason.models import decoder, huggingface, safetensors_reader
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, load_params, open_model
from jaxreason.models.weight_files import verified_identity, weights_identity
from jaxreason.results import checksums
from jaxreason.runtime.distributed import on_process_zero

SETTINGS = dict(dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1)
MODEL = make_model(make_architecture())
WEIGHTS = "model-00002-of-00005.safetensors"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXREASON_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path):
    """An exported model in five files."""
    params = random_params(decoder.abstract_params(MODEL))
    save_model(tmp_path / "m", MODEL, params, tokenizer_from=None, max_shard_bytes=20_000)
    return tmp_path / "m"


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def open_from(folder):
    return open_model(ModelConfig(str(folder), "pretrained", {}, **SETTINGS), None)


def test_a_flipped_bit_anywhere_in_the_weights_changes_the_identity(folder):
    whole, rng = weights_identity(folder), random.Random(1)
    assert whole["files"] == 5
    for path in [*folder.glob("*.safetensors"), folder / "config.json"]:
        for _ in range(8):
            bit = rng.randrange(8 * path.stat().st_size)
            flip(path, bit)
            assert weights_identity(folder)["sha256"] != whole["sha256"], (path.name, bit)
            flip(path, bit)
    assert weights_identity(folder) == whole == verified_identity(folder)


def test_an_exported_folder_with_a_flipped_bit_is_refused_with_the_file(folder):
    rng = random.Random(2)
    for path in sorted(folder.glob("*.safetensors")):
        whole = path.read_bytes()
        for _ in range(6):
            flip(path, rng.randrange(8 * len(whole)))
            with pytest.raises(UserError, match=f"{path.name}: not the bytes that were exported"):
                load_params(folder, MODEL, None)
            with pytest.raises(UserError, match=f"{path.name}: not the bytes that were exported"):
                verified_identity(folder)
            path.write_bytes(whole)
    flip(folder / "checksums.json", 77)
    with pytest.raises(UserError, match=r"checksums\.json"):
        load_params(folder, MODEL, None)
    (folder / "checksums.json").unlink()  # as the message says
    load_params(folder, MODEL, None)


def hash_twice(path):
    found = [checksums.hash_once(path) for _ in range(2)]
    assert found[0] == found[1]
    return found[0]


def test_a_file_is_hashed_once_until_it_changes_and_the_folder_is_left_alone(folder, monkeypatch):
    before = sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir())
    hashed = []
    hash_file = checksums.hash_file
    monkeypatch.setattr(checksums, "hash_file", lambda path: hashed.append(path) or hash_file(path))
    weights_identity(folder)
    weights_identity(folder)
    load_params(folder, MODEL, None)
    assert hashed == []  # the export has hashed them
    (folder / WEIGHTS).rename(folder / "moved")
    (folder / "moved").rename(folder / WEIGHTS)
    times = os.stat(folder / WEIGHTS)
    flip(folder / WEIGHTS, 8000)
    os.utime(folder / WEIGHTS, ns=(times.st_atime_ns, times.st_mtime_ns))
    weights_identity(folder)
    assert [path.name for path in hashed] == [WEIGHTS]
    names = [name for name, _ in before]
    assert sorted(p.name for p in folder.iterdir()) == names


def test_where_no_cache_can_be_written_the_hash_is_made_again(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    (folder / "checksums.json").unlink()
    expected, hashed, hash_file = weights_identity(folder), [], checksums.hash_file
    monkeypatch.setenv("JAXREASON_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(
        checksums, "hash_file", lambda path: hashed.append(path.name) or hash_file(path)
    )
    assert weights_identity(folder) == expected
    once = list(hashed)
    assert weights_identity(folder) == expected
    assert WEIGHTS in once and sorted(hashed) == sorted(once * 2)  # files are hashed side by side


def test_a_broken_cache_is_no_hash(folder):
    found = weights_identity(folder)
    for entry in checksums.hash_cache_folder().iterdir():
        entry.write_text("[1" if entry.name.endswith("0.json") else "[]")
    assert weights_identity(folder) == found


def test_two_processes_find_the_same_identity_and_both_say_what_is_damaged(folder):
    whole = weights_identity(folder)
    (one, said), (other, also_said) = run_processes(identity_and_refusal, 2, str(folder))
    assert one == other == whole
    assert said == also_said and WEIGHTS in said


def identity_and_refusal(folder):
    whole = verified_identity(folder)
    on_process_zero(lambda: flip(pathlib.Path(folder) / WEIGHTS, 9999))
    try:
        load_params(folder, MODEL, None)
    except UserError as error:
        return whole, str(error)


@pytest.mark.parametrize("name", ["../m2/x.safetensors", "/etc/passwd", "..", "a/b", "", 5, None])
def test_an_index_that_names_files_outside_the_folder_is_refused(folder, name):
    index = folder / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    value["weight_map"]["model.norm.weight"] = name
    index.write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"model\.norm\.weight.*beside the index"):
        load_params(folder, MODEL, None)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": 3}', "{", "\xff", "[" * 10**6])
def test_a_broken_index_is_one_line(folder, text):
    (folder / "model.safetensors.index.json").write_bytes(text.encode("latin1"))
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json"):
        load_params(folder, MODEL, None)


def test_files_of_a_hub_snapshot_may_be_links_out_of_the_folder(folder, tmp_path):
    expected = load_params(folder, MODEL, None)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for path in list(folder.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(blobs / path.name)
    open_from(folder)
    jax.tree.map(np.testing.assert_array_equal, load_params(folder, MODEL, None), expected)


def test_beside_a_whole_model_in_one_file_a_left_over_index_is_not_read(folder, tmp_path):
    pytest.importorskip("torch")
    other = random_params(decoder.abstract_params(MODEL), seed=5)
    save_model(tmp_path / "one", MODEL, other, tokenizer_from=None, max_shard_bytes=10**9)
    for path in folder.glob("model*"):
        path.rename(tmp_path / "one" / path.name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    ours = load_params(tmp_path / "one", MODEL, None)
    np.testing.assert_array_equal(ours["norm"]["scale"], other["norm"]["scale"])
    np.testing.assert_array_equal(ours["norm"]["scale"], theirs.model.norm.weight.detach().numpy())


def put_pipe(path):
    os.mkfifo(path)


def put_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [put_pipe, put_device, os.mkdir])
@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "model.safetensors.index.json"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_refused_at_once(folder, name, put):
    (folder / name).unlink()
    put(folder / name)
    began = time.monotonic()
    with pytest.raises(UserError, match=f"{name}.*not a regular file"):
        open_from(folder)
    assert time.monotonic() - began < 30


def header(value, length=None):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


LIES = {
    "empty": b"",
    "short": b"\x01\x02",
    "a header longer than the file": header(b"{}", 10**6),
    "a huge header": header(b"{}", 2**63),
    "no JSON": header(b"\xff" * 40),
    "deep JSON": header(b'{"x":' * 50_000),
    "a list": header([1]) + bytes(8),
    "data outside the file": header(entry(data_offsets=[0, 10**12], shape=[250_000_000_000])),
    "negative offsets": header(entry(data_offsets=[-8, 0])) + bytes(8),
    "another size": header(entry(shape=[10**15])) + bytes(8),
    "a size that overflows": header(entry(shape=[2**40, 2**40])) + bytes(8),
    "no shape": header({"x": {"dtype": "F32"}}) + bytes(8),
    "strings": header(entry(shape=["2"])) + bytes(8),
}


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("reader", ["LocalFile", "RemoteFile"])
def test_a_safetensors_header_that_lies_is_one_line(kind, reader, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(LIES[kind])
    with pytest.raises(UserError, match=r"model\.safetensors: not a (whole )?safetensors file"):
        getattr(safetensors_reader, reader)(path)


def test_a_flipped_bit_in_a_foreign_files_header_is_refused_or_loads_the_same(folder):
    (folder / "checksums.json").unlink()
    path, rng = folder / WEIGHTS, random.Random(3)
    whole = path.read_bytes()
    size = 8 + struct.unpack("<Q", whole[:8])[0]
    expected = load_params(folder, MODEL, None)
    for _ in range(60):
        flip(path, rng.randrange(8 * size))
        for reader in (safetensors_reader.LocalFile, safetensors_reader.RemoteFile):
            with contextlib.suppress(UserError):
                reader(path).tensors()
        try:
            found = load_params(folder, MODEL, None)
        except UserError:
            pass
        else:  # such as a bit of the metadata
            jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), found, expected)
        path.write_bytes(whole)


def config_of(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size", "hidden_size", "head_dim"])
@pytest.mark.parametrize("value", [10**9, 10**30, -1, 1.5, "3", None, float("inf")])
def test_an_absurd_size_is_refused_by_name_before_anything_is_made(folder, key, value):
    config_of(folder, **{key: value})
    if value is None and key == "head_dim":
        return
    with pytest.raises(UserError, match=rf"config\.json.*{key}"):
        open_from(folder)


@pytest.mark.parametrize(
    "changes",
    [
        dict(rope_theta=0),
        dict(rope_theta=float("nan")),
        dict(rms_norm_eps="small"),
        dict(rope_scaling=5),
        dict(layer_types=7),
        dict(model_type=["qwen3"]),
        dict(sliding_window="8", use_sliding_window=True, max_window_layers=0),
        dict(num_hidden_layers=9_999),
    ],
    ids=str,
)
def test_a_config_of_other_types_is_one_line(folder, changes):
    config_of(folder, **changes)
    with pytest.raises(UserError):
        open_from(folder)


def test_code_that_a_folder_brings_is_never_run_nor_asked_about(folder, monkeypatch):
    def no_question(*_):
        raise AssertionError("standard input was asked")

    monkeypatch.setattr("builtins.input", no_question)
    marker = folder / "ran"
    (folder / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass C: pass\n")
    config_of(folder, auto_map={"AutoConfig": "code.C", "AutoTokenizer": "code.C"})
    open_from(folder)  # a family that we have: its own code is ours
    config_of(folder, model_type="mine")
    with pytest.raises(UserError, match=r"config\.json: model_type='mine'.*never run"):
        huggingface.resolve(str(folder))
    with pytest.raises(UserError, match="never run"):
        open_from(folder)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["run", "run/checkpoints"])
def test_a_runs_folder_in_place_of_its_model_is_refused_with_the_models_path(folder, place):
    run = folder.parent / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text('{"claimed": {}}')
    given = folder.parent / place
    with pytest.raises(
        UserError, match=rf"{given}: no .*no model folder; expected a Hugging Face folder\.$"
    ):
        huggingface.read_architecture(given)
    folder.rename(run / "model")
    with pytest.raises(
        UserError, match=rf"{given}: no .*no model folder; the run's is {run}/model\.$"
    ):
        huggingface.read_architecture(given)


def test_a_file_that_is_cut_off_is_one_line(folder):
    (folder / "checksums.json").unlink()
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{WEIGHTS}: not a whole safetensors file"):
        load_params(folder, MODEL, None)


def test_an_export_holds_the_hashes_of_its_weight_files(folder):
    table = json.loads((folder / "checksums.json").read_text())["files"]
    assert set(table) == {path.name for path in folder.glob("*.safetensors")}
    for name, entry in table.items():
        assert entry == checksums.hash_file(folder / name)
        assert len(safetensors.numpy.load_file(folder / name)) > 0
