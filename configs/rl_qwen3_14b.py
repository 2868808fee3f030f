"""Qwen3-14B-Base trained by GRPO on verified mathematics: the study's RL twin.

    jaxreason plan --config configs/rl_qwen3_14b.py --slice v5p-64
    jaxreason rl   --config configs/rl_qwen3_14b.py:v5p-64 --workdir gs://bucket/rl

The argument after the colon is the slice: it sets mesh, micro-batches and decode slots. `plan` computes
hardware and time (docs/plan.md).

Where the paper and its scripts disagree, the paper is followed:
  prompts of an update   128, the scripts 32          --config.rl.mini_batch_prompts=32
                                                      --config.rl.optimizer.warmup_steps=160
  steps                  140, the scripts one epoch   --config.rl.num_steps=31
A step draws batches of 1,536 questions, so one epoch of 47,000 is at most 31 steps, and fewer if a step needs further
batches. 140 steps ask at least 215,000 questions, which are four and a half epochs. (The paper's text, 140 steps of 512
groups, counts the groups that are trained on: 71,680.)
The clip is that of the scripts, 0.2 and 0.28, since the paper's "between 0.22 and 0.28" is not a pair of bounds
(--config.rl.policy_loss.clip_low=0.22). The lengths are those of the scripts too, 2,048 and 20,480, with a penalty on
the last 4,096: the paper's "up to 16k" is where the penalty begins. Only the scripts state the following: rate 1e-6
constant after 10 steps, weight decay 0.1, dual clip 10, dynamic sampling from up to 10 batches of 1,536 prompts by
accuracy, rewards of +1 and -1 (so that a full penalty of 1 is half of what a right answer is worth), the prompt's
words, no think block in it, and AIME24 every 5 steps at temperature 1 and top-p 0.7 (`validation`;
--config.rl.validation.choose=True exports its best step).
The paper does not state its grader, and its scripts name verl's DAPO reward manager. Here it is the task math_strict
(docs/grading.md). Training leaves out questions of the benchmarks that the recipe names, here AIME24.
"""

from configs import qwen3


def get_config(target="v5p-64"):
    return qwen3.rl(**qwen3.parse_argument(target, size="14b", target="v5p-64"))
