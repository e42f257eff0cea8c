"""Which sources a result was made with."""

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit that is checked out; "" where there is none."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True,
                           check=False)
    return asked.stdout.strip()
