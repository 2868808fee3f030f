r"""Decides whether an answer equals the gold one: as texts, as numbers, as mathematics.

This adds to math-verify's reading of an expression: labels and chains of equations, units and per cent signs, bases,
times of day, sets written with < and >, and the strict mode, in which the final value must be written out
(`written_out.py`).
"""

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

from jaxreason.tasks.answer_labels import (
    are_other_operations,
    clash,
    gives_other_value,
    match_named,
)
from jaxreason.tasks.answer_lists import (
    NAME,
    has_comma,
    is_group,
    sides_of,
    split_list,
    split_outside,
    unlabel,
)
from jaxreason.tasks.answer_sets import is_inequality, same_set
from jaxreason.tasks.answer_symbols import kept_apart
from jaxreason.tasks.answer_units import Unit, read_unit, unit_of
from jaxreason.tasks.latex_answers import GAP, GROWING, WRONG, read_value, read_whole, without_unit
from jaxreason.tasks.sympy_values import is_rounded, same_value
from jaxreason.tasks.written_out import is_written_out

MOST_CHARACTERS = 300
DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
NUMERAL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<whole>\d*)\s*\\frac\s*\{{(?P<above>\d+)\}}\s*\{{(?P<below>\d+)\}}"
    rf"|(?P<first>\d+)\s*/\s*(?P<second>\d+)|(?P<decimal>{DECIMAL}))"
)


def numeral(text: str) -> Fraction | None:
    r"""Returns the value of a plain integer, decimal, fraction of integers or mixed number; or None.

    Most answers need only this function and never reach sympy, which keeps grading fast.
    """
    found = NUMERAL.fullmatch(text.strip())
    if found is None or len(text) > MOST_CHARACTERS:
        return None
    if found["decimal"]:
        value = Fraction(found["decimal"].replace(",", ""))
    else:
        below = int(found["below"] or found["second"])
        if below == 0:
            return None
        value = int(found["whole"] or 0) + Fraction(int(found["above"] or found["first"]), below)
    return -value if found["sign"] == "-" else value


RATIO = re.compile(r"\d+(?::\d+){2,}")
CLOCK_OF_THREE = re.compile(r"\d{1,2}:\d\d:\d\d")
TEMPERATURE = re.compile(
    r"\\circ\s*\}?\s*(?:\\(?:text|mathrm)\s*\{)?\s*([CF])(?![A-Za-z])"
    r"|\\(?:text|mathrm)\s*\{\s*(?:degrees?\s+)?(K|[Cc]elsius|[Ff]ahrenheit|[Kk]elvins?)\s*\}"
)
# "or" between two intervals.
UNITED = re.compile(
    r"(?<=[)\]])\s*(?:\\(?:text|mbox|mathrm)\s*\{\s*or\s*\}|\bor\b|\\lor(?![A-Za-z]))\s*(?=[(\[])"
)
DERIVATIVE = re.compile(r"(?<=[A-Za-z])\s*\^\s*\{\s*\(([1-4])\)\s*\}(?=\s*\()")  # f^{(3)}(x)
# Units that need no space or \text{} before them: 100cm^2.
GLUED = r"(?:[mcdk]?m|ft|in|yd|mi|[mcd]?[lL]|kg|lbs?|oz|hrs?|mins?|secs?)(?:\s*\^\s*\{?[23]\}?|/(?:s|h|min))?"
PRIME = re.compile(r"\d\s*(?:'|\^\s*\{?\\prime)")  # Minutes of an angle, or feet.


@dataclass(frozen=True)
class Rules:
    """The rules by which two answers are compared.

    Attributes:
      strict: whether the answer must be written out, exact and in the unit of the gold one.
      question: the question; it shows whether a percentage or another base was asked for.
      unit: the unit of the gold answer if its text does not contain it, or "".
      origins: the old letters of those that were renamed in both answers (`answer_symbols.py`).
    """

    strict: bool = False
    question: str = ""
    unit: str = ""
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def asks_percentage(self) -> bool:
        """Whether the question asks for a percentage, so that a bare 5 and 5 % are the same."""
        return re.search(r"%|\bper\s?cent", f"{self.unit} {self.question}", re.I) is not None

    def asks_base(self, base: str) -> bool:
        """Returns whether the question is about numbers with that base."""
        written = rf"base[\s$\\_{{-]*{base}\b|\d_\{{?{base}\b"
        return re.search(written, self.question, re.I) is not None


def same(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether two tidied answers are equal. Raises what sympy raises."""
    if gold == answer:
        return True
    gold, answer = (DERIVATIVE.sub(lambda m: "'" * int(m[1]), text) for text in (gold, answer))
    apart = kept_apart(gold, answer, rules.question)
    if apart is None:
        return False
    return _same(*apart[:2], replace(rules, origins=apart[2]) if apart[2] else rules)


def _same(gold: str, answer: str, rules: Rules) -> bool:
    """Compares two answers whose letters have been kept apart."""
    if r"\cup" in gold:
        answer = UNITED.sub(r"\\cup ", answer)
    if squeeze(gold) == squeeze(answer):
        return True
    relations = is_inequality(gold), is_inequality(answer)
    same_sets = same_set(gold, answer) if any(relations) else None
    if same_sets:
        return is_written(gold, answer, rules)
    if relations[0] != relations[1] or same_sets is False:
        return False
    if is_group(gold) and len(split_list(answer)) > 1:
        return False  # (2,4) is a point or an interval; "4, 2" is neither
    numbers = numeral(gold), numeral(answer)
    if None not in numbers:
        return same_numeral(gold, answer, *numbers, rules)
    lists = members_of(gold), members_of(answer)
    if min(map(len, lists)) > 1:
        pairs = match_named(*lists, lambda g, a: _same(g, a, rules), rules.question)
        return len(lists[0]) == len(lists[1]) and pairs
    return _same_chain(gold, answer, rules)


def members_of(text: str) -> list[str]:
    """Returns the members of a list; 58,500 is one number."""
    return split_list(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text))


def _same_chain(gold: str, answer: str, rules: Rules) -> bool:
    """Compares equations: first as a whole, then the values of a name, `x = 2 + 3 = 5`."""
    golds, answers = sides_of(gold), sides_of(answer)
    if (len(answers) > 1 or rules.strict) and has_comma(answer) and not has_comma(gold):
        return False  # x=5, y=3
    if are_other_operations(gold, answer):
        return False
    if len(golds) > 1 and len(answers) > 1 and equal(gold, answer, rules):
        return True
    if len(answers) > 1 and (contradicts(answers) or clash(gold, answer, rules.origins)):
        return False
    if rules.strict and gives_other_value(answers, rules.question, rules.origins):
        return False
    value = answers[-1]
    if len(answers) > 1 and re.fullmatch(NAME, value) and is_constant(answers[-2]):
        value = answers[-2]  # 5 = x
    if len(golds) == 1:
        return same_side(gold, value, rules)
    constants = [side for side in golds if is_constant(side)]
    if len(constants) > 1:  # 0.56 = 56\%
        return any(same_side(side, value, rules) for side in constants)
    bare = unlabel(gold)
    return bare != gold and same_side(bare, value, rules)


def contradicts(sides: list[str]) -> bool:
    """Returns whether two sides of a chain are different constants: 6 = 5."""
    values = [percent_value(side) for side in sides if is_constant(side)]
    return any(not same_value(values[0], value) for value in values[1:])


def is_constant(side: str) -> bool:
    """Returns whether a text is a number or can be computed to one."""
    value = percent_value(side)
    return getattr(value, "is_number", False) is True


def percent_value(side: str):
    r"""Returns the value of a text, where `5\%` is a twentieth; None if it cannot be read."""
    value = read_value(side.replace(r"\%", ""))
    if value is None or not side.endswith(r"\%") or not getattr(value, "is_number", False):
        return value
    from sympy import Rational

    return value * Rational(1, 100)


def same_side(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether two answers without an equals sign are equal; bases, per cent signs and units count."""
    if squeeze(gold) == squeeze(answer):
        return True
    if is_clock(gold) or is_clock(answer):
        return same_time(gold, answer)
    if RATIO.fullmatch(squeeze(gold)) and RATIO.fullmatch(squeeze(answer)):
        return same_ratio(gold, answer)
    if not same_base(gold, answer, rules) or bool(PRIME.search(gold)) != bool(PRIME.search(answer)):
        return False
    if len(scales_of(gold) | scales_of(answer)) > 1:
        return False
    if r"\%" in gold or r"\%" in answer:
        return same_percentage(gold, answer, rules)
    units = gold_unit(gold, answer, rules), unit_of(answer)
    if None not in units and units[0] != units[1]:
        return not rules.strict and units[0][0] == units[1][0] and converted(gold, answer, *units)
    if equal(gold, answer, rules):
        return True
    plainer = bare_value(answer)
    if plainer != answer and not re.search("[A-Za-z]", gold):
        return equal(gold, plainer, rules)
    things = re.search("[a-z]{3}", gold) and not re.search("[A-Za-z]", answer)
    return bool(things) and bare_value(gold) != gold and equal(bare_value(gold), answer, rules)


def scales_of(text: str) -> set[str]:
    """Returns the scales of the temperatures in a text: "C", "F" or "K"."""
    return {(match[1] or match[2])[0].upper() for match in TEMPERATURE.finditer(text)}


def gold_unit(gold: str, answer: str, rules: Rules) -> Unit | None:
    """Returns the gold text's unit, or that of `rules` if the answer's is of the same kind (hours, not minutes)."""
    named, found = read_unit(rules.unit), unit_of(answer)
    return unit_of(gold) or (named if named and found and named[0] == found[0] else None)


def same_percentage(gold: str, answer: str, rules: Rules) -> bool:
    r"""Returns whether `5\%` equals 0.05, or 5 if the gold answer has the sign or the question asks for it.

    A bare 5 is not 5 % if the question asks for something else.
    """
    bare_gold, bare = (re.sub(r"\s*\\%", "", text) for text in (gold, answer))
    forgiven = r"\%" in gold or rules.asks_percentage
    if forgiven and equal(bare_gold, bare, rules):
        return True
    if (r"\%" in gold) == (r"\%" in answer) or not is_written(gold, bare, rules):
        return False
    values = [percent_value(gold), percent_value(answer)]
    return all(getattr(v, "is_number", False) for v in values) and same_value(*values)


def same_base(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether the bases agree (52_8 and 52_9 do not). A gold answer without one has ten, or what is asked."""
    bases = [re.fullmatch(r"-?[\w.]*?\d_\{?(\d+)\}?", squeeze(text)) for text in (gold, answer)]
    if not bases[1]:
        return True
    if bases[0]:
        return bases[0][1] == bases[1][1]
    return bases[1][1] == "10" or rules.asks_base(bases[1][1])


def converted(gold: str, answer: str, gold_unit: Unit, unit: Unit) -> bool:
    """Returns whether two numbers with units of one kind are the same quantity."""
    from sympy import Rational

    values = [percent_value(without_known_unit(text)) for text in (gold, answer)]
    if not all(getattr(value, "is_number", False) for value in values):
        return False
    return same_value(
        *(v * Rational(*u[1].as_integer_ratio()) for v, u in zip(values, (gold_unit, unit)))
    )


def without_known_unit(answer: str) -> str:
    """Returns an answer without the unit that `unit_of` has read."""
    number = bare_value(without_unit(answer))
    return re.sub(r"\s*\^\s*\{?\\circ\}?$", "", number)


def bare_value(answer: str) -> str:
    r"""Returns `5 dollars` and `x \equiv 5 \pmod 7` as 5; other texts are unchanged."""
    answer = re.sub(r"^[a-z]\s*\\equiv\s*(.+?)\s*\\pmod\s*\{?\w+\}?$", r"\1", answer)
    number = r"(-?(?:\\\$)?[\d.,/]*\d(?:\\frac\{\d+\}\{\d+\})?)"
    word = rf"(?!(?:or|and|not|to|mod|over|choose|times|plus|minus|{WRONG}|{GROWING})\b)[A-Za-z]+"
    words = rf"(?=.*[a-zA-Z]{{3}}|[a-z]+/[a-z]|[a-z]{{2}}\s*\^){word}(?:[ /]{word})*"
    answer = re.sub(rf"^{number} {words}(?:\s*\^\s*\{{?[23]\}}?)?$", r"\1", answer)
    return re.sub(rf"^{number}(?: ?{GLUED}| [ghs])$", r"\1", answer)


def is_clock(text: str) -> bool:
    """Returns whether the text is a time of day or a duration such as 9:24 or 9 a.m., and thus not a ratio."""
    time = clock(text)
    return time is not None and bool(time[2] or time[3])


def clock(text: str) -> re.Match[str] | None:
    """Returns a match with hours, minutes or None, "a" or "p" or None."""
    text = re.sub(r"(?<=\d)(?=[ap]\.?m)", "\0", text)  # 5am is a product.
    return re.fullmatch(r"(\d{1,2})(?::(\d\d))?(?:([ap])\.?m\.?)?", squeeze(text))


def same_time(gold: str, answer: str) -> bool:
    """Compares times: 05:00 is 5:00; a.m. or p.m. may be left out (3:20 p.m. is 15:20) but must not differ."""
    times = clock(gold), clock(answer)
    if not all(times) or (times[0][3] and times[1][3] and times[0][3] != times[1][3]):
        return False
    minutes = {int(time[2] or 0) for time in times}
    hours = [hours_of(int(time[1]), time[3]) for time in times]
    bare = any(not time[2] and not time[3] for time in times)  # A number: 9 for 9 a.m.
    if bare and any(time[2] and not time[3] for time in times):
        return False
    return len(minutes) == 1 and bool(hours[0] & hours[1])


def hours_of(hour: int, half: str | None) -> set[int]:
    """Returns the ways to write the hour, including those without a.m. or p.m.: 3 p.m. is 3 or 15."""
    if half is None or hour > 12:
        return {hour}
    return {hour, hour % 12} if half == "a" else {hour if hour < 12 else 12, hour % 12 + 12}


def same_ratio(gold: str, answer: str) -> bool:
    """Compares ratios of three or more numbers, 1:2:3 and 2:4:6; 1:00:00 and 2:00:00 are times."""
    wanted, found = (
        [Fraction(part) for part in squeeze(text).split(":")] for text in (gold, answer)
    )
    if len(wanted) != len(found) or CLOCK_OF_THREE.fullmatch(squeeze(gold)):
        return wanted == found
    return all(g * found[0] == a * wanted[0] for g, a in zip(wanted, found))


def squeeze(text: str) -> str:
    r"""Returns a text for comparison: `\text{}` unwrapped, spaces only between digits, no bracket around one letter."""
    text = re.sub(r"\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\s", "", GAP.sub("\0", text)).lower().rstrip(".")
    return re.sub(r"^\(?([a-z])\)$", r"\1", text)


def same_numeral(gold: str, answer: str, wanted: Fraction, found: Fraction, rules: Rules) -> bool:
    """Compares two numbers; if not strict, a long decimal may stand for a fraction that it rounds."""
    if wanted == found:
        return is_written(gold, answer, rules)
    return not rules.strict and approximates(gold, answer)


def approximates(gold: str, answer: str) -> bool:
    """Returns whether one is a decimal of at least six digits and the other, not a decimal, rounds to it."""
    for decimal, other in ((answer, gold), (gold, answer)):
        written = decimal.replace(",", "").strip()
        if re.fullmatch(r"-?\d*\.\d+", written) and not re.search(r"\d\.\d|\.\d", other):
            value = read_value(other)
            return getattr(value, "is_number", False) is True and is_rounded(value, written)
    return False


def is_written(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether the answer is written out, or the rules do not require it."""
    return not rules.strict or is_written_out(gold, answer)


def equal(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether both, read as a whole, are equal as mathematics. Raises what sympy raises."""
    (wanted, *gold_text), (found, *text) = read_whole(gold), read_whole(answer)
    if not gold_text or not text:  # One of them cannot be read.
        return not gold_text and not text and wanted == found
    if not is_written(gold, answer, rules):
        return False
    if gold_text == text or same_value(wanted, found):
        return True
    return not rules.strict and (approximates(gold, answer) or places_equal(gold, answer, rules))


def places_equal(gold: str, answer: str, rules: Rules) -> bool:
    """Returns whether two points or intervals are equal place by place, of which some may be long decimals."""
    if not is_group(gold) or not is_group(answer) or gold[0] + gold[-1] != answer[0] + answer[-1]:
        return False
    golds, answers = (split_outside(text[1:-1], ",") for text in (gold, answer))
    return len(golds) == len(answers) and all(equal(g, a, rules) for g, a in zip(golds, answers))
