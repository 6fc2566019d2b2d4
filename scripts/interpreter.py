"""Run a script with the current Python, or with .venv's Python if packages are missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PACKAGES = ("tensorflow", "keras", "numpy", "cv2", "matplotlib")
WRONG_USAGE = 2


def require_packages() -> None:
    """Check that the packages are installed. If not, restart with .venv or exit with a message."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if not missing:
        return
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.is_file() and not VENV.samefile(sys.prefix):
        sys.exit(subprocess.run([python, *sys.argv]).returncode)
    script = Path(sys.argv[0]).name
    print(
        f"{script}: error: {sys.executable} is missing the packages {', '.join(missing)}. Run {ROOT / 'scripts/demo'} once, "
        f"which installs them into .venv, or run `pip install .` in {ROOT}.",
        file=sys.stderr,
    )
    sys.exit(WRONG_USAGE)
