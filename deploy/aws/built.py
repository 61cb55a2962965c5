"""Looks at what `sam build` made, under the Python that Lambda has; run by `check`.

python3.13 built.py compiled FOLDER               every file compiles, every library is for arm64
python3.13 built.py imported FOLDER RUNTIME NAME... every handler imports, with Lambda's boto3
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from pathlib import Path

_ARM64 = 183  # e_machine of an ELF file
_MOST_MB = 60  # unzipped; Lambda takes 250, but a cold start reads what it imports


def compiled(folder: Path) -> list[str]:
    """Find what would not run on arm64 under this Python."""
    problems = []
    functions = sorted(each.parent for each in folder.rglob("voxyray") if each.is_dir())
    for function in functions:
        files = [file for file in function.rglob("*") if file.is_file()]
        for file in files:
            if file.suffix == ".so" and file.read_bytes()[18:20] != _ARM64.to_bytes(2, "little"):
                problems.append(f"{file} is not for arm64")
            if (
                file.suffix == ".py"
                and not Path(importlib.util.cache_from_source(str(file))).exists()
            ):
                problems.append(f"{file} has no bytecode: it does not compile")
        size_mb = sum(file.stat().st_size for file in files) / 1e6
        print(f"   {function.relative_to(folder)}: {size_mb:.1f} MB")  # noqa: T201
        if size_mb > _MOST_MB:
            problems.append(f"{function} has {size_mb:.0f} MB; the most is {_MOST_MB}")
    return problems if functions else [f"nothing was built in {folder}"]


def imported(folder: Path, runtime: Path, names: list[str]) -> list[str]:
    """Find handlers that do not import from a folder alone."""
    os.chdir(folder)
    sys.path[:0] = [str(folder), str(runtime)]
    problems = []
    for name in names:
        module, _, function = name.rpartition(".")
        began = time.perf_counter()
        try:
            handler = getattr(importlib.import_module(module), function)
        except Exception as error:  # noqa: BLE001 - whatever it is, Lambda would meet it too
            problems.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if not callable(handler) or folder not in Path(sys.modules[module].__file__ or "").parents:
            problems.append(f"{name} is no function of the bundle")
        print(f"   {name}: {(time.perf_counter() - began) * 1000:.0f} ms")  # noqa: T201
    return problems


def main(what: str, folder: str, *more: str) -> int:
    """Look, and tell the problems."""
    place = Path(folder).resolve()
    if what == "compiled":
        problems = compiled(place)
    else:
        problems = imported(place, Path(more[0]).resolve(), list(more[1:]))
    for problem in problems:
        print(f"   {problem}", file=sys.stderr)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
