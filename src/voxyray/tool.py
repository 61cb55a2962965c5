"""Tools: typed Python functions that the model may call.

    @tool(effect="write")
    async def book(day: date, *, party: int = 2, caller: Caller, call: CallContext) -> str:
        \"\"\"Book a table for a day.\"\"\"

What the model must give is read from the signature, what it is told from the docstring; an `Args`
section describes the properties, so does `Annotated[int, "How many people come."]`. Parameters
annotated `Caller` or `CallContext` (or either | None) are handed in and hidden from the model.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import inspect
import math
import re
import string
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, TypeAlias, overload

import msgspec

from voxyray.arguments import Object, Problems, decode, harmless
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import AgentError, ToolArgumentError
from voxyray.models import ToolSpec
from voxyray.results import encode_result
from voxyray.schema import (
    Parameter,
    Schema,
    compile_object,
    default_maker,
    split_docstring,
    strict,
)

__all__ = ["CallContext", "Effect", "Tool", "by_name", "encode_result", "tool"]

Effect: TypeAlias = Literal["read", "write", "end"]

MAX_ARGUMENTS: Final = 64 * 1024  # characters of JSON a model may write

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what OpenAI takes as a function's name
_MAX_PROBLEMS: Final = 12
# Of their own: tools that hang must not take the threads that names are looked up with.
_THREADS: Final = ThreadPoolExecutor(64, "voxyray-tool")
_INJECTED: Final = {Caller: "caller", CallContext: "call"}


@dataclass(frozen=True, eq=False)
class Tool:
    """A function the model may call; calling it calls the function itself.

    effect: `read` changes nothing and may be repeated or dropped; `write` runs at most once for a
    turn and its arguments; `end` acts after its farewell was played. timeout_s: how long the
    runner waits. filler: what is said when it is slow, with {argument} placeholders. farewell:
    what an `end` tool has said if the model said nothing. parameters: the full schema; `spec` has
    what a model is shown.
    """

    name: str
    description: str = dataclasses.field(repr=False)
    effect: Effect
    timeout_s: float
    filler: str | None
    farewell: str | None
    spec: ToolSpec = dataclasses.field(repr=False)
    parameters: Schema = dataclasses.field(repr=False)
    function: Callable[..., Any] = dataclasses.field(repr=False)
    _arguments: Object = dataclasses.field(repr=False)
    _injected: Mapping[str, str] = dataclasses.field(repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, unchecked: for unit tests."""
        return self.function(*args, **kwargs)

    def parse(self, arguments: str) -> dict[str, Any]:
        """Read a model's JSON text as keyword arguments, defaults filled in.

        Raises:
            ToolArgumentError: naming every wrong, missing and unknown argument; nothing else is
                raised, whatever the text is.
        """
        if len(arguments) > MAX_ARGUMENTS:
            size = f"{len(arguments)} characters of arguments; at most {MAX_ARGUMENTS} are read"
            raise self._refusal([size])
        problems: Problems = []
        try:
            given = decode(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise self._refusal(
                [f"the arguments are not JSON: {harmless(str(error))[:200]}"]
            ) from None
        values = self._arguments.read({} if given is None else given, "", problems)
        if problems:
            raise self._refusal(problems)
        return typing.cast("dict[str, Any]", values)

    def _refusal(self, problems: Problems) -> ToolArgumentError:
        more = len(problems) - _MAX_PROBLEMS
        listed = [problem[:400] for problem in problems[:_MAX_PROBLEMS]]
        text = "; ".join(listed + ([f"and {more} more"] if more > 0 else []))
        return ToolArgumentError(
            f"{self.name} did not run. {text}. Correct this and call it again."
        )

    def canonical(self, values: Mapping[str, Any]) -> str:
        """Give parsed arguments as JSON text that is equal for equal meaning: for keys."""
        return msgspec.json.encode(_plain(values), order="sorted").decode()

    def filler_text(self, values: Mapping[str, Any]) -> str | None:
        """Give the filler with its placeholders filled in; None if the tool has none."""
        if self.filler is None:
            return None
        words = {name: "" if value is None else _plain(value) for name, value in values.items()}
        return harmless(self.filler.format_map(words))

    async def run(self, values: Mapping[str, Any], caller: Caller, call: CallContext) -> Any:
        """Run the function with parsed arguments; a plain one runs in a thread of its own.

        Whatever the function raises comes out; there is no time limit here.
        """
        given = {"caller": caller, "call": call}
        keywords = {**values, **{name: given[kind] for name, kind in self._injected.items()}}
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**keywords)
        work = functools.partial(
            contextvars.copy_context().run, _in_thread, self.function, keywords
        )
        result = await asyncio.get_running_loop().run_in_executor(_THREADS, work)
        return await result if inspect.isawaitable(result) else result


def by_name(tools: Iterable[Tool]) -> dict[str, Tool]:
    """Give an agent's tools by name.

    Raises:
        AgentError: something that is no tool, or two with the same name.
    """
    found: dict[str, Tool] = {}
    for each in tools:
        if not isinstance(each, Tool):
            raise AgentError(f"{_where(each)} is not a tool; decorate it with @tool")
        if each.name in found:
            raise AgentError(f"two tools are named {each.name!r}; give one another name=")
        found[each.name] = each
    return found


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    effect: Effect,
    name: str | None = None,
    timeout_s: float = 10.0,
    filler: str | None = None,
    farewell: str | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect | None = None,
    name: str | None = None,
    timeout_s: float = 10.0,
    filler: str | None = None,
    farewell: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool; a bare `@tool` means that it only reads (effect `read`).

    `Tool` says what the options mean; with parentheses the effect must be given.

    Raises:
        AgentError: a signature, docstring or option that cannot be used; the message names the
            function, the parameter and the fix.
    """
    if function is not None:
        if not callable(function):
            raise AgentError(f"@tool takes its options by keyword, such as effect={function!r}")
        return _make(function, _locals_of_caller(), effect or "read", name, timeout_s)

    def decorate(function: Callable[..., Any]) -> Tool:
        names = _locals_of_caller()
        return _make(function, names, effect, name, timeout_s, filler, farewell)

    return decorate


def _locals_of_caller() -> Mapping[str, Any]:
    """Give the names known where @tool stands: types may be defined inside a function."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame.f_back if frame is not None else None
    return {} if frame is None else frame.f_locals


def _make(
    function: Callable[..., Any],
    names: Mapping[str, Any],
    effect: Effect | None,
    name: str | None,
    timeout_s: float,
    filler: str | None = None,
    farewell: str | None = None,
) -> Tool:
    where = _where(function)
    try:
        name = getattr(function, "__name__", "") if name is None else name
        check_options(name, effect, timeout_s, farewell)
        injected, parameters = _parameters(function, names)
        description, described = _documentation(function, injected, parameters)
        node, schema = compile_object(parameters, described)
        if filler is not None:
            check_filler(filler, schema)
    except AgentError as error:
        raise AgentError(f"tool {where}: {error}") from error
    return Tool(
        name=name,
        description=description,
        effect=typing.cast("Effect", effect),
        timeout_s=timeout_s,
        filler=filler,
        farewell=farewell,
        spec=ToolSpec(name, description, strict(schema)),
        parameters=schema,
        function=function,
        _arguments=typing.cast("Object", node),
        _injected=injected,
    )


def _where(function: object) -> str:
    """Name a function so that its author finds it."""
    module = getattr(function, "__module__", "")
    return f"{module}.{getattr(function, '__qualname__', repr(function))}".lstrip(".")


def check_options(name: str, effect: object, timeout_s: float, farewell: str | None) -> None:
    """Refuse options that cannot be used.

    Raises:
        AgentError: the message names the option and the fix.
    """
    if not _NAME.fullmatch(str(name)):
        raise AgentError(f"its name {name!r} is not 1-64 letters, digits, _ and -; give it name=")
    if effect not in typing.get_args(Effect):
        raise AgentError(f'effect must be "read", "write" or "end", not {effect!r}')
    if not 0 < timeout_s < math.inf:
        raise AgentError(f"timeout_s must be a positive number of seconds, not {timeout_s!r}")
    if farewell is not None and effect != "end":
        raise AgentError(f'only a tool with effect="end" says farewell, not one with {effect!r}')


def check_filler(filler: str, schema: Schema) -> None:
    """Refuse a filler with placeholders that are no arguments.

    Raises:
        AgentError: the message names the placeholder.
    """
    try:
        parts = list(string.Formatter().parse(filler))
    except ValueError as error:
        raise AgentError(f"its filler cannot be read ({error}); write {{{{ for a brace") from error
    for _, placeholder, layout, conversion in parts:
        # Nothing but names: a template that reaches into objects could say what it must not.
        if placeholder is not None and (
            placeholder not in schema["properties"] or layout or conversion
        ):
            raise AgentError(
                f"its filler has the placeholder {{{placeholder}}}, which is no argument; "
                f"there are {', '.join(schema['properties']) or 'none'}"
            )


def _parameters(
    function: Callable[..., Any], names: Mapping[str, Any]
) -> tuple[dict[str, str], list[Parameter]]:
    """Give the parameters to be handed in, with what, and those the model is asked for."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise AgentError("it yields; return a list instead")
    hints = _hints(function, names)
    injected: dict[str, str] = {}
    asked: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise AgentError(f"parameter {parameter}: a model needs to know every name; list them")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise AgentError(f"parameter {name!r} is positional only; arguments come by name")
        if name not in hints:
            raise AgentError(f"parameter {name!r} has no annotation; write {name}: str, or so")
        if kind := _context(hints[name]):
            injected[name] = kind
            continue
        default = default_maker(parameter.default, parameter.empty, parameter.empty)
        if parameter.default is None and not _takes_none(hints[name]):
            raise AgentError(f"parameter {name!r} defaults to None; write its type as ... | None")
        asked.append(Parameter(name, name, hints[name], default))
    return injected, asked


def _hints(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Resolve the annotations; names are the locals of the place where it is defined."""
    code = getattr(function, "__code__", None)
    cells = zip(
        getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False
    )
    known = dict(names)
    for name, cell in cells:
        try:
            known[name] = cell.cell_contents
        except ValueError:
            continue  # a name that the enclosing function has not bound yet
    try:
        return typing.get_type_hints(function, localns=known, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise AgentError(f"an annotation cannot be read: {error}; import or define it") from error


def _context(annotation: Any) -> str | None:
    """Whether a parameter is handed in, and what."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    choices = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        choices = [each for each in typing.get_args(annotation) if each is not types.NoneType]
    return _INJECTED.get(choices[0]) if len(choices) == 1 and isinstance(choices[0], type) else None


def _takes_none(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        return _takes_none(annotation.__origin__)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType, Literal)
    return union and bool({None, types.NoneType} & set(typing.get_args(annotation)))


def _documentation(
    function: Callable[..., Any], injected: Mapping[str, str], parameters: list[Parameter]
) -> tuple[str, dict[str, str]]:
    text, described = split_docstring(inspect.getdoc(function) or "", "Args", "Arguments")
    if not text:
        raise AgentError("it has no docstring; say in a sentence what it does, for the model")
    names = {parameter.keyword for parameter in parameters}
    for name in described:
        if name not in names and name not in injected:
            raise AgentError(f"the docstring describes {name!r}, which is no parameter")
    return text, described


def _plain(value: Any) -> Any:
    """Give JSON values in which what means the same is the same."""
    match value:
        case Enum():
            return value.value
        case Decimal():
            return str(value.normalize() + 0)
        case float():
            return value + 0.0  # -0.0 is 0.0
        case datetime() if value.tzinfo is not None:
            return _instant(value)
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case msgspec.Struct():
            names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            return {name: _plain(getattr(value, keyword)) for name, keyword in names}
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: _plain(getattr(value, name)) for name in fields}
    return value


def _instant(value: datetime) -> str:
    try:
        return value.astimezone(UTC).isoformat()
    except OverflowError:  # within hours of the year 1 or 9999
        return value.isoformat()


def _in_thread(function: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
    try:
        return function(**keywords)
    except StopIteration as error:
        # A future cannot carry it: whoever waits would wait for ever.
        raise RuntimeError("the tool asked an iterator for more than it has") from error
