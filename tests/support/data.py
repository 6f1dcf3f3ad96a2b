"""Where the tests' own files lie: documents, snapshots, recordings."""

from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
ROOT = DATA.parent.parent
