"""Promise 15: a crash at any byte of a batch loses no finished record and doubles none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
LIVES = 200


@pytest.mark.skipif(sys.platform == "win32", reason="what is killed is forked")
def test_a_batch_killed_at_two_hundred_points_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.batch_killer", str(tmp_path), str(LIVES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["wrong"] is None
    assert found["points"] > LIVES
    assert found["kills"] == LIVES
