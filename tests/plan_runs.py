"""`jaxreason plan` in a process of its own, since a plan chooses the platforms of its process."""

import importlib.util
import re
import subprocess
import sys

HAS_CUDA = importlib.util.find_spec("jax_cuda13_plugin") is not None


def run_plan(*flags, config="configs/study_tiny.py"):
    """What a plan without the search for the largest sizes prints, and its messages."""
    code = "import sys; from jaxreason.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "plan", "--config", config]
    found = subprocess.run([*command, "--nofit", *flags], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout, found.stderr


def peak_of_step(told):
    """GiB of the one training step of a plan."""
    (peak,) = re.findall(r"(?:SFT|RL policy) step .* (\S+) +\d+% of HBM", told)
    return float(peak)
