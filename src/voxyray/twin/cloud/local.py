"""The whole local cloud: the stack of the templates, running on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from voxyray.twin.cloud import queues, runtime, templates
from voxyray.twin.cloud.connections import Limits
from voxyray.twin.cloud.deploying import create_resources, make_customs
from voxyray.twin.cloud.errors import CloudError
from voxyray.twin.cloud.faults import Faults
from voxyray.twin.cloud.functions import REGION, Pool
from voxyray.twin.cloud.gateway import Gateway, Manners
from voxyray.twin.cloud.invoking import LambdaApi
from voxyray.twin.cloud.ministack import ministack
from voxyray.twin.cloud.queues import Poller
from voxyray.twin.cloud.runtime import ACCESS_KEY, SECRET_KEY
from voxyray.twin.cloud.templates import Stack, read_stack

TEMPLATE: Final = Path("deploy/aws/template.yaml")
_CONCURRENCY: Final = 1000  # an account's, where a template reserves none
_POLLED_AT_ONCE: Final = 10


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a local cloud is to be.

    folder: where the functions' code and agents/ are. logs: a folder for what all of it prints.
    secrets: by name, such as twilio-auth-token. cold: whether the first call meets cold starts.
    freeze: whether functions are stopped between invocations, as Lambda does. environments: most
    processes of one function; further invocations wait.
    """

    logs: Path
    template: Path = TEMPLATE
    parameters: Mapping[str, str] = {}
    folder: Path = Path()
    secrets: Mapping[str, str] = {}
    latency_dynamodb_ms: float = 0
    latency_post_ms: float = 0
    cold: bool = False
    freeze: bool = True
    environments: int = 16


class Cloud(msgspec.Struct, frozen=True):
    """A local cloud that runs; url: of the webhooks, environment: for those who look into it.

    database: what stands between the functions and the table.
    """

    url: str
    relay_url: str
    stack: Stack
    functions: Mapping[str, Pool]
    gateway: Gateway
    database: Faults
    environment: Mapping[str, str]
    logs: Path


@contextlib.asynccontextmanager
async def local_cloud(
    options: Options,
    listener: socket.socket,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> AsyncGenerator[Cloud, None]:
    """Run a local cloud while the block runs; listener: where its front listens.

    Raises:
        CloudError: something is missing or does not start; the message says the fix.
    """
    stack = read_stack(options.template, options.parameters)
    if stack.websocket is None or stack.http is None:
        raise CloudError(f"{options.template} has no WebSocket API, or no HTTP API; it needs both")
    options.logs.mkdir(parents=True, exist_ok=True)
    address = "{}:{}".format(*listener.getsockname()[:2])
    functions: dict[str, Pool] = {}
    async with contextlib.AsyncExitStack() as exits:
        database, endpoints = await _services(exits, stack, options, functions, progress)
        functions |= _pools(stack, options, endpoints, address)
        for pool in functions.values():
            exits.push_async_callback(pool.close)
        progress("bringing the agents into the table")
        await make_customs(stack.customs, functions)
        if not options.cold:
            progress("starting the functions")
            for api in (stack.websocket, stack.http):
                await functions[api.function].warm(1)
        gateway = _front(stack.websocket, stack.http, options, functions)
        await gateway.start(listener)
        exits.push_async_callback(gateway.stop)
        pollers = _pollers(stack, functions, endpoints["AWS_ENDPOINT_URL"])
        await exits.enter_async_context(queues.polling(*pollers))
        yield Cloud(
            url=f"http://{address}",
            relay_url=f"ws://{address}{gateway.path}",
            stack=stack,
            functions=functions,
            gateway=gateway,
            database=database,
            environment=_outside(stack, endpoints, f"http://{address}"),
            logs=options.logs,
        )


async def _services(
    exits: contextlib.AsyncExitStack,
    stack: Stack,
    options: Options,
    functions: Mapping[str, Pool],
    progress: Callable[[str], None],
) -> tuple[Faults, dict[str, str]]:
    """Start what functions use, and give the variables by which they find it."""
    progress("starting MiniStack")
    services = await exits.enter_async_context(ministack(options.logs))
    progress("creating the table, the queues and the secrets")
    await create_resources(stack, services, options.secrets)
    database = await exits.enter_async_context(
        Faults.serve(services, latency_ms=options.latency_dynamodb_ms)
    )
    lambdas = await exits.enter_async_context(LambdaApi.serve(functions))
    return database, {
        "AWS_ENDPOINT_URL": services,
        "AWS_ENDPOINT_URL_DYNAMODB": database.url,
        "AWS_ENDPOINT_URL_LAMBDA": lambdas.url,
    }


def _front(
    websocket: templates.Api, http: templates.Api, options: Options, functions: Mapping[str, Pool]
) -> Gateway:
    return Gateway(
        websocket=functions[websocket.function].invoke,
        http=functions[http.function].invoke,
        stage=websocket.stage,
        routes=http.routes,
        credentials={ACCESS_KEY: SECRET_KEY},
        limits=Limits(integration_s=websocket.timeout_s, http_integration_s=http.timeout_s),
        manners=Manners(post_ms=options.latency_post_ms),
    )


def _pools(
    stack: Stack, options: Options, endpoints: Mapping[str, str], address: str
) -> dict[str, Pool]:
    def pool(described: templates.Function) -> Pool:
        here = {
            name: _here(text, endpoints, address) for name, text in described.environment.items()
        }
        reserved = described.concurrency
        function = runtime.Function(
            name=described.name,
            handler=described.handler,
            folder=options.folder.absolute(),
            environment={**here, **endpoints},
            timeout_s=described.timeout_s,
            memory_mb=described.memory_mb,
            concurrency=_CONCURRENCY if reserved is None else reserved,
            log=options.logs / f"{described.name}.log",
        )
        return runtime.pool(function, freeze=options.freeze, at_most=options.environments)

    return {each.name: pool(each) for each in stack.functions}


def _here(text: str, endpoints: Mapping[str, str], address: str) -> str:
    """Lead URLs of the cloud to this machine."""
    text = text.replace(templates.SQS_URL, endpoints["AWS_ENDPOINT_URL"])
    schemes = {"wss": "ws", "https": "http"}
    return templates.EXECUTE_API.sub(lambda match: f"{schemes[match[1]]}://{address}", text)


def _pollers(stack: Stack, functions: Mapping[str, Pool], services: str) -> list[Poller]:
    return [
        Poller(
            queues.Mapping(
                queue=trigger.queue,
                function=each.name,
                batch_size=trigger.batch_size,
                report_failures=trigger.report_failures,
                concurrency=trigger.concurrency or _POLLED_AT_ONCE,
            ),
            functions[each.name],
            services,
        )
        for each in stack.functions
        for trigger in each.triggers
    ]


def _outside(stack: Stack, endpoints: Mapping[str, str], url: str) -> dict[str, str]:
    """Give the variables by which commands of this machine see the same table."""
    store = {"VOXYRAY_STORE": f"dynamodb:{stack.tables[0]}"} if stack.tables else {}
    return {
        **endpoints,
        **store,
        "VOXYRAY_PUBLIC_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
