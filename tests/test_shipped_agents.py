"""The agents that ship with voxyray: each loads, and its tools pass OpenAI's strict validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from voxyray.agent import Agent
from voxyray.loading import load_agents
from voxyray.models.offline import load_script

AGENTS = {agent.name: agent for agent in load_agents(None, Path(__file__).parent.parent / "agents")}

# What OpenAI's structured outputs know; anything else in a strict schema is refused with 400.
KEYWORDS = {
    *("type", "properties", "required", "additionalProperties", "description", "enum", "const"),
    *("items", "anyOf", "pattern", "format", "minimum", "maximum", "exclusiveMinimum"),
    *("exclusiveMaximum", "multipleOf", "minItems", "maxItems", "$defs", "$ref"),
}


def parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a schema and all schemas within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema["items"]] if "items" in schema else []
    for each in inner:
        yield from parts(each)


def test_the_three_use_cases_are_there() -> None:
    assert set(AGENTS) == {"default", "apartment_search", "restaurant_order"}


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_the_tools_pass_strict_validation(agent: Agent) -> None:
    for tool in agent.tools:
        assert tool.spec.description
        for schema in parts(tool.spec.parameters):
            assert set(schema) <= KEYWORDS, (tool.name, schema)
            if schema.get("type") == "object":
                assert schema["additionalProperties"] is False
                assert set(schema["required"]) == set(schema["properties"])


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_the_offline_script_loads(agent: Agent) -> None:
    assert agent.offline is not None
    load_script(agent.offline)


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_every_tool_named_in_the_instructions_exists(agent: Agent) -> None:
    """original.md 10, 25: the prompt asks for tools that are not there."""
    names = {tool.name for tool in agent.tools}
    known = {tool.name for other in AGENTS.values() for tool in other.tools}
    for word in known:
        assert word not in agent.instructions.split() or word in names, word
