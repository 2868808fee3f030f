"""docs/reliability.md: every promise names a test that is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = [
    line
    for line in (TESTS.parent / "docs" / "reliability.md").read_text().splitlines()
    if line.startswith("| ") and "::" in line
]


def functions_of(path):
    return {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0][2:42])
def test_a_row_has_a_fault_a_promise_and_a_test_that_is_there(row):
    fault, promise, test = re.split(r"(?<!\\)\|", row)[1:-1]
    assert len(fault) > 5 and len(promise) > 5
    file, name = test.strip().split("::")
    assert name in functions_of(TESTS / file)


def test_there_are_rows():
    assert len(ROWS) > 60
