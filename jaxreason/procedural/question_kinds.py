"""The questions of the tiny study: what each kind asks, its answer, and traces that lead to it.

A symbol is one character and a digit is one symbol, so a model of half a million parameters can learn them. Every reply
ends in `#answer`. A trace comes before it: "short" spells out the steps of the school method, and "teacher" reaches the
same answer by another algorithm. Difficulty is set in the dict at the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from random import Random

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHARACTERS = "0123456789" + LETTERS + LETTERS.upper() + " +-*/=<>(),.:;#!?&|^%_"

Trace = Callable[[str], str]


def whole(question: str) -> str:
    """Returns the question itself as its key: two questions are only the same if they are written alike."""
    return question


@dataclass(frozen=True)
class ProceduralTask:
    """A kind of question.

    Attributes:
      group: "math", "other" (reasoning) or "non_reasoning".
      make_question: random generator -> (question, answer).
      traces: style -> function of the question that returns the trace before `#answer` ("direct" is always empty).
      key: returns a key that is equal for questions that count as the same (`12+39` and `39+12` are in the same split).
    """

    group: str
    make_question: Callable[[Random], tuple[str, str]]
    traces: Mapping[str, Trace]
    key: Callable[[str], str] = whole


def direct(question: str) -> str:
    """Returns no trace."""
    return ""


# --- math ---


def add_question(rng: Random, low: int, high: int) -> tuple[str, str]:
    """Returns a question such as `12+39`, both terms in [low, high]."""
    a, b = rng.randint(low, high), rng.randint(low, high)
    return f"{a}+{b}", str(a + b)


def add_key(question: str) -> str:
    """Returns the terms in numerical order."""
    return "+".join(sorted(question.split("+")))


def add_short(question: str) -> str:
    """Returns ones, then tens with the carry: `9+3=12;5+6+1=12` for 59+63."""
    a, b = map(int, question.split("+"))
    ones = a % 10 + b % 10
    carry = "+1" if ones >= 10 else ""
    return f"{a % 10}+{b % 10}={ones};{a // 10}+{b // 10}{carry}={a // 10 + b // 10 + ones // 10}"


def add_teacher(question: str) -> str:
    """Adds the tens of the second term first, then its ones: `let 12+39. 12+30=42. 42+9=51. so 51!`."""
    a, b = map(int, question.split("+"))
    tens, ones = b // 10 * 10, b % 10
    return f"let {question}. {a}+{tens}={a + tens}. {a + tens}+{ones}={a + b}. so {a + b}!"


def sub_question(rng: Random, low: int, high: int) -> tuple[str, str]:
    """Returns a question such as `64-38`, both terms in [low, high], the result not negative."""
    b, a = sorted((rng.randint(low, high), rng.randint(low, high)))
    return f"{a}-{b}", str(a - b)


def sub_short(question: str) -> str:
    """Returns ones, borrowing ten if needed, then tens: `14-8=6;5-3=2` for 64-38."""
    a, b = map(int, question.split("-"))
    borrow = int(a % 10 < b % 10)
    ones, tens = a % 10 + 10 * borrow, a // 10 - borrow
    return f"{ones}-{b % 10}={ones - b % 10};{tens}-{b // 10}={tens - b // 10}"


def sub_teacher(question: str) -> str:
    """Subtracts the tens of the second term first, then its ones."""
    a, b = map(int, question.split("-"))
    tens, ones = b // 10 * 10, b % 10
    return f"let {question}. {a}-{tens}={a - tens}. {a - tens}-{ones}={a - b}. so {a - b}!"


def chain_question(rng: Random, terms: tuple[int, int]) -> tuple[str, str]:
    """Returns a question such as `3+5-2+6`: one-digit terms from left to right; no partial sum is negative."""
    total = rng.randint(1, 9)
    question = str(total)
    for _ in range(rng.randint(*terms) - 1):
        term = rng.randint(1, 9)
        sign = rng.choice("+-") if total >= term else "+"
        question += f"{sign}{term}"
        total += term if sign == "+" else -term
    return question, str(total)


def chain_steps(question: str) -> list[tuple[str, int]]:
    """Returns the steps of `3+5-2`: [("+", 3), ("+", 5), ("-", 2)]."""
    signed = "+" + question
    return [(signed[i], int(signed[i + 1])) for i in range(0, len(signed), 2)]


def chain_short(question: str) -> str:
    """Returns the running sum: `3+5=8-2=6+6=12`."""
    (_, total), *rest = chain_steps(question)
    trace = str(total)
    for sign, term in rest:
        total += term if sign == "+" else -term
        trace += f"{sign}{term}={total}"
    return trace


def chain_teacher(question: str) -> str:
    """Sums plus terms and minus terms, then subtracts: `let 3+5-2. up 3+5=8. down 2=2. 8-2=6. so 6!`."""
    ups = [term for sign, term in chain_steps(question) if sign == "+"]
    downs = [term for sign, term in chain_steps(question) if sign == "-"] or [0]
    up, down = sum(ups), sum(downs)
    sums = f"up {'+'.join(map(str, ups))}={up}. down {'+'.join(map(str, downs))}={down}"
    return f"let {question}. {sums}. {up}-{down}={up - down}. so {up - down}!"


def mul_question(rng: Random, low: int, high: int) -> tuple[str, str]:
    """Returns a question such as `7*38`: one digit (2 to 9) times a number in [low, high]."""
    a, b = rng.randint(2, 9), rng.randint(low, high)
    return f"{a}*{b}", str(a * b)


def mul_short(question: str) -> str:
    """Returns ones, tens, and their sum: `7*8=56;7*3=21;210+56=266` for 7*38."""
    a, b = map(int, question.split("*"))
    ones, tens = a * (b % 10), a * (b // 10)
    return f"{a}*{b % 10}={ones};{a}*{b // 10}={tens};{tens * 10}+{ones}={a * b}"


def mul_teacher(question: str) -> str:
    """Multiplies the next multiple of ten, then subtracts: `let 7*38. 7*40=280. 7*2=14. 280-14=266. so 266!`."""
    a, b = map(int, question.split("*"))
    ten = -(-b // 10) * 10
    up, back = a * ten, a * (ten - b)
    steps = f"{a}*{ten}={up}. {a}*{ten - b}={back}. {up}-{back}={a * b}"
    return f"let {question}. {steps}. so {a * b}!"


# --- other reasoning ---


def sort_question(rng: Random, length: tuple[int, int]) -> tuple[str, str]:
    """Returns a question such as `sort bdac`: different letters to be put into alphabetical order."""
    letters = "".join(rng.sample(LETTERS, rng.randint(*length)))
    return f"sort {letters}", "".join(sorted(letters))


def count_question(rng: Random, length: tuple[int, int], alphabet: int) -> tuple[str, str]:
    """Returns a question such as `count a abca`: how often the letter occurs; the first `alphabet` letters are used."""
    letters = "".join(rng.choices(LETTERS[:alphabet], k=rng.randint(*length)))
    target = rng.choice(LETTERS[:alphabet])
    return f"count {target} {letters}", str(letters.count(target))


def count_short(question: str) -> str:
    """Returns every letter with its count so far: `a1b1c1a2`."""
    _, target, letters = question.split(" ")
    return "".join(f"{letter}{letters[: i + 1].count(target)}" for i, letter in enumerate(letters))


def logic(left: str, operator: str, right: str) -> str:
    """Returns `T` or `F`: and (&), or (|), exclusive or (^)."""
    a, b = left == "T", right == "T"
    return "T" if {"&": a and b, "|": a or b, "^": a != b}[operator] else "F"


def bool_values(expression: str) -> list[str]:
    """Returns the value after each term, from left to right."""
    values = [expression[0]]
    for i in range(1, len(expression), 2):
        values.append(logic(values[-1], expression[i], expression[i + 1]))
    return values


def bool_question(rng: Random, terms: tuple[int, int]) -> tuple[str, str]:
    """Returns a question such as `bool T&F|T`: evaluated from left to right, without precedence."""
    expression = rng.choice("TF")
    for _ in range(rng.randint(*terms) - 1):
        expression += rng.choice("&|^") + rng.choice("TF")
    return f"bool {expression}", bool_values(expression)[-1]


def bool_short(question: str) -> str:
    """Returns the running value: `T&F=F|T=T`."""
    expression = question.split(" ")[1]
    values = bool_values(expression)
    steps = (f"{expression[2 * i - 1 : 2 * i + 1]}={values[i]}" for i in range(1, len(values)))
    return expression[0] + "".join(steps)


def order_question(rng: Random, items: int) -> tuple[str, str]:
    """Returns a question such as `max b<c,a<b,c<d`: the largest or smallest, from shuffled pairs of neighbours."""
    chain = rng.sample(LETTERS, items)
    relations = [f"{low}<{high}" for low, high in pairwise(chain)]
    rng.shuffle(relations)
    wanted = rng.choice(("max", "min"))
    return f"{wanted} {','.join(relations)}", chain[-1 if wanted == "max" else 0]


def order_short(question: str) -> str:
    """Returns the whole order, ending with the answer: `a<b<c<d` for max, `d>c>b>a` for min."""
    wanted, relations = question.split(" ")
    upward = dict(relation.split("<") for relation in relations.split(","))
    (letter,) = set(upward) - set(upward.values())
    chain = [letter]
    while chain[-1] in upward:
        chain.append(upward[chain[-1]])
    return "<".join(chain) if wanted == "max" else ">".join(reversed(chain))


# --- non-reasoning ---


def text_question(
    rng: Random, name: str, length: tuple[int, int], alphabet: int, change: Callable[[str], str]
) -> tuple[str, str]:
    """Returns a question such as `reverse abc`: random letters and the result; fewer letters repeat and are harder."""
    letters = "".join(rng.choices(LETTERS[:alphabet], k=rng.randint(*length)))
    return f"{name} {letters}", change(letters)


def join_question(rng: Random, length: tuple[int, int]) -> tuple[str, str]:
    """Returns a question such as `join a,b,c`: the letters without the commas."""
    letters = rng.choices(LETTERS, k=rng.randint(*length))
    return f"join {','.join(letters)}", "".join(letters)


def get_question(rng: Random, pairs: tuple[int, int]) -> tuple[str, str]:
    """Returns a question such as `get b ax by cz`: the value of a key, which directly follows it; letters differ."""
    count = rng.randint(*pairs)
    letters = rng.sample(LETTERS, 2 * count)
    table = dict(zip(letters[:count], letters[count:], strict=True))
    key = rng.choice(letters[:count])
    return f"get {key} {' '.join(k + v for k, v in table.items())}", table[key]


def math_traces(short: Trace, teacher: Trace) -> dict[str, Trace]:
    """Returns the three styles of a math task."""
    return {"direct": direct, "short": short, "teacher": teacher}


DIRECT: dict[str, Trace] = {"direct": direct}

PROCEDURAL_TASKS: dict[str, ProceduralTask] = {
    "add": ProceduralTask(
        "math", partial(add_question, low=10, high=99), math_traces(add_short, add_teacher), add_key
    ),
    "sub": ProceduralTask(
        "math", partial(sub_question, low=10, high=99), math_traces(sub_short, sub_teacher)
    ),
    "chain": ProceduralTask(
        "math", partial(chain_question, terms=(4, 4)), math_traces(chain_short, chain_teacher)
    ),
    "mul": ProceduralTask(
        "math", partial(mul_question, low=10, high=99), math_traces(mul_short, mul_teacher)
    ),
    "sort": ProceduralTask("other", partial(sort_question, length=(16, 22)), DIRECT),
    "count": ProceduralTask(
        "other",
        partial(count_question, length=(6, 10), alphabet=4),
        DIRECT | {"short": count_short},
    ),
    "bool": ProceduralTask(
        "other", partial(bool_question, terms=(8, 12)), DIRECT | {"short": bool_short}
    ),
    "order": ProceduralTask(
        "other", partial(order_question, items=4), DIRECT | {"short": order_short}
    ),
    "copy": ProceduralTask(
        "non_reasoning",
        partial(text_question, name="copy", length=(42, 52), alphabet=4, change=str),
        DIRECT,
    ),
    "reverse": ProceduralTask(
        "non_reasoning",
        partial(
            text_question,
            name="reverse",
            length=(18, 26),
            alphabet=26,
            change=lambda text: text[::-1],
        ),
        DIRECT,
    ),
    "upper": ProceduralTask(
        "non_reasoning",
        partial(text_question, name="upper", length=(28, 40), alphabet=4, change=str.upper),
        DIRECT,
    ),
    "join": ProceduralTask("non_reasoning", partial(join_question, length=(20, 28)), DIRECT),
    "get": ProceduralTask("non_reasoning", partial(get_question, pairs=(2, 3)), DIRECT),
}
