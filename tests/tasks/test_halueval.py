import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import halueval
from jaxreason.tasks.registry import TASKS, summarize

NEXT = "\n\n#Question#: Who wrote it?\n#Answer#: Verne\n#Your Judgement#: No"

# reply, the robust judgement, the study's
REPLIES = [
    ("Yes", "yes", "yes"),
    ("\u2705 Yes", "yes", "yes"),
    ("\u274c **No**", "no", "no"),
    ("No", "no", "no"),
    ("No.", "no", "no"),
    (" Yes.\n", "yes", "yes"),
    ("yes", "yes", None),  # small letters are not seen
    ("NO", "no", None),
    ("**Yes**", "yes", "yes"),
    ("#Your Judgement#: Yes", "yes", "yes"),
    ("Judgement: No", "no", "no"),
    ("**Judgment:** Yes", "yes", "yes"),
    ("Your judgement: yes.", "yes", None),
    ("My judgement is No.", "no", "no"),
    ("Judgement (Yes or No): No", "no", None),
    (r"\boxed{Yes}", "yes", "yes"),
    (r"So the verdict is \boxed{\text{No}}.", "no", "no"),
    ("Yes, the answer holds a fact that was made up.", "yes", "yes"),
    ("No, nothing in it contradicts the knowledge.", "no", "no"),
    ("No, Norway is right. Nothing is made up.", "no", "no"),
    ("No hallucination is in it.", "no", "no"),
    ("Yes. The document has No. 7 and the summary No. 8.", "yes", None),
    ("The answer is no.", "no", None),
    ("The final answer is: **Yes**", "yes", "yes"),
    ("Answer: Yes", "yes", "yes"),
    ("Therefore, the answer is: Yes, there is one.", "yes", "yes"),
    ("<think>Yes or No? Verne wrote it.</think>\n\nNo", "no", None),
    ("<think>\n\n</think>\n\nYes", "yes", None),
    ("The knowledge says 1844, the answer says 1845.\n\nYes", "yes", None),
    ("The summary keeps to the document.\nEvery name is right.\nJudgement: No", "no", None),
    ("At first I thought yes. All of it is supported, so the judgement is no.", "no", None),
    ("The answer 'No' contradicts the knowledge. Judgement: Yes", "yes", None),
    ("No. The correct answer is yes, she did.", "no", "no"),
    ("Not all is supported. Yes, it is made up.", "yes", None),
    ("Nothing is made up, so no.", "no", "no"),  # "Nothing" holds "No"
    ("Judgement: Yes. On reflection, every word is in the text. Final judgement: No", "no", None),
    ("Judgement: probably No", "no", "no"),
    ("It is a clear case. Judgement: a Yes", "yes", "yes"),
    (f"Yes{NEXT}", "yes", "yes"),  # a base model goes on with the next example
    ("Judgement: The summary is faithful.\nNo", "no", None),
    ("'Yes'", "yes", "yes"),
    ("“No”", "no", "no"),
    ("[Yes]", "yes", "yes"),
    ("Assistant: Yes, it is made up.", "yes", "yes"),
    ("A: No", "no", "no"),
    ("Hallucination: No", "no", "no"),
    ("The summary contains something that is not in the text: yes.", "yes", None),
    ("{'judgement': 'Yes'}", "yes", "yes"),
    ("<answer>No</answer>", "no", "no"),
    ("Judgement => Yes", "yes", "yes"),
    ("The judgement for this summary is Yes.", "yes", "yes"),
    ("I would say yes.", "yes", None),
    ("It's a no", "no", None),
    ("The judgement is yes, not no.", "yes", None),
    # taken back
    ("Yes. Wait, no. The date matches. No.", "no", None),
    ("Yes. Wait, no.", "no", "yes"),
    ("No, wait, yes.", "yes", "no"),
    ("No... actually, yes!", "yes", "no"),
    ("Judgement: Yes. Actually, no.", "no", "yes"),
    ("Yes, it is made up. On second thought: No.", "no", None),
    ("Yes. Wait, no. The date is another one. So yes.", "yes", "yes"),
    ("Yes. Wait, no. The date is another one. The answer is yes.", "yes", "yes"),
    ("The text says 1844. Wait, no.\nIt says 1845.\nYes", "yes", None),
    ("Judgement: Yes. The date, wait, no, the year is wrong.", "yes", "yes"),
    ("Wait, no. I looked again. Judgement: Yes", "yes", "yes"),
    ("Yes, it is made up. Is all of it in the text? No.", "yes", None),
    ("Yes. Actually, no word of it is in the text.", "yes", "yes"),
    ("No. Wait, yes, it names her, as the text does. No.", "no", "no"),
    ("I think yes", "yes", None),
    ("I believe no.", "no", None),
    ("I conclude: Yes, hallucinated.", "yes", "yes"),
    ("Final answer: the response contains hallucination (Yes).", "yes", "yes"),
    ("It keeps to the text (no).", "no", None),
    ("The response is accurate \u2192 No", "no", "no"),
    ("It keeps to the text \u21d2 no.", "no", None),
    ("Answer \u2013 No", "no", "no"),
    ("Judgement \u2014 **Yes**", "yes", "yes"),
    # neither
    ("It says 1844. Wait, no. It says 1845.", None, None),
    ("I think no one can tell.", None, None),
    ("I do not think yes is right.", None, None),
    ("I doubt it (yes or no).", None, None),
    ("I think yes or no.", None, None),
    ("", None, None),
    ("<think>Yes", None, "yes"),  # cut off in its thoughts
    ("Yes or No", None, None),
    ("Yes and no.", None, "yes"),
    ("Judgement: Yes/No", None, None),
    ("The verdict is neither yes nor no.", None, None),
    ("The final answer is not yes.", None, None),
    ("I can't say yes.", None, None),
    ("YesYes", None, "yes"),
    ("The judgement isn't yes.", None, None),
    ("The judgement is not yes.", None, None),
    ("Maybe yes.", None, None),
    ("I cannot tell.", None, None),
    ("You must answer Yes or No.", None, None),
    ("Nothing", None, "no"),  # "Now", "None", "Not" and "Norway" are a No
    ("Norway", None, "no"),
    ("Yesterday", None, "yes"),
    ("No mistake stands out to me", None, "no"),
    ("The answer is no longer right", None, None),
]


def example(answer: str) -> Example:
    return Example("h3", "halueval", (), answer, "", {})


@pytest.mark.parametrize(("text", "robust", "paper"), REPLIES)
def test_the_judgement_is_found_by_its_place_and_by_the_studys_first_line(text, robust, paper):
    assert halueval.extract(example("yes"), text) == robust
    assert halueval.extract_paper(example("yes"), text) == paper


@pytest.mark.parametrize(("text", "robust", "paper"), REPLIES)
@pytest.mark.parametrize("gold", ["yes", "No"])
def test_a_reply_is_right_only_when_it_says_the_gold_answer(text, robust, paper, gold):
    for score, said in ((halueval.score, robust), (halueval.score_paper, paper)):
        right, answered = float(said == gold.lower()), float(said is not None)
        yes = float(said == "yes")
        found = score(example(gold), text)
        assert found.pop("balanced_accuracy") == found["accuracy"]
        assert found == {"accuracy": right, "yes": yes, "answered": answered}


@pytest.mark.parametrize("gold", ["", "maybe", "Yes or No", "1", "\ud800"])
@pytest.mark.parametrize("task", ["halueval", "halueval_paper"])
def test_a_gold_answer_that_is_neither_is_an_error_that_names_the_example(task, gold):
    with pytest.raises(UserError, match="'h3': the answer must be yes or no, got"):
        TASKS[task].score(example(gold), "Yes")


@pytest.mark.parametrize("task", ["halueval", "halueval_paper"])
def test_constant_replies_score_what_the_summary_says_they_would(task):
    items = [example(gold) for gold in ["yes"] * 3 + ["no"] * 7]
    for reply, share in (("Yes", 0.3), ("No", 0.7), ("I cannot tell.", 0.0)):
        metrics = summarize(TASKS[task], items, [TASKS[task].score(i, reply) for i in items])
        assert metrics["accuracy"] == pytest.approx(share)
        assert metrics["accuracy_always_yes"] == pytest.approx(0.3)
        assert metrics["accuracy_always_no"] == pytest.approx(0.7)
        assert metrics["balanced_accuracy"] == (0.0 if share == 0 else 0.5)


def test_surrogates_and_a_hundred_thousand_characters_are_graded():
    for text in ("\ud800", "Yes \ud800" * 20_000, "maybe so, " * 10_000, "Judgement: " * 9_000):
        for task in ("halueval", "halueval_paper"):
            assert set(TASKS[task].score(example("no"), text).values()) <= {0.0, 1.0}
