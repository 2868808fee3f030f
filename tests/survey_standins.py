"""configs/survey.py for the stand-ins of tests/standins.py: a few questions of a few benchmarks, sizes for a CPU."""

from jaxreason.recipes import load_recipe

KEPT = ("math500", "gpqa_diamond", "coqa")


def get_config(argument):
    config = load_recipe(f"configs/survey.py:{argument}")
    config.mesh.tensor = 1
    config.model.update({"attention": "plain", "dtype": "float32", "remat": "none"})
    config.study.measured_dtype = "float32"
    with config.ignore_type():
        config.eval.benchmarks = {name: config.eval.benchmarks[name] for name in KEPT}
    for run in config.eval.benchmarks.values():
        run.limit, run.samples, run.variants = 2, {"paper": 1}, ("paper",)
    config.eval.decodings.paper.max_tokens = 8
    config.eval.update({"grader_workers": 1, "resamples": 20, "pass_at": (), "maj_at": ()})
    sizes = {"slots": 8, "max_length": 768, "prefill_tokens": 1024, "pages": 0}
    config.eval.sampler.update({**sizes, "gather_weights": True})
    config.drift.update({"texts_per_benchmark": 2, "batch_size": 8, "logprob_chunk": 64})
    config.drift.resamples = config.transfer.resamples = config.report.resamples = 20
    config.report.figures = False
    return config
