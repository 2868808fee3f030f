import errno
import gzip
import json

import pyarrow
import pytest
from pyarrow import parquet

from jaxreason.data import parquet_rows
from jaxreason.data.examples import load_examples
from jaxreason.data.file_rows import READERS, read_files
from jaxreason.data.rows import DropLog
from jaxreason.errors import UserError

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "Größe?", "answer": "3"}]


def columns(config):
    return [row.columns for row in read_files(config)]


def write_all(folder):
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "a.json").write_text(json.dumps(ROWS))
    (folder / "a.csv").write_text("question,answer\n1+1?,2\nGröße?,3\n")
    (folder / "a.tsv").write_text("question\tanswer\n1+1?\t2\nGröße?\t3\n")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")


def test_every_format_gives_the_rows_that_were_written(tmp_path, make_config):
    write_all(tmp_path)
    for suffix in READERS:
        assert columns(make_config(tmp_path / f"a{suffix}")) == ROWS, suffix


def test_a_pattern_reads_the_files_in_name_order_and_numbers_rows_in_each(tmp_path, make_config):
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": name}) + "\n")
    rows = list(read_files(make_config(tmp_path / "*.jsonl")))
    assert [row.columns["question"] for row in rows] == ["a", "b"]
    assert [row.where for row in rows] == [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/b.jsonl:1"]


def test_a_tsv_without_header_gets_its_names_from_an_option(tmp_path, make_config):
    (tmp_path / "a.tsv").write_text('She said "no.\tWhy?\n"Yes" is\tWhat?\n')
    config = make_config(tmp_path / "a.tsv", options={"columns": "context, question"})
    assert columns(config) == [
        {"context": 'She said "no.', "question": "Why?"},
        {"context": '"Yes" is', "question": "What?"},
    ]


def test_a_quoted_field_may_hold_line_breaks_and_the_row_keeps_its_first_line(
    tmp_path, make_config
):
    (tmp_path / "a.csv").write_text('question,answer\n"one\ntwo",2\nthree,3\n')
    rows = list(read_files(make_config(tmp_path / "a.csv")))
    assert [(row.number, row.columns["question"]) for row in rows] == [
        (2, "one\ntwo"),
        (4, "three"),
    ]
    (tmp_path / "a.tsv").write_text('question\tanswer\n"one\ttwo"\t2\n')
    config = make_config(tmp_path / "a.tsv", options={"quoted": 1})
    assert columns(config) == [{"question": "one\ttwo", "answer": "2"}]


def test_byte_order_marks_and_windows_line_ends_are_no_part_of_the_text(tmp_path, make_config):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "a"}\r\n{"question": "b"}\r\n')
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfquestion\r\na\r\nb\r\n")
    for name in ("a.jsonl", "a.csv"):
        assert columns(make_config(tmp_path / name)) == [{"question": "a"}, {"question": "b"}]


def test_unicode_line_separators_do_not_split_a_line(tmp_path, make_config):
    text = "a\u2028b\x85c"
    line = json.dumps({"question": text}, ensure_ascii=False)
    (tmp_path / "a.jsonl").write_text(line + "\n", encoding="utf-8")
    assert columns(make_config(tmp_path / "a.jsonl")) == [{"question": text}]


def test_lines_that_are_no_rows_are_told_apart(tmp_path, make_config):
    lines = ['{"question": "a"}', "", '{"question": ', "[1]", "", ""]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = list(read_files(make_config(tmp_path / "a.jsonl")))
    reasons = [(row.number, row.problem and row.problem.reason) for row in rows]
    assert reasons == [(1, None), (2, "empty"), (3, "not JSON"), (4, "not an object")]
    deep, long = '{"question": ' + "[" * 99999, f'{{"question": {"9" * 5000}}}'
    (tmp_path / "a.jsonl").write_text(f'{deep}\n{long}\n{{"question": "a"}}\n')
    rows = list(read_files(make_config(tmp_path / "a.jsonl")))
    assert [row.problem and row.problem.reason for row in rows] == ["not JSON", "not JSON", None]
    (tmp_path / "a.csv").write_text("question,answer\na,b\nc\n")
    rows = list(read_files(make_config(tmp_path / "a.csv")))
    assert rows[1].problem.reason == "wrong number of columns"
    assert "question, answer" in rows[1].problem.detail


def test_bytes_that_are_not_utf8_spoil_their_own_row_only(tmp_path, make_config):
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "\xff"}\n{"question": "b"}\n')
    (tmp_path / "a.csv").write_bytes(b"question\n\xff\nb\n")
    bad = pyarrow.array([b"\xff", b"b"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"question": bad}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        texts = [row["question"] for row in columns(make_config(tmp_path / name))]
        assert texts == ["\udcff", "b"], name


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("dat.jsonl", {}, "did you mean 'data.jsonl'"),
        ("gone/data.jsonl", {}, "no folder"),
        ("", {}, "found a folder"),
        ("*.csv", {}, "no such file"),
        ("data.txt", {}, "cannot read '.txt' files"),
        ("broken.json", {}, "not valid JSON"),
        ("deep.json", {}, "not valid JSON"),
        ("number.json", {}, "expected a list of objects"),
        ("broken.jsonl.gz", {}, "damaged gzip file"),
        ("cut.jsonl.gz", {}, "damaged gzip file"),
        ("data.txt.gz", {}, "cannot read '.txt' files"),
        ("broken.parquet", {}, "not a parquet file"),
        ("data.jsonl", {"columns": "a,b"}, "for csv and tsv files only"),
        ("data.jsonl", {"colums": "a,b"}, "did you mean 'columns'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(
    tmp_path, make_config, path, options, expected
):
    for name in ("data.jsonl", "data.txt", "broken.json", "broken.parquet"):
        (tmp_path / name).write_text("{")
    (tmp_path / "number.json").write_text("3")
    for name in ("broken.jsonl.gz", "data.txt.gz"):
        (tmp_path / name).write_text("no gzip")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"question": "a"}\n' * 99)[:-9])
    (tmp_path / "deep.json").write_text("[" * 99999)
    with pytest.raises(ValueError, match=expected) as error:
        list(read_files(make_config(tmp_path / path, options=options)))
    assert str(tmp_path) in str(error.value)


def test_every_format_is_read_compressed_too(tmp_path, make_config):
    write_all(tmp_path)
    for suffix in ("jsonl", "json", "csv", "tsv", "parquet"):
        packed = tmp_path / f"a.{suffix}.gz"
        packed.write_bytes(gzip.compress((tmp_path / f"a.{suffix}").read_bytes()))
        assert columns(make_config(packed)) == columns(make_config(tmp_path / f"a.{suffix}"))


def test_a_json_file_may_hold_one_object_a_line_or_one_object(tmp_path, make_config):
    (tmp_path / "a.json").write_text('{"question": "a"}\n\n{"question": "b"}\n')
    rows = list(read_files(make_config(tmp_path / "a.json")))
    reasons = [(row.number, row.problem and row.problem.reason) for row in rows]
    assert reasons == [(1, None), (2, "empty"), (3, None)]
    (tmp_path / "a.json").write_text('{\n"question": "a"\n}')
    assert columns(make_config(tmp_path / "a.json")) == [{"question": "a"}]
    (tmp_path / "a.json").write_text('{"data": [{"question": "a"}]}')
    with pytest.raises(UserError, match=r"no row has the column 'question'.*columns: data"):
        load_examples(make_config(tmp_path / "a.json"), DropLog())


def test_a_split_is_refused_where_there_is_none(tmp_path, make_config):
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="has no splits"):
        list(read_files(make_config(tmp_path / "a.jsonl", split="train")))


def test_two_columns_of_one_name_are_refused_with_the_name(tmp_path, make_config):
    (tmp_path / "a.csv").write_text("question,answer,answer\nQ,right,wrong\n")
    (tmp_path / "a.tsv").write_text("question\tanswer\tanswer\nQ\tright\twrong\n")
    arrays = [pyarrow.array([text]) for text in ("Q", "right", "wrong")]
    table = pyarrow.Table.from_arrays(arrays, names=["question", "answer", "answer"])
    parquet.write_table(table, tmp_path / "a.parquet")
    for suffix in (".csv", ".tsv", ".parquet"):
        with pytest.raises(UserError, match=rf"a{suffix}: .*'answer'"):
            columns(make_config(tmp_path / f"a{suffix}"))
    (tmp_path / "a.csv").write_text("Q,right,wrong\n")
    with pytest.raises(UserError, match="'answer'"):
        columns(make_config(tmp_path / "a.csv", options={"columns": "question,answer,answer"}))


def test_columns_without_a_name_may_be_several(tmp_path, make_config):
    (tmp_path / "a.csv").write_text("question,answer,,\nQ,A,,\n")
    (found,) = columns(make_config(tmp_path / "a.csv"))
    assert (found["question"], found["answer"]) == ("Q", "A")


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path, make_config, end):
    (tmp_path / "a.csv").write_text(f'question,answer\nQ0,A0\nQ1,"A1\nQ2,A2\nQ3,A3{end}')
    with pytest.raises(UserError, match=r"a\.csv:3: .*never closed"):
        columns(make_config(tmp_path / "a.csv"))
    (tmp_path / "a.tsv").write_text(f'question\tanswer\nQ0\t"A0{end}')
    with pytest.raises(UserError, match=r"a\.tsv:2: .*never closed"):
        columns(make_config(tmp_path / "a.tsv", options={"quoted": 1}))
    assert columns(make_config(tmp_path / "a.tsv")) == [{"question": "Q0", "answer": '"A0'}]


def test_a_quote_that_a_later_one_closes_drops_the_rows_between_and_names_them(
    tmp_path, make_config
):
    text = 'question,answer\nQ0,A0\nQ1,"A1\nQ2,A2\nQ3,"A3"\nQ4,A4\n'
    (tmp_path / "a.csv").write_text(text)
    rows = list(read_files(make_config(tmp_path / "a.csv")))
    assert [row.columns.get("question") for row in rows] == ["Q0", None, "Q4"]
    bad = rows[1]
    assert (bad.number, bad.problem.reason) == (3, "wrong quotes")
    assert "lines 3 to 5" in bad.problem.detail


def test_blanks_behind_a_closing_quote_are_left_out(tmp_path, make_config):
    (tmp_path / "a.csv").write_text('question,answer\n"Q0" ,"A0"\t\n"Q"1 ,A1\n')
    first, second = read_files(make_config(tmp_path / "a.csv"))
    assert first.columns == {"question": "Q0", "answer": "A0"}
    assert second.problem.reason == "wrong quotes" and "(line 3)" in second.problem.detail


def test_columns_that_are_passed_over_may_have_one_name(tmp_path, make_config):
    (tmp_path / "a.csv").write_text("Q,x,y,A\n")
    options = {"columns": "question,_,_,answer"}
    (found,) = columns(make_config(tmp_path / "a.csv", options=options))
    assert (found["question"], found["answer"]) == ("Q", "A")
    options = {"columns": "question,answer,answer,id"}
    with pytest.raises(UserError, match=r"options\.columns: .*'answer'"):
        columns(make_config(tmp_path / "a.csv", options=options))


def test_a_date_that_python_has_not_drops_its_row_alone(tmp_path, make_config):
    days = pyarrow.array([0, 3_000_000], pyarrow.int32()).cast(pyarrow.date32())
    table = pyarrow.table({"question": ["Q0", "Q1"], "answer": ["A0", "A1"], "day": days})
    parquet.write_table(table, tmp_path / "a.parquet")
    first, second = read_files(make_config(tmp_path / "a.parquet"))
    assert first.columns["question"] == "Q0" and second.problem.reason == "unreadable"


def test_an_error_of_the_system_does_not_call_a_file_damaged(tmp_path, make_config, monkeypatch):
    parquet.write_table(pyarrow.table({"question": ["Q"], "answer": ["A"]}), tmp_path / "a.parquet")

    def refused(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(parquet_rows.parquet, "ParquetFile", refused)
    with pytest.raises(OSError, match="Too many") as caught:
        columns(make_config(tmp_path / "a.parquet"))
    assert not isinstance(caught.value, UserError)


def test_quotes_within_quotes_and_within_words_are_text(tmp_path, make_config):
    text = 'question,answer\n"He said ""no"".",A\n5" wide,"a, b"\n"",A\n'
    (tmp_path / "a.csv").write_text(text)
    assert [row["question"] for row in columns(make_config(tmp_path / "a.csv"))] == [
        'He said "no".',
        '5" wide',
        "",
    ]


def bad_text(kind):
    """An array of one text that is not UTF-8."""
    as_bytes = pyarrow.binary() if kind == pyarrow.string() else pyarrow.large_binary()
    return pyarrow.Array.from_buffers(kind, 1, pyarrow.array([b"u\xff"], as_bytes).buffers())


def nested(array, how):
    offsets = pyarrow.array([0, 1], pyarrow.int32())
    if how == "list":
        return pyarrow.ListArray.from_arrays(offsets, array)
    struct = pyarrow.StructArray.from_arrays([pyarrow.array(["user"]), array], ["role", "content"])
    return struct if how == "struct" else pyarrow.ListArray.from_arrays(offsets, struct)


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string()], ids=str)
@pytest.mark.parametrize("how", ["flat", "list", "struct", "messages"])
def test_bad_utf8_anywhere_in_parquet_spoils_its_own_row_only(tmp_path, make_config, kind, how):
    bad, good = bad_text(kind), pyarrow.array(["ok"], kind)
    values = [array if how == "flat" else nested(array, how) for array in (bad, good)]
    table = pyarrow.table({"question": ["1", "2"], "more": pyarrow.chunked_array(values)})
    table = table.append_column("answer", pyarrow.array(["A", "B"]))
    parquet.write_table(table, tmp_path / "a.parquet")
    config, drops = make_config(tmp_path / "a.parquet"), DropLog()
    assert [one.answer for one in load_examples(config, drops)] == ["B"]
    assert drops.to_json()[config.label]["dropped"] == {"not UTF-8": 1}


def test_damaged_pages_of_parquet_are_refused_with_the_path(tmp_path, make_config):
    path = tmp_path / "a.parquet"
    rows = [{"question": "Q" * 50, "answer": f"A{i}"} for i in range(3000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, compression="snappy")
    data = bytearray(path.read_bytes())
    data[60:400] = b"\xff" * 340
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"a\.parquet: damaged"):
        columns(make_config(path))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.csv.gz"])
def test_a_file_in_utf_16_is_refused_with_the_way_to_mend_it(tmp_path, make_config, name, encoding):
    write_all(tmp_path)
    text = (tmp_path / name.removesuffix(".gz")).read_text().encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    with pytest.raises(
        UserError, match=r"expected UTF-8, and the file begins as UTF-16 does; save it"
    ):
        columns(make_config(tmp_path / name))


def test_an_empty_file_among_others_is_named(tmp_path, make_config, caplog):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "a"}) + "\n")
    for name in ("b.jsonl", "c.jsonl"):
        (tmp_path / name).write_text("")
    assert columns(make_config(tmp_path / "*.jsonl")) == [{"question": "a"}]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/{name}.jsonl: the file has no row" for name in "bc"
    ]


def test_rows_of_a_distillation_that_has_not_ended_are_read_with_a_warning(
    tmp_path, make_config, caplog
):
    data = tmp_path / "distill" / "data"
    data.mkdir(parents=True)
    (data / "00001.jsonl").write_text(json.dumps({"question": "a"}) + "\n")
    assert columns(make_config(data / "*.jsonl")) == [{"question": "a"}]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{data}: the distillation that writes this folder has not ended")
    caplog.clear()
    (data.parent / "done.json").write_text("{}")
    assert columns(make_config(data / "*.jsonl")) == [{"question": "a"}]
    assert not caplog.records
