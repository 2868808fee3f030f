"""The training questions of several sources: usable answers, none twice, made once."""

import dataclasses
import json
import pathlib

import pytest
from etils import epath
from ml_collections import ConfigDict
from program import call, refused

from configs import questions_paper, sections
from jaxreason.config import parse
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.errors import UserError
from jaxreason.studies.question_set import (
    QuestionsConfig,
    describe_questions,
    prepare_questions,
    read_report,
    write_question_set,
)

DEEP = [
    {"problem": r"Find $\dfrac12 + 3$.", "answer": "3.5"},
    {"problem": "What is $2^5$?", "answer": "32"},
    {"problem": "Prove it.", "answer": "The claim holds for every number that is odd and at least seven"},
    {"problem": "Draw it.", "answer": r"[asy]draw((0,0)--(1,1));[/asy]"},
    {"problem": "What is $x$?", "answer": None},
]  # fmt: skip
SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"  # read where it is there
ASK = "\nPlease reason step by step, and put your final answer within \\boxed{}."
SIMPLE = [("What is 1/2 + 3?", "7/2", 3), ("What is $3^5$?", "243", 4)]


@pytest.fixture
def folder(tmp_path):
    import pandas

    (tmp_path / "deepscaler.json").write_text(json.dumps(DEEP))
    rows = [
        {
            "prompt": [{"role": "user", "content": text + ASK}],
            "reward_model": {"ground_truth": answer, "style": "rule"},
            "level": level,
        }
        for text, answer, level in SIMPLE
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "simplerl_level3to5.parquet")
    return tmp_path


def section(folder, **changes):
    config = questions_paper.questions(str(folder))
    config.update(changes)
    return config


def write(folder, **changes):
    config = parse(QuestionsConfig, section(folder, **changes), "config.questions")
    write_question_set(config, epath.Path(folder) / "out")
    return epath.Path(folder) / "out"


def test_each_question_is_there_once_with_an_answer_that_can_be_graded(folder):
    out = write(folder)
    rows = [json.loads(line) for line in (out / "questions.jsonl").read_text().splitlines()]
    assert [(r["question"], r["answer"], r["data_source"], r["level"]) for r in rows] == [
        (DEEP[0]["problem"], "3.5", "deepscaler", None),
        (DEEP[1]["problem"], "32", "deepscaler", None),
        ("What is $3^5$?", "243", "simplerl", 4),
    ]
    assert len({row["id"] for row in rows}) == 3 and rows[2]["id"].startswith("simplerl-")


def test_of_equal_questions_that_of_the_source_whose_name_comes_first_stays(folder):
    config = section(folder)
    with config.unlocked():
        config.sources.zz = config.sources.deepscaler
        del config.sources["deepscaler"]
    write_question_set(parse(QuestionsConfig, config, "questions"), epath.Path(folder) / "out")
    rows = [json.loads(line) for line in (folder / "out/questions.jsonl").read_text().splitlines()]
    assert [(r["question"], r["answer"]) for r in rows if r["data_source"] == "simplerl"] == [
        ("What is 1/2 + 3?", "7/2"),
        ("What is $3^5$?", "243"),
    ]


def test_a_set_without_a_question_is_refused_and_not_written(folder):
    (folder / "deepscaler.json").write_text(json.dumps(DEEP[2:4]))
    config = section(folder)
    del config.sources["simplerl"]
    config = parse(QuestionsConfig, config, "config.questions")
    with pytest.raises(UserError, match=r"no question is left.*deepscaler: 2 rows.*prose.*json:1"):
        write_question_set(config, epath.Path(folder) / "out")
    assert not (folder / "out").exists()


def test_a_level_that_the_dataset_does_not_keep_is_refused(folder):
    config = section(folder)
    config.sources.simplerl.level = "levels"
    message = "questions.sources.simplerl.level='levels': expected a column of data.metadata"
    with pytest.raises(UserError, match=f"{message} \\(level\\); did you mean 'level'"):
        write_question_set(parse(QuestionsConfig, config, "config.questions"), folder / "out")
    assert not (folder / "out").exists()


def test_a_source_without_a_task_is_refused_before_anything_is_read(folder):
    (folder / "deepscaler.json").unlink()
    config = section(folder)
    config.sources.deepscaler.data.task = ""
    with pytest.raises(UserError, match=r"questions\.sources\.deepscaler\.data\.task: expected"):
        write_question_set(parse(QuestionsConfig, config, "config.questions"), folder / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.task=maths", "config.questions.sources.deepscaler.data.task: no task is called"),
        ("data.task=", "questions.sources.deepscaler.data.task: expected a task"),
        ("level=levle", "questions.sources.deepscaler.level='levle': expected a column"),
        ("data.path=gone.json", "gone.json"),
        ("data.fields.prompt=problm", "no row has the column 'problm'"),
    ],
)
def test_check_finds_what_would_stop_the_collection_of_questions(folder, change, message, capsys):
    words = ("check", "--config", f"questions_paper:{folder}")
    assert call(*words) == 0
    said = capsys.readouterr().out
    assert "deepscaler.json: 5 rows, 4 kept" in said and "nothing was found" in said
    assert message in refused(capsys, *words, f"--config.questions.sources.deepscaler.{change}")


def test_no_source_at_all_is_refused(folder):
    config = parse(QuestionsConfig, section(folder), "config.questions")
    with pytest.raises(UserError, match="sources: expected at least one"):
        write_question_set(dataclasses.replace(config, sources={}), epath.Path(folder / "out"))


def test_the_report_counts_what_was_left_out_by_source_and_reason(folder):
    report = read_report(write(folder))
    deep, simple = report["sources"]["deepscaler"], report["sources"]["simplerl"]
    assert deep["unusable_answers"] == {"prose": 1, "no plain answer": 1}
    assert deep["dropped"] == {"missing field": 1} and deep["questions"] == 2
    assert simple["duplicates"] == {"same question": 1} and simple["questions"] == 1
    assert [item["same_answer"] for item in report["duplicates"]] == [False]
    assert "  deepscaler: 5 rows, 2 kept, missing field 1" in describe_questions(report)
    assert "1 duplicates have another gold answer" in describe_questions(report)


def test_an_answer_that_its_own_grader_takes_for_wrong_cannot_be_used(folder):
    (folder / "deepscaler.json").write_text(
        json.dumps([{"problem": "a?", "answer": "x" * 9}, *DEEP[:1]])
    )
    config = section(folder)
    config.sources.deepscaler.data.task = "last_number"
    out = epath.Path(folder) / "out"
    write_question_set(parse(QuestionsConfig, config, "config.questions"), out)
    unusable = read_report(out)["sources"]["deepscaler"]
    assert sum(unusable["unusable_answers"].values()) == 1
    assert unusable["first_unusable"][0]["answer"] == "x" * 9


def test_questions_are_made_once_and_a_changed_file_is_refused(folder):
    out = write(folder)
    time = (out / "questions.jsonl").stat().mtime
    (folder / "deepscaler.json").unlink()
    assert (write(folder) / "questions.jsonl").stat().mtime == time
    with pytest.raises(
        UserError, match=r"near_duplicates: True -> False\. To go on here, set it back"
    ):
        write(folder, near_duplicates=False)
    (out / "questions.jsonl").write_text("")
    with pytest.raises(UserError, match=r"questions.jsonl: is not as it was written. Remove"):
        write(folder)


def test_a_kill_before_the_report_has_them_made_again(folder):
    out = write(folder)
    whole = (out / "questions.jsonl").read_bytes()
    (out / "questions_report.json").unlink()
    (out / "questions.jsonl").write_text("half")
    assert (write(folder) / "questions.jsonl").read_bytes() == whole


def test_a_recipe_reads_its_own_questions_as_a_dataset(folder, tmp_path):
    data = sections.dataset(
        "{workdir}/questions/questions.jsonl",
        {"id": "id", "prompt": "question", "answer": "answer"},
        metadata=("data_source", "level"),
    )
    config = ConfigDict({"questions": section(folder), "data": data})
    prepared = prepare_questions(config, epath.Path(tmp_path) / "run")
    examples = load_examples(parse(DatasetConfig, prepared.data, "data"), DropLog())
    assert [e.answer for e in examples] == ["3.5", "32", "243"]
    assert examples[2].metadata["level"] == 4


def test_the_hub_recipe_names_both_sources():
    config = parse(QuestionsConfig, questions_paper.get_config().questions, "config.questions")
    data = {name: source.data for name, source in config.sources.items()}
    assert data["deepscaler"].path == "agentica-org/DeepScaleR-Preview-Dataset"
    assert data["simplerl"].path == "hkust-nlp/SimpleRL-Zoo-Data"
    assert data["simplerl"].options["files"] == "simplelr_qwen_level3to5/train.parquet"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="the real files are not on this machine")
def test_real_parts_of_both_sources_become_questions(tmp_path):
    files = [SHARED / "math" / f"deepscaler_{part}_train.json" for part in ("aime", "math")]
    parts = [json.loads(file.read_text()) for file in files]
    rows = [{k: row[k] for k in ("problem", "answer")} for part in parts for row in part]
    (tmp_path / "deepscaler.json").write_text(json.dumps(rows))
    source = SHARED / "sft" / "simplelr_chat_level3to5_train.parquet"
    (tmp_path / "simplerl_level3to5.parquet").symlink_to(source)
    report = read_report(write(tmp_path))
    assert report["questions"] == 10969
    assert report["sources"]["simplerl"]["duplicates"] == {"same question": 5558, "reworded": 53}
    assert sum(not item["same_answer"] for item in report["duplicates"]) == 5
