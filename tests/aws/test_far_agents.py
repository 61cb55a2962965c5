"""The shipped agents say and store the same, whether their tools are near or far."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.aws.fake_lambda import FakeLambda, Reply, returned
from tests.support.talk import Conversation
from voxyray.agent import Agent
from voxyray.aws import clients
from voxyray.aws.remote import remote_tool
from voxyray.aws.toolbox import Toolbox
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.loading import load_folder
from voxyray.stores.memory import MemoryStore
from voxyray.tool import Tool
from voxyray.tool_definitions import ToolDefinition, define

AGENTS = {path.parent.name: path.parent for path in Path("agents").glob("*/agent.toml")}
TALKS = {
    "default": ["It's Ada Lovelace.", "The pizza shop, please.", "put me through"],
    "restaurant_order": ["two large pepperoni pizzas", "and a coke", "read me my order", "bye"],
    "apartment_search": ["a two-bedroom under 2000", "what about pets?", "and parking?", "goodbye"],
}


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLambda]:
    async with FakeLambda().serving() as fake:
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", fake.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        clients.forget()
        yield fake
        clients.forget()


def far(tool: Tool, numbers: itertools.count[int]) -> Tool:
    """Have a tool run elsewhere, each time with a key of its own, as a runner gives them."""
    definition = msgspec.json.encode(define(tool, "tools"))
    made = remote_tool(msgspec.json.decode(definition, type=ToolDefinition))
    invoke = made.function

    async def run(arguments: dict[str, Any], caller: Caller, call: CallContext) -> Any:
        keyed = dataclasses.replace(call, key=f"CA1:{next(numbers)}")
        return await invoke(arguments, caller, keyed)

    return dataclasses.replace(made, function=run)


async def transcript(agent: Agent, others: list[Agent], store: MemoryStore) -> Any:
    talk = await Conversation.open(agent, others, store=store)
    said = [await talk.say(line) for line in TALKS[agent.name]]
    used = [(name, result) for name, _, result in talk.used]
    return said, used, talk.ended, await talk.profile(), talk.caller


@pytest.mark.parametrize("name", sorted(AGENTS))
async def test_near_and_far(name: str, cloud: FakeLambda) -> None:
    agent = load_folder(AGENTS[name])
    others = [load_folder(folder) for other, folder in AGENTS.items() if other != name]
    near = await transcript(agent, others, MemoryStore())
    store = MemoryStore()
    box = Toolbox(agent, store)

    async def function(event: Any) -> Reply:
        return returned(await box.answer(event))

    cloud.functions["tools"] = function
    numbers = itertools.count()
    tools = [far(tool, numbers) for tool in agent.tools]
    remote = await transcript(dataclasses.replace(agent, tools=tools), others, store)
    assert remote == near
    assert len(cloud.invoked) == len(near[1]) > 0
