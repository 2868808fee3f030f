"""Recipes that fit no model: a tokenizer with more ids than the embedding has rows."""

import dataclasses

import pytest
from tiny_qwen3 import model_config, save_folder
from tiny_rl import CHARACTERS, HF_CONFIG, rl_config, save_base, save_questions

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.huggingface import static_model
from jaxreason.rl.checks import check_rl
from jaxreason.rl.loop import run_rl
from jaxreason.verbs import recipe_check

SAID = r"rl: the tokenizer has ids up to 7, .* vocab_size is 6"


@pytest.fixture
def too_small(tmp_path):
    """A folder whose network has fewer rows than its tokenizer has ids."""
    save_folder(tmp_path / "base", HF_CONFIG | {"vocab_size": 6}, CHARACTERS, 0)
    return tmp_path / "base"


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(too_small, tmp_path):
    config = rl_config(save_questions(tmp_path))
    model = static_model(model_config(too_small))
    with pytest.raises(UserError, match=SAID):
        check_rl(config, model, None, load_tokenizer(too_small))
    with pytest.raises(UserError, match=SAID):
        run_rl(config, model_config(too_small), None, tmp_path / "run", seed=0)
    with pytest.raises(UserError, match=SAID):
        recipe_check._check_rl("rl", config, model_config(too_small), model)


def test_a_tokenizer_with_fewer_ids_than_the_model_is_fine(tmp_path):
    base = save_base(tmp_path)
    model = static_model(model_config(base))
    check_rl(rl_config(save_questions(tmp_path)), model, None, load_tokenizer(base))
    larger = dataclasses.replace(model.architecture, vocab_size=64)
    padded = dataclasses.replace(model, architecture=larger)
    check_rl(rl_config(save_questions(tmp_path)), padded, None, load_tokenizer(base))
