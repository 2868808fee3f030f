"""The programs of a step: all compiled before the first, none a second time."""

import collections
import dataclasses

import jax
from compilations import compilations
from tiny_rl import LOSS, rl_config, run, save_base, save_questions

from jaxreason.sharding import MeshConfig, make_mesh


def test_a_run_compiles_every_program_of_its_steps_once_and_ahead(tmp_path):
    base, questions = save_base(tmp_path), save_questions(tmp_path)
    loss = dataclasses.replace(LOSS, kl_coefficient=0.1)  # with the reference's log-probs
    config = rl_config(questions, policy_loss=loss, old_logprobs="always")
    jax.clear_caches()
    with compilations() as found:
        mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=1, context=2), jax.devices()[:4])
        run(config, base, tmp_path / "run", mesh=mesh)
    ahead = collections.Counter(one.name for one in found if one.ahead)
    once = ("step", "logprob_pass", "decode", "prefill", "<lambda>", "_init_state")
    copies = {"jit(change)": 2}  # the first, and one into the older one's place
    assert ahead == {f"jit({name})": 1 for name in once} | copies
    assert not set(ahead) & {one.name for one in found if not one.ahead}
