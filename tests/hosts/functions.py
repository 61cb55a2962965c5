"""The Lambda host in the test's own loop: a gateway, functions in environments, a wake-up queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from voxyray.aws.line import Gateway as Posts
from voxyray.aws.relay import Relay
from voxyray.aws.web import Web
from voxyray.service import Service
from voxyray.twin.cloud.functions import InProcess, Pool
from voxyray.twin.cloud.gateway import Gateway, Manners

EPOCH_S = float(int(time.time()))  # stores expire items by the real clock


class Wakes:
    """The delayed queue: whole seconds, and what comes is an SQS event."""

    def __init__(self, invoke: Callable[[Any], Any]) -> None:
        self.sent: list[tuple[str, float]] = []
        self._invoke = invoke
        self._waiting: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def send(self, body: str, delay_s: float = 0.0) -> None:
        self.sent.append((body, delay_s))
        loop = asyncio.get_running_loop()
        number = len(self.sent)
        self._waiting.add(loop.call_later(math.ceil(delay_s), self._arrive, f"M{number}", body))

    def _arrive(self, id_: str, body: str) -> None:
        record = {"messageId": id_, "body": body, "eventSource": "aws:sqs"}
        task = asyncio.ensure_future(self._invoke({"Records": [record]}))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for timer in self._waiting:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Cloud:
    """The parts, for tests that look behind the gateway."""

    def __init__(self, service: Service, manners: Manners | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.service = service
        self.clock = lambda: EPOCH_S + loop.time()
        self.services: list[Service] = []
        self.posts: list[Posts] = []
        self.relay = Pool("relay", lambda: InProcess(self._relay()), clock=self.clock)
        self.web = Pool("web", lambda: InProcess(Web(self._service()).invoke), clock=self.clock)
        self.wakes = Wakes(self.relay.invoke)
        path = urlsplit(service.settings.relay_url).path
        self.gateway = Gateway(
            websocket=self.relay.invoke,
            http=self.web.invoke,
            path=path,
            clock=self.clock,
            manners=manners or Manners(),
        )

    def _service(self) -> Service:
        """Give what an environment of its own has; only the store and the models are shared."""
        ours = self.service
        service = Service(
            ours.settings, ours.agents, store=ours.store, models=ours.models, clock=self.clock
        )
        self.services.append(service)
        return service

    def _relay(self) -> Callable[[Any], Any]:
        posts = Posts(f"http://{self.gateway.address}{self.gateway.path}", lambda *_: {})
        self.posts.append(posts)
        return Relay(self._service(), posts, self.wakes, self.clock).invoke

    async def close(self) -> None:
        await self.wakes.close()
        await self.gateway.stop()
        await self.relay.close()
        await self.web.close()
        for posts in self.posts:
            await posts.close()
        for service in self.services:
            await service.texting.close()
            await service.delivery.close()
            await service.recorder.close()
        await self.service.close()


@asynccontextmanager
async def serving_lambda(service: Service, **settings: Any) -> AsyncIterator[str]:
    """Serve until the block is left; gives the address (host:port)."""
    cloud = Cloud(service, **settings)
    await cloud.gateway.start()
    try:
        yield cloud.gateway.address
    finally:
        await cloud.close()
