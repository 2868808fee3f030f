"""Samples and grades every benchmark of a recipe with one model: sample files, then scores.json.

Each sample is written as soon as it is graded, so a run that was killed goes on where it stopped.
Every process samples; process 0 alone grades and writes.
"""

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxreason.config import ConfigError, JsonlWriter, write_json
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.evaluation.grading import Grader
from jaxreason.evaluation.parts import Part, claim, missing_samples, plan, sort_lines
from jaxreason.evaluation.replies import Replies
from jaxreason.evaluation.sample_files import SCORES, samples_path
from jaxreason.evaluation.settings import EvalConfig, benchmark_groups
from jaxreason.evaluation.summary import group_rows, summarize_samples
from jaxreason.metrics import Progress
from jaxreason.models.huggingface import ModelConfig, open_model, resolve
from jaxreason.sampling.engine import Engine
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

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
      ValueError: for data or a model that cannot be used.
    """
    folder = epath.Path(workdir) / "evaluation"
    if model_config.init != "pretrained":
        raise ConfigError("eval: model.init must be 'pretrained': a tokenizer comes with a folder.")
    model_folder = resolve(model_config.path)
    tokenizer = load_tokenizer(model_folder)
    parts = plan(config, model_config, model_folder, tokenizer, seed)
    writes = jax.process_index() == 0
    if writes:
        for part in parts:
            claim(folder, part)
    missing = [missing_samples(folder, part) for part in parts]
    if any(mask.any() for mask in missing):
        model, params = open_model(model_config, mesh)
        stop, pad = tokenizer.stop_ids, tokenizer.pad_id
        engine = Engine(model, params, config.sampler, mesh, stop, pad, tokenizer.decode)
        run_parts(config, engine, tokenizer, folder, parts, missing, seed)
    if writes:
        write_scores(config, model_config, folder, parts)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"evaluated {folder}")


def run_parts(
    config: EvalConfig,
    engine: Engine,
    tokenizer: Tokenizer,
    folder: epath.Path,
    parts: list[Part],
    missing: list[np.ndarray],
    seed: int,
) -> None:
    """Makes the missing samples of every part."""
    total = sum(mask.size for mask in missing)
    done = total - sum(int(mask.sum()) for mask in missing)
    progress = Progress(f"evaluate {'/'.join(folder.parts[-3:-1])}", total, done)
    try:
        with VerifierPool(config.grader_workers, config.grader_timeout_s) as pool:
            for part, mask in zip(parts, missing, strict=True):
                decoding = config.decodings[part.decoding]
                replies = Replies(engine, tokenizer, part, decoding, mask, seed)
                if mask.any() and jax.process_index() == 0:
                    done = _write_part(folder, part, replies, pool, progress, done)
                elif mask.any():
                    for _ in replies:  # the engine's programs run on all processes together
                        pass
    finally:
        progress.close()


def _write_part(folder, part: Part, replies: Replies, pool, progress: Progress, done: int) -> int:
    """Grades and writes replies; returns how many samples of the evaluation are then done."""
    state = _State(part, progress, done)
    path = samples_path(folder, part.name, part.decoding)
    writer = JsonlWriter(path)
    try:
        with Grader(pool, part.benchmark.task, part.name, writer, state.add) as grader:
            for reply in replies:
                grader.put(reply)
    finally:
        writer.close()
    return state.done


class _State:
    """What the progress bar shows of a part."""

    def __init__(self, part: Part, progress: Progress, done: int):
        self.done = done
        self._part, self._progress = part, progress
        self._right, self._graded, self._errors = 0.0, 0, 0

    def add(self, lines: list[dict]) -> None:
        """Count lines just written and show where things stand."""
        primary = TASKS[self._part.benchmark.task].primary
        graded = [line["scores"][primary] for line in lines if line["error"] is None]
        self.done += len(lines)
        self._right += sum(graded)
        self._graded += len(graded)
        self._errors += len(lines) - len(graded)
        mean = f"{self._right / self._graded:.3f}" if self._graded else "-"
        errors = f"  {self._errors} ERRORS" if self._errors else ""
        name = f"{self._part.name} {self._part.decoding}"
        self._progress.update(self.done, f"{name}  {primary} {mean}{errors}")


def write_scores(
    config: EvalConfig, model_config: ModelConfig, folder: epath.Path, parts: list[Part]
) -> None:
    """scores.json from the finished sample files."""
    rows, replies, primaries = [], [], []
    for part in parts:
        lines = sort_lines(samples_path(folder, part.name, part.decoding), part)
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
