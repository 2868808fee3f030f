"""The same tasks by lm-eval's own `hf` model and by ours, on the same weights: the same numbers and texts."""

import jax
import pytest

pytest.importorskip("lm_eval", reason="needs the extra `harness`")
pytest.importorskip("accelerate", reason="lm-eval's `hf` model needs it")
torch = pytest.importorskip("torch")

from harness_models import make_folder, write_tasks  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from jaxreason.evaluation.harness_loading import LoadedHarnessModel  # noqa: E402

MAX_LENGTH = 96
TASKS = ["tiny_choice", "tiny_last_word", "tiny_perplexity", "tiny_reply"]
EIGHT = {"data": 2, "fsdp": 2, "tensor": 2, "slots": 8}
ONE_ROW = {"fsdp": 1, "tensor": 2, "context": 4}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return TaskManager(include_path=str(write_tasks(tmp_path_factory.mktemp("tasks"))))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make_folder(tmp_path_factory.mktemp(name), name) for name in ("qwen3", "llama")}


@pytest.fixture(scope="module")
def theirs(folders):
    made = {}

    def of(family, **changes):
        key = family, *changes.items()
        if key not in made:
            how = {"device": "cpu", "dtype": "float32", "batch_size": 1, "max_length": MAX_LENGTH}
            made[key] = HFLM(pretrained=str(folders[family]), **how, **changes)
        return made[key]

    return of


@pytest.fixture(scope="module")
def ours(folders):
    made = {}

    def of(family, **changes):
        key = family, *changes.items()
        if key not in made:
            how = {"dtype": "float32", "max_length": MAX_LENGTH} | changes
            made[key] = LoadedHarnessModel(path=str(folders[family]), **how)
        return made[key]

    return of


def evaluate(model, tasks, **how):
    found = simple_evaluate(
        model=model, tasks=TASKS, task_manager=tasks, bootstrap_iters=0, log_samples=True, **how
    )
    return found["results"], found["samples"]


def assert_same(ours, theirs):
    (our_results, our_samples), (results, samples) = ours, theirs
    for task in TASKS:
        for mine, other in zip(our_samples[task], samples[task], strict=True):
            assert mine["doc_id"] == other["doc_id"]
            assert mine["arguments"] == other["arguments"]
            for a, b in zip(mine["resps"], other["resps"], strict=True):
                assert_same_answer(a[0], b[0])
        for name, value in results[task].items():
            if isinstance(value, float):
                assert our_results[task][name] == pytest.approx(value, rel=1e-4), (task, name)


def assert_same_answer(mine, other):
    if isinstance(other, str):
        assert mine == other
    elif isinstance(other, float):
        assert mine == pytest.approx(other, abs=1e-3, rel=1e-5)
    else:
        assert mine[0] == pytest.approx(other[0], abs=1e-4)
        assert mine[1] == other[1]


HOW = {
    "plain": {},
    "few shots": {"num_fewshot": 2},
    "chat": {
        "num_fewshot": 1,
        "apply_chat_template": True,
        "fewshot_as_multiturn": True,
        "system_instruction": "Say little.",
    },
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_four_kinds_of_tasks_give_what_the_hf_model_gives(family, how, ours, theirs, tasks):
    one = ours(family, fsdp=1) if len(jax.devices()) == 1 else ours(family, fsdp=-1)
    assert_same(evaluate(one, tasks, **HOW[how]), evaluate(theirs(family), tasks, **HOW[how]))
