"""What was started ends with whoever started it, even if that was killed, even if it is frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.twin.cloud.waiting import until
from voxyray.twin.cloud.processes import tied

_PARENT = """
import subprocess, sys
from voxyray.twin.cloud.processes import tied
child = subprocess.Popen(tied("sleeper", "argument"), stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
child.wait()
"""


def test_a_frozen_child_dies_with_its_parent(tmp_path: Path) -> None:
    sleeper = "import sys, time; print(sys.argv[1], flush=True); time.sleep(100)"
    (tmp_path / "sleeper.py").write_text(sleeper)
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, said = parent.stdout.readline().split()
        assert said == "argument"
        os.kill(int(pid), signal.SIGSTOP)
        parent.kill()
    asyncio.run(until(lambda: _dead(int(pid))))


def _dead(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or " Z " in stat.read_text()


def test_the_command_line_names_the_module() -> None:
    assert tied("hypercorn", "app")[-2:] == ("hypercorn", "app")
