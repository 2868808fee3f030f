"""Writes study.json and the recipe of a study: from them the report knows where things are and what they are called."""

import ml_collections
from etils import epath

from jaxreason.config import ConfigError, parse, to_dict
from jaxreason.evaluation import eval_settings
from jaxreason.results import study_files
from jaxreason.results.atomic_files import write_json
from jaxreason.results.redaction import hidden
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.studies.arms import (
    StudyConfig,
    arm_evaluation,
    arm_section,
    seeds_of,
    shown_labels,
    traits_of,
)
from jaxreason.studies.lineage import base_of_arm, parent_of, published_bases, study_bases


def write_study(
    config: ml_collections.ConfigDict, recipe: ml_collections.ConfigDict, workdir: epath.Path
) -> None:
    """Writes study.json, and config.json with the newest recipe."""
    study = parse(StudyConfig, config.study, "config.study")
    evaluation = parse(eval_settings.EvalConfig, config.eval, "config.eval")
    labels = shown_labels(study.arms)
    arms = [
        {
            "name": name,
            "method": arm.method,
            "label": labels[name],
            "seeds": list(seeds_of(study, arm)),
            "asked": arm_evaluation(config, name, arm).asked,
            "base": base_of_arm(study, name, config.model.path).name,
            "after": parent_of(study, arm) or "",
            "drift": arm.drift,
            "published": arm.published,
            "traits": traits_of(arm),
            "config": {} if arm.method == "given" else to_dict(arm_section(config, name, arm)),
        }
        for name, arm in study.arms.items()
    ]
    bases = study_bases(study, config.model.path)
    known = published_bases(study, config.model.path)
    manifest = {
        "name": study.name,
        "base": config.model.path,
        "bases": [
            {"name": base.name, "model": base.path, "published": known.get(base.name, "")}
            for base in bases
        ],
        "shared_base": len(bases) == 1,  # Seeds change the twins only, not the base.
        "groups": eval_settings.benchmark_groups(evaluation),
        "arms": arms,
        "decodings": list(evaluation.decodings),
        "asked": evaluation.asked,
        "follow": study.follow,
    }
    on_process_zero(lambda: _write_both(workdir, hidden(to_dict(recipe)), manifest))


def _write_both(workdir: epath.Path, recipe: dict, manifest: dict) -> None:
    # A config.json there is the record of a run and must stay.
    if (workdir / "checkpoints").exists():
        raise ConfigError(f"{workdir}: the folder of a training run; use another --workdir.")
    write_json(workdir / "config.json", recipe)
    study_files.write_manifest(workdir, manifest)
