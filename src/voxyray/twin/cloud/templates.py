"""Reads the SAM templates, so that what runs on this machine is what is deployed.

Only what the local cloud runs is resolved: functions, what invokes them, queues, the table, and
resources that functions make. Roles, alarms and logs are not looked at.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from voxyray.twin.cloud.errors import CloudError, TemplateError
from voxyray.twin.cloud.functions import ACCOUNT, REGION

_PSEUDO: Final = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE: Final = object()
_PLACEHOLDER: Final = re.compile(r"\$\{(!?)([^}]+)\}")
# Where queues are by their templates, to be told apart from where they are here.
SQS_URL: Final = f"https://sqs.{REGION}.amazonaws.com"
EXECUTE_API: Final = re.compile(rf"(wss|https)://[\w-]+\.execute-api\.{REGION}\.amazonaws\.com")


class Trigger(msgspec.Struct, frozen=True):
    """A queue's messages invoke a function; queue: its name."""

    queue: str
    batch_size: int
    report_failures: bool
    concurrency: int | None


class Function(msgspec.Struct, frozen=True):
    """A function; concurrency: what is reserved for it, None for no limit of its own."""

    name: str
    handler: str
    environment: Mapping[str, str]
    timeout_s: int
    memory_mb: int
    concurrency: int | None
    triggers: tuple[Trigger, ...]


class Queue(msgspec.Struct, frozen=True):
    """A queue and its attributes as SQS takes them; dead_letters: the ARN, or empty."""

    name: str
    attributes: Mapping[str, str]
    dead_letters: str


class Custom(msgspec.Struct, frozen=True):
    """A resource that a function makes when it is deployed."""

    name: str
    kind: str
    function: str
    properties: Mapping[str, Any]


class Api(msgspec.Struct, frozen=True):
    """What is invoked through API Gateway; routes: as route keys, function: a name.

    timeout_s: how long it waits for the function.
    """

    stage: str
    routes: tuple[str, ...]
    function: str
    timeout_s: float


class Stack(msgspec.Struct, frozen=True):
    """What a template and those below it describe."""

    functions: tuple[Function, ...]
    queues: tuple[Queue, ...]
    tables: tuple[str, ...]
    customs: tuple[Custom, ...]
    websocket: Api | None
    http: Api | None


def read_stack(
    path: Path, parameters: Mapping[str, Any] | None = None, *, name: str = "voxyray"
) -> Stack:
    """Read a template and those it nests; what is not a parameter of it is refused.

    Raises:
        TemplateError: it has what is not known here; the message names the place.
    """
    given = dict(parameters or {})
    template = _Template(path, name, {key: _constant(value) for key, value in given.items()})
    templates = list(template.all())
    return Stack(
        functions=tuple(each for one in templates for each in one.functions()),
        queues=tuple(each for one in templates for each in one.queues()),
        tables=tuple(each for one in templates for each in one.tables()),
        customs=tuple(each for one in templates for each in one.customs()),
        websocket=_only(path, [each for one in templates for each in one.websockets()]),
        http=_only(path, [each for one in templates for each in one.https()]),
    )


def _only(path: Path, apis: list[Api]) -> Api | None:
    if len(apis) > 1:
        raise TemplateError(f"{path}: more than one API of a kind; the local cloud has one")
    return apis[0] if apis else None


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


_Properties: TypeAlias = dict[str, Any]


class _Template:
    """One template; everything is resolved when it is asked for, parameters of nested ones too."""

    def __init__(self, path: Path, name: str, given: Mapping[str, Callable[[], Any]]) -> None:
        self.path = path
        self.name = name
        self._document = _load(path)
        self._given = given
        if "Globals" in self._document:
            raise self._error("Globals are not known to the local cloud; write them out")
        known = self._document.get("Parameters") or {}
        if unknown := set(given) - set(known):
            raise self._error(f"it has no parameter {', '.join(sorted(unknown))}")
        self._resources: dict[str, dict[str, Any]] = {
            logical: resource
            for logical, resource in self._document.get("Resources", {}).items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }

    def all(self) -> Iterator[_Template]:
        """Give this one and all that it nests."""
        yield self
        for logical, _ in self._of("AWS::Serverless::Application"):
            yield from self._nested(logical).all()

    # What it describes

    def functions(self) -> Iterator[Function]:
        for logical, properties in self._of("AWS::Serverless::Function"):
            environment = self._value(properties.get("Environment") or {}).get("Variables") or {}
            reserved = self._optional(properties, "ReservedConcurrentExecutions")
            yield Function(
                name=self._physical(logical),
                handler=str(self._needed(logical, properties, "Handler")),
                environment={key: _text(value) for key, value in environment.items()},
                timeout_s=int(self._optional(properties, "Timeout") or 3),
                memory_mb=int(self._optional(properties, "MemorySize") or 128),
                concurrency=int(reserved) if reserved not in (None, "") else None,
                triggers=tuple(self._triggers(properties)),
            )

    def _triggers(self, properties: _Properties) -> Iterator[Trigger]:
        for event in (properties.get("Events") or {}).values():
            if event["Type"] != "SQS":
                continue
            settings = self._value(event["Properties"])
            scaling = settings.get("ScalingConfig") or {}
            most = scaling.get("MaximumConcurrency")
            yield Trigger(
                queue=str(settings["Queue"]).rpartition(":")[2],
                batch_size=int(settings.get("BatchSize", 10)),
                report_failures="ReportBatchItemFailures"
                in (settings.get("FunctionResponseTypes") or ()),
                concurrency=int(most) if most else None,
            )

    def queues(self) -> Iterator[Queue]:
        for logical, properties in self._of("AWS::SQS::Queue"):
            names = ("VisibilityTimeout", "MessageRetentionPeriod", "DelaySeconds")
            values = {name: self._optional(properties, name) for name in names}
            attributes = {name: _text(value) for name, value in values.items() if value is not None}
            redrive = self._optional(properties, "RedrivePolicy") or {}
            if redrive:
                attributes["RedrivePolicy"] = msgspec.json.encode(redrive).decode()
            dead_letters = str(redrive.get("deadLetterTargetArn", ""))
            yield Queue(self._physical(logical), attributes, dead_letters)

    def tables(self) -> Iterator[str]:
        for logical, properties in self._of("AWS::DynamoDB::Table"):
            keys = [each["AttributeName"] for each in properties["KeySchema"]]
            if keys != ["pk", "sk"]:
                raise self._error(f"{logical} has the keys {keys}; only pk and sk are known")
            yield self._physical(logical)

    def customs(self) -> Iterator[Custom]:
        for logical, resource in self._resources.items():
            if resource["Type"].startswith("Custom::"):
                properties = self._value(resource["Properties"])
                function = properties["ServiceToken"].split(":")[6]
                yield Custom(self._physical(logical), resource["Type"], function, properties)

    def websockets(self) -> Iterator[Api]:
        for logical, properties in self._of("AWS::Serverless::WebSocketApi"):
            routes = properties["Routes"]
            arns = {self._value(route["FunctionArn"]) for route in routes.values()}
            if set(routes) != {"$connect", "$default", "$disconnect"} or len(arns) != 1:
                raise self._error(f"{logical}: all three routes must go to one function")
            stage = self._value(properties.get("StageName", "default"))
            timeout_ms = self._value(routes["$default"].get("IntegrationTimeout", 29_000))
            name = str(arns.pop()).split(":")[6]
            yield Api(str(stage), tuple(routes), name, int(timeout_ms) / 1000)

    def https(self) -> Iterator[Api]:
        routes: list[str] = []
        targets: set[tuple[str, float]] = set()
        for logical, properties in self._of("AWS::ApiGatewayV2::Route"):
            routes.append(str(self._needed(logical, properties, "RouteKey")))
            targets.add(self._target(logical, properties))
        if len(targets) > 1:
            raise self._error("the routes go to more than one function")
        if targets:
            name, timeout_s = targets.pop()
            yield Api("$default", tuple(routes), name, timeout_s)

    def _target(self, logical: str, route: _Properties) -> tuple[str, float]:
        """Give the function that a route leads to, and how long it may take."""
        target = str(self._value(route["Target"])).rpartition("-")[2]
        if target not in self._resources:
            raise self._error(f"{logical} has no integration: {target}")
        integration = self._resources[target]["Properties"]
        arn = str(self._needed(target, integration, "IntegrationUri"))
        name = arn.partition(":function:")[2].split(":")[0].split("/")[0]
        return name, int(self._value(integration.get("TimeoutInMillis", 30_000))) / 1000

    # Values

    def parameter(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]()
        parameter = self._document["Parameters"][name]
        if "Default" not in parameter:
            raise self._error(f"parameter {name} must be given")
        return parameter["Default"]

    def output(self, name: str) -> Any:
        outputs = self._document.get("Outputs") or {}
        if name not in outputs:
            raise self._error(f"it has no output {name}")
        return self._value(outputs[name]["Value"])

    def _value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [each for each in map(self._value, node) if each is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(key, argument)] = node.items()
            if key == "Condition" and isinstance(argument, str):
                return self._condition(argument)
            if key == "Ref" or key.startswith("Fn::"):
                return self._call(key.removeprefix("Fn::"), argument)
        values = {key: self._value(value) for key, value in node.items()}
        return {key: value for key, value in values.items() if value is not _NO_VALUE}

    def _call(self, function: str, argument: Any) -> Any:
        match function, argument:
            case "Ref", _:
                return self._ref(argument)
            case "GetAtt", str():
                return self._attribute(*argument.split(".", 1))
            case "GetAtt", [logical, attribute]:
                return self._attribute(logical, attribute)
            case "Sub", str():
                return self._substitute(argument, {})
            case "Sub", [text, names]:
                return self._substitute(text, names)
            case "If", [condition, yes, no]:
                return self._value(yes if self._condition(condition) else no)
        try:
            return _compute(function, self._value(argument))
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise self._error(f"!{function} {argument!r}: {error}") from error

    def _condition(self, name: str) -> bool:
        conditions = self._document.get("Conditions") or {}
        if name not in conditions:
            raise self._error(f"there is no condition {name}")
        return bool(self._value(conditions[name]))

    def _substitute(self, text: str, names: Mapping[str, Any]) -> str:
        def put(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{name}}}"
            if name in names:
                return _text(self._value(names[name]))
            logical, dot, attribute = name.partition(".")
            special = f"{logical}.{attribute}" in self._aliases
            if dot and not special:
                return _text(self._attribute(logical, attribute))
            return _text(self._ref(name))

        return _PLACEHOLDER.sub(put, text)

    @functools.cached_property
    def _aliases(self) -> set[str]:
        functions = [logical for logical, _ in self._of("AWS::Serverless::Function")]
        return {f"{each}.{kind}" for each in functions for kind in ("Alias", "Version")}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name == "AWS::StackName":
            return self.name
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in (self._document.get("Parameters") or {}):
            return self.parameter(name)
        if name in self._aliases:
            logical, _, kind = name.partition(".")
            alias = _text(self._resources[logical]["Properties"].get("AutoPublishAlias", ""))
            return f"{self._arn(logical)}:{alias if kind == 'Alias' else 1}"
        if name not in self._resources:
            raise self._error(f"there is no {name} to refer to")
        match self._resources[name]["Type"]:
            case "AWS::SQS::Queue":
                return f"{SQS_URL}/{ACCOUNT}/{self._physical(name)}"
            case "AWS::ApiGatewayV2::Integration":
                return f"{self.name}-{name}"
            case "AWS::Serverless::WebSocketApi" | "AWS::ApiGatewayV2::Api":
                return self._physical(name).lower()
        return self._physical(name)

    def _attribute(self, logical: str, attribute: str) -> Any:
        resource = self._resources.get(logical)
        if resource is None:
            raise self._error(f"there is no {logical} to take {attribute} of")
        match resource["Type"], attribute:
            case "AWS::Serverless::Application", _ if attribute.startswith("Outputs."):
                return self._nested(logical).output(attribute.removeprefix("Outputs."))
            case _, "Arn":
                return self._arn(logical)
            case "AWS::SQS::Queue", "QueueName":
                return self._physical(logical)
            case "AWS::SQS::Queue", "QueueUrl":
                return self._ref(logical)
        raise self._error(f"{attribute} of {logical} is not known to the local cloud")

    def _arn(self, logical: str) -> str:
        kinds = {
            "AWS::Serverless::Function": "lambda:{region}:{account}:function:",
            "AWS::SQS::Queue": "sqs:{region}:{account}:",
            "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/",
            "AWS::IAM::Role": "iam::{account}:role/",
            "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:",
        }
        kind = self._resources[logical]["Type"]
        if kind not in kinds:
            raise self._error(f"the ARN of {logical} ({kind}) is not known to the local cloud")
        prefix = kinds[kind].format(region=REGION, account=ACCOUNT)
        return f"arn:aws:{prefix}{self._physical(logical)}"

    # Resources

    def _of(self, kind: str) -> Iterator[tuple[str, _Properties]]:
        for logical, resource in self._resources.items():
            if resource["Type"] == kind:
                yield logical, resource.get("Properties") or {}

    def _nested(self, logical: str) -> _Template:
        if logical not in self._made:
            properties = self._resources[logical]["Properties"]
            location = self.path.parent / str(properties["Location"])
            given = {
                name: functools.partial(self._value, value)
                for name, value in (properties.get("Parameters") or {}).items()
            }
            self._made[logical] = _Template(location, self._physical(logical), given)
        return self._made[logical]

    @functools.cached_property
    def _made(self) -> dict[str, _Template]:
        return {}

    def _physical(self, logical: str) -> str:
        return f"{self.name}-{logical}"

    def _optional(self, properties: _Properties, name: str) -> Any:
        value = self._value(properties.get(name))
        return None if value is _NO_VALUE else value

    def _needed(self, logical: str, properties: _Properties, name: str) -> Any:
        value = self._optional(properties, name)
        if value is None:
            raise self._error(f"{logical} has no {name}")
        return value

    def _error(self, what: str) -> TemplateError:
        return TemplateError(f"{self.path}: {what}")


def _compute(function: str, values: Any) -> Any:
    """Compute what depends on values alone."""
    match function, values:
        case "Join", [between, parts]:
            return between.join(_text(each) for each in parts)
        case "Select", [index, parts]:
            return parts[int(index)]
        case "Split", [between, text]:
            return text.split(between)
        case "Equals", [one, other]:
            return _text(one) == _text(other)
        case "Not", [one]:
            return not one
        case "And", list():
            return all(values)
        case "Or", list():
            return any(values)
    raise ValueError("not known to the local cloud")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _load(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise CloudError(
            "PyYAML, which reads the templates, is not installed; run: pip install 'voxyray[cloud]'"
        ) from error
    try:
        loader = _loader()  # of plain values only
        document = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506
    except OSError as error:
        raise TemplateError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"{path}: {error}") from error
    if not isinstance(document, dict) or "Resources" not in document:
        raise TemplateError(f"{path} is no template: it has no Resources")
    return document


@functools.cache
def _loader() -> Any:
    """Make a loader that reads CloudFormation's short forms, such as !Ref."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain values, and calls as one-key mappings."""

    def call(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            argument: Any = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            argument = loader.construct_sequence(node, deep=True)
        else:
            argument = loader.construct_mapping(node, deep=True)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": argument}

    yaml.add_multi_constructor("!", call, Loader=Loader)
    return Loader
