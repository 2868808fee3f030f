import pytest

from jaxreason.tasks.short_answer import asked_question, find_answer

ASKED = "What color was the kitten?"
FOUND = [
    ("white", "white"),
    ("White.\n", "White."),
    ("A: white\n", "white"),
    ("A : white", "white"),
    ("a: white", "white"),
    ("Answer: white", "white"),
    ("**Answer:** white", "white"),
    ("**Answer**: white", "white"),
    ("Final answer: white", "white"),
    ("Answer:\nwhite", "white"),
    ("**A:** *white*", "white"),
    ("A: A: white", "white"),
    ("Assistant: A: white", "white"),
    ("You are a helpful assistant.\n\nAssistant: The kitten was **white**.", "white"),
    ('"white"', "white"),
    ("- white", "white"),
    ("1. White", "White"),
    (r"The kitten was \boxed{white}.", "white"),
    (r"\boxed{\text{an orange cat}}", "an orange cat"),
    ("<think>She was orange first.\nA: orange</think>\n\nA: white", "white"),
    ("<think>\n\n</think>\n\nwhite", "white"),
    ("<think>orange?</think> <answer>\nwhite\n</answer>", "white"),
    ("The story names her color. <answer>white</answer> I am sure of it.", "white"),
    # the question restated
    ("Q: What color was the kitten?\nA: white\n", "white"),
    ("Q: What color was the kitten?\n\nA: white", "white"),
    ("Q: What color was the kitten? A: white", "white"),
    ("**Question:** What color was the kitten?\n**Answer:** white", "white"),
    ("Q: Which color did she have?\n\nA: white", "white"),  # in other words
    # a conversation that goes on
    ("A: white\n\nQ: And her sisters?\n\nA: orange", "white"),
    ("white\n\nQ: And her sisters?\n\nA: orange", "white"),
    ("Q: What color was the kitten?\nA: white\nQ: And her sisters?\nA: orange", "white"),
    # all questions of the conversation, with the one that was asked at the end
    (
        "Here are the answers to your questions:\n\n1. **Where did she live?**  \n   In a barn.\n\n"
        "2. **What color was the kitten?**  \n   - White.\n\nLet me know if you need more details!",
        "White.",
    ),
    ("### Q: Where did she live?\n**A:** a barn\n\n### Q: And the color?\n**A:** white", "white"),
    ("1. Where did she live? In a barn\n2. What color was the kitten? White", "White"),
    ("- **Where?** a barn\n- **What color was the kitten?** white\n- **Age?** three", "white"),
    ("## Where?\nIn a barn.\n\n## Which color?\nWhite.\n\nWould you like to know more?", "White."),
    # an answer in its words
    ("The answer is white.", "white."),
    ("So the answer to the question is: white. The story says so.", "white"),
    ("The answer is Mr. Black. He taught her.", "Mr. Black"),
    ("She lived in a barn with cats.\nAll of them were orange but she was not.\n\nwhite", "white"),
    ("White\n\nThe story says that she was the only white one in the bunch.", "White"),
    ("The kitten was white, and her sisters were orange.", None),  # None: as it stands
    ("About 42. That is what the story says.", "About 42"),
    ("It happened in the U.S. on Monday.", None),
    ("**White**, as the story says.", "White"),
    ("**Colors**: white and orange", "Colors: white and orange"),
    ("## Summary\n\nIt was white.", "It was white."),
    ('The answer to "What color was she?" is white.', "white."),
    ('The answer to the question "What color?" is white.', "white."),
    ("The answer to your question \u201cWhat color was she?\u201d is: white", "white"),
    ("The answer to the last question, *What color?*, is white.", "white."),
    ("What color was the kitten? White.", "White."),
    ('"What color was the kitten?" White, as the story says.', "White, as the story says."),
    ("**What color was the kitten?** white", "white"),
    ("What color was the kitten? She asked that.\nA: white", "white"),
    ("What color was the kitten? A: white", "white"),
    ("What color was the kitten?", None),
    ("She was white.\n\n(Explanation: the story says so.)", "She was white."),
    ("**Reasoning:** all others were orange.\n**White**", "White"),
    ("A:\n- an apple\n- a pear", "an apple, a pear"),
    ("They bought:\n* an apple\n* a pear", "an apple, a pear"),
    # yes and no
    ("Yes, the kitten was white. The story says so.", "Yes"),
    ("A: Yes\n", "Yes"),
    ("Assistant: No, it was orange.", "No"),
    ("No. It was **orange**.", "No"),
    ("no it wasn't", "no"),
    ("**Yes**, she did.", "Yes"),
    ("No one lived there.", None),
    ("Nobody", None),
    ("No. 5", None),
    ("A 10:30 train", None),  # no mark
    ("A dog", None),
    ("Quite white", None),
    ("A1: white", "white"),
    ("No longer than a day", None),
    ("Yesterday", None),
]
NOTHING = [
    "",
    "  \n\n",
    "<think>It is white",
    "---",
    "Let me know if you need more!",
    "A:",
    "Q: Why?",
]


@pytest.mark.parametrize(("text", "answer"), FOUND)
def test_the_short_answer_is_found_in_what_stands_around_it(text, answer):
    assert find_answer(text, ASKED) == (text if answer is None else answer)


@pytest.mark.parametrize("text", NOTHING)
def test_a_reply_without_an_answer_gives_none(text):
    assert find_answer(text, ASKED) is None


def test_the_question_that_was_asked_goes_before_the_last_one_of_a_list():
    listed = "Q: What color was the kitten?\nA: white\n\nQ: And her sisters?\nA: orange"
    assert find_answer(listed, "what color was the kitten?") == "white"
    assert find_answer(listed, "And her sisters?") == "orange"
    assert find_answer(listed, "something else?") == "orange"


def test_the_question_asked_is_the_last_marked_one_of_the_prompt():
    story = "Cotton was a kitten.\n\nQ: Who?\n\nA: Cotton\n\nQ: What color was she?\n\nA:"
    assert asked_question(story) == "What color was she?"
    assert asked_question("What color was she?") == ""
