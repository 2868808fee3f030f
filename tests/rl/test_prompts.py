"""The order in which a run asks its questions."""

import numpy as np
import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.rl.prompts import PromptFeed, TrainingPrompt, requests


def make_questions(num, per_batch, seed=3):
    message = {"role": "user", "content": "?"}
    examples = [Example(str(i), "hash_answer", (message,), "1", "made", {}) for i in range(num)]
    prompts = [TrainingPrompt(example, (index, 1)) for index, example in enumerate(examples)]
    return PromptFeed(prompts, per_batch, seed)


def test_the_first_batches_go_through_all_questions_once_an_epoch_in_a_new_order():
    questions = make_questions(num=10, per_batch=4)
    asked = np.concatenate([questions.indices(step, 0) for step in range(5)])
    epochs = asked.reshape(2, 10)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(10))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()


def test_a_batch_is_a_function_of_seed_step_and_number():
    first, again = make_questions(50, 6), make_questions(50, 6)
    for step, number in ((7, 2), (0, 0), (7, 0)):
        assert first.indices(step, number).tolist() == again.indices(step, number).tolist()
    assert first.indices(7, 1).tolist() != first.indices(8, 1).tolist()
    other_seed = make_questions(50, 6, seed=4)
    assert first.indices(0, 0).tolist() != other_seed.indices(0, 0).tolist()


def test_a_step_asks_nothing_twice_while_there_are_other_questions():
    questions = make_questions(num=14, per_batch=4)
    for step in (0, 1, 2, 4, 5):  # step 3 begins in one epoch and ends in the next
        asked = np.concatenate([questions.indices(step, number) for number in range(3)])
        assert len(set(asked)) == 12
        assert set(range(14)) - set(asked) <= set(questions.indices(step, 3))


@pytest.mark.parametrize(("num", "per_batch"), [(8, 8), (9, 8), (15, 8), (16, 8), (17, 8), (50, 7)])
def test_no_question_is_twice_in_a_batch_and_all_are_asked_alike_often(num, per_batch):
    questions = make_questions(num, per_batch)
    steps = 12 * num // per_batch
    asked = [questions.indices(step, 0) for step in range(steps)]
    assert all(len(set(batch)) == per_batch for batch in asked)
    further = [questions.indices(step, 1) for step in range(steps)]
    assert all(len(set(batch)) == per_batch for batch in further)
    if num >= 2 * per_batch:
        counts = np.bincount(np.concatenate(asked), minlength=num)
        assert counts.max() - counts.min() <= 1
        for epoch in range(12):
            part = np.concatenate(asked)[epoch * num : (epoch + 1) * num]
            assert len(part) < num or sorted(part) == list(range(num))


def test_fewer_questions_than_a_batch_are_refused_with_the_field_to_change():
    with pytest.raises(UserError, match=r"asks 8 questions.*have 3.*rl\.prompts_per_step"):
        make_questions(num=3, per_batch=8)


def test_every_request_of_a_run_has_its_own_random_numbers():
    prompts = make_questions(5, 5).prompts
    seeds = {
        request.seed
        for seed in range(3)
        for step in range(20)
        for number in range(2)
        for request in requests(prompts, seed, step, number, num_samples=4)
    }
    assert len(seeds) == 3 * 20 * 2 * 5
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_request_carries_the_prompt_token_for_token():
    prompts = make_questions(5, 5).prompts
    made = requests(prompts, 0, 0, 0, num_samples=4)
    assert [request.tokens for request in made] == [prompt.tokens for prompt in prompts]
    assert {request.num_samples for request in made} == {4}
