"""Brings into being what templates describe: the table, queues, secrets, and custom resources."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from voxyray.stores.dynamodb import create_table
from voxyray.twin.cloud.errors import CloudError, FunctionFailed
from voxyray.twin.cloud.functions import ACCOUNT, REGION, Pool
from voxyray.twin.cloud.ministack import make_client
from voxyray.twin.cloud.templates import Custom, Stack

_PREFIX: Final = "ssm:"
_ANSWERS_WITHIN_S: Final = 120.0


async def create_resources(stack: Stack, url: str, secrets: Mapping[str, str]) -> None:
    """Create the table, the queues and the secrets; secrets: by name, such as twilio-auth-token.

    Raises:
        CloudError: the templates want secrets where the local cloud has none.
    """
    paths = {path for each in stack.functions if (path := each.environment.get("VOXYRAY_SECRETS"))}
    for path in sorted(paths):
        if not path.startswith(_PREFIX):
            raise CloudError(
                f"{path}: the local cloud keeps secrets in SSM; use Secrets=ssm:/PATH/"
            )

    def create() -> None:
        for table in stack.tables:
            create_table(make_client("dynamodb", url), table)
        sqs = make_client("sqs", url)
        # Those that others redrive to come first.
        for queue in sorted(stack.queues, key=lambda each: bool(each.dead_letters)):
            sqs.create_queue(QueueName=queue.name, Attributes=dict(queue.attributes))
        ssm = make_client("ssm", url)
        for path in paths:
            for name, value in secrets.items():
                full = f"{path.removeprefix(_PREFIX).rstrip('/')}/{name}"
                ssm.put_parameter(Name=full, Value=value, Type="SecureString", Overwrite=True)

    await asyncio.to_thread(create)


async def make_customs(customs: Iterable[Custom], functions: Mapping[str, Pool]) -> None:
    """Let functions make the custom resources, as CloudFormation does.

    Raises:
        CloudError: one of them failed; the message says what the function said.
    """
    answers: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def take(request: web.Request) -> web.Response:
        waiting = answers.get(request.match_info["id"])
        if waiting is None or waiting.done():
            return web.Response(status=403)
        waiting.set_result(msgspec.json.decode(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_put("/{id}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"

        async def make(custom: Custom) -> None:
            request_id = str(uuid.uuid4())
            waiting = answers[request_id] = asyncio.get_running_loop().create_future()
            event = _event(custom, request_id, f"{address}/{request_id}")
            await _make(custom, functions[custom.function], event, waiting)

        await asyncio.gather(*[make(custom) for custom in customs])
    finally:
        await runner.cleanup()


async def _make(
    custom: Custom, function: Pool, event: dict[str, Any], waiting: asyncio.Future[dict[str, Any]]
) -> None:
    try:
        await function.invoke(event)
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            answer = await waiting
    except FunctionFailed as error:
        raise CloudError(f"{custom.name} was not made: {error}") from error
    except TimeoutError:
        raise CloudError(f"{custom.name} was not made: {custom.function} gave no answer") from None
    if answer.get("Status") != "SUCCESS":
        raise CloudError(f"{custom.name} was not made: {answer.get('Reason')}")


def _event(custom: Custom, request_id: str, url: str) -> dict[str, Any]:
    return {
        "RequestType": "Create",
        "ServiceToken": custom.properties["ServiceToken"],
        "ResponseURL": url,
        "StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{custom.name}/local",
        "RequestId": request_id,
        "LogicalResourceId": custom.name.rpartition("-")[2],
        "ResourceType": custom.kind,
        "ResourceProperties": dict(custom.properties),
    }
