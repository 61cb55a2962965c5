"""The package as a whole: its public names, and rules that hold for every file of it."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

import voxyray

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "voxyray").rglob("*.py"))


def test_the_public_list_is_what_is_exported() -> None:
    exported = {
        name
        for name, value in vars(voxyray).items()
        if not name.startswith("_") and type(value).__name__ != "module"
    }
    assert set(voxyray.__all__) == exported | {"__version__"}
    assert voxyray.__all__ == sorted(voxyray.__all__)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_every_module_can_be_imported_alone(file: Path) -> None:
    parts = file.relative_to(ROOT / "src").with_suffix("").parts
    importlib.import_module(".".join(part for part in parts if part != "__init__"))


def test_the_package_is_typed() -> None:
    assert (ROOT / "src" / "voxyray" / "py.typed").exists()


def test_hard_dependencies_stay_few() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(project["dependencies"]) <= 8


def test_no_print_and_no_telemetry() -> None:
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", file
