r"""Finds the letter that a reply in free text decides on; the article "a" is not a choice.

The strongest kind of statement counts, and the last one of that kind: a reply may revise its answer, but options that
it explains afterwards do not override what it announced.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from jaxreason.tasks.choice_notations import plain_formulas
from jaxreason.tasks.letter_judgements import (
    ARTICLE,
    CALLED_WRONG,
    CONSIDERED,
    OTHER_SUBJECT,
    OTHERS_SAY,
    REFUTED,
    VERDICT_AGAINST,
    VERDICT_FOR,
)
from jaxreason.tasks.letter_patterns import (
    CLOSED,
    SHORT_LINE,
    Labels,
    labels_of,
    plain_characters,
)
from jaxreason.tasks.letter_revisions import (
    is_conditional,
    is_unreal,
    reconsidered,
    revised,
    withdrawal,
    would_be_if,
)
from jaxreason.tasks.letter_statements import (
    NEAR,
    Statement,
    from_the_last,
    is_word,
    statement_at,
)
from jaxreason.tasks.letter_texts import (
    SEVERAL,
    announced_text,
    begins_with_text,
    end_of_text,
    line_of_text,
    opening_text,
    text_in_line,
)
from jaxreason.tasks.reply_text import DENIED_BOX, boxed_answer, last_boxed

# Words around an "I" that is a label and no pronoun.
I_NAMED = re.compile(
    r"(?i:\b(?:options?|choices?|letter|answer|alternative|so|hence|thus|therefore|only|choose|pick|select"
    r"|go\s+with)\b|[选選])[\s,:]*[(*'\"`]*$"
)
I_IS = re.compile(r"[*'\"`]*\s+is\s+(?:the\s+)?(?:correct|right|true|best|answer|only|most)\b")
I_STATED = re.compile(r"(?i)\bstatements?\s+[(*'\"`]*$")
LABEL_ENDS = re.compile(
    r"[)*'\"`\]]*(?:[.;!。，]|\s*$|\n|,?\s+(?:because|since|as\s+it|which|matches|fits)\b)"
)
FIRST_CIRCLED = 0x2460
CIRCLED = re.compile("[\u2460-\u2473]")
ROMAN = re.compile(r"\bII+\b")
MAX_OPTION = 1000  # Characters of a listed option that are read.
MOST_BOXES = 20  # Of boxes that a reply calls wrong.


def find_letter(text: str, letters: Sequence[str], texts: Sequence[str] = ()) -> str | None:
    """Returns the letter a reply decides on, or None.

    The first of these that exists counts:
    1. the last announcement: the box, "the answer is X", a line that is X alone, or one of these with the text of a
       choice. If it names several letters, it is no answer, but later ones may be;
    2. a line that begins with a letter as list items do; if lines, or parts of one, list the options, the only one
       that is called right;
    3. a letter that is called right, or is chosen, or is concluded;
    4. a line that is the text of a choice;
    5. "option X";
    6. the text of a choice that opens the reply: "No, because ...";
    7. a last line with the text of one choice;
    8. the last capital letter that stands alone (a digit that stands alone says nothing).
    A letter that is denied, refuted or asked about is skipped.

    Args:
      text: the reply.
      letters: the valid labels, one character each.
      texts: the choices' texts.
    """
    text, *texts = (plain_formulas(plain_characters(one)) for one in (text, *texts))
    labels = labels_of(tuple(letters))
    if not any(map(CIRCLED.search, texts)):
        text = with_letter_for_number(text, labels)
    announced = last_announcement(text, labels, texts)
    if announced is None:
        return unannounced(text, labels, texts)
    if announced.letter == SEVERAL:
        return unannounced(text[announced.end :], labels, texts)
    taken_back = withdrawal(text, announced, labels)
    if taken_back is None:
        return announced.letter
    end, at_once = taken_back
    other = unannounced(text[end:], labels, texts)
    return other or (None if at_once else announced.letter)


def with_letter_for_number(text: str, labels: Labels) -> str:
    """Returns a text whose only circled number, the third one, is the third label; with other numbers it stays."""
    numbers = {*CIRCLED.findall(text)}
    place = ord(numbers.pop()) - FIRST_CIRCLED if len(numbers) == 1 else len(labels.letters)
    return CIRCLED.sub(labels.letters[place], text) if place < len(labels.letters) else text


def unannounced(text: str, labels: Labels, texts: Sequence[str]) -> str | None:
    """Returns the letter that a text without announcements decides on, or None."""
    letters = labels.letters
    heads, right = inline_list(text, labels, texts)
    text = without(text, heads)
    listed, single = list_heads(text, labels, texts)
    rest = without(text, listed)
    return (
        single
        or right
        or last_letter(labels.affirmed.finditer(rest), rest, labels)
        or line_of_text(rest, letters, texts)
        or last_letter(labels.mention.finditer(rest), rest, labels)
        or opening_text(text, letters, texts)
        or text_in_line(last_line(rest), letters, texts)
        or (None if labels.digits else last_letter(labels.lone.finditer(rest), rest, labels))
    )


def last_announcement(text: str, labels: Labels, texts: Sequence[str]) -> Statement | None:
    """Returns the announcement, of any form, that ends last; one on a condition only if there is no other."""
    found = [
        boxed(text, labels, texts),
        first_statement(led(text, labels, texts)),
        first_statement(revised(text, labels, texts)),
        first_statement(reconsidered(text, labels)),
        first_statement(bare_lines(text, labels)),
    ]
    last = max((one for one in found if one is not None), key=lambda one: one.end, default=None)
    return last or first_statement(led(text, labels, texts, conditional=True))


def first_statement(statements: Iterator[Statement]) -> Statement | None:
    """Returns the first statement, or None."""
    return next(statements, None)


def boxed(text: str, labels: Labels, texts: Sequence[str]) -> Statement | None:
    r"""Returns the last box that holds one letter, several, or the text of a choice."""
    for _ in range(MOST_BOXES):
        box = last_boxed(text)
        if box is None:
            return None
        start = text.rfind(box, 0, text.rfind(box + "}") + len(box))
        opened = text.rfind("\\boxed", 0, start)
        denied = DENIED_BOX.search(text, max(0, opened - 20), max(0, opened))
        refuted = denied or REFUTED.match(text, start + len(box)) or is_unreal(text, opened)
        if opened <= 0 or not refuted:
            if boxed_answer(text) not in (box, None):  # A list of boxes.
                return Statement(start, start + len(box), SEVERAL)
            return letter_in_box(box, start, labels, texts)
        text = text[:opened]
    return None


def letter_in_box(box: str, start: int, labels: Labels, texts: Sequence[str]) -> Statement | None:
    """Returns the letter, the letters or the choice that a box holds, which begins at `start`; None for others."""
    bare = re.sub(r"\\(?:text\w*|math\w*|boldsymbol)\s*\{", " ", box)
    bare = re.sub(r"[{}$*\s\\]+", " ", bare).strip()
    match = re.fullmatch(rf"(?:\( ?)?({labels.any_case})(?: ?\))?[.:。]?", bare)
    match = match or re.match(rf"(?:\( ?)?({labels.any_case})(?: ?\)|[.:](?=\s))", bare)
    if match:
        return Statement(start, start + len(box), match[1].upper())
    if re.fullmatch(rf"(?:\W|and|or|{labels.capital}(?![A-Za-z0-9]))+", bare):
        return Statement(start, start + len(box), SEVERAL)
    letter = line_of_text(bare, labels.letters, texts)
    return Statement(start, start + len(box), letter) if letter else None


def led(
    text: str, labels: Labels, texts: Sequence[str], conditional: bool = False
) -> Iterator[Statement]:
    """Yields letters and texts after "the answer is", or after "if ..., the answer would be", last first."""
    for match in from_the_last(labels.lead.finditer(text)):
        if CONSIDERED.search(text[max(0, match.start() - NEAR) : match.start()]):
            continue
        if match["newline"] and REFUTED.match(text, match.end() + 1):
            continue
        if is_unreal(text, match.end()) or is_conditional(text, match.end()) != conditional:
            continue
        letter = labels.letter.match(text, match.end())
        spoken = announced_text(text, match.end(), labels.letters, texts)
        if spoken is not None and not (letter and letter[1].isupper() and letter[1] != "A"):
            yield Statement(match.start(), *spoken)
        elif letter and begins_with_text(
            text, letter.end(), letter[1].upper(), labels.letters, texts
        ):
            yield Statement(match.start(), letter.end(), letter[1].upper())
        elif letter and (statement := settled(text, match, letter, labels)):
            yield statement


def settled(
    text: str, lead: re.Match[str], letter: re.Match[str], labels: Labels
) -> Statement | None:
    """Returns the statement of an announcement with its letter; None if the letter is a word or not chosen."""
    wrapped = bool(re.search(r"[*({\[$]", lead["wrap"]))
    closed = wrapped or CLOSED.match(text, letter.end()) is not None
    if is_word(text, letter, wrapped) or (lead["newline"] and not closed):
        return None
    if (
        letter[1] in "ai"
        and not closed
        and not re.match(r"\s+\w", text[letter.end() : letter.end() + 9])
    ):
        return None
    if "would" in lead[0] and re.match(r"\W*\s+if\b", text[letter.end() : letter.end() + NEAR]):
        return None
    return statement_at(text, letter, labels)


def bare_lines(text: str, labels: Labels) -> Iterator[Statement]:
    """Yields lines that are a letter alone, last first."""
    for line in from_the_last(SHORT_LINE.finditer(text)):
        if match := labels.bare_line.fullmatch(text, *line.span()):
            yield Statement(match.start(), match.end(), match[1].upper())


def list_heads(
    text: str, labels: Labels, texts: Sequence[str]
) -> tuple[list[tuple[int, int]], str | None]:
    """Returns the lines that list options, and the letter of the last line outside of any list.

    Two or more lines whose letters ascend list the options; a single line gives an answer.
    """
    runs: list[list[re.Match[str]]] = []
    for match in labels.head.finditer(text):
        letter = head_letter(match)
        if letter == "I" or (letter == "A" and match[0].lstrip().startswith("a.m")):
            continue
        if runs and head_letter(runs[-1][-1]) < letter:
            runs[-1].append(match)
        else:
            runs.append([match])
    meant = [meant_of(text, run, labels, texts) for run in runs]
    single = [head_letter(run[0]) for run in meant if len(run) == 1]
    spans = [m.span() for run in runs if len(run) > 1 for m in run]
    return spans, single[-1] if single else None


def inline_list(
    text: str, labels: Labels, texts: Sequence[str]
) -> tuple[list[tuple[int, int]], str | None]:
    """Returns the heads of options that one line lists, and the letter of the only one that is called right."""
    spans: list[tuple[int, int]] = []
    right: list[str] = []
    for line in re.finditer(r"[^\n]+", text):
        items = list(islice(labels.inline.finditer(text, *line.span()), len(labels.letters) + 1))
        if len(items) < 3 or tuple(item[1] for item in items) != labels.letters[: len(items)]:
            continue
        ends = [item.start() for item in items[1:]] + [line.end()]
        called = [
            remark(text, item.end(), end, item[1], labels, texts) for item, end in zip(items, ends)
        ]
        spans += [item.span() for item in items]
        right = [
            item[1]
            for item, words in zip(items, called)
            if VERDICT_FOR.search(words) and not VERDICT_AGAINST.search(words)
        ]
    return spans, right[0] if len(right) == 1 else None


def meant_of(
    text: str, run: Sequence[re.Match[str]], labels: Labels, texts: Sequence[str]
) -> list[re.Match[str]]:
    """Returns the only option in a list that is called right, else those that are not called wrong."""
    said = [remark(text, *match.span("text"), head_letter(match), labels, texts) for match in run]
    left = [
        (match, words)
        for match, words in zip(run, said)
        if not (
            words == match["text"][:MAX_OPTION] and REFUTED.match(text, match.start("text") - 1)
        )
        and not VERDICT_AGAINST.search(words)
    ]
    right = [match for match, words in left if VERDICT_FOR.search(words)]
    return right if len(right) == 1 else [match for match, _ in left]


def remark(
    text: str, start: int, end: int, letter: str, labels: Labels, texts: Sequence[str]
) -> str:
    """Returns what a list says of an option: its part of the text without the choice's own, which may be "No"."""
    own = end_of_text(text, start, letter, labels.letters, texts)
    return text[own if own is not None and own <= end else start : end][:MAX_OPTION]


def head_letter(match: re.Match[str]) -> str:
    """Returns the letter at the head of a line."""
    return (match[1] or match[2] or match[3]).upper()


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Returns the text without some spans."""
    parts, start = [], 0
    for begin, end in spans:
        parts.append(text[start:begin])
        start = end
    return "".join([*parts, text[start:]])


def last_line(text: str) -> str:
    """Returns the last line that is not blank."""
    return text.rstrip().rpartition("\n")[2]


def last_letter(matches: Iterable[re.Match[str]], text: str, labels: Labels) -> str | None:
    """Returns the last letter of these matches that is not a word, not denied and not one of several."""
    for match in from_the_last(matches):
        group = match.lastindex or 1
        if is_word_at(text, match.start(group), match[group]):
            continue
        place = re.compile(f"({re.escape(match[group])})").match(text, match.start(group))
        statement = statement_at(text, place, labels)
        if statement is None or statement.letter == SEVERAL:
            continue
        if not is_only_considered(text, match.start(), *match.span(group)):
            return statement.letter
    return None


def is_only_considered(text: str, begin: int, start: int, end: int) -> bool:
    """Returns whether the words around a letter, or before the begin of its statement, do not choose it."""
    return bool(
        CONSIDERED.search(text[max(0, begin - NEAR) : begin])
        or OTHERS_SAY.search(text[max(0, start - NEAR) : start])
        or OTHER_SUBJECT.search(text[max(0, start - NEAR) : start])
        or is_unreal(text, start)
        or would_be_if(text, end)
        or CALLED_WRONG.match(text, end)
    )


def is_word_at(text: str, place: int, letter: str) -> bool:
    """Returns whether the capital at a place is an article, a pronoun or a Roman number."""
    if letter == "I":
        return not text.startswith(")", place + 1) and not is_letter_i(text, place)
    return letter == "A" and ARTICLE.match(text, place + 1) is not None


def is_letter_i(text: str, place: int) -> bool:
    """Returns whether an "I" is a label: "Option I", "So, I.", "I is right"; beside an "II" it is a number."""
    if ROMAN.search(text):
        return False
    before = text[max(0, place - NEAR) : place]
    ends = LABEL_ENDS.match(text, place + 1)
    is_named = I_NAMED.search(before) and (ends or text.startswith(" is ", place + 1))
    return bool(is_named or (I_IS.match(text, place + 1) and not I_STATED.search(before)))
