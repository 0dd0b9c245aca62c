"""What users import stands at `dpq`, wherever it is written."""

import subprocess
import sys

import dpq


def test_each_public_name_is_there():
    assert {name for name in dpq.__all__ if getattr(dpq, name) is not None} == set(dpq.__all__)


def test_the_package_itself_imports_nothing_slow():
    code = "import sys, dpq; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
