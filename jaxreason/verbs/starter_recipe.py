"""`jaxreason init`: writes a complete recipe for a user's model and file, with sizes measured on them."""

import dataclasses
import math
import pathlib
import shlex
import string

import jax
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.data.encoding import encode_examples, encode_prompts
from jaxreason.data.examples import Example, is_test_question, load_examples, question
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.benchmarks import check_all_used
from jaxreason.models.architecture import Architecture
from jaxreason.models.huggingface import ModelConfig, make_model, read_architecture
from jaxreason.plan.on_paper import cache_bytes
from jaxreason.results.atomic_files import atomic_write_text, is_taken
from jaxreason.tasks.registry import strict_task
from jaxreason.verbs.call import Call
from jaxreason.verbs.column_names import Columns, guess_columns
from jaxreason.verbs.device_setup import without_devices

TEMPLATE = pathlib.Path(__file__).with_name("starter_recipe.txt")
MOST_MEASURED = 2000  # At most so many examples are tokenized and counted.
BATCH, EPOCHS = 8, 2.0
# The limit of a reply's tokens, and on a CPU; half of it is assumed for a reply if the file has no replies to measure.
MOST_TOKENS, CPU_MOST_TOKENS = 1024, 512
STEP = 64  # Lengths are rounded up to multiples of this.
# Sequences that are decoded, and rows that are learned from, at a time; on a CPU at most so many.
SLOTS, ROWS = 64, 8
# On a CPU more tokens at a time make a training step no faster, but it needs the host's memory for each.
CPU_TOKENS = 1024
CPU_CACHE = 2 << 30  # Most bytes of the cache of keys and values, in float32.


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes measured on model and data, in tokens, rows and bytes.

    Attributes:
      length: tokens of a row of SFT.
      max_tokens: the most tokens of a reply.
      max_length: the most tokens of a prompt and its reply.
      test_one_in: one question in so many is held out; 0 if none is.
      num_train: the number of the other questions.
      warmup_steps: steps of SFT's warm-up.
      position_bytes: bytes of a position's keys and values in float32; 0 if the model's settings are not here.
    """

    length: int
    max_tokens: int
    max_length: int
    test_one_in: int
    num_train: int
    warmup_steps: int
    position_bytes: int

    def at_a_time(self, on_cpu: bool) -> dict[str, int]:
        """Returns the rows and slots of a recipe. On a CPU the programs share the host's memory."""
        if not on_cpu:
            return {"sft_rows": ROWS, "rl_rows": ROWS, "slots": SLOTS}
        cache = self.max_length * self.position_bytes
        return {
            "sft_rows": _between(1, CPU_TOKENS // self.length, ROWS),
            "rl_rows": _between(1, CPU_TOKENS // self.max_length, ROWS),
            "slots": _between(4, CPU_CACHE // cache if cache else SLOTS // 4, SLOTS),
        }


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def init_verb(call: Call) -> None:
    """Writes the recipe and prints what to do next.

    Raises:
      ConfigError: `--target` exists already, or no column of the file looks like a question, or none looks
        like an answer or a reply.
      UserError: the model's tokenizer or the file cannot be read, or the recipe would have a benchmark of a file with
        rows that cannot be used.
    """
    on_cpu = _has_no_accelerator()
    without_devices(call)
    target = epath.Path(call.flags["target"])
    if is_taken(target):
        raise ConfigError(f"--target {target}: exists already; choose another name or remove it.")
    model, data = _absolute(call.flags["model"]), _absolute(call.flags["data"])
    columns = guess_columns(data)
    dataset, drops = columns.dataset(data), DropLog()
    examples = load_examples(dataset, drops)
    most_tokens = CPU_MOST_TOKENS if on_cpu else MOST_TOKENS
    sizes = measure_examples(model, examples, columns, most_tokens)
    if _has_benchmark(columns, sizes):
        check_all_used(dataset, drops)
    atomic_write_text(target, recipe_text(model, data, columns, sizes, on_cpu))
    print(f"columns: {', '.join(f'{ours} = {theirs}' for ours, theirs in columns.origins.items())}")
    if columns.unread:
        print(f"columns that are not read: {', '.join(columns.unread)}")
    print(
        f"questions: {sizes.num_train} to learn from, {len(examples) - sizes.num_train} to be tested with"
    )
    print(f"wrote {target}; next: jaxreason check --config {shlex.quote(str(target))}")


def _has_no_accelerator() -> bool:
    try:
        return jax.default_backend() == "cpu"
    except (RuntimeError, AssertionError):  # It is another program's, or JAX lacks it.
        return False


def _absolute(path: str) -> str:
    """Makes the path of a local file absolute, so that the recipe works from any folder; keeps a hub name."""
    local = pathlib.Path(path).expanduser()
    return str(local.resolve()) if local.exists() else path


def measure_examples(
    model: str, examples: list[Example], columns: Columns, most_tokens: int
) -> Sizes:
    """Chooses lengths that fit the data and the model, and how many questions are held out."""
    arch = _architecture(model)
    limit = arch.max_position_embeddings if arch else 4096
    tokenizer, some = load_tokenizer(model), examples[:MOST_MEASURED]
    _, prompts = encode_prompts(some, tokenizer, None, limit, DropLog())
    longest_prompt, reply = max(map(len, prompts)), most_tokens // 2
    if columns.has_response:
        _, encoded = encode_examples(some, tokenizer, None, limit, DropLog())
        reply = max(sum(mask) for _, mask in encoded)
    max_tokens = max(1, min(_rounded(2 * reply), most_tokens, limit - longest_prompt - 1))
    max_length = min(_rounded(longest_prompt + max_tokens), limit)
    length = min(_rounded(longest_prompt + reply), limit)
    one_in = _one_in([question(example) for example in examples])
    held_out = sum(is_test_question(question(e), one_in) for e in examples) if one_in else 0
    num_train = len(examples) - held_out
    # A step has BATCH examples, however they are packed.
    steps = math.ceil(num_train * EPOCHS / BATCH)
    counted = one_in, num_train, steps // 10
    position_bytes = (
        cache_bytes(make_model(ModelConfig(model, dtype="float32"), arch)) if arch else 0
    )
    return Sizes(length, max_tokens, max_length, *counted, position_bytes)


def _architecture(model: str) -> Architecture | None:
    """Returns the model's settings; None for a name on the hub, from which nothing is read here."""
    folder = epath.Path(model)
    return read_architecture(folder) if folder.is_dir() else None


def _rounded(length: int) -> int:
    return -(-length // STEP) * STEP


def _one_in(questions: list[str]) -> int:
    """Returns n if one question in n is held out: a tenth, more of a small file, or 0 if none can be."""
    for one_in in (10, 5, 3, 2):
        held_out = sum(is_test_question(text, one_in) for text in questions)
        if 2 <= held_out < len(questions):
            return one_in
    return 0


def recipe_text(model: str, data: str, columns: Columns, sizes: Sizes, on_cpu: bool) -> str:
    """Returns the recipe as the text of a Python file."""
    parts = {
        "sft": columns.has_response,
        "rl": columns.has_answer,
        "study": _has_benchmark(columns, sizes),
    }
    prompts = min(32, sizes.num_train)
    values = {
        "model": repr(model),
        "data": repr(data),
        "fields": repr(columns.fields),
        "prompt_template": repr(columns.prompt_template),
        "task": repr(columns.task),
        "reward_task": repr(strict_task(columns.task)),
        "options": repr(columns.options),
        "make_model": "model_on_cpu" if on_cpu else "model",
        "prompts": prompts,
        "epochs": EPOCHS,
        "batch": BATCH,
        "chunk": min(512, sizes.length),
        "first": "sft" if columns.has_response else "rl",
        **dataclasses.asdict(sizes),
        **sizes.at_a_time(on_cpu),
    }
    keep = {name for name, there in parts.items() if there}
    return string.Template(_kept(TEMPLATE.read_text(), keep)).substitute(values)


def _has_benchmark(columns: Columns, sizes: Sizes) -> bool:
    return columns.has_answer and sizes.test_one_in > 0


def _kept(text: str, keep: set[str]) -> str:
    """Returns the template without the parts between `#if NAME` and `#end` whose name is not in `keep`."""
    lines, skipped = [], False
    for line in text.splitlines():
        mark = line.strip()
        if mark.startswith("#if "):
            skipped = mark.removeprefix("#if ") not in keep
        elif mark == "#end":
            skipped = False
        elif not skipped:
            lines.append(line)
    return "\n".join(lines) + "\n"
