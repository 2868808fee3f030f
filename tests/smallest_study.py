"""A recipe for tests of the whole program: configs/study_tiny.py with two arms, one seed, and a few of everything."""

from jaxreason.recipes import load_recipe


def get_config():
    config = load_recipe("configs/study_tiny.py")
    config.study.seeds = (3,)
    with config.ignore_type():
        config.study.arms = {name: config.study.arms[name] for name in ("rl", "sft_top")}
        config.procedural.fewer = {}
        keep = ("add", "sort", "copy")
        config.eval.benchmarks = {name: config.eval.benchmarks[name] for name in keep}
        config.eval.own = {name: config.eval.own[name] for name in keep}
    config.procedural.base_count = 10
    config.procedural.twin_count = 64
    config.procedural.test_count = 4
    config.procedural.development_count = 1
    config.rl.num_steps = 4
    config.rl.prompts_per_step = config.rl.mini_batch_prompts = 4
    config.rl.group_size = 4
    config.rl.dynamic_sampling.prompts_per_batch = 4
    config.rl.micro_batch_rows = 16
    config.rl.sampler.slots = 16
    config.rl.sampler.prefill_tokens = 256
    config.rl.checkpoint_every = 2
    config.rl.optimizer.warmup_steps = 1
    config.sft.epochs = 1.0
    config.sft.checkpoint_every = 2
    config.sft.log_every = 1
    config.sft.keep = config.rl.keep = 2
    config.sft.optimizer.warmup_steps = 1
    config.eval.sampler.slots = 16
    config.eval.sampler.prefill_tokens = 256
    config.drift.texts_per_benchmark = 4
    config.drift.training_prompts = 0
    config.drift.batch_size = 4
    config.drift.resamples = config.report.resamples = config.transfer.resamples = 20
    config.eval.resamples = 20
    config.report.figures = False  # They would take most of the time of a study that is run again.
    return config
