import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.ifeval import variants
from jaxreason.tasks.registry import TASKS, summarize

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


def test_unknown_instructions_and_missing_metadata_are_errors():
    with pytest.raises(ValueError, match=r"'punctuation:no_colon'.*unknown"):
        TASK.score(example(("punctuation:no_colon", {})), "text")
    with pytest.raises(ValueError, match="needs metadata 'instruction_id_list'"):
        TASK.score(Example("1", "ifeval", (), "", "", {"kwargs": []}), "text")
