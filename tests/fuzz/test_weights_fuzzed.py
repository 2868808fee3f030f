"""A safetensors file of any bytes is refused in one message, or holds what its header says, and nothing beyond."""

import json

import numpy as np
import pytest
from etils import epath
from fuzzing import FUZZ
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from jaxreason.errors import UserError
from jaxreason.models.safetensors_reader import LocalFile, RemoteFile
from jaxreason.models.stored_tensors import RowFile

WHOLE = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16)})
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 6, 24, 32, 2**31, 2**63, 2**64, 1.5, True, None, "2"])
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "F8_E4M3", "", None, 3]),
        "shape": st.lists(NUMBERS, max_size=4) | NUMBERS,
        "data_offsets": st.lists(NUMBERS, max_size=3) | NUMBERS,
        "more": NUMBERS,
    },
)
HEADERS = st.dictionaries(
    st.text(max_size=4) | st.just("__metadata__"), TENSORS | NUMBERS, max_size=3
)
LENGTHS = st.integers(0, 300) | st.sampled_from([2**32, 2**63 - 1, 2**64 - 1])


def with_header(header: dict, length: int | None) -> bytes:
    """A file of that header; `length` is what it says of itself, None for the truth."""
    text = json.dumps(header).encode()
    said = len(text) if length is None else length
    return said.to_bytes(8, "little") + text + WHOLE[-32:]


def flipped(places: list[tuple[int, int]]) -> bytes:
    data = bytearray(WHOLE)
    for place, value in places:
        data[place % len(data)] = value
    return bytes(data)


FILES = (
    st.builds(with_header, HEADERS, st.none() | LENGTHS)
    | st.builds(flipped, st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), min_size=1))
    | st.integers(0, len(WHOLE)).map(lambda end: WHOLE[:end])
    | st.binary(max_size=64)
    | st.binary(max_size=8).map(lambda more: WHOLE + more)
    | st.just(b"\xff\x00\x00\x00\x00\x00\x00\x00" + b"[" * 255)
)


@pytest.mark.parametrize("reader", [LocalFile, RemoteFile, RowFile])
def test_it_is_refused_or_every_tensor_can_be_read_in_the_shape_that_is_said(reader, tmp_path):
    path = epath.Path(tmp_path) / "model.safetensors"

    @FUZZ
    @given(FILES)
    def check(data):
        path.write_bytes(data)
        try:
            file = reader(path)
            tensors = file.tensors()
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return
        for key, (shape, dtype) in tensors.items():
            if dtype in ("F32", "F16", "BF16", "F64") and shape:
                assert file.read(key, tuple(slice(0, size) for size in shape)).shape == shape

    check()


def test_the_readers_agree_on_what_is_a_whole_file(tmp_path):
    path = epath.Path(tmp_path) / "model.safetensors"

    def opened(reader, data):
        try:
            return reader(path).tensors()
        except UserError:
            return None

    @FUZZ
    @given(FILES)
    def check(data):
        path.write_bytes(data)
        local, remote = opened(LocalFile, data), opened(RemoteFile, data)
        assert local is None or remote == local  # ours may take what the library refuses, no less

    check()
