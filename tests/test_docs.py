"""Documentation is executed: Python runs, agent.toml loads, commands do what they say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from voxyray.loading import Definition

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LIVE = ("voxyray serve",)  # runs until it is stopped


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", text)
        for page in PAGES
        for number, (found, text) in enumerate(FENCE.findall(page.read_text()))
        if found == language
    ]


def cases(language: str) -> list[object]:
    return [pytest.param(text, id=name) for name, text in blocks(language)]


@pytest.mark.parametrize("source", cases("python"))
def test_python_runs(source: str, tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(source)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", cases("toml"))
def test_agent_definitions_load(source: str) -> None:
    msgspec.convert(tomllib.loads(source), Definition)


def commands(page: Path) -> list[str]:
    return [
        line.removeprefix("$ ")
        for language, text in FENCE.findall(page.read_text())
        for line in text.splitlines()
        if language == "console" and line.startswith("$ voxyray")
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda p: p.name)
def test_commands_do_what_they_say(page: Path, tmp_path: Path) -> None:
    """A page's commands, one after the other, as its reader types them."""
    script = Path(sys.executable).parent / "voxyray"
    for each in ROOT.iterdir():  # what commands write stays out of the tree
        (tmp_path / each.name).symlink_to(each)
    environment = {"PATH": "/usr/bin:/bin", "VOXYRAY_STORE": f"sqlite:{tmp_path}/calls.sqlite"}
    for line in commands(page):
        if line.startswith(LIVE):
            continue
        done = subprocess.run(
            [str(script), *shlex.split(line)[1:]],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}{done.stdout}"


def test_every_make_target_named_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^|`|\$ )make ([a-z-]+)", page.read_text()):
            assert target in targets, f"{page.name} names `make {target}`"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
