"""The opening of a report: a few sentences, few numbers, and no more than the intervals say."""

import re

import pytest

from jaxreason.report.answer import answer_notes, answer_sentences, answer_tables, main_decoding
from jaxreason.report.build import read_summary
from jaxreason.report.wording import all_of_the, none_of_the

GROUPS = ("math", "other", "non_reasoning")
UP, DOWN, UNCLEAR = (8.0, "up"), (-6.5, "down"), (0.4, "unclear")


def summary_of(arms: dict[str, tuple], decodings=("greedy",), bases=("base",), seeds=(0, 1)):
    """Of arms with a change and a verdict in each group, or with none; the last decoding has them unclear."""
    names = list(arms)
    rows = [
        {
            "decoding": decoding,
            "group": group,
            "benchmark": None,
            "arm": arm,
            "mean": change[0],
            "low": change[0] - 1,
            "high": change[0] + 1,
            "verdict": change[1] if decoding == decodings[0] else "unclear",
            "q": 0.01,
            "detectable": 4.2,
        }
        for decoding in decodings
        for arm, changes in arms.items()
        for group, change in zip(GROUPS, changes)
    ]
    described = [
        {"name": n, "label": n.upper(), "base": bases[i % len(bases)], "seeds_evaluated": list(seeds)}
        for i, n in enumerate(names)
    ]  # fmt: skip
    return {
        "arms": [arm for base in bases for arm in described if arm["base"] == base],
        "bases": [{"name": base, "label": f"Base {base}"} for base in bases],
        "groups": [{"name": group} for group in GROUPS],
        "decodings": list(decodings),
        "differences": rows,
        "confidence": 0.95,
        "variant": "robust",
        "transfer": [],
        "transfer_variant": None,
        "drift": [],
    }


def numbers(sentences: list[str]) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", " ".join(sentences))


def test_one_arm_is_named_with_what_it_gained_and_lost():
    said = answer_sentences(summary_of({"rl": (UP, UNCLEAR, DOWN)}))
    assert said[0] == "RL (+8.0) got better at math."
    assert said[1] == "RL lost on non-reasoning (−6.5)."
    assert said[2].startswith("Two of these three changes are clear (95\u2009% intervals over ques")
    assert "where none is clear, a true one of up to about 4 points may have been missed" in said[2]


def test_nothing_clear_is_not_called_a_gain_or_a_loss():
    for arms in ({"rl": (UNCLEAR,) * 3}, {n: (UNCLEAR,) * 3 for n in "abcd"}):
        text = " ".join(answer_sentences(summary_of(arms)))
        assert not re.search(r"better|worse|gained|lost|loss", text), text
        assert "None of these" in text and "one run an arm" not in text
    assert "one run an arm" in " ".join(answer_sentences(summary_of({"rl": (UP,) * 3}, seeds=(0,))))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 18])
@pytest.mark.parametrize("bases", [("base",), ("a", "b")])
def test_the_opening_is_three_sentences_with_few_numbers(count, bases):
    kinds = [(UP, DOWN, UNCLEAR), (UP, UP, DOWN), (DOWN, DOWN, DOWN), (UNCLEAR, UP, UNCLEAR)]
    arms = {f"m{chr(97 + i)}": kinds[i % 4] for i in range(count)}
    said = answer_sentences(summary_of(arms, bases=bases))
    assert 2 <= len(said) <= 3
    assert len(numbers(said)) <= 12, said
    assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in said)
    assert all(sentence.endswith(".") and ".." not in sentence for sentence in said)


def test_ten_arms_are_counted_by_verdict():
    arms = {f"m{i}": (UP, UNCLEAR, DOWN) for i in range(6)} | {f"x{i}": (DOWN, UP, DOWN) for i in range(4)}  # fmt: skip
    arms["m3"] = ((21.5, "up"), UNCLEAR, UP)
    said = answer_sentences(summary_of(arms))
    assert said[0] == (
        "Six of the ten arms got better at math (most of all M3, +21.5) and four got worse."
    )
    assert said[1] == (
        "Other reasoning got better for four arms; non-reasoning got better for M3 and worse for nine arms; of the "
        "six that gained math, M3 shows no clear loss elsewhere."
    )


def test_arms_without_a_result_are_said_and_no_result_at_all_too():
    summary = summary_of({"rl": (UP, UP, UP), "sft": ()})
    assert answer_notes(summary) == ["SFT cannot be compared yet."]
    assert [row.label for row in answer_tables(summary)[0].rows] == ["RL"]
    nothing = summary_of({"rl": ()})
    assert answer_sentences(nothing) == [
        "Nothing can be said yet: no arm has been evaluated together with its base."
    ]
    assert answer_tables(nothing) == [] and answer_notes(nothing) == []


def test_another_decoding_is_said_to_agree_or_not():
    summary = summary_of({"rl": (UP, DOWN, UNCLEAR)}, decodings=("greedy", "t1"))
    assert answer_notes(summary) == [
        "This is greedy decoding. Temperature 1: two of three verdicts are different."
    ]
    summary["differences"] += [{"decoding": "t1", "benchmark": name} for name in ("a", "b")]
    assert main_decoding(summary) == "t1"


def test_the_table_has_groups_index_and_divergence_an_arm_a_line():
    summary = summary_of({"rl": (UP, DOWN, UNCLEAR), "sft": (UNCLEAR, UP, DOWN)}, bases=("a", "b"))
    row = {"decoding": "greedy", "mode": "v2_pooled", "seed": "all", "arm": "rl", "low": None}
    summary["transfer"] = [row | {"group": "other", "ti": -81.2, "high": None}]
    drift = {"metric": "token_kl", "name": "kl_forward", "source": "base", "group": "math"}
    summary["drift"] = [drift | {"arm": "sft", "mean": 0.31}]
    (table,) = answer_tables(summary)
    assert table.columns == (
        *("Math", "Other reasoning", "Non-reasoning"),
        *("index (other reasoning)", "KL on math (nats)"),
    )
    first, second = table.rows
    assert [cell.text for cell in first.cells] == ["+8.0", "−6.5", "+0.4", "−81", "–"]
    assert [cell.tone for cell in first.cells] == ["up", "down", "", "", ""]
    assert (first.label, first.section, second.section) == ("RL", "Base a", "Base b")
    assert second.cells[4].text == "0.31"


def test_the_page_opens_with_the_answer(study):
    text = (study / "report" / "report.html").read_text()
    opening = text[text.index('id="answer"') : text.index("<table")]
    assert read_summary(study)["answer"][0].split(" (")[0] in opening
    assert text.index('id="answer"') < text.index("<table") < text.index("<figure id=")
    prose = re.sub(r"<[^>]*>|SFT \d+e-\d", "", opening)
    assert len(numbers([prose])) <= 12


def test_where_every_arm_gained_math_it_says_all():
    gained = {f"m{i}": ((float(i), "up"), UNCLEAR, UNCLEAR) for i in range(5, 9)}
    said = answer_sentences(summary_of(gained))
    assert said[0] == "All four arms got better at math (most of all M8, +8.0)."


def test_two_are_spoken_of_as_two():
    text = " ".join(answer_sentences(summary_of({"a": (UNCLEAR,) * 3, "b": (UNCLEAR,) * 3})))
    assert "Neither of the two arms clearly changed on math." in text
    assert "None of these six changes is clear" in text
    assert none_of_the(3) == "none of the three"
    assert all_of_the(2, "these") == "both of these two" and all_of_the(3) == "all of the three"
