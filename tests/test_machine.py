"""What a benchmark says of the machine that it ran on."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parent.parent / "scripts/machine.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("machine", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu avx avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
"""


def test_a_processor_is_named_with_the_instructions_that_products_depend_on(script):
    assert script.processor(INTEL) == {
        "name": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "maker": "GenuineIntel",
        "family_and_model": [6, 143],
        "instructions": ["avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"],
    }
    plain = INTEL.replace("avx512f", "").replace("amx", "x").replace("Intel(R)", "AMD")
    assert script.processor(plain)["instructions"] == ["avx2", "avx512_bf16"]


def test_the_line_of_a_machine_has_cores_load_and_versions(script):
    found = script.machine() | {"load": 3.25}
    line = script.described(found)
    assert f"{found['cores']} cores" in line and "load 3.25" in line
    assert f"jax {found['versions']['jax']}" in line
    assert script.processor("")["instructions"] == []
