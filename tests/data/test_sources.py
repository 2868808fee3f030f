import json
import re
import sys

import datasets
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog, SourceRow
from jaxreason.data.sources import SOURCES
from jaxreason.errors import UserError

SUMS = {"size": 40, "min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def columns(config):
    return [row.columns for row in SOURCES[config.source](config)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """A dataset that tfds itself writes as ArrayRecord, without TensorFlow."""
    features = {
        "question": tfds.features.Text(),
        "number": tfds.features.Scalar(np.int64),
        "words": tfds.features.Sequence(tfds.features.Text()),
    }

    class TinySums(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        name = "tiny_sums"

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(5):
                yield i, {"question": f"Größe {i}?", "number": i, "words": ["a", "é"]}

    folder = tmp_path_factory.mktemp("tfds")
    TinySums(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_a_csv_file_is_text_as_it_stands_and_typed_by_huggingfaces_library(
    tmp_path, make_config, cache
):
    (tmp_path / "a.csv").write_text("id,price,said\n007,1.50,NA\n010,2.00,no\n")
    texts = [("007", "1.50", "NA"), ("010", "2.00", "no")]
    typed = [(7, 1.5, None), (10, 2.0, "no")]
    for source, split, expected in (("file", "", texts), ("huggingface", "train", typed)):
        rows = columns(make_config(tmp_path / "a.csv", source=source, split=split))
        assert [tuple(row.values()) for row in rows] == expected


@pytest.mark.parametrize("by_name", [True, False])
def test_tfds_rows_come_from_array_record_as_text_and_without_tensorflow(
    tfds_folder, make_config, by_name
):
    path = "tiny_sums" if by_name else tfds_folder / "tiny_sums" / "1.0.0"
    options = {"data_dir": str(tfds_folder)} if by_name else {}
    config = make_config(path, source="tfds", split="train", options=options)
    rows = sorted(columns(config), key=lambda row: row["number"])
    assert rows == [{"question": f"Größe {i}?", "number": i, "words": ["a", "é"]} for i in range(5)]
    assert all(type(row["number"]) is int for row in rows)
    assert "tensorflow" not in sys.modules


def test_tfds_examples_have_text_and_numbered_rows(tfds_folder, make_config):
    config = make_config(
        tfds_folder / "tiny_sums" / "1.0.0",
        source="tfds",
        split="train[1:3]",
        fields={"prompt": "question", "answer": "number"},
    )
    examples = load_examples(config, DropLog())
    assert len(examples) == 2
    for example in examples:
        assert example.messages[0]["content"] == f"Größe {example.answer}?"
    assert examples[1].metadata["where"].endswith("train[1:3]:2")


@pytest.mark.parametrize(
    ("path", "split", "expected"),
    [
        ("tiny_sum", "train", "Dataset tiny_sum not found"),
        ("tiny_sums", "test", "Unknown split 'test'"),
        ("tiny_sums", "", "split is empty"),
        ("/gone", "train", "no dataset_info.json in /gone"),
    ],
)
def test_tfds_says_what_is_missing(tfds_folder, make_config, path, split, expected):
    options = {"data_dir": str(tfds_folder)}
    with pytest.raises(ValueError, match=expected):
        columns(make_config(path, source="tfds", split=split, options=options))


def test_tfds_files_of_another_format_are_refused_by_name(tfds_folder, tmp_path, make_config):
    for file in (tfds_folder / "tiny_sums" / "1.0.0").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    info = tmp_path / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="holds tfrecord files, which TensorFlow alone can read"):
        columns(make_config(tmp_path, source="tfds", split="train"))


def test_huggingface_reads_local_files_folders_and_saved_datasets(tmp_path, make_config, cache):
    rows = [{"question": "a", "answer": 1}, {"question": "b", "answer": 2}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jsonl").write_text(text)
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": dataset}).save_to_disk(tmp_path / "splits")
    for path, split in (
        ("folder/a.jsonl", "train"),
        ("folder", "train"),
        ("one", ""),
        ("splits", "train"),
    ):
        config = make_config(tmp_path / path, source="huggingface", split=split)
        assert columns(config) == rows, path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_huggingface_reads_some_files_of_a_dataset_alone(tmp_path, make_config, cache, suffix):
    for level, answer in (("level3to5", 1), ("level1", 2)):
        (tmp_path / level).mkdir()
        dataset = datasets.Dataset.from_list([{"question": "a", "answer": answer}])
        write = dataset.to_parquet if suffix == ".parquet" else dataset.to_json
        write(tmp_path / level / f"train{suffix}")
    options = {"files": f"level3to5/train{suffix}"}
    config = make_config(tmp_path, source="huggingface", split="train", options=options)
    assert columns(config) == [{"question": "a", "answer": 1}]


def test_huggingface_names_the_splits_that_exist(tmp_path, make_config, cache):
    (tmp_path / "a.jsonl").write_text('{"question": "a"}\n')
    datasets.DatasetDict({"train": datasets.Dataset.from_list([{"a": 1}])}).save_to_disk(
        tmp_path / "splits"
    )
    for path, split, expected in (
        ("a.jsonl", "tran", "Should be one of"),
        ("splits", "tran", "did you mean 'train'"),
        ("a.jsonl", "", "split is empty"),
    ):
        with pytest.raises(ValueError, match=expected):
            columns(make_config(tmp_path / path, source="huggingface", split=split))


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_refuses_an_option_that_it_does_not_have_by_name(make_config, cache, source):
    path = {"reasoning_gym": "chain_sum"}.get(source, "/gone")
    split = "train" if source in ("huggingface", "tfds") else ""
    config = make_config(path, source=source, split=split, options={"no_such_option": "1"})
    with pytest.raises(UserError, match="no_such_option"):
        columns(config)


def test_an_unreachable_hub_is_named_with_the_way_out(make_config, cache):
    # tests/conftest.py sets HF_HUB_OFFLINE, which the libraries treat as no connection.
    config = make_config(
        "openai/gsm8k", source="huggingface", split="test", options={"name": "main"}
    )
    with pytest.raises(ValueError, match=r"Hub could not be reached.*'openai/gsm8k'.*local folder"):
        columns(config)


def test_reasoning_gym_questions_follow_the_seed(make_config):
    config = make_config("chain_sum", source="reasoning_gym", seed=3, options=SUMS)
    first, again = columns(config), columns(config)
    other = columns(make_config("chain_sum", source="reasoning_gym", seed=900, options=SUMS))
    assert first == again != other
    assert len(first) == SUMS["size"]
    for row in first:
        left, sign, right = re.search(r"(\d) ([+-]) (\d) =$", row["question"]).groups()
        assert int(row["answer"]) == int(left) + (int(right) if sign == "+" else -int(right))
        assert row["expression"] == row["metadata"]["expression"] == f"{left} {sign} {right}"


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        ("chain_sun", SUMS, "did you mean 'chain_sum'"),
        ("chain_sum", {**SUMS, "min_term": 2}, "did you mean 'min_terms'"),
        ("chain_sum", {**SUMS, "min_terms": 9}, "max_terms must be >= min_terms"),
        ("chain_sum", {"min_terms": 2}, "options.size is missing"),
    ],
)
def test_reasoning_gym_refuses_what_the_task_does_not_have(make_config, task, options, expected):
    with pytest.raises(ValueError, match=expected):
        columns(make_config(task, source="reasoning_gym", options=options))


def test_a_program_in_a_datasets_folder_is_refused_and_not_run(tmp_path, cache, make_config):
    folder, mark = tmp_path / "evil", tmp_path / "ran"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (folder / "train.jsonl").write_text('{"question": "1", "answer": "1"}\n')
    with pytest.raises(UserError, match=r"scripts are no longer supported, but found evil\.py"):
        columns(make_config(folder, source="huggingface", split="train"))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", '{"question": "1"}\nbroken\n'),
        ("dataset_dict.json", "{}"),
        ("dataset_infos.json", "{"),
    ],
)
def test_a_damaged_dataset_of_a_folder_is_a_users_error(
    tmp_path, cache, make_config, name, content
):
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"question": "1"}\n')
    (folder / name).write_text(content)
    with pytest.raises(UserError, match="damaged"):
        columns(make_config(folder, source="huggingface", split="train"))


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (None, "got None"),
        ([{"question": "1"}], "got {'question': '1'}"),
        ([SourceRow("mine", 1, ["1"])], "columns=['1']"),
    ],
)
def test_a_source_that_a_recipe_adds_and_that_gives_no_rows_is_named(
    monkeypatch, make_config, made, got
):
    monkeypatch.setitem(SOURCES, "mine", lambda config: made)
    with pytest.raises(UserError, match=r"source 'mine': expected SourceRows with a dict") as told:
        load_examples(make_config("mine", source="mine"), DropLog())
    assert got in str(told.value) and "docs/adding_data.md" in str(told.value)
