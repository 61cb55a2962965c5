"""Inbound texts: answered behind, and waited for by hosts that stand still between requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from voxyray.agent import Agent
from voxyray.models import Delta, Finish, ModelRequest, TextDelta
from voxyray.service import Service
from voxyray.settings import Settings
from voxyray.stores.memory import MemoryStore
from voxyray.twin import virtual

NUMBER = "+15550100001"


class Slow:
    """A model that takes a while, or fails."""

    name = "slow"

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.asked = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        yield TextDelta("At nine.")
        yield Finish("stop", self.name)

    async def warm(self) -> None: ...

    async def close(self) -> None: ...


def service(takes_s: float) -> Service:
    agent = Agent(name="shop", instructions="You answer.")
    settings = Settings(accept_unsigned=True)
    return Service(settings, [agent], store=MemoryStore(), models={"shop": Slow(takes_s)})


async def bodies(served: Service) -> list[str]:
    return sorted(entry.body for entry in await served.delivery.entries())


def text(sid: str, body: str = "when?") -> dict[str, str]:
    return {"From": NUMBER, "Body": body, "MessageSid": sid}


@virtual
async def test_settling_waits_until_every_answer_is_in_the_outbox() -> None:
    served = service(takes_s=3)
    await served.texting.take(text("SM1"))
    await served.texting.take(text("SM2"))
    assert await bodies(served) == [], "the carrier is answered at once"
    began = asyncio.get_running_loop().time()
    assert await served.texting.settle(12)
    assert asyncio.get_running_loop().time() - began < 5
    assert await bodies(served) == ["At nine.", "At nine."]
    await served.close()


@virtual
async def test_settling_takes_no_longer_than_it_may() -> None:
    served = service(takes_s=10)
    await served.texting.take(text("SM1"))
    assert not await served.texting.settle(2)
    assert asyncio.get_running_loop().time() == 2
    assert await bodies(served) == []
    # It goes on where the process does.
    assert await served.texting.settle(60)
    assert await bodies(served) == ["At nine."]
    await served.close()


@virtual
async def test_without_texts_there_is_nothing_to_wait_for() -> None:
    served = service(takes_s=1)
    assert await served.texting.settle(5)
    await served.texting.take(text("SM1", "STOP"))
    await served.texting.take(text("SM2", " "))
    await served.texting.take({"From": "withheld", "Body": "hi", "MessageSid": "SM3"})
    assert await served.texting.settle(5)
    assert asyncio.get_running_loop().time() == 0
    await served.close()


@virtual
async def test_a_text_that_comes_again_is_answered_once() -> None:
    served = service(takes_s=1)
    for _ in range(3):
        await served.texting.take(text("SM1"))
    assert await served.texting.settle(30)
    assert await bodies(served) == ["At nine."]
    await served.close()


@virtual
async def test_an_answer_that_fails_is_settled_too() -> None:
    class Broken(MemoryStore):
        async def get(self, pk: str, sk: str) -> None:
            raise ZeroDivisionError

    served = service(takes_s=1)
    served.texting._store = Broken()
    await served.texting.take(text("SM1"))
    assert await served.texting.settle(5)
    assert await bodies(served) == []
    await served.close()
