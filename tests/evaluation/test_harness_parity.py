"""The same tasks by lm-eval's own `hf` model and by ours, on the same weights: the same numbers and texts."""

import functools

import pytest

pytest.importorskip("lm_eval", reason="needs the extra `harness`")
pytest.importorskip("accelerate", reason="lm-eval's `hf` model needs it")
torch = pytest.importorskip("torch")

from harness_models import make_folder, write_tasks  # noqa: E402
from lm_eval import simple_evaluate  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from jaxreason.errors import UserError  # noqa: E402
from jaxreason.evaluation.harness import HarnessModel  # noqa: E402
from jaxreason.evaluation.harness_loading import LoadedHarnessModel  # noqa: E402

MAX_LENGTH = 96
TASKS = ["tiny_choice", "tiny_last_word", "tiny_perplexity", "tiny_reply"]
MESHES = {  # of eight devices
    "qwen3": {"data": 2, "fsdp": 2, "tensor": 2},
    "llama": {"fsdp": 1, "tensor": 2, "context": 4},
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return TaskManager(include_path=str(write_tasks(tmp_path_factory.mktemp("tasks"))))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make_folder(tmp_path_factory.mktemp(name), name) for name in ("qwen3", "llama")}


@pytest.fixture(scope="module")
def theirs(folders):
    @functools.cache
    def of(family, **changes):
        how = {"device": "cpu", "dtype": "float32", "batch_size": 1, "max_length": MAX_LENGTH}
        return HFLM(pretrained=str(folders[family]), **how | changes)

    return of


@pytest.fixture(scope="module")
def ours(folders):
    @functools.cache
    def of(family, **changes):
        how = {"dtype": "float32", "max_length": MAX_LENGTH, "slots": 8} | MESHES[family]
        return LoadedHarnessModel(path=str(folders[family]), **how | changes)

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


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_four_kinds_of_tasks_give_what_the_hf_model_gives(family, how, ours, theirs, tasks):
    found = evaluate(ours(family), tasks, **HOW[how])
    assert_same(found, evaluate(theirs(family), tasks, **HOW[how]))


def loglikelihoods(model, pairs):
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    return [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]


PAIRS = [
    ("It rains", " and rains"),
    ("", "the sun"),
    ("<|begin|>It rains", " 東京 🙂"),
    ("three ", "days"),
]


@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize(
    "changes", [{"add_bos_token": True}, {"add_bos_token": False}, {"prefix_token_id": 7}], ids=str
)
def test_what_stands_before_a_text_is_what_the_hf_model_puts_there(family, changes, ours, theirs):
    model, other = ours(family), theirs(family, **changes)
    mine = HarnessModel(model._engine, model._tokens, "same engine", **changes)
    for text, _ in PAIRS:
        assert mine.tok_encode(text) == other.tok_encode(text)
    assert loglikelihoods(mine, PAIRS) == pytest.approx(loglikelihoods(other, PAIRS), abs=1e-4)


def test_a_continuation_that_is_longer_than_the_model_reads_does_not_end_the_run(ours):
    model = ours("qwen3")
    alone, _ = loglikelihoods(model, [("It rains", " and"), ("a", " naïve" * 400)])
    assert loglikelihoods(model, [("It rains", " and")]) == pytest.approx([alone], abs=1e-5)


def test_a_model_that_is_to_think_compares_no_continuations(ours):
    model = ours("qwen3")
    thinking = HarnessModel(model._engine, model._tokens, "thinks", thinking=True)
    with pytest.raises(UserError, match="enable_thinking"):
        loglikelihoods(thinking, PAIRS[:1])


def test_a_reply_is_what_follows_the_thoughts(ours):
    model = ours("llama")
    request = [Instance("generate_until", {}, ("rain", {"until": [], "max_gen_toks": 24}), 0)]
    (whole,) = model.generate_until(request)
    middle = whole[len(whole) // 2 :][:3]
    short = HarnessModel(model._engine, model._tokens, "thinks", think_end=middle)
    (found,) = short.generate_until(request)
    assert found == whole.rpartition(middle)[2].lstrip() != whole


def test_a_message_that_the_model_goes_on_with_stays_open_as_in_the_hf_model(ours, theirs):
    messages = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It is "}]
    for family in ("qwen3", "llama"):
        expected = theirs(family).apply_chat_template(messages, add_generation_prompt=False)
        assert ours(family).apply_chat_template(messages, add_generation_prompt=False) == expected
