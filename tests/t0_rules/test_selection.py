"""Which tests run: long ones on demand only, and in CI nothing is skipped. Tried on a little suite of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = {
    "test_a.py": "import pytest\n\ndef test_runs():\n    pass\n\n@pytest.mark.long\ndef test_long():\n    pass\n\n"
    "def test_skipped():\n    pytest.skip('no such program')\n\n"
    "@pytest.mark.xfail(reason='known')\ndef test_known():\n    assert False\n",
    "test_b.py": "import pytest\npytest.importorskip('no_such_module')\n",
}


@pytest.mark.parametrize(
    ("variables", "summary", "code"),
    [
        ({}, "1 passed, 2 skipped, 1 deselected, 1 xfailed", 0),
        ({"VFAB_LONG": "1"}, "2 passed, 2 skipped, 1 xfailed", 0),
        ({"VFAB_CI": "1"}, "1 failed, 1 passed, 1 deselected, 1 xfailed, 1 error", 1),
    ],
)
def test_what_runs(variables: dict[str, str], summary: str, code: int, tmp_path: Path) -> None:
    for name, text in SUITE.items():
        (tmp_path / name).write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VFAB_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--continue-on-collection-errors", str(tmp_path)], cwd=ROOT,
        env={**environment, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert re.search(rf"=* {summary} in ", done.stdout.splitlines()[-1]), done.stdout
    assert ("and with VFAB_CI=1 nothing may be skipped" in done.stdout) == (code == 1)
