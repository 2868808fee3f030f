"""The study's training questions: DeepScaleR and SimpleRL's levels 3 to 5 of MATH, without those that occur twice.

    jaxreason questions --config configs/questions_paper.py --workdir runs/questions
    jaxreason questions --config configs/questions_paper.py:FOLDER --workdir runs/questions

From the Hugging Face Hub, or from the files deepscaler.json and simplerl_level3to5.parquet of a folder (other names:
--config.questions.sources.deepscaler.data.path=FILE). Hardware: 2 CPU cores, minutes.

The sources have about 40,300 and 8,523 rows. The released set has 48,800; the paper says 47,000, but not what it left
out. runs/questions/questions/questions_report.json lists what is left out here, and why. Training leaves out the
questions of its benchmarks in any case (docs/questions.md).
"""

from ml_collections import ConfigDict

from configs import sections

DEEPSCALER = "agentica-org/DeepScaleR-Preview-Dataset"
SIMPLERL = "hkust-nlp/SimpleRL-Zoo-Data"
# It has the same questions as simplelr_abel_level3to5.
LEVELS = "simplelr_qwen_level3to5/train.parquet"


def get_config(folder=""):
    config = ConfigDict()
    config.seed = 0
    config.questions = questions(folder)
    return config


def questions(folder="") -> ConfigDict:
    """Makes the section `questions`: from the hub, or from a folder with both files."""
    problem = {"prompt": "problem", "answer": "answer"}
    flat = {"prompt": "question", "answer": "answer"}
    if folder:
        deepscaler = sections.dataset(f"{folder}/deepscaler.json", problem, task="math_strict")
        simplerl = sections.dataset(f"{folder}/simplerl_level3to5.parquet", flat)
        options = {"rows": "verl"}
    else:
        hub = {"source": "huggingface", "split": "train", "task": "math_strict"}
        deepscaler = sections.dataset(DEEPSCALER, problem, **hub)
        simplerl = sections.dataset(SIMPLERL, flat, **hub)
        options = {"rows": "verl", "files": LEVELS}
    simplerl.update(task="math_strict", metadata=("level",))
    with simplerl.options.unlocked():
        simplerl.options.update(options)
    sources = {
        "deepscaler": {"data": deepscaler, "level": ""},
        "simplerl": {"data": simplerl, "level": "level"},
    }
    return sections.questions(sources)
