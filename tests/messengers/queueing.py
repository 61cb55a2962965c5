"""A queue as SQS is one, on a virtual clock, and a delivery whose attempts are made behind it."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from voxyray.aws.queues import MOST_DELAY_S, Ticket
from voxyray.aws.sender import Sender
from voxyray.errors import QueueError
from voxyray.messengers import Kind, Messenger
from voxyray.messengers.delivery import CLOSE_S, Delivery
from voxyray.messengers.records import Place
from voxyray.stores import Item, Store, Update, Write
from voxyray.stores.memory import MemoryStore

FUNCTION_S = 60.0


class Yielding(MemoryStore):
    """A store whose answers take a turn of the loop, so that others come in between."""

    async def get(self, pk: str, sk: str) -> Item | None:
        item = await super().get(pk, sk)
        await asyncio.sleep(0)
        return item

    async def update(self, update: Update) -> Item:
        await asyncio.sleep(0)
        item = await super().update(update)
        await asyncio.sleep(0)
        return item

    async def write(self, *writes: Write) -> None:
        await asyncio.sleep(0)
        await super().write(*writes)
        await asyncio.sleep(0)


@dataclass
class Waiting:
    body: str
    visible_at: float
    received: int = 0


class Sqs:
    """Gives what it takes to a sender, in batches of one, again until it is taken.

    copies: of each ticket. fails: how many sends are refused from now on.
    """

    kinds = ("sms", "email")

    def __init__(self, copies: int = 1, visibility_s: float = 360.0, receives: int = 5) -> None:
        self.copies = copies
        self.fails = 0
        self.sent: list[str] = []
        self.dead: list[str] = []
        self.invoked = 0
        self.sender: Sender
        self._visibility_s = visibility_s
        self._receives = receives
        self._waiting: dict[int, Waiting] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    async def dispatch(self, place: Place, kind: Kind, wait_s: float = 0.0) -> None:
        if self.fails:
            self.fails -= 1
            raise QueueError("the queue is away")
        body = msgspec.json.encode(Ticket(place.pk, place.sk, kind)).decode()
        self.sent.append(body)
        for _ in range(self.copies):
            self.put(body, min(MOST_DELAY_S, math.ceil(wait_s)))

    def put(self, body: str, delay_s: float = 0.0) -> None:
        number = next(self._numbers)
        self._waiting[number] = Waiting(body, asyncio.get_running_loop().time() + delay_s)
        self._serve(number)

    def restart(self) -> None:
        """Go on after every task of this process was killed: the queue is not in this process."""
        for number in self._waiting:
            self._serve(number)

    def _serve(self, number: int) -> None:
        task = asyncio.create_task(self._work_off(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, number: int) -> None:
        loop, waiting = asyncio.get_running_loop(), self._waiting[number]
        while True:
            await asyncio.sleep(max(0.0, waiting.visible_at - loop.time()))
            if waiting.received == self._receives:
                self.dead.append(waiting.body)
                break
            waiting.received += 1
            waiting.visible_at = loop.time() + self._visibility_s
            self.invoked += 1
            record = {"messageId": str(number), "body": waiting.body, "eventSource": "aws:sqs"}
            answer = await self.sender.handle({"Records": [record]}, FUNCTION_S)
            if not answer["batchItemFailures"]:
                break
        del self._waiting[number]

    async def settle(self, limit_s: float) -> bool:
        """Wait until the queue is empty; false if that takes longer."""
        try:
            async with asyncio.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Queued(Delivery):
    """Accepts messages whose attempts a sender behind a queue makes, with a delivery of its own."""

    def __init__(
        self,
        store: Store,
        messengers: Mapping[str, Messenger],
        *,
        sqs: Sqs | None = None,
        allow: Any = None,
        **options: Any,
    ) -> None:
        self.sqs = sqs or Sqs()
        self.far = Delivery(store, messengers, dispatcher=self.sqs, **options)
        self.sqs.sender = Sender(self.far, self.sqs)
        super().__init__(store, {}, dispatcher=self.sqs, allow=allow, **options)

    async def settle(self, limit_s: float) -> bool:
        return await super().settle(limit_s) and await self.sqs.settle(limit_s)

    async def close(self, limit_s: float = CLOSE_S) -> None:
        await super().close(limit_s)
        await self.sqs.settle(limit_s)
        await self.sqs.stop()
        await self.far.close(limit_s)
