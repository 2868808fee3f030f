"""The texts that drift is measured on: prompts and replies of an evaluation, as the token ids that it wrote."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Float, Int

from jaxreason.errors import UserError
from jaxreason.results.sample_files import Marks, SampleKey, read_marks, read_samples
from jaxreason.results.score_files import read_score_rows, sample_key_of

# Rows of a batch have this length, or twice, four times ... this length.
SMALLEST_LENGTH = 32


@dataclass(frozen=True)
class Text:
    """A prompt and one reply to it.

    `begun`: its first token is the one that its tokenizer puts before any text (BOS). `ended`: its last token is one
    that ends a reply. `cluster`: texts that share it belong together and are resampled together; "" if it is alone.
    """

    id: str
    tokens: tuple[int, ...]
    reply_start: int
    begun: bool = False
    ended: bool = False
    cluster: str = ""


@dataclass(frozen=True)
class Unit:
    """Texts of one benchmark whose replies one of the two models wrote (`source`: base or tuned)."""

    benchmark: str
    group: str
    source: str
    texts: tuple[Text, ...]
    num_cut: int  # Texts cut at the maximum length.
    num_dropped: int  # Skipped items, whose prompt is too long or whose reply is empty.
    why_empty: str = ""  # Why there are no texts, if that is known.

    def clusters(self) -> tuple[int, ...]:
        """Returns the number of the cluster of each text, in the order in which clusters begin."""
        names = [(text.cluster, "" if text.cluster else text.id) for text in self.texts]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return tuple(numbers[name] for name in names)


class Batching(NamedTuple):
    """The sizes of batches: fewer rows for longer texts, always a multiple of the mesh's parts.

    Attributes:
      rows: the most rows, over all devices.
      tokens: the most tokens in all rows together; each part of the mesh has at least one row in any case.
      limit: the longest text.
      parts: the number of parts into which the mesh divides rows.
    """

    rows: int
    tokens: int
    limit: int
    parts: int = 1

    def rows_of(self, length: int) -> int:
        """Returns the rows of a batch of texts of this length."""
        return max(min(self.rows, self.tokens // length) // self.parts, 1) * self.parts


class TextBatch(NamedTuple):
    """Rows of texts; `rows` are their numbers in the unit, and rows after its end are padding."""

    tokens: Int[np.ndarray, "B T"]
    segment_ids: Int[np.ndarray, "B T"]
    reply_mask: Float[np.ndarray, "B T"]
    rows: Int[np.ndarray, " b"]


def load_units(
    folders: dict[str, epath.Path],
    decoding: str,
    texts_per_benchmark: int,
    max_length: int,
    variant: str = "robust",
) -> list[Unit]:
    """Returns the same items of every benchmark of which all `folders` (source -> evaluation folder) have samples.

    It takes the first sample of the first `texts_per_benchmark` items whose prompts leave room for a reply, in the
    order of a hash of their ids. So neither the order in which samples were finished nor the order of a benchmark's
    subsets matters.

    Raises:
      UserError: a missing or broken file, or no item in common.
    """
    asked = {source: _asked(folder, decoding, variant) for source, folder in folders.items()}
    first = next(iter(asked.values()))
    shared = [name for name in first if all(name in other for other in asked.values())]
    if not shared:
        raise UserError(
            f"drift: no benchmark has {decoding!r} samples, asked as its {variant} variant asks, in all of "
            f"{', '.join(map(str, folders.values()))}."
        )
    units = []
    for benchmark in shared:
        rows = {
            source: _first_samples(folder, asked[source][benchmark][0])
            for source, folder in folders.items()
        }
        ids = set.intersection(*(set(found) for found in rows.values()))
        if not ids:
            raise UserError(
                f"drift: the evaluations of {benchmark} ({decoding}) share no item: "
                f"{', '.join(map(str, folders.values()))}."
            )
        chosen, num_long = _choose(sorted(ids, key=_order), rows, texts_per_benchmark, max_length)
        for source, found in rows.items():
            marks = read_marks(folders[source], asked[source][benchmark][0])
            texts = [_text(found[name], max_length, marks) for name in chosen]
            group = first[benchmark][1]
            units.append(_unit(benchmark, group, source, texts, max_length, num_long))
    return units


def _choose(
    names: list[str], rows: dict[str, dict[str, dict]], number: int, max_length: int
) -> tuple[list[str], int]:
    """Returns the first `number` names whose prompts are short enough everywhere, and how many were skipped."""
    chosen, num_long = [], 0
    for name in names:
        if len(chosen) == number:
            break
        if all(len(found[name]["prompt_tokens"]) < max_length for found in rows.values()):
            chosen.append(name)
        else:
            num_long += 1
    return chosen, num_long


def _asked(folder: epath.Path, decoding: str, variant: str) -> dict[str, tuple[SampleKey, str]]:
    """Returns benchmark -> its sample file under the decoding, and its group."""
    rows = read_score_rows(folder, variant)
    return {
        r["benchmark"]: (sample_key_of(r), r["group"]) for r in rows if r["decoding"] == decoding
    }


def _first_samples(folder: epath.Path, key: SampleKey) -> dict[str, dict]:
    lines = read_samples(folder, key)
    return {line["id"]: line for line in lines if line["sample"] == 0}


def _order(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _text(row: dict, max_length: int, marks: Marks) -> Text:
    text = make_text(row["id"], row["prompt_tokens"], row["tokens"], marks)
    # Names of clusters are of a subset, as ids of its questions are before they are joined with its name.
    text = dataclasses.replace(text, cluster=json.dumps([row["subset"], row["cluster"]]))
    return _cut(text, max_length + 1)


def make_text(name: str, prompt: Sequence[int], reply: Sequence[int], marks: Marks) -> Text:
    """Returns a prompt and a reply as they were written, with what their tokenizer's marks say about both ends."""
    tokens = (*prompt, *reply)
    begun = bool(marks.begin) and tokens[: len(marks.begin)] == marks.begin
    ended = tokens[-1:] != () and tokens[-1] in marks.stop
    return Text(name, tokens, len(prompt), begun, ended)


def _unit(
    benchmark: str, group: str, source: str, texts: list[Text], max_length: int, num_long: int
) -> Unit:
    # One token more than the maximum was kept, so that a cut text can be told from one that just fits.
    num_cut = sum(len(text.tokens) > max_length for text in texts)
    texts = [_cut(text, max_length) for text in texts]
    kept = tuple(text for text in texts if len(text.tokens) > text.reply_start > 0)
    dropped = num_long + len(texts) - len(kept)
    why = "" if kept or not dropped else _why_none(dropped, max_length)
    return Unit(benchmark, group, source, kept, num_cut, dropped, why)


def _why_none(dropped: int, max_length: int) -> str:
    return (
        f"of its {dropped} items none has a reply of a token and a prompt that leaves room for it "
        f"in {max_length} tokens"
    )


def shortened(unit: Unit, limit: int) -> Unit:
    """Returns a unit whose texts are cut at `limit` tokens, and counted; texts without reply tokens are dropped."""
    texts = [_cut(text, limit + 1) for text in unit.texts]
    made = _unit(unit.benchmark, unit.group, unit.source, texts, limit, unit.num_dropped)
    why = unit.why_empty or made.why_empty
    return dataclasses.replace(made, num_cut=made.num_cut + unit.num_cut, why_empty=why)


def _cut(text: Text, length: int) -> Text:
    if len(text.tokens) <= length:
        return text
    return dataclasses.replace(text, tokens=text.tokens[:length], ended=False)


def padded_length(num_tokens: int, max_length: int) -> int:
    """Returns the row length of a text: the smallest of a few lengths that holds it."""
    length = SMALLEST_LENGTH
    while length < num_tokens:
        length *= 2
    return min(length, max_length)


def batches(unit: Unit, batching: Batching) -> Iterator[TextBatch]:
    """Yields the texts of a unit in batches of texts of similar length."""
    lengths = [padded_length(len(text.tokens), batching.limit) for text in unit.texts]
    for length in sorted(set(lengths)):
        rows = [number for number, other in enumerate(lengths) if other == length]
        size = batching.rows_of(length)
        for start in range(0, len(rows), size):
            yield _batch(unit.texts, rows[start : start + size], size, length)


def in_text_order(found: Sequence[tuple[TextBatch, Any]]) -> Any:
    """Returns the results of batches, trees of arrays whose first dim is rows, as one tree in the order of the unit's
    texts.

    Results of padding rows are left out.
    """
    order = np.argsort(np.concatenate([batch.rows for batch, _ in found]))
    cut = [jax.tree.map(lambda x, b=batch: x[: len(b.rows)], tree) for batch, tree in found]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[order], *cut)


def _batch(texts: tuple[Text, ...], rows: list[int], batch_size: int, length: int) -> TextBatch:
    tokens = np.zeros((batch_size, length), np.int32)
    segment_ids, reply_mask = np.zeros_like(tokens), np.zeros((batch_size, length), np.float32)
    for place, row in enumerate(rows):
        text = texts[row]
        tokens[place, : len(text.tokens)] = text.tokens
        segment_ids[place, : len(text.tokens)] = 1
        reply_mask[place, text.reply_start : len(text.tokens)] = 1
    return TextBatch(tokens, segment_ids, reply_mask, np.array(rows))
