import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.ifeval import variants
from jaxreason.tasks.registry import TASKS, summarize
from jaxreason.tasks.verify import VerifierPool

TASK = TASKS["ifeval"]


def example(*instructions: tuple[str, dict]) -> Example:
    names, arguments = zip(*instructions, strict=True)
    metadata = {"instruction_id_list": list(names), "kwargs": list(arguments)}
    return Example("1000", "ifeval", (), "", "", metadata)


NO_COMMA = ("punctuation:no_comma", {})
QUOTED = ("startend:quotation", {})
FEW_WORDS = ("length_constraints:number_words", {"relation": "less than", "num_words": 4})


def test_a_prompt_is_followed_when_all_its_instructions_are():
    scores = TASK.score(example(NO_COMMA, FEW_WORDS), "no pause here but many words")
    assert scores["prompt_strict"] == 0.0
    assert scores["instruction_strict"] == 0.5
    assert scores["instructions"] == 2.0
    assert TASK.score(example(NO_COMMA, FEW_WORDS), "no pause")["prompt_strict"] == 1.0


def test_loose_forgives_an_opening_line_a_closing_line_and_asterisks():
    text = 'Sure, here it is:\n**"quoted"**\nAnything else, friend?'
    scores = TASK.score(example(QUOTED, NO_COMMA), text)
    assert (scores["instruction_strict"], scores["instruction_loose"]) == (0.0, 1.0)
    assert (scores["prompt_strict"], scores["prompt_loose"]) == (0.0, 1.0)


def test_there_are_eight_variants():
    assert variants("a\n*b*\nc") == [
        "a\n*b*\nc", "*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b",
    ]  # fmt: skip


def test_thoughts_do_not_count_but_are_scored_on_the_side():
    scores = TASK.score(example(NO_COMMA), "<think>Well, no commas.</think>None here")
    assert (scores["prompt_strict"], scores["prompt_strict_unstripped"]) == (1.0, 0.0)
    unfinished = TASK.score(example(NO_COMMA), "<think>No commas")
    assert (unfinished["prompt_strict"], unfinished["prompt_strict_unstripped"]) == (0.0, 1.0)


@pytest.mark.parametrize("text", ["", "  \n", "<think>a</think>  "])
def test_an_empty_reply_follows_nothing(text):
    assert TASK.score(example(NO_COMMA), text)["instruction_loose"] == 0.0
    assert TASK.extract(example(NO_COMMA), text) is None


def test_instruction_level_counts_instructions_and_prompt_level_prompts():
    items = [example(NO_COMMA), example(NO_COMMA, QUOTED, FEW_WORDS)]
    texts = ["none", "one, two"]  # 1 of 1 and 1 of 3
    metrics = summarize(TASK, items, [TASK.score(e, t) for e, t in zip(items, texts, strict=True)])
    assert metrics["instruction_strict"] == 2 / 4
    assert metrics["prompt_strict"] == 1 / 2
    assert metrics["instructions"] == 2.0


def test_arguments_without_a_value_are_left_out():
    given = {"relation": "less than", "num_words": 4, "keyword": None, "language": None}
    assert TASK.score(example((FEW_WORDS[0], given)), "one two")["prompt_strict"] == 1.0


PARAGRAPH = ("length_constraints:nth_paragraph_first_word",)
PARAGRAPH += ({"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "booster"},)


@pytest.mark.parametrize("task", ["ifeval", "ifeval_paper"])
@pytest.mark.parametrize(
    ("instruction", "reply"),
    [
        (("detectable_format:json_format", {}), 'Here it is:\n```json\n{"a": 1}\n```'),
        (NO_COMMA, "Sure, here:\nNo mark."),
        (("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}), "Sure:\nSay hi.\nHi!"),
        (PARAGRAPH, "Booster seats help.\n\nThey are safe."),
    ],
)
def test_the_blank_lines_after_thoughts_change_nothing(task, instruction, reply):
    alone = TASKS[task].score(example(instruction), reply)
    after = TASKS[task].score(example(instruction), f"<think>ok, well</think>\n\n{reply}")
    names = ["prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose"]
    assert [after[name] for name in names] == [alone[name] for name in names]
    assert after["prompt_loose"] == 1.0


def test_the_paper_checks_thoughts_that_never_end_as_if_they_were_the_answer():
    item = example(NO_COMMA)
    assert TASKS["ifeval_paper"].score(item, "<think>No commas")["prompt_strict"] == 1.0
    assert TASKS["ifeval"].score(item, "<think>No commas")["prompt_strict"] == 0.0
    assert TASKS["ifeval_paper"].extract(item, "<think>a</think>\n b") == "b"
    assert TASKS["ifeval_paper"].extract(item, "") is None


@pytest.mark.parametrize("task", ["ifeval", "ifeval_paper"])
def test_null_arguments_are_no_arguments(task):
    metadata = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}
    for given in (metadata, metadata | {"kwargs": None}):
        item = Example("1", "ifeval", (), "", "", given)
        assert TASKS[task].score(item, "none")["prompt_strict"] == 1.0


@pytest.mark.parametrize("task", ["ifeval", "ifeval_paper"])
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"instruction_id_list": [], "kwargs": []}, "are 0"),
        ({"instruction_id_list": "no_comma", "kwargs": [{}]}, "must be a list"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": ["{}"]}, "list of dicts"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": 1}]}, "argument 'n'"),
        ({"instruction_id_list": [FEW_WORDS[0]], "kwargs": [None]}, "missing .* 'relation'"),
        ({"instruction_id_list": [FEW_WORDS[0]], "kwargs": [FEW_WORDS[1] | {"num_words": "4"}]},
         "kwargs of"),
    ],
)  # fmt: skip
def test_arguments_that_an_instruction_does_not_take_are_an_error_of_this_item(
    task, metadata, message
):
    with pytest.raises(UserError, match=message):
        TASKS[task].score(Example("1", "ifeval", (), "", "", metadata), "text")


def test_an_item_that_cannot_be_graded_leaves_the_others_alone():
    good = example(NO_COMMA)
    bad = example(("punctuation:no_colon", {}))
    with VerifierPool(1, 20.0) as pool:
        verdicts = pool.score("ifeval", [(good, "none"), (bad, "none"), (good, "a \ud800 b")])
    assert [verdict.error is None for verdict in verdicts] == [True, False, True]
    assert "'punctuation:no_colon'" in verdicts[1].error


def test_unknown_instructions_and_missing_metadata_are_errors():
    with pytest.raises(ValueError, match=r"'punctuation:no_colon'.*unknown"):
        TASK.score(example(("punctuation:no_colon", {})), "text")
    with pytest.raises(ValueError, match="needs metadata 'instruction_id_list'"):
        TASK.score(Example("1", "ifeval", (), "", "", {"kwargs": []}), "text")
