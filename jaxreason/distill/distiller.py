"""Runs a distillation from top to bottom: asks the teacher, verifies, chooses and writes answers, reports the yield.

The working directory holds distill/ with replies/, verdicts/, data/, yield.json and, when all of these are complete,
done.json (docs/distillation.md). The teacher is loaded only if replies are missing.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from jaxreason.config import ConfigError, claimed
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distill import endpoint_asking, teacher_engine
from jaxreason.distill.dataset import write_dataset
from jaxreason.distill.distill_config import DistillConfig, check_distill, teacher_model
from jaxreason.distill.endpoint import endpoint_key
from jaxreason.distill.judging import Judging
from jaxreason.distill.passes import (
    DistillPlan,
    Pass,
    claim_pass,
    contents,
    missing_replies,
    plan_passes,
    replies_of,
    sort_replies,
)
from jaxreason.distill.yields import ungraded_share
from jaxreason.errors import UserError
from jaxreason.models.huggingface import ModelConfig, ModelSource
from jaxreason.results import claims
from jaxreason.results.atomic_files import remove
from jaxreason.results.distill_files import YIELD, distill_folder, distill_replies_path
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.tasks.verify import VerifierPool

_LOG = logging.getLogger(__name__)
SAVED = "The replies and verdicts that were made are saved."


def run_distill(
    config: DistillConfig, model_config: ModelConfig, mesh: Mesh, workdir: epath.PathLike, seed: int
) -> None:
    """Asks a teacher and writes `<workdir>/distill`; continues an earlier run (docs/distillation.md).

    Called by every process, under `jax.set_mesh(mesh)`.

    Args:
      config: the recipe's section.
      model_config: the recipe's model. It is the teacher unless `config.teacher` names another;
        then its tokenizer counts.
      mesh: where a teacher that runs here is placed.
      workdir: working directory of the run.
      seed: seed of the sampling and of a random choice; each reply depends only on its question and sample number.

    Raises:
      ConfigError: the recipe cannot be followed, or the folder holds replies that were made with other settings.
      UserError: no reply was right, too few could be graded, or an endpoint did not answer; the files stay.
      SystemExit: with code 143, after a signal; replies that have arrived are written.
    """
    folder = distill_folder(workdir)
    check_distill(config)
    with (
        Interrupt() as interrupt,
        VerifierPool(config.grader_workers, config.grader_timeout_s) as pool,
    ):
        # Find out who is asked and what, and whether this folder belongs to the same distillation.
        counter = load_tokenizer(config.tokenizer or model_config.path)
        teacher = _Teacher(config, model_config, counter, mesh, seed)
        asked = plan_passes(config, teacher.tokenizer, teacher.identity, seed)
        claim_all = functools.partial(_claim, config, folder, asked, counter)
        if on_process_zero(claim_all):
            return
        interrupt.check("Nothing was begun.")

        # Ask for the missing replies. A second pass is asked before anything is graded, while the teacher is loaded.
        failed = 0
        for one in asked.passes:
            missing = on_process_zero(
                functools.partial(missing_replies, folder, one, asked.questions)
            )
            if missing:
                failed += teacher.ask(folder, one, asked.questions, missing, interrupt)
            on_process_zero(functools.partial(sort_replies, folder, one, asked.questions))

        # Grade, choose and write on process 0. A signal can end this after each round.
        judged = _judge(folder, asked, pool, interrupt)
        finish = functools.partial(_finish, config, folder, asked, counter, judged, seed, failed)
        on_process_zero(finish)


class _Teacher:
    """The teacher: an engine, which every process runs, or an endpoint, which only process 0 calls."""

    def __init__(
        self,
        config: DistillConfig,
        model_config: ModelConfig,
        counter: Tokenizer,
        mesh: Mesh,
        seed: int,
    ):
        self._config, self._mesh, self._seed, self._engine = config, mesh, seed, None
        self.tokenizer = counter
        if not config.on_engine:
            on_process_zero(lambda: endpoint_key(config.teacher) and None)
            self.identity = endpoint_asking.endpoint_identity(config.teacher)
            return
        model = teacher_model(config, model_config)
        if model.init != "pretrained":
            raise ConfigError(
                f"model.init={model.init!r}: expected 'pretrained', a teacher that has learned something."
            )
        if config.tokenizer or config.teacher.path:
            self.tokenizer = load_tokenizer(model.path)
        self._source = ModelSource.of_folder(model, mesh)
        self.identity = teacher_engine.engine_identity(self._source, self.tokenizer, config.sampler)

    def ask(
        self,
        folder: epath.Path,
        one: Pass,
        questions: Sequence[Any],
        missing: Sequence[Sequence[int]],
        interrupt: Interrupt,
    ) -> int:
        """Asks for the missing replies of a pass; returns how many could not be obtained."""
        pairs = [(place, sample) for place, sample in missing]
        whole = len(questions) * one.samples
        _LOG.info("data: %d of %d replies are to be sampled (%s)", len(pairs), whole, one.name)
        path, check = (
            distill_replies_path(folder, one.name),
            functools.partial(interrupt.check, SAVED),
        )
        if not self._config.on_engine:
            call = self._config.teacher, one, questions, pairs, self._seed, path
            return _ask_endpoint(*call, any_there=len(pairs) < whole, check=check)
        if self._engine is None:
            sampler = self._config.sampler
            made = teacher_engine.make_teacher_engine(
                self._source, self.tokenizer, sampler, self._mesh
            )
            self._engine = made
        call = self.tokenizer, one, questions, pairs, self._seed, path, check
        teacher_engine.ask_engine(self._engine, *call)
        return 0


def _ask_endpoint(*call: Any, any_there: bool, check: Callable[[], None]) -> int:
    """Calls the endpoint on process 0. The others wait after each round, so that all end in the same round."""
    asking = endpoint_asking.Asking(*call, any_there) if jax.process_index() == 0 else None
    try:
        if asking is not None:
            asking.start()
        while not on_process_zero(lambda: asking.work()):
            check()
        return on_process_zero(lambda: asking.told_failed())
    finally:
        if asking is not None:
            asking.close()


def _judge(
    folder: epath.Path, asked: DistillPlan, pool: VerifierPool, interrupt: Interrupt
) -> list[Judging | None]:
    """Returns the verdicts of each pass, on process 0; None elsewhere."""
    found = []
    for one in asked.passes:
        made: list[Judging] = []

        def make(one: Pass = one, made: list[Judging] = made) -> None:
            made.append(Judging(folder, one, asked.questions, pool))

        on_process_zero(make)
        while not on_process_zero(lambda made=made: made[0].work()):
            interrupt.check(SAVED)
        found.append(made[0] if made else None)
    return found


def _claimed(config: DistillConfig, asked: DistillPlan, counter: Tokenizer) -> dict[str, Any]:
    """Returns everything that the dataset depends on."""
    heads = {one.name: one.head for one in asked.passes}
    return {
        "distill": claimed(config),
        "passes": heads,
        "questions": contents(asked),
        "tokenizer": counter.digest,
    }


def _summary(asked: DistillPlan) -> dict[str, Any]:
    return {"stage": "distill", "questions": len(asked.questions)}


def _claim(
    config: DistillConfig, folder: epath.Path, asked: DistillPlan, counter: Tokenizer
) -> bool:
    """Claims the folder; returns whether everything is done already."""
    for one in asked.passes:
        claim_pass(folder, one)
        replies_of(folder, one, asked.questions)
    amiss = claims.why_not_done(folder, _summary(asked), _claimed(config, asked, counter))
    if amiss is None:
        _LOG.info("%s is complete; nothing to do.", folder)
        return True
    remove(folder / claims.DONE)
    return False


def _finish(
    config: DistillConfig,
    folder: epath.Path,
    asked: DistillPlan,
    counter: Tokenizer,
    judging: list[Judging],
    seed: int,
    failed: int,
) -> None:
    """Writes the dataset and the yield, and then done.json if they are what was asked for.

    Raises:
      UserError: they are not; the message says why.
    """
    judged = [one.judged() for one in judging]
    files, told = write_dataset(config, folder, asked, counter, judged, seed)
    errors = [error for one in judging for error in one.errors()]
    _check_yield(config, folder, told, errors, failed)
    claims.mark_done(folder, _summary(asked), _claimed(config, asked, counter), files)


def _check_yield(
    config: DistillConfig,
    folder: epath.Path,
    told: dict[str, Any],
    errors: list[str],
    failed: int,
) -> None:
    path = folder / YIELD
    if failed:
        raise UserError(
            f"{path}: {failed} replies could not be had (messages above); the dataset is made of the others. The same "
            "command asks for them again."
        )
    for name, found in told["passes"].items():
        share, counts = ungraded_share(found["all"]), found["all"]
        why = f", the first error: {errors[0]}" if errors else ""
        if share > config.max_ungraded_share:
            raise UserError(
                f"{path}: of the finished replies ({name}) {share:.0%} have no answer that the graders find, or could "
                f"not be graded: more than max_ungraded_share={config.max_ungraded_share:g}{why}. Expected a prompt "
                "that asks for the form which the datasets' tasks read, and gold answers that they can use."
            )
        if not counts["right"]:
            raise UserError(
                f"{path}: the teacher answered nothing right ({name}): {counts['asked']} replies to "
                f"{counts['questions']} questions, {counts['unfinished']} of them unfinished{why}. Look at "
                f"{distill_replies_path(folder, name)}."
            )
        if not counts["kept"]:
            raise UserError(
                f"{path}: {counts['right']} replies ({name}) are right and none is kept: {counts['too_long']} are "
                f"longer than cutoff={config.cutoff}, {counts['not_encodable']} cannot be written by the tokenizer, "
                f"{counts['without_thoughts']} have no thoughts, without which no_think={config.no_think!r} keeps none."
            )
