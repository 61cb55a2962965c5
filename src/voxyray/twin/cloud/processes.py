"""Processes that do not outlive us: a frozen one could not even notice that we are gone."""

from __future__ import annotations

import sys
from typing import Final

# Linux ends the process when whoever started it ends (PR_SET_PDEATHSIG is 1, SIGKILL 9).
_TIED: Final = (
    "import ctypes, runpy, sys; ctypes.CDLL(None).prctl(1, 9); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def tied(module: str, *arguments: str) -> tuple[str, ...]:
    """Give the command line that runs a Python module for as long as we live, however we end."""
    return (sys.executable, "-c", _TIED, module, *arguments)
