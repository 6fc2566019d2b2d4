"""Print the oldest package versions that setup.cfg allows, as pip constraints.

python scripts/oldest_versions.py setup.cfg > constraints.txt
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path


def requirements(setup_cfg: Path) -> list[str]:
    """Return the requirements of the package and its extras without duplicates."""
    config = configparser.ConfigParser()
    config.read(setup_cfg, encoding="utf-8")
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip()})


def oldest(requirement: str) -> str:
    """Convert a requirement such as "keras>=3.12,!=3.13.*" to "keras==3.12"."""
    found = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
    if found is None:
        raise ValueError(f"{requirement!r} in setup.cfg has no lower bound. Write it as NAME>=VERSION.")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(map(oldest, requirements(Path(sys.argv[1])))))
