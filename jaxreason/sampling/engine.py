"""The sampling engine: requests in, completions out as they finish; slots are refilled as sequences end.

The host decides (who runs where, what ended and why), the device works in three programs (`slots.py`). In a run of
several processes every process makes the same calls with the same requests, and gets the same completions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxreason.models.decoder import Model
from jaxreason.models.sampling_layout import lay_out, sampling_model
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.scoring import Pair, Score, Scorer
from jaxreason.sampling.slots import Admission, Block, make_programs
from jaxreason.sampling.stopping import completing_token
from jaxreason.sharding import RULES, to_host


@dataclass(frozen=True)
class SamplerConfig:
    """Sizes of the engine; each fixes a shape on the device.

    Attributes:
      slots: sequences decoded at a time.
      max_length: most tokens of a sequence, prompt and reply.
      decode_block: most decode steps of one dispatch.
      prefill_rows: prompts prefilled at a time.
      prefill_chunk: tokens of each of them in one dispatch.
      score_tokens: prompt tokens of one dispatch when scoring.

    Raises:
      ValueError: a field is smaller than it can be.
    """

    slots: int
    max_length: int
    decode_block: int
    prefill_rows: int
    prefill_chunk: int
    score_tokens: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 2 if name == "max_length" else 1
            if value < least:
                raise ValueError(f"sampler.{name}: expected at least {least}, got {value}")


@dataclass(frozen=True)
class Request:
    """A prompt, as token ids, and how many samples of it are wanted; they share its prefill.

    Sample i draws from (seed, i) alone. Seeds are whole numbers of at most 64 bits.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    num_samples: int


@dataclass(frozen=True)
class Completion:
    """One reply.

    Attributes:
      id: of the request.
      sample: 0 … num_samples - 1.
      tokens: the reply, with the stop token if one was sampled; cut at the token that completes a stop string.
      logprobs: of each token: log-softmax(logits / temperature) (greedy: temperature 1), before top-k and top-p.
      finish_reason: "stop" (token or string), "length" (max_tokens or max_length), or "error: " and the reason.
    """

    id: str
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str


@dataclass
class _Row:
    """A prompt in the staging cache."""

    request: Request
    prefilled: int = 0
    started: int = 0  # samples that have a slot

    @property
    def missing(self) -> int:
        """Tokens to prefill; the last token of a prompt is decode's."""
        return len(self.request.tokens) - 1 - self.prefilled


@dataclass
class _Sequence:
    """A reply that a slot is writing."""

    request: Request
    sample: int
    limit: int  # most tokens of the reply
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def complete(self, reason: str) -> Completion:
        return Completion(
            self.request.id, self.sample, tuple(self.tokens), tuple(self.logprobs), reason
        )


@dataclass
class Stats:
    """What an engine has dispatched since it was made."""

    prefill_dispatches: int = 0
    prefilled_tokens: int = 0
    decode_dispatches: int = 0
    decoded_tokens: int = 0


class _Run:
    """The host's record of one call of `generate`."""

    def __init__(self, requests: Iterable[Request], decoding: Decoding, config: SamplerConfig):
        self.waiting = iter(requests)
        self.exhausted = False
        self.decoding = decoding
        self.rows: list[_Row | None] = [None] * config.prefill_rows
        self.slots: list[_Sequence | None] = [None] * config.slots
        self.finished: list[Completion] = []

    def free_slots(self) -> list[int]:
        return [i for i, sequence in enumerate(self.slots) if sequence is None]

    def running(self) -> np.ndarray:
        return np.array([sequence is not None for sequence in self.slots])

    def unfinished_rows(self) -> list[_Row]:
        return [row for row in self.rows if row is not None and row.missing > 0]

    def take_finished(self) -> list[Completion]:
        finished, self.finished = self.finished, []
        return finished


class Engine:
    """Generates and scores with one set of weights; call it under `jax.set_mesh(mesh)`.

    Args:
      model: the network.
      params: its parameters, the trainer's own tree.
      config: sizes.
      mesh: slots are split over the batch axes, heads over the tensor axis.
      stop_ids: tokens that end a reply.
      pad_id: fills unused places of prompts.
      decode: token ids to text; only used for stop strings.

    Raises:
      ValueError: slots or rows do not divide over the devices, or the cache is longer than the model allows.
    """

    def __init__(
        self,
        model: Model,
        params: Any,
        config: SamplerConfig,
        mesh: Mesh,
        stop_ids: Sequence[int],
        pad_id: int,
        decode: Callable[[list[int]], str],
    ):
        parts = int(np.prod([mesh.shape[axis] for axis in RULES["act_batch"]]))
        for name in ("slots", "prefill_rows"):
            if getattr(config, name) % parts:
                raise ValueError(
                    f"sampler.{name}={getattr(config, name)}: expected a multiple of {parts}, the devices that "
                    f"share the rows (mesh axes {' × '.join(RULES['act_batch'])})"
                )
        self._model, self._mesh, self._config, self._decode_text = model, mesh, config, decode
        self._stop_ids, self._pad_id = frozenset(stop_ids), pad_id
        model = sampling_model(model, mesh)
        sizes = (config.slots, config.prefill_rows, config.max_length, config.decode_block)
        self._programs = make_programs(model, mesh, *sizes, tuple(sorted(self._stop_ids)))
        self._scorer = Scorer(model, mesh, config.max_length, config.score_tokens, parts)
        self.stats = Stats()
        self.set_params(params)

    def set_params(self, params: Any) -> None:
        """New weights; the cache is emptied. No copy is made when they are laid out as the mesh wants them.

        On CPU, the layers of a model that unrolls them all are copied (`sampling_layout` says why).
        """
        self.release()
        self._params = lay_out(self._model, self._mesh, params)

    def release(self) -> None:
        """Frees the cache's memory, for a training step say; the next `generate` makes it again, empty."""
        self._state = self._staging = self._run = None

    def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """Log-likelihood of each continuation after its prompt, (prompt ids, continuation ids), in order.

        A pair that cannot be scored gets an `error` in its Score; the others go on.
        """
        return self._scorer.score(self._params, pairs)

    def generate(
        self,
        requests: Iterable[Request],
        decoding: Decoding,
        on_tokens: Callable[[str, int, list[int]], None] | None = None,
    ) -> Iterator[Completion]:
        """Yields completions as they finish. Requests are taken as there is room for them.

        `on_tokens(id, sample, tokens so far)` is called for unfinished sequences after each dispatch.

        A request that cannot be served is a completion with an error; the others go on.

        Raises:
          RuntimeError: the engine was given to another `generate`, or its weights changed, before this one ended.
        """
        run = self._run = _Run(requests, decoding, self._config)
        if self._state is None:
            self._state, self._staging = self._programs.make_state(), self._programs.make_staging()
        while True:
            self._fill_slots(run)
            running = run.running()
            if not running.any():
                yield from run.take_finished()
                return
            block = self._dispatch_decode(run, running)
            yield from run.take_finished()  # the caller works on these while the device decodes
            if self._run is not run:
                raise RuntimeError(
                    "generate: the engine was used otherwise before this call had ended"
                )
            self._absorb(run, running, to_host(block))
            if on_tokens is not None:
                for sequence in filter(None, run.slots):
                    on_tokens(sequence.request.id, sequence.sample, list(sequence.tokens))

    def _fill_slots(self, run: _Run) -> None:
        """Loads prompts, prefills and admits, until slots or prompts run out.

        A dispatch is made when a slot is idle or every row can use it. There are at most enough dispatches to fill
        all slots with short prompts, so that long prompts do not keep the running sequences waiting.
        """
        most, dispatched = max(1, self._config.slots // self._config.prefill_rows), 0
        while True:
            self._load_rows(run)
            self._admit(run)
            self._load_rows(run)  # rows that admission has freed
            unfinished = run.unfinished_rows()
            useful = unfinished and (run.free_slots() or len(unfinished) == len(run.rows))
            if not useful or (dispatched >= most and run.running().any()):
                return
            self._dispatch_prefill(run)
            dispatched += 1

    def _load_rows(self, run: _Run) -> None:
        for index, row in enumerate(run.rows):
            while row is None and not run.exhausted:
                request = next(run.waiting, None)
                if request is None:
                    run.exhausted = True
                    break
                reason = self._refusal(request)
                if reason is None:
                    row = run.rows[index] = _Row(request)
                else:
                    empty = [
                        _Sequence(request, sample, 0)
                        for sample in range(max(request.num_samples, 1))
                    ]
                    run.finished += [sequence.complete(f"error: {reason}") for sequence in empty]

    def _refusal(self, request: Request) -> str | None:
        size, vocab = self._config.max_length, self._model.architecture.vocab_size
        if not request.tokens:
            return "the prompt is empty"
        if len(request.tokens) >= size:
            return f"a prompt of {len(request.tokens)} tokens leaves no room for a reply in max_length={size}"
        if not all(0 <= token < vocab for token in request.tokens):
            return f"a token id is outside the vocabulary of {vocab}"
        if request.num_samples < 1:
            return f"num_samples={request.num_samples}: expected at least 1"
        if not 0 <= request.seed < 2**64:
            return f"seed={request.seed}: expected a whole number of at most 64 bits"
        return None

    def _admit(self, run: _Run) -> None:
        """Gives free slots to samples whose prompt is prefilled, and frees the rows of finished groups."""
        free, starting = run.free_slots(), []
        for index, row in enumerate(run.rows):
            while free and row is not None and row.missing == 0:
                starting.append((index, free.pop(0), self._start(run, row)))
                run.slots[starting[-1][1]] = starting[-1][2]
                if row.started == row.request.num_samples:
                    row = run.rows[index] = None
        if starting:
            admission = _admission(starting, run.decoding, self._config.slots)
            self._state = self._programs.admit(self._state, self._staging, admission)

    def _start(self, run: _Run, row: _Row) -> _Sequence:
        limit = min(run.decoding.max_tokens, self._config.max_length - len(row.request.tokens))
        row.started += 1
        return _Sequence(row.request, row.started - 1, limit)

    def _dispatch_prefill(self, run: _Run) -> None:
        rows, chunk = self._config.prefill_rows, self._config.prefill_chunk
        tokens = np.full((rows, chunk), self._pad_id, np.int32)
        start, count = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        for index, row in enumerate(run.rows):
            if row is None:
                continue
            start[index], count[index] = row.prefilled, min(row.missing, chunk)
            stop = row.prefilled + count[index]
            tokens[index, : count[index]] = row.request.tokens[row.prefilled : stop]
            row.prefilled = int(stop)
        self.stats.prefill_dispatches += 1
        self.stats.prefilled_tokens += int(count.sum())
        self._staging = self._programs.prefill(self._params, self._staging, tokens, start, count)

    def _dispatch_decode(self, run: _Run, running: np.ndarray) -> Block:
        """Starts a block. With prompts waiting it ends when a sixteenth of the slots is idle, not only at its end."""
        waiting = not run.exhausted or any(row is not None for row in run.rows)
        few = max(1, self._config.slots // 16)
        enough = max(int(running.sum()) - few, 0) if waiting else 0
        self.stats.decode_dispatches += 1
        self._state, block = self._programs.decode(
            self._params, self._state, running, np.int32(enough)
        )
        return block

    def _absorb(self, run: _Run, running: np.ndarray, block: Block) -> None:
        """Takes in what a block has decoded."""
        self.stats.decoded_tokens += int(block.count.sum())
        for slot in np.flatnonzero(running):
            sequence = run.slots[slot]
            checked, count = len(sequence.tokens), int(block.count[slot]) - int(block.failed[slot])
            sequence.tokens += block.tokens[slot, :count].tolist()
            sequence.logprobs += block.logprobs[slot, :count].tolist()
            reason = self._end(run, sequence, checked, bool(block.failed[slot]))
            if reason is not None:
                run.finished.append(sequence.complete(reason))
                run.slots[slot] = None

    def _end(self, run: _Run, sequence: _Sequence, checked: int, failed: bool) -> str | None:
        """Why the sequence has ended, if it has; cuts it at a stop string."""
        cut = completing_token(sequence.tokens, checked, run.decoding.stop, self._decode_text)
        if cut is not None:
            del sequence.tokens[cut:], sequence.logprobs[cut:]
            return "stop"
        if failed:
            return "error: non-finite logits"
        if sequence.tokens[-1] in self._stop_ids:
            return "stop"
        return "length" if len(sequence.tokens) == sequence.limit else None


def _admission(
    starting: list[tuple[int, int, _Sequence]], decoding: Decoding, slots: int
) -> Admission:
    """The device's view of (row, slot, sequence) triples."""

    def padded(values: list, fill: int = 0, dtype: type = np.int32) -> np.ndarray:
        out = np.full((slots, *np.shape(values)[1:]), fill, dtype)
        out[: len(values)] = values
        return out

    sequences = [sequence for _, _, sequence in starting]
    lengths = [len(s.request.tokens) for s in sequences]
    return Admission(
        count=np.int32(len(starting)),
        row=padded([row for row, _, _ in starting]),
        slot=padded([slot for _, slot, _ in starting], fill=slots),
        token=padded([s.request.tokens[-1] for s in sequences]),
        position=padded([length - 1 for length in lengths]),
        last=padded([length + s.limit - 1 for length, s in zip(lengths, sequences, strict=True)]),
        seed=padded([divmod(s.request.seed, 2**32) for s in sequences], dtype=np.uint32),
        sample=padded([s.sample for s in sequences]),
        temperature=np.full(slots, decoding.temperature, np.float32),
        top_k=np.full(slots, decoding.top_k, np.int32),
        top_p=np.full(slots, decoding.top_p, np.float32),
    )
