r"""Sentences and words as the released IFEval code counts them: NLTK's Punkt and `word_tokenize` for English, restated.

Punkt (Kiss and Strunk 2006) splits at `.`, `?` and `!` before white space or closing marks, unless the word is one of
its 155 abbreviations, an initial, or a number after which the next word makes a split unlikely. Its mistakes are part
of the score: it was trained on a financial newspaper, so "etc.", "e.g." and "P.S." end a sentence, and "No." and "St."
do not; a list's "1." before a capital is a sentence.

One thing is smaller here. Punkt looks up whether a capitalized word after an abbreviation or an initial also occurs in
small letters, among the 20,000 words of its newspaper. Here it is looked up among 300 common words.

Words follow the Penn Treebank: marks are separate words, contractions are two words ("IT'S" is IT and 'S), and a full
stop is a separate word only at the end of a sentence.
"""

import itertools
import re
from collections.abc import Iterator

ABBREVIATIONS = frozenset(
    """
    a.a a.c a.d a.g a.h a.m a.m.e a.s a.t adm ala ariz aug ave b.f b.v bros c c.i.t c.o.m.b c.v
    calif chg cie co col colo conn corp cos ct d d.c d.h d.w dec dr e e.f e.h e.l e.m f f.g f.j feb
    fla fri ft g g.d g.f g.k ga gen h h.c h.f h.m i.m.s ill inc j.b j.c j.j j.k j.p j.r jan jr k kan
    ky l l.a l.f l.p lt ltd m m.b.a m.d.c m.j maj messrs mg mich minn mr mrs ms n n.c n.d n.h n.j n.m n.v
    n.y nev nov oct ok okla ore p p.a.m p.m pa ph.d prof r r.a r.h r.i r.j r.k r.t rep reps s s.a
    s.a.y s.c s.g s.p.a s.s sen sep sept sr st sw t t.j tenn tues u.k u.n u.s u.s.a u.s.s.r v va vs vt
    w w.c w.r w.va w.w wash wed wis yr
    """.split()  # noqa: SIM905
)
# Words that end the sentence of an abbreviation before them if they have a capital.
STARTERS = frozenset(
    """
    according although among both but despite even he however i if in indeed instead it many
    meanwhile most moreover nevertheless nonetheless nor sales separately similarly since so some the
    there these they this though thus under when while yet
    """.split()  # noqa: SIM905
)
# Words that the newspaper has in small letters and, inside sentences, never with a capital.
ALWAYS_SMALL = frozenset(
    """
    above accept allow always anyone apply arrive ask begin believe better between build call
    carry check choose conclusion consider create determine develop discover drink early either
    else enjoy ensure evaluate examine example explain explore fill final finally follow
    following given happy her here highlight imagine improve include indeed learn listen mix
    multiply nor nothing okay overall play please practice prepare present provide put remember
    right safeguard section select send simple so someone sometimes speak spend step such
    suggest suppose teach ten thank thanks them therefore think through thus title together try
    turn understand unless upon using very wait walk welcome were whether wife within without
    yes yesterday your zero
    """.split()  # noqa: SIM905
)
# Words that it has in small letters and also with a capital.
OTHERS = frozenset(
    """
    a about act add after again all also an and another answer any are around as at avoid be
    because before beginning best big bring buy by can clean close come cut design did do does
    drive during each eat end every everyone feel find first five for four from get give go good
    great have high his hope introduction is its join just keep key know last later leave let
    like little live long look love low made main make maybe meet monitor more move much must my
    never new next nice no nobody not now of offer often old on once one open or order other our
    out own pay people perhaps place plan read really recall research rest run said say see seek
    set share she short should show six small something start stay stop summary support take
    talk tell than that their then those three time to today too travel two until up use visit
    want was watch we what whatever where which who why will with work would write you
    """.split()  # noqa: SIM905
)
KNOWN = ALWAYS_SMALL | OTHERS | STARTERS - {"i"}
# Words that follow a number or an initial so often in the newspaper that no sentence ends there.
AFTER_NUMBER = frozenset(
    """
    abreast aes business cbot colgate commodities cooper corrections credit dividend financing
    genentech henley insider international leisure letters notable pay-fone pegasus pepper review rj
    wedgestone who zimmer
    """.split()  # noqa: SIM905
)
AFTER_INITIAL = frozenset(
    {"b. edelman", "b. levine", "b. smith", "b. stewart", "b. wigton", "i. magnin", "i. toussie"}
    | {"j. aron", "j. fialka", "j. walter", "o. ludcke"}
)
_QUOTES = r"\u2018\u2019\u201c\u201d\xab\xbb"
_MARK = rf"[)\";}}\]*:@'({{\[{_QUOTES}?!]"
_DOTS = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_END = re.compile(rf"[.?!](?=(?P<after>{_MARK}|\s+(?P<next>\S+)))")
_TOKEN = re.compile(
    rf"{_DOTS}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_MARK}|{_DOTS}|,(?=$|\s|{_MARK}|{_DOTS}))|\S"
)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?\n?")
_CLOSING = re.compile(rf"[\"')\]}}{_QUOTES}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_SPACES = " \t\n\r\x0b\x0c"


def split_sentences(text: str) -> list[str]:
    """Returns the sentences of a text; closing quotes and brackets belong to the sentence before them."""
    spans, start = [], 0
    for match, context in candidate_ends(text):
        if breaks(context):
            spans.append((start, match.end()))
            start = match.start("next") if match["next"] else match.end()
    spans.append((start, len(text.rstrip())))
    return realigned(text, spans)


def candidate_ends(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yields, for each word with sentence marks, its last mark, and the word with its marks and the text after it."""
    start, last = 0, None
    for match in _END.finditer(text):
        done = last.start() if last else 0
        before = text[done : match.start()]
        space = max(before.rfind(space) for space in _SPACES)
        begin = done + space + 1 if space > 0 else start
        if last and done <= begin:
            yield last, text[start:done] + last[0] + last["after"]
        start, last = begin, match
    if last:
        yield last, text[start : last.start()] + last[0] + last["after"]


def breaks(context: str) -> bool:
    """Returns whether a sentence ends before the last token."""
    tokens = [token for line in context.split("\n") for token in _TOKEN.findall(line)]
    return any(ends(*pair) for pair in itertools.pairwise(tokens))


def ends(token: str, following: str) -> bool:
    """Returns whether a sentence ends between two tokens."""
    if not token.endswith("."):
        return token in "?!"
    dots = re.match(r"\.\.+$", token) is not None
    short = not token.endswith("..") and bool(
        {token[:-1].lower(), token[:-1].lower().split("-")[-1]} & ABBREVIATIONS
    )
    sentence = token == "." or not (dots or short or token.endswith(".."))
    initial = re.match(r"[^\W\d]\.$", token) is not None
    number = _NUMBER.fullmatch(token) is not None
    if (number and plain_token(following) in AFTER_NUMBER) or (
        f"{token.lower()} {plain_token(following)}" in AFTER_INITIAL
    ):
        return False
    if (
        (short or dots)
        and not initial
        and (starts(following) or (following[0].isupper() and plain_token(following) in STARTERS))
    ):
        return True
    if not initial and not number:
        return sentence
    if following in ";:,.!?" or following[0].islower():
        return False
    return sentence and not (
        initial and following[0].isupper() and plain_token(following) not in KNOWN
    )


def starts(token: str) -> bool:
    """Returns whether a capitalized word is one that has no capital inside a sentence."""
    return token[0].isupper() and plain_token(token) in ALWAYS_SMALL


def plain_token(token: str) -> str:
    """Returns a token in small letters, without the full stop at the end of a sentence."""
    return token.lower().removesuffix(".")


def realigned(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Returns the sentences; closing marks at the beginning of a sentence are moved to the end of the one before."""
    found, moved = [], 0
    for (start, end), later in zip(spans, [*spans[1:], None]):
        start, moved = start + moved, 0
        closing = _CLOSING.match(text, *later) if later else None
        if closing:
            found.append(text[start : later[0] + len(closing[0].rstrip())])
            moved = closing.end() - later[0]
        else:
            found.append(text[start:end])
    return [sentence for sentence in found if sentence]


_RULES = [
    (re.compile(rule), replacement)
    for rule, replacement in (
        (r"([«“‘„]|[`]+)", r" \1 "),
        (r"^\"", "``"),
        (r"(``)", r" \1 "),
        (r"([ (\[{<])(\"|'{2})", r"\1 `` "),
        (r"(?i)(?<!\w)(')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
        (r"([^.])(\.)([\])}>\"' »”’]*+)\s*$", r"\1 \2 \3 "),
        (r"([:,])([^\d])", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"(\.{2,}|[;@#$%&]|[\u2012-\u2015])", r" \1 "),
        (r"([^.])(\.)([\])}>\"']*+)\s*$", r"\1 \2\3 "),
        (r"([?!])", r" \1 "),
        (r"([^'])' ", r"\1 ' "),
        (r"(\*)", r" \1 "),
        (r"([\]\[(){}<>])", r" \1 "),
        (r"(--)", r" \1 "),
        (r"^|$", " "),
        (r"([»”’])", r" \1 "),
        (r"''|\"", " '' "),
        (r"\s+", " "),
        (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
        (r"(?i)\b(can)(not)\b", r" \1 \2 "),
        (r"(?i)\b(d)('ye)\b", r" \1 \2 "),
        (r"(?i)\b(gim|lem)(me)\b", r" \1 \2 "),
        (r"(?i)\b(gon)(na)\b", r" \1 \2 "),
        (r"(?i)\b(got)(ta)\b", r" \1 \2 "),
        (r"(?i)\b(more)('n)\b", r" \1 \2 "),
        (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 "),
        (r"(?i) ('t)(is|was)\b", r" \1 \2 "),
    )
]


def treebank_words(sentence: str) -> list[str]:
    """Returns the words and marks of a sentence."""
    for rule, replacement in _RULES:
        sentence = rule.sub(replacement, sentence)
    return sentence.split()
