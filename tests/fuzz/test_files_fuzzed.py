"""Files of a run and of a model: any bytes are refused in one message or are read as what they say."""

import json
import pathlib

from etils import epath
from fuzzing import FUZZ
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.errors import UserError
from jaxreason.models.huggingface import read_architecture
from jaxreason.models.weight_files import INDEX_FILE, read_index, weight_names
from jaxreason.results.jsonl import JsonlWriter, iter_jsonl, parse_jsonl, read_jsonl

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
LINES = (
    st.dictionaries(st.text(max_size=4), JSON, max_size=3).map(lambda row: json.dumps(row).encode())
    | st.binary(max_size=12)
    | st.sampled_from(
        [b"{", b"[]", b"null", b"NaN", b"[" * 5000, b'{"a":' * 3000, b"\xff", b"", b"\r", b"{}\r"]
    )
)
FILES = st.tuples(st.lists(LINES, max_size=6), st.sampled_from([b"", b"\n"])).map(
    lambda made: b"\n".join(made[0]) + made[1]
)


def rows_or_refusal(read):
    try:
        return read()
    except UserError as error:
        assert "line" in str(error) and "\n" not in str(error)
        return None


def test_the_readers_of_lines_agree_and_name_the_line(tmp_path):
    path = epath.Path(tmp_path) / "a.jsonl"

    @FUZZ
    @given(FILES)
    def check(data):
        path.write_bytes(data)
        rows = rows_or_refusal(lambda: parse_jsonl(data, str(path)))
        assert repr(rows) == repr(rows_or_refusal(lambda: read_jsonl(path)))
        assert repr(rows) == repr(rows_or_refusal(lambda: list(iter_jsonl(path))))
        if rows is not None:
            assert len(rows) == data.count(b"\n")

    check()


def test_a_writer_goes_on_after_whole_lines_and_refuses_what_is_no_row(tmp_path):
    path = epath.Path(tmp_path) / "b.jsonl"

    @FUZZ
    @given(FILES)
    def check(data):
        path.write_bytes(data)
        writer = rows_or_refusal(lambda: JsonlWriter(path))
        if writer is None:  # a cut-off line was to be removed, and another line is no row
            assert path.read_bytes() == data and rows_or_refusal(lambda: read_jsonl(path)) is None
            return
        writer.write({"new": 1})
        writer.close()
        if (
            rows_or_refusal(lambda: parse_jsonl(data, "line")) is None
        ):  # whole lines are not read by a writer
            assert path.read_bytes() == data + b'{"new": 1}\n'
            return
        assert path.read_bytes().endswith(b'{"new": 1}\n')
        assert repr(read_jsonl(path)[:-1]) == repr(parse_jsonl(data, "before"))

    check()


SETTINGS = json.loads(
    (pathlib.Path(__file__).parents[2] / "configs/tiny_base/config.json").read_text()
)
VALUES = JSON | st.sampled_from(
    [0, -1, 1, 2**31, 2**70, 1e400, "", "gelu", "silu", "qwen3", "llama", [], {}]
)
CHANGES = st.dictionaries(
    st.sampled_from(
        [*SETTINGS, "rope_scaling", "sliding_window", "layer_types", "quantization_config"]
    )
    | st.text(max_size=5),
    VALUES,
    max_size=3,
)


def test_settings_of_a_model_are_refused_in_one_message_or_make_an_architecture(tmp_path):
    path = epath.Path(tmp_path) / "config.json"

    @FUZZ
    @given(CHANGES, st.binary(max_size=8) | st.none())
    def check(changes, instead):
        text = json.dumps(SETTINGS | changes)
        path.write_bytes(text.encode() if instead is None else instead)
        try:
            found = read_architecture(epath.Path(tmp_path))
        except UserError as error:
            assert str(path.parent) in str(error)
            return
        assert found.num_hidden_layers > 0 and found.hidden_size > 0

    check()


NAMES = st.sampled_from(
    ["a.safetensors", "../a", "/etc/passwd", "..", "", "a\0", "b/c", "C:\\x", 3, None]
)


def test_an_index_names_files_beside_it_or_is_refused(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "a.safetensors").write_bytes(b"")

    @FUZZ
    @given(st.dictionaries(st.text(max_size=3), NAMES, max_size=3) | JSON, st.booleans())
    def check(table, whole):
        (folder / INDEX_FILE).write_text(json.dumps({"weight_map": table} if whole else table))
        try:
            names = weight_names(folder)
        except UserError as error:
            assert str(folder) in str(error)
            return
        assert names == ["a.safetensors"] and set(read_index(folder).values()) == set(names)

    check()
