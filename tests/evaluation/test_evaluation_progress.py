"""What an evaluation shows of itself while it runs."""

import numpy as np
from etils import epath

from jaxreason.evaluation.benchmarks import BENCHMARKS
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.evaluator import _Shown
from jaxreason.results.sample_files import SampleKey
from jaxreason.sampling.sampling_params import SamplingParams

GREEDY = SamplingParams(temperature=0.0, max_tokens=8)


def test_the_score_beside_the_bar_is_of_one_grader_and_names_it(capsys):
    graders = {"math": ("robust",), "math_paper": ("paper",)}
    key = SampleKey("math500", "boxed", "greedy")
    job = EvalJob(key, BENCHMARKS["math500"], [], graders, 1, GREEDY, "", [], {})
    shown = _Shown(epath.Path("runs/rl/evaluation"), [np.ones((2, 1), bool)])
    for task, score in (("math", 1.0), ("math_paper", 0.0)):
        shown.add(job, task, [{"scores": {"accuracy": score}, "error": None}] * 2)
    shown.close()
    first, last = capsys.readouterr().err.splitlines()
    assert "1/2  math500 greedy  math accuracy 1.000" in first
    assert "2/2  math500 greedy  math_paper accuracy 0.000" in last
