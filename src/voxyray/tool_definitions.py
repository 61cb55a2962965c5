"""Tools as data: what the table holds of a tool whose code is somewhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import AgentError
from voxyray.models import ToolSpec
from voxyray.parameters import compile_schema
from voxyray.schema import Schema, strict
from voxyray.tool import Effect, Tool, check_filler, check_options

# Runs a tool elsewhere: its plain arguments, who calls, in which call.
Run: TypeAlias = Callable[[dict[str, Any], Caller, CallContext], Awaitable[Any]]


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of a tool without its code.

    parameters: the full schema of its arguments. function: what runs it, by name or ARN. The
    others are those of `Tool`.
    """

    name: str
    description: str
    effect: Effect
    parameters: Schema
    function: str
    timeout_s: float = 10.0
    filler: str | None = None
    farewell: str | None = None


MakeTool: TypeAlias = Callable[[ToolDefinition], Tool]


@dataclass(frozen=True, eq=False)
class DefinedTool(Tool):
    """A tool whose arguments are checked here, and whose function runs elsewhere."""

    definition: ToolDefinition | None = field(default=None, repr=False)

    async def run(self, values: Mapping[str, Any], caller: Caller, call: CallContext) -> Any:
        """Have it run; whatever its function raises comes out."""
        return await self.function(self.given(values), caller, call)

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give parsed arguments as plain JSON values, without those that are defaults.

        Whoever has the code has the defaults, and need not take them as arguments.
        """
        return {
            field.name: msgspec.to_builtins(values[field.keyword])
            for field in self._arguments.fields
            if field.default is None or field.default() != values[field.keyword]
        }


def define(tool: Tool, function: str) -> ToolDefinition:
    """Give a tool as data; function is what runs it, by name or ARN.

    Raises:
        AgentError: it takes arguments that a schema cannot tell.
    """
    try:
        compile_schema(tool.parameters)
    except AgentError as error:
        raise AgentError(f"tool {tool.name} cannot run elsewhere: {error}") from error
    return ToolDefinition(
        name=tool.name,
        description=tool.description,
        effect=tool.effect,
        parameters=tool.parameters,
        function=function,
        timeout_s=tool.timeout_s,
        filler=tool.filler,
        farewell=tool.farewell,
    )


def definitions_of(tools: Iterable[Tool]) -> tuple[ToolDefinition, ...] | None:
    """Give the tools as data again; None if one of them runs here."""
    found = [each.definition if isinstance(each, DefinedTool) else None for each in tools]
    known = tuple(each for each in found if each is not None)
    return known if known and len(known) == len(found) else None


def build(definition: ToolDefinition, run: Run) -> Tool:
    """Make a tool of its definition; run does what its function would.

    Raises:
        AgentError: the definition cannot be used; the message names the tool and the place.
    """
    name = definition.name
    try:
        check_options(name, definition.effect, definition.timeout_s, definition.farewell)
        arguments = compile_schema(definition.parameters)
        if definition.filler is not None:
            check_filler(definition.filler, definition.parameters)
        if not definition.description:
            raise AgentError("it has no description; say in a sentence what it does")
        if not definition.function:
            raise AgentError("it names no function to run it")
    except AgentError as error:
        raise AgentError(f"tool {name[:64]}: {error}") from error
    return DefinedTool(
        name=name,
        description=definition.description,
        effect=definition.effect,
        timeout_s=definition.timeout_s,
        filler=definition.filler,
        farewell=definition.farewell,
        spec=ToolSpec(name, definition.description, strict(definition.parameters)),
        parameters=definition.parameters,
        function=run,
        _arguments=arguments,
        _injected={},
        definition=definition,
    )
