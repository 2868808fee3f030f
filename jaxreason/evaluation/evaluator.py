"""Samples and grades every benchmark of a recipe with one model: sample files, then scores.json.

Each sample is written as soon as it is graded, so a run that was killed goes on where it stopped.
Every process samples; process 0 alone grades and writes.
"""

import contextlib
import functools
import logging
import threading
from collections import Counter
from collections.abc import Iterator

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.evaluation.failures import check_failures
from jaxreason.evaluation.grading import Grader, Reply
from jaxreason.evaluation.parts import Part, claim, missing_samples, plan, sort_lines
from jaxreason.evaluation.replies import Wanted, make_replies
from jaxreason.evaluation.settings import EvalConfig, benchmark_groups
from jaxreason.evaluation.summary import group_rows, summarize_samples
from jaxreason.interrupt import Interrupt
from jaxreason.metrics import Progress
from jaxreason.models.huggingface import ModelConfig, open_model, resolve
from jaxreason.results.files import write_json
from jaxreason.results.jsonl import JsonlWriter
from jaxreason.results.sample_files import SCORES, samples_path
from jaxreason.sampling.engine import Engine
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

_LOG = logging.getLogger(__name__)
SAVED = "The samples that were graded are saved."

__all__ = ["EvalConfig", "benchmark_groups", "run_eval"]


def run_eval(
    config: EvalConfig, model_config: ModelConfig, mesh: Mesh, workdir: epath.PathLike, seed: int
) -> None:
    """Evaluates a model into `workdir`/evaluation, or continues to; docs/evaluation_files.md.

    Args:
      config: what is run.
      model_config: a model folder or hub name, tokenizer included. It is loaded only if samples
        are missing.
      mesh: set by the caller.
      workdir: of the run.
      seed: of the sampling; a question's draws do not depend on the model or on other questions.

    Raises:
      ConfigError: for settings that do not fit, or sample files that were made with others.
      SystemExit: with code 143, after a signal; what was graded is written.
      ValueError: for data or a model that cannot be used.
    """
    folder = epath.Path(workdir) / "evaluation"
    if model_config.init != "pretrained":
        raise ConfigError("eval: model.init must be 'pretrained': a tokenizer comes with a folder.")
    model_folder = resolve(model_config.path)
    tokenizer = load_tokenizer(model_folder)
    parts = plan(config, model_config, model_folder, tokenizer, seed)
    with Interrupt() as interrupt:
        on_process_zero(lambda: claim(folder, parts))
        missing = [missing_samples(folder, part) for part in parts]
        if any(mask.any() for mask in missing):
            todo, whole = (sum(int(mask.sum()) for mask in missing), sum(m.size for m in missing))
            _LOG.info("data: %d of %d replies are to be sampled", todo, whole)
            model, params = open_model(model_config, mesh)
            interrupt.check(SAVED)
            stop, pad = tokenizer.stop_ids, tokenizer.pad_id
            text = tokenizer.decode, tokenizer.close_think
            engine = Engine(model, params, config.sampler, mesh, stop, pad, *text)
            del params  # the engine may have copies
            run_parts(config, engine, tokenizer, folder, parts, missing, seed, interrupt)
        interrupt.check(SAVED)
        on_process_zero(lambda: write_scores(config, model_config, folder, parts))


def run_parts(
    config: EvalConfig,
    engine: Engine,
    tokenizer: Tokenizer,
    folder: epath.Path,
    parts: list[Part],
    missing: list[np.ndarray],
    seed: int,
    interrupt: Interrupt,
) -> None:
    """Makes the missing samples of every part, those with one decoding together.

    Raises:
      SystemExit: with code 143, after a signal; what was graded is written.
    """
    wanted = [Wanted(part, mask) for part, mask in zip(parts, missing, strict=True) if mask.any()]
    shown = _Shown(folder, missing)
    try:
        with VerifierPool(config.grader_workers, config.grader_timeout_s) as pool:
            for name, decoding in config.decodings.items():
                chosen = [one for one in wanted if one.part.decoding == name]
                check = functools.partial(interrupt.check, SAVED)
                replies = make_replies(engine, tokenizer, chosen, decoding, seed, check)
                if jax.process_index() == 0:
                    _write_replies(folder, [one.part for one in chosen], replies, pool, shown)
                else:
                    for _ in replies:  # the engine's programs run on all processes together
                        pass
    finally:
        shown.close()


def _write_replies(
    folder: epath.Path,
    parts: list[Part],
    replies: Iterator[tuple[Part, Reply]],
    pool: VerifierPool,
    shown: "_Shown",
) -> None:
    """Grades and writes replies, each into the file of its part."""
    with contextlib.ExitStack() as stack:
        graders = {}
        for part in parts:
            path = samples_path(folder, part.name, part.decoding)
            writer = stack.enter_context(contextlib.closing(JsonlWriter(path)))
            on_lines = functools.partial(shown.add, part)
            task = part.benchmark.task
            graders[part.name] = stack.enter_context(
                Grader(pool, task, part.name, writer, on_lines)
            )
        for part, reply in replies:
            graders[part.name].put(reply)


class _Shown:
    """What the progress bar shows: how far all is, and how well the part at hand goes."""

    def __init__(self, folder: epath.Path, missing: list[np.ndarray]):
        total = sum(mask.size for mask in missing)
        self._done = total - sum(int(mask.sum()) for mask in missing)
        self._progress = Progress(f"evaluate {'/'.join(folder.parts[-3:-1])}", total, self._done)
        self._right: Counter[str] = Counter()
        self._graded: Counter[str] = Counter()
        self._errors = 0
        self._lock = threading.Lock()  # every part has a grader of its own

    def add(self, part: Part, lines: list[dict]) -> None:
        """Count lines just written and show where things stand."""
        primary, name = TASKS[part.benchmark.task].primary, f"{part.name} {part.decoding}"
        graded = [line["scores"][primary] for line in lines if line["error"] is None]
        with self._lock:
            self._done += len(lines)
            self._right[name] += sum(graded)
            self._graded[name] += len(graded)
            self._errors += len(lines) - len(graded)
            number = self._graded[name]
            mean = f"{self._right[name] / number:.3f}" if number else "-"
            errors = f"  {self._errors} ERRORS" if self._errors else ""
            self._progress.update(self._done, f"{name}  {primary} {mean}{errors}")

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._progress.close()


def write_scores(
    config: EvalConfig, model_config: ModelConfig, folder: epath.Path, parts: list[Part]
) -> None:
    """scores.json from the finished sample files.

    Raises:
      UserError: a sample file is broken, or no sample has a score: then there is no scores.json.
    """
    paths = [samples_path(folder, part.name, part.decoding) for part in parts]
    files = [(path, sort_lines(path, part)) for path, part in zip(paths, parts, strict=True)]
    check_failures(files)
    rows, replies, primaries = [], [], []
    for part, (_, lines) in zip(parts, files, strict=True):
        found, facts, primary = summarize_samples(
            part.name,
            part.decoding,
            part.benchmark,
            part.items,
            lines,
            config.confidence,
            config.resamples,
            config.pass_at,
        )
        rows += found
        replies.append(facts)
        primaries.append((part.benchmark.group, part.decoding, part.name, primary))
    value = {
        "model": model_config.path,
        "confidence": config.confidence,
        "rows": rows,
        "groups": group_rows(primaries, config.confidence, config.resamples),
        "replies": replies,
    }
    write_json(folder / SCORES, value)
