"""Matches completions from elsewhere to questions: by id, by the content of the prompt, or by place."""

from collections import Counter
from collections.abc import Iterator, Sequence

from jaxreason.data.examples import prompt_text, question
from jaxreason.evaluation.benchmarks import EvalItem

KEY = 24  # Characters of a text by which it is searched in a prompt.
Told = tuple[str | None, str | None]  # The id and the prompt of a completion.


def match(items: Sequence[EvalItem], told: Sequence[Told]) -> list[str | None]:
    """Returns the question of each completion, or None.

    They are matched by id if at least one id is a question's; else by prompt if at least one contains a question's
    text; else by place if there are as many completions as questions.

    Args:
      items: the questions.
      told: the id and the prompt of each completion, if the file has them.
    """
    for way in (_by_id, _by_prompt, _by_place):
        places = way(items, told)
        if any(place is not None for place in places):
            return places
    return [None] * len(told)


def _by_id(items: Sequence[EvalItem], told: Sequence[Told]) -> list[str | None]:
    known = {item.id for item in items}
    return [name if name in known else None for name, _ in told]


def _by_place(items: Sequence[EvalItem], told: Sequence[Told]) -> list[str | None]:
    return [item.id for item in items] if len(items) == len(told) else []


def _by_prompt(items: Sequence[EvalItem], told: Sequence[Told]) -> list[str | None]:
    """Returns the question whose texts the prompt contains; of several, the one with the most text.

    Questions that cannot be distinguished (MC-TACO's pairs in another wording) are used in turn.
    """
    texts = dict(zip((item.id for item in items), own_texts(items), strict=True))
    index = _Index(texts)
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, found in texts.items():
        alike.setdefault(found, []).append(name)
    seen: Counter[tuple[str, ...]] = Counter()
    places: list[str | None] = []
    for _, prompt in told:
        found = index.best(_squeezed(prompt or ""))
        names = alike[texts[found]] if found is not None else [None]
        key = texts[found] if found is not None else ()
        places.append(names[seen[key] % len(names)])
        seen[key] += 1
    return places


def own_texts(items: Sequence[EvalItem]) -> list[tuple[str, ...]]:
    """Returns for each question the texts that any wording of it must contain.

    They are its text, and the longest line of its prompt that few questions have (a story, a document), since lines of
    the template are in all prompts.
    """
    lines = [[_squeezed(line) for line in prompt_text(i.example).splitlines()] for i in items]
    counts = Counter(line for found in lines for line in set(found))
    most = max(1, len(items) // 2)
    result = []
    for item, found in zip(items, lines, strict=True):
        asked = _squeezed(question(item.example))
        rare = [line for line in found if counts[line] <= most and asked not in line]
        rare = [line for line in rare if line not in asked and len(line) > 2 * len(asked)]
        result.append(tuple(filter(None, (asked, max(rare, key=len, default="")))))
    return result


def _squeezed(text: str) -> str:
    return " ".join(text.split())


class _Index:
    """Finds questions whose texts a prompt contains, without searching for each of them."""

    def __init__(self, texts: dict[str, tuple[str, ...]]):
        self._texts = texts
        self._by_key: dict[str, list[str]] = {}
        self._short: list[str] = []
        for name, found in texts.items():
            longest = max(found, key=len, default="")
            if len(longest) < KEY:
                self._short.append(name)
            else:
                self._by_key.setdefault(longest[-KEY:], []).append(name)

    def best(self, prompt: str) -> str | None:
        """Returns the question with the longest texts among those that the prompt contains."""
        held = [name for name in self._candidates(prompt) if self._holds(prompt, name)]
        return max(held, key=lambda name: sum(map(len, self._texts[name])), default=None)

    def _candidates(self, prompt: str) -> Iterator[str]:
        keys = {prompt[start : start + KEY] for start in range(max(len(prompt) - KEY + 1, 0))}
        for key in keys & self._by_key.keys():
            yield from self._by_key[key]
        yield from self._short

    def _holds(self, prompt: str, name: str) -> bool:
        return bool(self._texts[name]) and all(text in prompt for text in self._texts[name])
