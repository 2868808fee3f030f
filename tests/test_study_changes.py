"""A finished study that gains and loses arms, seeds and benchmarks, or moves: only what is new is made."""

import json

import jax
import pytest
import smallest_study
from etils import epath

from jaxreason.analysis import drift
from jaxreason.evaluation import evaluator
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.studies import study
from jaxreason.training import sft


def recipe(arms=("sft_top", "same"), seeds=(3,), benchmarks=("add", "copy")):
    """The smallest study without RL, cut to these."""
    config = smallest_study.get_config()
    given = config.study.arms.sft_top.to_dict() | {"method": "given", "section": ""}
    given |= {"label": "the base again", "overrides": {}, "path": config.model.path}
    with config.ignore_type():
        known = {"sft_top": config.study.arms.sft_top, "same": given}
        config.study.arms = {name: known[name] for name in arms}
        config.eval.benchmarks = {name: config.eval.benchmarks[name] for name in benchmarks}
    config.study.seeds = seeds
    config.sft.epochs = 0.5
    config.drift.metrics = ("token_kl", "weights")
    return config


@pytest.fixture
def made(monkeypatch):
    """What is trained, asked and measured, as it happens: (what, run, benchmark)."""
    found, make, ask, measure = (
        *([], sft.make_step),
        *(evaluator.run_parts, drift._Run._measure_unit),
    )

    def trained(*given):
        found.append(("train", "", ""))
        return make(*given)

    def asked(engine, tokenizer, folder, parts, missing, *given):
        keys = {part.key.benchmark for part, mask in zip(parts, missing, strict=True) if mask.any()}
        found.extend(("ask", "/".join(folder.parts[-3:-1]), key) for key in sorted(keys))
        return ask(engine, tokenizer, folder, parts, missing, *given)

    def measured(self, measure_texts, params, unit, metrics):
        found.append(("measure", "/".join(self.workdir.parts[-2:]), unit.benchmark))
        return measure(self, measure_texts, params, unit, metrics)

    monkeypatch.setattr(sft, "make_step", trained)
    monkeypatch.setattr(evaluator, "run_parts", asked)
    monkeypatch.setattr(drift._Run, "_measure_unit", measured)
    return found


def files_in(folder):
    """What runs made themselves, which no later start may change; a model's card has its newest scores."""
    kinds = ("samples", "grades", "model")
    runs = [folder / name for name in ("base", "sft_top", "same")]
    paths = [p for run in runs for p in run.rglob("*") if p.is_file() and p.parent.name in kinds]
    paths = [p for p in paths if p.name != "README.md"]
    return {p.relative_to(folder): (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}


@pytest.mark.slow
def test_only_what_is_new_is_made_and_what_is_gone_is_left_alone_and_left_out(tmp_path, made):
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])

    def run(config, workdir=tmp_path / "study"):
        """What was made, as often as it was."""
        made.clear()
        with jax.set_mesh(mesh):
            study.run_study(config, mesh, epath.Path(workdir), tell=lambda text: None)
        return sorted(made)

    def of(what, names, keys):
        return [(what, name, key) for name in names for key in keys]

    base, runs = ["study/base"], ["sft_top/seed_3", "same/seed_3"]
    first, train = run(recipe()), [("train", "", "")]
    asked, measured = of("ask", base + runs, ("add", "copy")), of("measure", runs, ("add", "copy"))
    assert first == sorted(train + asked + 2 * measured)  # replies of the base and the model's own

    retitled = recipe()
    retitled.report.title, retitled.study.name = "another title", "another name"
    assert run(retitled) == []
    assert "another title" in (tmp_path / "study/report/report.md").read_text()

    before = files_in(tmp_path / "study")
    more, every = recipe(seeds=(3, 4), benchmarks=("add", "copy", "sort")), ("add", "copy", "sort")
    asked = of("ask", base + runs, ["sort"]) + of("ask", ["sft_top/seed_4"], every)
    measured = of("measure", runs, ["sort"]) + of("measure", ["sft_top/seed_4"], every)
    assert run(more) == sorted(train + asked + 2 * measured)
    after = files_in(tmp_path / "study")
    assert before and {path: after[path] for path in before} == before

    assert run(recipe(arms=("sft_top",), benchmarks=("add", "sort"))) == []
    assert files_in(tmp_path / "study") == after
    told = (tmp_path / "study/report/summary.json").read_text()
    assert '"copy"' not in told and '"same"' not in told
    kl = json.loads((tmp_path / "study/sft_top/seed_3/analysis/token_kl.json").read_text())
    assert {row["benchmark"] for row in kl["rows"]} == {"add", "sort"}

    (tmp_path / "study").rename(tmp_path / "moved")
    assert run(more, tmp_path / "moved") == []
    assert files_in(tmp_path / "moved") == after
