"""Runs a SAM command in every stack's folder, in one process, for starting it takes seconds.

every.py WORK -- validate --lint
every.py WORK -- build --build-in-source --build-dir {}     {} is a folder of the stack's in WORK

The command's output is shown if it fails.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from samcli.cli.main import cli

_HERE = Path(__file__).resolve().parent


def run(folder: Path, command: list[str]) -> int:
    """Run `sam COMMAND` in a folder; gives its exit code."""
    os.chdir(folder)
    with tempfile.TemporaryFile() as output:
        kept = os.dup(1), os.dup(2)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            cli.main(command, prog_name="sam")
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for here, saved in enumerate(kept, 1):
                os.dup2(saved, here)
                os.close(saved)
        if code:
            output.seek(0)
            os.write(2, output.read())
    return code


def main(work: str, _: str, *command: str) -> int:
    """Run the command everywhere, and go on after a failure."""
    failed = 0
    for template in sorted(_HERE.rglob("template.yaml")):
        if ".aws-sam" in template.parts:
            continue
        place = template.parent.relative_to(_HERE).as_posix()
        stack = "all" if place == "." else place
        began = time.perf_counter()
        code = run(template.parent, [each.replace("{}", f"{work}/{stack}") for each in command])
        failed += bool(code)
        print(f"   {stack}: {'failed' if code else f'{time.perf_counter() - began:.1f} s'}")  # noqa: T201
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
