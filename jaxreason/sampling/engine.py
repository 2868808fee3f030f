"""The sampling engine: takes requests, yields completions as they finish, and refills slots as sequences end.

The host decides: which sequence runs in which slot and on which pages, what has ended and why (`scheduler.py`). The
device computes in three programs (`device_programs.py`). In a run of several processes every process makes the same
calls with the same requests, and gets the same completions.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.compiling import Compiling
from jaxreason.errors import UserError
from jaxreason.models import sampler_weight_loading, sampler_weights
from jaxreason.models.architecture import Model
from jaxreason.sampling.admission_control import Lengths
from jaxreason.sampling.block_manager import BlockManager
from jaxreason.sampling.device_programs import DecodedBlock, make_device_programs
from jaxreason.sampling.engine_calls import FIRST_COPY, engine_calls
from jaxreason.sampling.engine_config import EngineStats, SamplerConfig, WeightSync
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.sampling.scheduler import Scheduler
from jaxreason.sampling.scoring import Pair, Score, Scorer
from jaxreason.sampling.sequences import RunningSequence, make_admission
from jaxreason.sampling.stopping import ThinkBlock, completing_token, think_block_of
from jaxreason.sharding import bytes_on_device, num_parts, to_host

# While prompts could be prefilled, a block of decoding has only 1 / SHORT of its steps: a step costs the same with few
# running slots as with all of them, so it is better to fill the slots first.
SHORT = 16

_LOG = logging.getLogger(__name__)


class Engine:
    """Generates and scores with one set of weights; call it under `jax.set_mesh(mesh)`.

    Args:
      model: the network.
      params: its parameters in the trainer's own tree, or, if only the engine needs them, a function that returns
        them in the sampler's layout (`sampler_weight_loading.read_layout`).
      config: sizes of the engine.
      mesh: slots are split over the batch axes, heads over the tensor axis.
      stop_ids: tokens that end a reply.
      pad_id: fills unused places of prompts.
      decode: converts token ids to text, for stop strings. If it has a method `with_special`, stop strings match
        special tokens too.
      close_think: the token that closes a think block, and the tokens that must follow it; () if there is none.
      open_think: the token that opens one; None = every reply begins within one.
      compiling: the compilation of its programs, if it was started before the weights were loaded.

    Raises:
      ValueError: slots or prompt tokens do not divide over the devices, or the sizes are too large for the model.
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
        close_think: Sequence[int] = (),
        open_think: int | None = None,
        compiling: Compiling | None = None,
    ):
        self._parts = num_parts(mesh, "act_batch")
        self._sizes = config.sizes(self._parts)
        config.check_model(model.architecture)
        self._model, self._mesh, self._config, self._decode_text = model, mesh, config, decode
        self._stop_ids, self._pad_id = frozenset(stop_ids), pad_id
        model = self._sampling_model = sampler_weights.sampling_model(
            model, mesh, config.weight_dtype
        )
        self._close_think, self._open_think = tuple(close_think), open_think
        self._programs = make_device_programs(
            model, mesh, self._sizes, tuple(sorted(self._stop_ids)), self._close_think, open_think
        )
        self._scorer = Scorer(model, mesh, config.max_length, config.score_tokens, self._parts)
        self.stats = EngineStats()
        self._params: Any = None
        self._lengths = Lengths()
        self._asked: float | None = None  # The time of the first request.
        self._answered = False
        self._compiling = compiling
        self._arrived: float | None = None  # The time at which the devices last became idle.
        self.set_params(params)

    def set_params(self, params: Any) -> None:
        """Sets new weights and empties the cache. The sampler's copy (`sampler_weights`) replaces the old copy."""
        self.release()
        if callable(params):
            self._params = params()
            return
        where, weights = (self._model, self._mesh), self._config.weights
        if self._compiling is not None:
            self._compiling.wait(FIRST_COPY)
        params, began = jax.block_until_ready(params), time.perf_counter()
        self._params = sampler_weights.lay_out(*where, params, weights, self._params)
        copied = [self._params[x] for x in sampler_weights.changed_parts(*where, weights)]
        jax.block_until_ready(copied)
        self.moved = WeightSync(bytes_on_device(copied), time.perf_counter() - began)

    def replace_params(self, read: Callable[[tuple], jax.Array]) -> None:
        """Sets new weights and empties the cache. Each parameter is read into the memory of its old value, one at a
        time.

        Nothing else may use the parameters that this engine was given. If `read` raises an error, some parameters are
        old and some are new; all of them must then be replaced before the next `generate`.

        Args:
          read: returns a parameter, given its path in the tree.
        """
        self.release()
        where, weights = (self._model, self._mesh), self._config.weights
        sampler_weight_loading.replace_params(*where, self._params, read, weights)

    @property
    def sampled_from(self) -> tuple[Model, Any]:
        """The model that samples and its parameters; other programs may use them too."""
        return self._sampling_model, self._params

    @property
    def mesh(self) -> Mesh:
        """The mesh on which the model is placed."""
        return self._mesh

    @property
    def max_length(self) -> int:
        """The largest number of tokens of a sequence that the model reads."""
        return self._config.max_length

    def release(self, weights: bool = False) -> None:
        """Frees the cache's memory, for example for a training step. The next `generate` makes an empty cache again.

        With `weights`, the sampler's copy of the weights is freed too; then the next call must be `set_params`.
        """
        self._params = None if weights else self._params
        self._state: Any = None
        self._pools: list[BlockManager] = []
        self._run: Scheduler | None = None

    def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """Returns the log-likelihood of each continuation after its prompt, in order, from (prompt ids, continuation
        ids).

        A pair that cannot be scored has an `error` in its Score; the others are scored.
        """
        return self._scorer.score(self._params, pairs)

    def generate(
        self,
        requests: Iterable[Request | None],
        decoding: SamplingParams,
        on_tokens: Callable[[Completion], None] | None = None,
        cancelled: Callable[[str], bool] | None = None,
        check: Callable[[], None] | None = None,
    ) -> Iterator[Completion]:
        """Yields completions as they finish.

        A request that cannot be served becomes a completion with an error; the others continue.

        Args:
          requests: taken when there is room for them; None means that there is no request right now.
          decoding: for requests that have none of their own.
          on_tokens: called with every unfinished reply after each dispatch.
          cancelled: called with a request's id after each dispatch; returns whether the request is cancelled.
          check: called once for each block of decoding, after all completions that had finished before it were taken.
            If it raises an error, the call ends.

        Raises:
          ValueError: `decoding` has a think budget and the engine cannot close a think block.
          RuntimeError: another `generate` was started on the engine, or its weights changed, before this call ended.
        """
        if decoding.think_budget and not self._close_think:
            raise UserError(
                f"decoding.think_budget={decoding.think_budget}: expected 0, since the tokenizer has no token that "
                "closes a think block"
            )
        run, self._arrived = self._begin(requests, decoding), None
        while True:
            waits = self._fill_slots(run)
            block = self._dispatch_decode(run, waits) if run.running().any() else None
            yield from run.take_finished()  # The caller works on these while the device decodes.
            if block is None and run.exhausted and not any(run.prompts):
                return
            if block is not None and check is not None:
                check()
            # While it had the completions, the caller may have started another `generate` or set new weights.
            if self._run is not run:
                raise RuntimeError("generate: the engine was used otherwise before this ended")
            if block is None:
                continue
            block = to_host(block)
            self._arrived = time.perf_counter()
            self._absorb(run, block)
            if cancelled is not None:
                run.cancel(cancelled)
            if on_tokens is not None:
                for reply in filter(None, run.slots):
                    on_tokens(reply.complete(""))

    def _begin(self, requests: Iterable[Request | None], decoding: SamplingParams) -> Scheduler:
        if self._asked is None:
            self._asked = time.perf_counter()
            _LOG.info("sampler: compiling, where programs are not in the cache of an earlier run")
            self._compile()
        if self._state is None:
            self._state = self._programs.make_state(self._params)
            number = self._sizes.pages // self._parts
            self._pools = [BlockManager(number) for _ in range(self._parts)]
        if self._run is not None:
            self._run.abandon()
        self._run = Scheduler(
            requests,
            decoding,
            self._refusal,
            num_slots=self._config.slots,
            num_blocks=self._config.prefill_blocks,
            block=self._config.prefill_block,
            page_size=self._config.page_size,
            max_length=self._config.max_length,
            pools=self._pools,
            lengths=self._lengths,
        )
        return self._run

    def _compile(self) -> None:
        """Compiles all programs in parallel before the first call; otherwise each is compiled at its first use."""
        if self._compiling is None:
            ends = self._stop_ids, self._close_think, self._open_think
            calls = engine_calls(self._model, self._mesh, self._config, *ends)
            self._compiling = Compiling(self._mesh, calls)
        self._compiling.wait()
        self._compiling = None

    def _fill_slots(self, run: Scheduler) -> bool:
        """Opens prompts, prefills and admits them, until there are no more slots, pages or prompts.

        The number of prefills between two blocks of decoding is limited, so that prompts do not hold up running
        sequences.

        Returns:
          Whether more prompts could be prefilled now.
        """
        dispatched, more = 0, False
        self._clear_dirty()
        while True:
            run.load_rows()
            self._admit(run)
            run.load_rows()  # Fills the places of prompts whose samples all have slots now.
            if not run.wants_prefill():
                break
            more = dispatched >= self._config.prefills_between and bool(run.running().any())
            if more:
                break
            self._dispatch_prefill(run)
            dispatched += 1
        self.stats.shared_tokens += run.prompts.take_shared()
        return more

    def _clear_dirty(self) -> None:
        dirty = [pool.take_dirty() for pool in self._pools]
        if any(dirty):
            self._dispatch_admission([], dirty)

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
        if request.decoding is not None and request.decoding.think_budget and not self._close_think:
            return "decoding.think_budget: the tokenizer has no token that closes a think block"
        if not 0 <= request.seed < 2**64:
            return f"seed={request.seed}: expected a whole number of at most 64 bits"
        return None

    def _admit(self, run: Scheduler) -> None:
        started = run.start_samples()
        if started:
            pairs = [(slot, reply) for slot in started if (reply := run.slots[slot]) is not None]
            self._dispatch_admission(pairs, [[]] * self._parts)

    def _dispatch_admission(
        self, starting: list[tuple[int, RunningSequence]], dirty: list[list[int]]
    ) -> None:
        vocab = self._model.architecture.vocab_size
        admission = make_admission(starting, self._sizes, vocab, dirty, self._think_block)
        self._state = self._programs.admit(self._state, admission)

    def _think_block(self, prompt: Sequence[int]) -> ThinkBlock:
        think = self._close_think, self._open_think
        return think_block_of(prompt, *think, self._stop_ids, self._decode_text)

    def _dispatch_prefill(self, run: Scheduler) -> None:
        blocks, size = self._config.prefill_blocks, self._config.prefill_block
        tokens = np.full((blocks, size), self._pad_id, np.int32)
        tables = np.zeros((blocks, self._sizes.columns), np.int32)
        start, count = np.zeros(blocks, np.int32), np.zeros(blocks, np.int32)
        for index, row, begin, number in run.take_blocks():
            tables[index, : len(row.pages)] = row.pages
            start[index], count[index] = begin, number
            tokens[index, :number] = row.request.tokens[begin : begin + number]
        self.stats.prefill_dispatches += 1
        self.stats.prefilled_tokens += int(count.sum())
        self.stats.padded_tokens += tokens.size
        self._count_host_time()
        self._state = self._programs.prefill(
            self._params, self._state, tables, tokens, start, count
        )

    def _dispatch_decode(self, run: Scheduler, waits: bool) -> DecodedBlock:
        """Starts a block of decoding. If prompts wait, it ends early as soon as a sixteenth of the slots is idle.

        If some prompts could be prefilled right now (`waits`), the block is short, so that neither side waits long.
        """
        waiting = not run.exhausted or any(run.prompts)
        few = max(1, self._config.slots // 16)
        most = self._config.decode_block
        steps = -(-most // SHORT) if waits else most
        until = np.minimum(run.grow(steps), run.positions() + steps).astype(np.int32)
        running = int((until > run.positions()).sum())
        enough = max(running - few, 0) if waiting else 0
        self.stats.decode_dispatches += 1
        self.stats.waiting_slots += int(run.running().sum()) - running
        # A copy, since the device may read the array in place while the scheduler changes it.
        tables = run.tables.copy()
        self._count_host_time()
        self._state, block = self._programs.decode(
            self._params, self._state, tables, until, np.int32(enough)
        )
        return block

    def _count_host_time(self) -> None:
        if self._arrived is not None:
            self.stats.host_seconds += time.perf_counter() - self._arrived
            self._arrived = None

    def _absorb(self, run: Scheduler, block: DecodedBlock) -> None:
        """Adds the tokens of a decoded block to their sequences, and ends those that are complete."""
        self.stats.decoded_tokens += int(block.count.sum())
        self.stats.decode_steps += int(block.count.max())
        self._tell_first_token()
        for slot in np.flatnonzero(block.count).tolist():
            sequence = run.slots[slot]
            assert sequence is not None  # A slot only decodes if it has a reply.
            checked, count = len(sequence.tokens), int(block.count[slot]) - int(block.failed[slot])
            sequence.tokens += block.tokens[slot, :count].tolist()
            sequence.logprobs += block.logprobs[slot, :count].tolist()
            sequence.top_logprobs += _top_logprobs(block, slot, count)
            reason = self._end(sequence, checked, bool(block.failed[slot]))
            if reason is not None:
                # The block may have gone on beyond a stop string, to where numbers are none.
                run.end(slot, reason, suspect=bool(block.failed[slot]))

    def _tell_first_token(self) -> None:
        if not self._answered and self._asked is not None:
            self._answered, seconds = True, time.perf_counter() - self._asked
            _LOG.info("sampler: first tokens after %.1f s, with the programs they need", seconds)

    def _end(self, sequence: RunningSequence, checked: int, failed: bool) -> str | None:
        """Returns why the sequence has ended, or None; cuts it at a stop string."""
        stop = sequence.decoding.stop
        cut = completing_token(sequence.tokens, checked, stop, self._decode_text)
        if cut is not None:
            sequence.cut(cut)
            return "stop"
        if failed:
            return "error: non-finite logits"
        if sequence.tokens[-1] in self._stop_ids:
            return "stop"
        return "length" if len(sequence.tokens) == sequence.limit else None


def _top_logprobs(
    block: DecodedBlock, slot: int, count: int
) -> list[tuple[tuple[int, float], ...]]:
    if block.top_tokens.shape[2] == 0:
        return []
    tokens, values = block.top_tokens[slot, :count], block.top_logprobs[slot, :count]
    return [
        tuple(zip(t, v, strict=True)) for t, v in zip(tokens.tolist(), values.tolist(), strict=True)
    ]
