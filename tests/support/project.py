"""Where the project lies, and the real data beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL_DATA = ROOT.parent / "shared" / "data" / "real"
