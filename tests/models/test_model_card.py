"""README.md of an exported folder: every field from a file, readable by the Hub, and no place on the machine."""

import json

import pytest
from etils import epath
from huggingface_hub import ModelCard

from jaxreason.models.model_card import converted_card, longest_reply, run_card

STOPS = {151645: "<|im_end|>", 151643: "<|endoftext|>"}
VERSIONS = {"jaxreason": "0.1.0", "python": "3.11.1", "jax": "0.10.2", "transformers": "5.23.0"}
OLD = {"commit": "a" * 40, "clean": True, "versions": VERSIONS}
NEW = {"commit": "b" * 40, "clean": False, "versions": VERSIONS}
BASE_CARD = "---\nlicense: apache-2.0\nlicense_link: https://example.org/LICENSE\nlanguage: en\n---\n# Base\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a base model whose card names its license."""
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "alice"))
    base = tmp_path / "home" / "alice" / "models" / "Base-1B"
    base.mkdir(parents=True)
    (base / "README.md").write_text(BASE_CARD)
    return tmp_path / "home" / "alice"


def dataset(source, path, template="{prompt}"):
    return {"source": source, "path": path, "split": "train", "prompt_template": template}


def write_run(folder, base, **changes):
    """The record of an SFT run of three steps."""
    section = {
        "datasets": {
            "hub": dataset("huggingface", "agentica-org/DeepScaleR-Preview-Dataset"),
            "own": dataset("file", f"{folder}/questions/sums.jsonl", "Q: {prompt}\nA:"),
        },
        "tokenizer": "",
        "thinking": False,
        "length": 4096,
        "checkpoint_every": 1,
    }
    contents = {
        "hub": {"sequences": 30, "tokens": 400, "target_tokens": 100, "sha256": "c" * 64},
        "own": {"sequences": 5, "tokens": 60, "target_tokens": 20, "sha256": "d" * 64},
    }
    model = {"path": str(base), "init": "pretrained", "architecture": {}, "param_dtype": "float32"}
    record = {
        "claimed": {"stage": "sft", "seed": 7, "base": {"sha256": "e" * 64, "files": 2}},
        "recipe": {"seed": 7, "sft": section, "model": model},
        "code": [OLD],
    }
    record["claimed"]["data"] = contents
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(record | changes))
    lines = [json.dumps({"step": step, "stage": "sft", "loss": 1.0}) for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def section_of(card, title):
    return card.partition(f"\n## {title}\n\n")[2].partition("\n\n## ")[0]


def test_the_hub_reads_the_front_matter(home, tmp_path, monkeypatch):
    cached = tmp_path / "cached"
    cached.mkdir()
    (cached / "README.md").write_text(BASE_CARD)
    for module in ("model_card", "card_metadata"):
        monkeypatch.setattr(f"jaxreason.models.{module}.resolve", lambda path: epath.Path(cached))
    run = write_run(tmp_path / "run", "Qwen/Qwen3-14B-Base")
    found = ModelCard(run_card(run, STOPS, None, NEW)).data.to_dict()
    assert found == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "Qwen/Qwen3-14B-Base",
        "base_model_relation": "finetune",
        "datasets": ["agentica-org/DeepScaleR-Preview-Dataset"],
        "license": "apache-2.0",
        "license_link": "https://example.org/LICENSE",
        "tags": ["jaxreason", "sft"],
    }


def test_a_card_says_base_data_recipe_and_code_as_the_runs_record_has_them(home, tmp_path):
    run = write_run(tmp_path / "run", home / "models" / "Base-1B")
    card = run_card(run, STOPS, None, NEW)
    assert "# Base-1B, after supervised fine-tuning\n" in card
    told = section_of(card, "Base")
    assert told == f"`~/models/Base-1B`. SHA-256 of its weights and config.json: `{'e' * 64}`."
    assert section_of(card, "Data").splitlines() == [
        "| data set | source | sequences | tokens | target tokens | SHA-256 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| hub | huggingface: `agentica-org/DeepScaleR-Preview-Dataset` (train) | 30 | 400 | 100 | "
        + f"{'c' * 64} |",
        f"| own | file: `questions/sums.jsonl` (train) | 5 | 60 | 20 | {'d' * 64} |",
    ]
    recipe = section_of(card, "Recipe")
    assert recipe.startswith("3 training steps. Seed 7. As it was run:")
    shown = json.loads(recipe.partition("```json\n")[2].partition("\n```")[0])
    assert shown["sft"]["length"] == 4096 and shown["model"]["path"] == "~/models/Base-1B"
    versions = "jaxreason 0.1.0, python 3.11.1, jax 0.10.2, transformers 5.23.0"
    assert section_of(card, "Made with").partition("\n\n")[0].splitlines() == [
        f"- {versions}; commit `{'a' * 40}`",
        f"- {versions}; commit `{'b' * 40}`, with changes that are not in it",
    ]
    assert ModelCard(card).data.to_dict()["license"] == "apache-2.0"
    assert "base_model" not in ModelCard(card).data.to_dict()  # the Hub does not have it


def test_a_card_says_how_the_model_is_asked(home, tmp_path):
    card = run_card(write_run(tmp_path / "run", ""), STOPS, None, NEW)
    told = section_of(card, "How it is asked")
    assert "without thinking: pass `enable_thinking=False`" in told
    assert json.dumps("Q: {prompt}\nA:") in told
    assert "`<|im_end|>` (151645), `<|endoftext|>` (151643). The first ends a turn." in told
    assert "return_dict=True, enable_thinking=False\n" in told
    assert "generate(**prompt, max_new_tokens=4096)" in told


def test_no_folder_of_the_machine_is_on_a_card(home, tmp_path):
    study = tmp_path / "study"
    run = write_run(study / "rl" / "seed_0", study / "sft" / "seed_0" / "model")
    (study / "study.json").write_text("{}")
    card = run_card(run, STOPS, None, NEW)
    assert str(tmp_path) not in card and "alice" not in card
    assert "`sft/seed_0/model`" in card and "# sft/seed_0/model, after" in card


def test_a_home_folder_is_not_on_a_card_wherever_it_is_named(home, tmp_path):
    run = write_run(tmp_path / "run", home)
    record = json.loads((run / "config.json").read_text())
    datasets = record["recipe"]["sft"]["datasets"]
    datasets["own"] |= {"path": f"file://{home}/x", "options": {"files": f"a,{home}/b {home}"}}
    datasets["hub"]["path"] = f"{home}-of-others/x"
    (run / "config.json").write_text(json.dumps(record))
    card = run_card(run, STOPS, None, NEW)
    assert "`file://~/x`" in card and '"a,~/b ~"' in card
    assert card.count("alice") == card.count("alice-of-others") == 2


HOSTILE = {
    "a|b\n# Scores": "p`q`|\nlicense: mit\n---\n",
    "<!-- scores -->": "<!-- scores -->\n<!-- end of scores -->",
    "[x](http://y) <b>": "``",
}


def test_names_and_paths_are_shown_as_they_are_and_mean_nothing(home, tmp_path):
    run = write_run(tmp_path / "run", "/models/ba`se\n# Base")
    record = json.loads((run / "config.json").read_text())
    known = record["claimed"]["data"]["own"]
    record["claimed"]["data"] = dict.fromkeys(HOSTILE, known)
    datasets = {name: dataset("file", path) for name, path in HOSTILE.items()}
    record["recipe"]["sft"]["datasets"] = datasets
    (run / "config.json").write_text(json.dumps(record))
    card = run_card(run, {3: "a`b"} | STOPS, None, NEW)
    assert [line for line in card.splitlines() if line.startswith("# ")] == [
        "# ba\\`se # Base, after supervised fine-tuning"
    ]
    numbers = f"5 | 60 | 20 | {'d' * 64} |"
    assert section_of(card, "Data").splitlines()[2:] == [
        rf"| a\|b # Scores | file: `` p`q`\| license: mit --- `` (train) | {numbers}",
        f"| &lt;!-- scores --> | file: `<!-- scores --> <!-- end of scores -->` (train) | {numbers}",
        rf"| \[x](http://y) &lt;b> | file: ``` `` ``` (train) | {numbers}",
    ]
    assert "`` a`b `` (3), `<|im_end|>`" in card
    assert ModelCard(card).data.to_dict().get("license") is None


def test_what_is_not_known_is_left_out(home, tmp_path):
    card = run_card(tmp_path / "nothing", STOPS, 12, {"versions": VERSIONS})
    assert section_of(card, "Recipe") == "12 training steps."
    assert not any(f"## {title}" in card for title in ("Base", "Data", "Scores"))
    assert "commit" not in card and "license" not in card
    assert ModelCard(card).data.to_dict()["tags"] == ["jaxreason"]


@pytest.mark.parametrize(
    "text",
    ["", "no front matter", "---\n- a list\n---\n", "---\na: [\n---\n", "---\nlicense: 3\n---\n"],
)
def test_a_base_whose_card_says_no_license_gives_none(text, home, tmp_path):
    base = home / "models" / "Base-1B"
    (base / "README.md").write_text(text)
    card = run_card(write_run(tmp_path / "run", base), STOPS, None, NEW)
    assert "license" not in ModelCard(card).data.to_dict()


def test_a_random_beginning_is_said_with_its_architecture(home, tmp_path):
    run = write_run(tmp_path / "run", "")
    record = json.loads((run / "config.json").read_text())
    record["recipe"]["model"] |= {"init": "random", "architecture": {"hidden_size": 16}}
    record["claimed"]["base"] = None
    (run / "config.json").write_text(json.dumps(record))
    told = section_of(run_card(run, STOPS, None, NEW), "Base")
    assert told.startswith("None: the parameters began at random, with seed 7,")
    assert '"hidden_size": 16' in told


def test_a_folder_stored_anew_keeps_its_card_but_for_the_scores(home, tmp_path):
    folder = tmp_path / "twin"
    folder.mkdir()
    card = run_card(write_run(tmp_path / "run", home / "models" / "Base-1B"), STOPS, None, NEW)
    begin, end = "<!-- scores -->\n", "<!-- end of scores -->"
    (folder / "README.md").write_text(card.replace(begin, f"{begin}## Scores\n\n12.5\n"))
    assert converted_card(str(folder), STOPS, NEW) == card and end in card


def test_somebody_elses_folder_stored_anew_is_called_its_base(home):
    base = home / "models" / "Base-1B"
    card = converted_card(str(base), STOPS, NEW)
    assert section_of(card, "Base").startswith("`~/models/Base-1B`, its weights stored anew")
    assert ModelCard(card).data.to_dict()["license"] == "apache-2.0"


def test_the_longest_reply_is_that_of_the_sampler_or_of_the_row():
    assert longest_reply({"length": 64}) == 64
    assert longest_reply({"decoding": {"max_tokens": 8}}) == 8
    assert longest_reply({}) is None
