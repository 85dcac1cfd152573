"""Settings of all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Test helpers (tests/support.py) are imported by name, wherever the test file lies.
sys.path.insert(0, str(Path(__file__).resolve().parent))
# The machine may have few cores; threads of the numerical libraries must not fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
