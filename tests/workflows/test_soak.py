"""The soak in small; in full it is `python -m lab.checks.soak --rounds 200`."""

from __future__ import annotations

import subprocess
import sys

from tools import host


def test_probes_stay_as_on_the_fresh_server():
    command = [sys.executable, "-m", "lab.checks.soak", "--rounds", "4"]
    done = subprocess.run(command, cwd=host.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "4 rounds, every probe as at first" in done.stderr, done.stderr[-2000:]
