"""The conversion of questions as verl keeps them: SimpleRL's files, locally and on the hub."""

import re
from collections.abc import Iterable, Iterator

from jaxreason.data.flat_rows import Columns, each, text_of
from jaxreason.data.rows import Row, RowError

# The last paragraph of a prompt, where it only says how to answer; it stays out of the question.
_ASKS_FOR_BOX = re.compile(r"\s*\n\s*[^\n]*\\boxed\{[^\n]*\s*\Z")
_TURN = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


def verl(rows: Iterable[Row]) -> Iterator[Row]:
    r"""Questions with their gold answer: one row a question.

    Columns: `question` (that of the row or of its `extra_info`; else the prompt without chat marks and without a last
    paragraph that asks for a \boxed{} answer), `answer` (`reward_model.ground_truth`, or `gt_answer`), `level` (None
    where the row says none) and `data_source`.
    """
    return each(rows, _flatten)


def _flatten(columns: Columns) -> Columns:
    more = columns.get("extra_info") or {}
    reward = columns.get("reward_model") or {}
    gold = reward.get("ground_truth") if reward.get("ground_truth") else columns.get("gt_answer")
    return {
        "question": columns.get("question") or more.get("question") or _prompt(columns),
        "answer": text_of({"gold answer": gold}, "gold answer"),
        "level": columns.get("level"),
        "data_source": columns.get("data_source") or "",
    }


def _prompt(columns: Columns) -> str:
    messages = columns.get("prompt")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise RowError("missing field", "neither 'question' nor a 'prompt' of messages is there")
    asked = [str(m.get("content") or "") for m in messages if m.get("role") == "user"]
    if not asked:
        raise RowError("missing field", "'prompt' has no message of the user")
    turn = _TURN.search(asked[-1])
    return _ASKS_FOR_BOX.sub("", turn[1] if turn else asked[-1]).strip()
