"""Where replies come from, what they weigh, and what the policy is compared with: runs of a tiny model."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_qwen3 import model_config
from tiny_rl import (
    LOSS,
    is_done,
    metrics_of,
    rl_config,
    rollouts_of,
    run,
    save_base,
    save_questions,
)
from transformers import AutoModelForCausalLM

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.huggingface import static_model
from jaxreason.rl.advantages import mixed_groups
from jaxreason.rl.generation import MUST_DIFFER
from jaxreason.rl.prompts import PromptFeed, TrainingPrompt
from jaxreason.rl.references import AVERAGE, check_teacher, next_copies, warn_of_average
from jaxreason.rl.rewards import Reward, RewardConfig
from jaxreason.rl.rl_config import DynamicSamplingConfig, ReferenceConfig, SamplesConfig
from jaxreason.rl.rollouts import RolloutGroup, Sample
from jaxreason.rl.update import needs_old
from jaxreason.sampling.sampling_params import Completion

KEEP_ALL = DynamicSamplingConfig(drop_equal=False, prompts_per_batch=0, max_batches=1)
KL = dataclasses.replace(LOSS, kl_coefficient=0.5)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return save_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """Questions with three replies each, the first right; one question has none and one has a single reply."""
    path = tmp_path_factory.mktemp("answered") / "questions.jsonl"
    rows = []
    for i in range(12):
        right, wrong = str(i % 2), str(1 - i % 2)
        replies = [{"content": right}, {"content": wrong}, {"content": wrong + " " + wrong}]
        replies = [] if i == 3 else replies[:1] if i == 4 else replies
        replies += [{"content": right, "finish_reason": "length"}] if i == 5 else []
        rows.append({"id": f"q{i}", "prompt": f"{i:b}?", "answer": right, "replies": replies})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def given_config(answered, **changes):
    config = rl_config(answered, dynamic_sampling=KEEP_ALL, **changes)
    dataset = dataclasses.replace(config.datasets["questions"], metadata=("replies",))
    return dataclasses.replace(config, datasets={"questions": dataset})


def group_of(rewards):
    example = Example("q", "last_number", ({"role": "user", "content": "?"},), "1", "made", {})
    samples = [
        Sample(Completion("0", i, (1,), (-1.0,), "stop"), "1", reward)
        for i, reward in enumerate(rewards)
    ]
    return RolloutGroup(0, example, (1,), tuple(samples))


def test_a_group_of_wrong_replies_is_dropped_by_accuracy_though_one_is_punished_for_its_length():
    wrong = Reward(-1.0, {"answer": -1.0, "overlong": 0.0}, {}, None, None, 0.0)
    long = Reward(-2.0, {"answer": -1.0, "overlong": -1.0}, {}, None, None, 0.0)
    group = group_of([wrong] * 15 + [long])
    assert mixed_groups(MUST_DIFFER["correct"]([group])).tolist() == [False]
    assert mixed_groups(MUST_DIFFER["reward"]([group])).tolist() == [True]


def test_rewards_are_on_the_scale_of_the_recipe_and_accuracy_is_not(base, questions, tmp_path):
    scale = RewardConfig(1, 20.0, 0, 0.0, right=1.0, wrong=-1.0)
    out = run(rl_config(questions, rewards=scale), base, tmp_path)
    rows = rollouts_of(out, 1)
    assert {row["reward"] for row in rows} == {1.0, -1.0}
    line = metrics_of(out)[0]
    assert line["reward"] == pytest.approx(2 * line["correct"] - 1)
    assert line["correct"] == pytest.approx(np.mean([row["reward"] > 0 for row in rows]))


def test_the_questions_of_the_tenth_batch_cost_ten_draws_and_are_those_of_the_rule(monkeypatch):
    message = {"role": "user", "content": "?"}
    prompts = [
        TrainingPrompt(Example(str(i), "last_number", (message,), "1", "made", {}), (i,))
        for i in range(40)
    ]
    questions = PromptFeed(prompts, 4, seed=3)
    drawn = []
    real = np.random.default_rng

    def counted(key):
        drawn.append(key)
        return real(key)

    monkeypatch.setattr(np.random, "default_rng", counted)
    batches = [questions.indices(0, number) for number in range(10)]
    assert len(set(np.concatenate(batches))) == 40
    drawn.clear()
    questions.indices(5, 9)
    assert len(drawn) <= 12


def test_given_replies_alone_need_no_sampler_and_are_learned(base, answered, tmp_path):
    config = given_config(
        answered, samples=SamplesConfig(given=3), group_size=3, advantage="grpo", num_steps=3
    )
    out = run(config, base, tmp_path)
    rows = rollouts_of(out, 1)
    assert {row["finish_reason"] for row in rows} == {"given"}
    assert {row["completion"] for row in rows} <= {"0", "1", "0 0", "1 1"}
    line = metrics_of(out)[0]
    assert line["grad_norm"] > 0 and line["update_tokens_per_second"] > 0
    assert not {"sampler_gap", "tokens_per_second", "pass_at_1"} & set(line)
    assert is_done(out)
    data = json.loads((out / "data.json").read_text())
    assert data["given_replies"] == {"questions": {"used": 31, "cut off": 1}}
    assert data["datasets"][next(iter(data["datasets"]))]["dropped"] == {"no given reply": 1}


def test_fixed_answers_with_weight_one_have_the_loss_of_supervised_learning(
    base, answered, tmp_path
):
    loss = dataclasses.replace(LOSS, name="reinforce")
    config = given_config(
        answered,
        samples=SamplesConfig(given=3),
        group_size=3,
        advantage="one",
        policy_loss=loss,
        num_steps=1,
        prompts_per_step=4,
        mini_batch_prompts=4,
    )
    out = run(config, base, tmp_path)
    rows, line = rollouts_of(out, 1), metrics_of(out)[0]
    torch = pytest.importorskip("torch")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor([row["prompt_tokens"] + row["tokens"]])
        logprobs = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
        own = logprobs[torch.arange(ids.shape[1] - 1), ids[0, 1:]][len(row["prompt_tokens"]) - 1 :]
        total, count = total - own.sum().item(), count + len(row["tokens"])
    assert line["tokens"] == count
    assert line["loss"] == pytest.approx(total / count, rel=1e-5)


def test_only_right_replies_are_learned_with_weight_right(base, questions, tmp_path):
    config = rl_config(questions, advantage="right", dynamic_sampling=KEEP_ALL, num_steps=1)
    out = run(config, base, tmp_path)
    rows = rollouts_of(out, 1)
    assert all(row["trained"] == (row["reward"] == 1.0) for row in rows)
    tokens = sum(len(row["tokens"]) for row in rows if row["trained"])
    assert metrics_of(out)[0]["tokens"] == tokens > 0


def test_a_mixture_takes_some_replies_of_each_group_from_its_row(base, answered, tmp_path):
    config = given_config(answered, samples=SamplesConfig(given=2), group_size=6, num_steps=1)
    rows = rollouts_of(run(config, base, tmp_path), 1)
    by_question = {}
    for row in rows:
        by_question.setdefault(row["id"], []).append(row["finish_reason"])
    for name, reasons in by_question.items():
        assert reasons.count("given") == (1 if name == "q4" else 2)
        assert len(reasons) - reasons.count("given") == 4


def test_the_sampler_keeps_an_older_policy_until_it_is_refreshed_also_after_a_restart(
    base, questions, tmp_path
):
    changes = {"samples": SamplesConfig(refresh_every=2), "checkpoint_every": 1, "keep": 0}
    whole = run(rl_config(questions, num_steps=4, **changes), base, tmp_path / "whole")
    parts = tmp_path / "parts"
    for steps in (1, 3, 4):
        run(rl_config(questions, num_steps=steps, **changes), base, parts)
    for step in (1, 2, 3, 4):
        assert rollouts_of(whole, step) == rollouts_of(parts, step)
    gaps = [line["sampler_gap"] for line in metrics_of(whole)]
    # Steps 2 and 4 sample from the weights of the step before: only there do both differ by more than rounding.
    assert gaps[0] < 1e-5 < gaps[1] and gaps[2] < 1e-5 < gaps[3]


def test_a_kl_term_as_reward_lowers_the_weights_of_what_left_the_reference(
    base, questions, tmp_path
):
    loss = dataclasses.replace(KL, kl_place="reward", kl_estimator="k1")
    config = rl_config(questions, policy_loss=loss, num_steps=3, advantage="dr_grpo")
    out = run(config, base, tmp_path)
    first, last = rollouts_of(out, 1), rollouts_of(out, 3)

    def gap(rows):
        """Largest difference between the weights and those of the rewards alone."""
        found = [0.0]
        for name in {row["id"] for row in rows}:
            group = [row for row in rows if row["id"] == name and row["trained"]]
            rewards = np.array([row["reward"] for row in group])
            weights = np.array([row["advantage"] for row in group])
            if len(group):
                found.append(np.abs(weights - (rewards - rewards.mean())).max())
        return max(found)

    assert gap(first) < 1e-5  # the policy still is the reference
    assert gap(last) > 1e-4
    assert metrics_of(out)[2]["kl_ref"] > 0


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "full"])
def test_every_estimator_trains_against_the_base(estimator, base, questions, tmp_path):
    loss = dataclasses.replace(KL, kl_estimator=estimator)
    out = run(rl_config(questions, policy_loss=loss), base, tmp_path)
    assert metrics_of(out)[1]["kl_ref"] > 0


def test_a_moving_average_follows_the_policy_and_is_restored(base, questions, tmp_path):
    changes = {
        "policy_loss": KL,
        "reference": ReferenceConfig(model="average", decay=0.5),
        "checkpoint_every": 1,
        "keep": 0,
    }
    whole = run(rl_config(questions, num_steps=3, **changes), base, tmp_path / "whole")
    for steps in (1, 3):
        parts = run(rl_config(questions, num_steps=steps, **changes), base, tmp_path / "parts")
    one, other = metrics_of(whole), metrics_of(parts)
    assert [line["kl_ref"] for line in one] == [line["kl_ref"] for line in other]
    fixed = run(rl_config(questions, num_steps=3, policy_loss=KL), base, tmp_path / "fixed")
    assert metrics_of(fixed)[2]["kl_ref"] != one[2]["kl_ref"]


def test_a_new_average_takes_the_memory_of_the_one_before_and_leaves_the_policy(questions):
    reference = ReferenceConfig(model="average", decay=0.75)
    config = rl_config(questions, policy_loss=KL, reference=reference)
    before, policy = jnp.full(8, 4.0), jnp.zeros(8)
    copies = next_copies(config, {AVERAGE: {"w": before}}, {"w": policy}, 1)
    np.testing.assert_array_equal(copies[AVERAGE]["w"], np.full(8, 3.0))
    assert before.is_deleted() and not policy.is_deleted()


@pytest.mark.parametrize(("gap", "moves"), [(0.25, False), (0.5, True)])
def test_an_average_in_few_bits_moves_only_by_as_much_as_the_run_warns_of(
    questions, base, caplog, gap, moves
):
    reference = ReferenceConfig(model="average", decay=0.99)
    config = rl_config(questions, policy_loss=KL, reference=reference)
    copies = {AVERAGE: {"w": jnp.ones(8, jnp.bfloat16)}}
    copies = next_copies(config, copies, {"w": jnp.full(8, 1 + gap, jnp.bfloat16)}, 1)
    assert ((copies[AVERAGE]["w"] > 1).all(), (copies[AVERAGE]["w"] == 1).all()) == (
        moves,
        not moves,
    )
    model = static_model(model_config(base))
    warn_of_average(config, model)
    warn_of_average(dataclasses.replace(config, policy_loss=LOSS), model)
    assert not caplog.text
    warn_of_average(config, dataclasses.replace(model, param_dtype="bfloat16"))
    assert "until the policy's differs from it by about 39 % of its size" in caplog.text


@pytest.mark.parametrize(
    "loss",
    [
        {"kl_estimator": "full"},
        {"kl_estimator": "k1", "kl_place": "advantage"},
    ],
    ids=["full", "sampled"],
)
def test_on_policy_distillation_comes_nearer_to_its_teacher(loss, base, questions, tmp_path):
    teacher = save_base(tmp_path / "teacher", seed=1)
    config = rl_config(
        questions,
        advantage="zero",
        dynamic_sampling=KEEP_ALL,
        policy_loss=dataclasses.replace(LOSS, name="reinforce", kl_coefficient=1.0, **loss),
        reference=ReferenceConfig(model="teacher", teacher=str(teacher)),
        num_steps=12,
        prompts_per_step=6,
        mini_batch_prompts=6,
    )
    lines = metrics_of(run(config, base, tmp_path / "run"))
    kl = [line["kl_ref"] for line in lines]
    assert np.mean(kl[-3:]) < 0.8 * np.mean(kl[:3])


def test_a_teacher_with_other_tokens_is_refused_with_what_can_be_done(base, questions, tmp_path):
    save_character_tokenizer(tmp_path, "01x?")
    other = load_tokenizer(tmp_path)
    assert load_tokenizer(base).other_token(other) == "' ' is 6 here and no token there"
    assert "no token there" in other.other_token(load_tokenizer(base))
    assert load_tokenizer(base).other_token(load_tokenizer(base)) is None
    config = rl_config(
        questions,
        policy_loss=KL,
        reference=ReferenceConfig(model="teacher", teacher=str(tmp_path)),
    )
    with pytest.raises(UserError, match=r"other tokens than the model.*jaxreason distill"):
        check_teacher(config, load_tokenizer(base))


def test_a_teacher_of_shorter_texts_than_the_sampler_writes_is_refused(base, questions, tmp_path):
    teacher = shutil.copytree(base, tmp_path / "teacher")
    settings = json.loads((teacher / "config.json").read_text())
    (teacher / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 12}))
    reference = ReferenceConfig(model="teacher", teacher=str(teacher))
    with pytest.raises(UserError, match=r"teacher'.*max_position_embeddings are 12.*length=20"):
        run(rl_config(questions, policy_loss=KL, reference=reference), base, tmp_path / "run")


def test_a_step_with_fewer_groups_runs_the_program_of_a_full_one(base, questions, tmp_path):
    config = rl_config(questions, num_steps=1)
    assert needs_old(config)  # by the recipe alone: two mini-batches in a full step
    one = {"mini_batch_prompts": config.prompts_per_step}
    assert not needs_old(dataclasses.replace(config, **one))
    assert needs_old(dataclasses.replace(config, **one, epochs_per_batch=2))


def test_several_passes_make_an_update_for_each_mini_batch_and_pass(base, questions, tmp_path):
    config = rl_config(questions, epochs_per_batch=3, num_steps=1, dynamic_sampling=KEEP_ALL)
    (line,) = metrics_of(run(config, base, tmp_path))
    assert line["updates"] == 6.0  # two mini-batches, three passes
    assert line["ratio"] != 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": SamplesConfig(given=9)}, r"rl\.samples\.given=9: expected 0 to group_size=8"),
        ({"group_size": 1}, r"rl\.group_size=1: expected at least 2"),
        (
            {"reference": ReferenceConfig(model="average")},
            r"rl\.reference\.model='average': expected 'base' while",
        ),
        (
            {"policy_loss": KL, "reference": ReferenceConfig(model="teacher")},
            r"rl\.reference\.teacher='': expected a model's folder",
        ),
        (
            {"policy_loss": dataclasses.replace(KL, kl_estimator="full", kl_place="reward")},
            r"rl\.policy_loss\.kl_estimator='full': expected k1, k2 or k3",
        ),
        (
            {"rewards": RewardConfig(1, 20.0, 0, 0.0, right=0.0, wrong=0.0)},
            r"rl\.rewards\.right=0\.0: expected more than rewards\.wrong=0\.0",
        ),
        ({"advantage": "best_of"}, r"rl\.advantage='best_of': expected one of grpo"),
        *(
            (
                {
                    "advantage": name,
                    "policy_loss": dataclasses.replace(KL, kl_estimator="k1", kl_place="reward"),
                    "dynamic_sampling": KEEP_ALL,
                },
                rf"rl\.policy_loss\.kl_place='reward': expected .* with advantage='{name}'",
            )
            for name in ("one", "right", "best")
        ),
        ({"advantage": "zero", "dynamic_sampling": KEEP_ALL}, r"rl\.advantage='zero': expected a"),
        (
            {
                "advantage": "zero",
                "dynamic_sampling": KEEP_ALL,
                "policy_loss": KL,
                "reference": ReferenceConfig(model="average"),
            },
            r"rl\.advantage='zero': expected another weight, or reference\.model='teacher'",
        ),
        *(
            (
                {"advantage": name, "dynamic_sampling": KEEP_ALL, "negatives": 0.5},
                rf"rl\.negatives=0\.5: expected 1, since no weight of advantage='{name}' is negative",
            )
            for name in ("one", "right", "best", "zero")
        ),
        ({"advantage": "zero"}, r"rl\.dynamic_sampling\.drop_equal=True: expected False"),
        (
            {"rewards": RewardConfig(1, 20.0, 0, 0.0, right=float("inf"))},
            r"rl\.rewards\.right=inf: expected a finite number",
        ),
        (
            {"policy_loss": dataclasses.replace(LOSS, entropy_coefficient=float("nan"))},
            r"rl\.policy_loss\.entropy_coefficient=nan: expected a finite number",
        ),
        (
            {
                "advantage": "one",
                "group_size": 1,
                "dynamic_sampling": KEEP_ALL,
                "decoding": dataclasses.replace(rl_config("x").decoding, temperature=0.0),
            },
            r"rl\.decoding\.temperature=0\.0: expected more than 0",
        ),
        (
            {
                "policy_loss": KL,
                "reference": ReferenceConfig(model="teacher", teacher="/nowhere"),
            },
            r"rl\.reference\.teacher: .*/nowhere",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, message, base, questions, tmp_path):
    with pytest.raises(UserError, match=message):
        run(rl_config(questions, **changes), base, tmp_path)


def test_questions_without_usable_answers_stop_a_run_that_they_are_the_most_of(base, tmp_path):
    rows = [
        {"id": str(i), "prompt": f"{i:b}?", "answer": "no number" if i else "1"} for i in range(8)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = rl_config(
        path,
        prompts_per_step=4,
        dynamic_sampling=dataclasses.replace(KEEP_ALL, prompts_per_batch=8),
    )
    with pytest.raises(UserError, match=r"of 64 replies have no reward.*max_ungraded=0\.5"):
        run(config, base, tmp_path / "run")
