"""Reads the stacks' templates as data, as CloudFormation would with the parameters given."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

AWS = Path(__file__).parents[2] / "deploy/aws"
ROOT = AWS / "template.yaml"
STACKS = sorted(
    [*AWS.glob("*/template.yaml"), *AWS.glob("use-cases/*/template.yaml")],
    key=lambda file: str(file),
)


class _Loader(yaml.SafeLoader):
    """Turns `!Ref X` into {"Ref": "X"} and `!Sub X` into {"Fn::Sub": "X"}."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tagged)


@functools.cache
def template(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    return loaded


def name_of(file: Path) -> str:
    return file.parent.relative_to(AWS).as_posix()


def resources(file: Path, kind: str) -> dict[str, dict[str, Any]]:
    every = template(file)["Resources"]
    return {name: each for name, each in every.items() if each["Type"] == kind}


def functions() -> list[tuple[str, str, dict[str, Any]]]:
    """Every function: its stack, its name, its properties."""
    return [
        (name_of(file), name, each["Properties"])
        for file in STACKS
        for name, each in resources(file, "AWS::Serverless::Function").items()
    ]


def branches(statement: Any) -> Iterator[dict[str, Any]]:
    """Give all that a policy's statement may become."""
    if "Fn::If" in statement:
        for each in statement["Fn::If"][1:]:
            yield from branches(each)
    elif statement != {"Ref": "AWS::NoValue"}:
        yield statement


def statements(file: Path, role: str) -> list[dict[str, Any]]:
    policies = template(file)["Resources"][role]["Properties"]["Policies"]
    return [
        statement
        for policy in policies
        for each in policy["PolicyDocument"]["Statement"]
        for statement in branches(each)
    ]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def texts(value: Any) -> Iterator[str]:
    """Give every text in a piece of a template."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
