"""What a recipe imports: the shipped `configs` whatever lies around, its neighbours, and a `configs` of one's own."""

import sys
from pathlib import Path

import pytest

from jaxreason.recipes import find_recipe, load_recipe, split_argument

ROOT = Path(__file__).parent.parent
OURS = "from configs import sections\n\n\ndef get_config():\n    from ml_collections import ConfigDict\n\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield
    left = {name for name in set(sys.modules) - before if name.startswith("configs")}
    assert left == set() and sys.path == path


def test_a_shipped_recipe_has_a_name_a_path_and_a_word_after_a_colon():
    for name in ("study_tiny", "study_tiny.py", "configs/study_tiny.py"):
        assert find_recipe(name) == ROOT / "configs/study_tiny.py"
    assert split_argument("rl_qwen3:0.6b,h100") == ("rl_qwen3", "0.6b,h100")
    assert split_argument("questions_paper:/my/folder") == ("questions_paper", "/my/folder")
    assert split_argument("gs://bucket/recipe") == ("gs://bucket/recipe", None)
    assert load_recipe("rl_qwen3:0.6b").model.path == "Qwen/Qwen3-0.6B-Base"


def test_a_configs_package_and_a_sections_file_around_do_not_reach_the_shipped_recipes(tmp_path):
    (tmp_path / "configs").mkdir()
    for folder in (tmp_path, tmp_path / "configs"):
        for name in ("__init__", "sections", "tiny"):
            (folder / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    assert load_recipe("study_tiny").sft.epochs == 3.0


def test_a_recipe_of_ones_own_finds_ours_and_its_neighbours(tmp_path):
    (tmp_path / "sections.py").write_text("EPOCHS = 7.0\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/__init__.py").touch()
    (tmp_path / "configs/mine.py").write_text("SEED = 4\n")
    text = OURS + (
        "    import sections as neighbour\n"
        "    from configs import mine, tiny\n"
        "    config = ConfigDict({'seed': mine.SEED, 'sft': {'epochs': neighbour.EPOCHS}})\n"
        "    config.mesh = sections.mesh(tensor=2)\n"
        "    config.length = tiny.LENGTH\n"
        "    return config\n"
    )
    (tmp_path / "recipe.py").write_text(text)
    config = load_recipe("recipe.py")
    assert (config.seed, config.sft.epochs, config.mesh.tensor, config.length) == (4, 7.0, 2, 128)


def test_a_folder_configs_with_files_of_the_shipped_names_is_used_by_its_own_recipes_alone(
    tmp_path,
):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sections.py").write_text("def mesh():\n    return {'fsdp': 3}\n")
    text = OURS + "    return ConfigDict({'seed': 0, 'mesh': sections.mesh()})\n"
    (tmp_path / "configs/mine.py").write_text(text)
    (tmp_path / "other.py").write_text(text)
    assert load_recipe("configs/mine.py").mesh.fsdp == 3
    assert load_recipe("other.py").mesh.fsdp == -1


def test_neighbours_of_one_name_in_two_folders_are_not_mixed_up(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "values.py").write_text(f"SEED = {number}\n")
        text = "import values\nfrom ml_collections import ConfigDict\n\n\ndef get_config():\n"
        (folder / "recipe.py").write_text(f"{text}    return ConfigDict({{'seed': values.SEED}})\n")
    assert [load_recipe(f"{number}/recipe.py").seed for number in (1, 2)] == [1, 2]
