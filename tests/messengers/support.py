"""Every messenger with its provider over real sockets, and a messenger for tests without any."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from voxyray.messengers import Message, Messenger
from voxyray.messengers.http import Limits
from voxyray.messengers.outbox import OutboxMessenger
from voxyray.messengers.sendgrid import SendGridMessenger
from voxyray.messengers.smtp import SmtpMessenger
from voxyray.messengers.twilio import TwilioMessenger
from voxyray.stores import Item, Update, Write
from voxyray.stores.sqlite import SqliteStore
from voxyray.twin.mail import Mail, MailServer, MailTrouble
from voxyray.twin.messages import Providers, Trouble

US = "+18005550101"
SHOP = "shop@example.com"
ADA = "+14155550100"
ADA_MAIL = "ada@example.com"
QUICK = Limits(connect_s=0.04, total_s=0.04)
PATIENT = Limits(connect_s=5, total_s=5)
NAMES = ("twilio", "sendgrid", "smtp", "ses")

# What goes wrong -> how the HTTP providers and the mail server do it.
HTTP = {
    "busy": Trouble(status=429, code=20429, error="Too Many Requests"),
    "down": Trouble(status=503, code="ServiceUnavailable"),
    "refused": Trouble(status=400, code="BadRequestException", error=f"{ADA} and {ADA_MAIL}!"),
    "hang_before": Trouble(hang="before"),
    "hang_after": Trouble(hang="after"),
    "drop_after": Trouble(drop="after"),
    "gateway": Trouble(status=504, raw=b"<html>Gateway Timeout</html>"),
    "garbage": Trouble(status=500, raw=b"\xff\xfe{"),
}
MAIL = {
    "busy": MailTrouble(rcpt=450),
    "down": MailTrouble(greeting=421),
    "refused": MailTrouble(rcpt=550, said=f"{ADA} and <{ADA_MAIL}> unknown!"),
    "hang_before": MailTrouble(hang="greeting"),
    "hang_after": MailTrouble(hang="content"),
    "drop_after": MailTrouble(drop="content"),
    "gateway": MailTrouble(drop="content", content=451),
    "garbage": MailTrouble(mail=451, said="\xff\xfe{"),
}


def sms(body: str = "See you at nine.", **changes: Any) -> Message:
    return Message(**{"kind": "sms", "to": ADA, "body": body, "key": body[:99], **changes})


def mail(body: str = "See you at nine.", **changes: Any) -> Message:
    values = {
        "kind": "email",
        "to": ADA_MAIL,
        "body": body,
        "key": body[:99],
        "subject": "Your tour",
    }
    return Message(**{**values, **changes})


@dataclass
class Bench:
    """A messenger and what its provider has taken: recipient and text of each."""

    name: str
    messenger: Messenger
    taken: Callable[[], list[tuple[str, str]]]

    def message(self, body: str = "See you at nine.", **changes: Any) -> Message:
        return sms(body, **changes) if self.name == "twilio" else mail(body, **changes)


def _text(taken: Mail) -> str:
    # Lines end in CRLF on the wire.
    return str(taken.message.get_content()).replace("\r\n", "\n").strip()


@asynccontextmanager
async def bench(name: str, trouble: str = "", limits: Limits = PATIENT) -> AsyncGenerator[Bench]:
    if name == "smtp":
        async with MailServer.serve(MAIL.get(trouble, MailTrouble())) as server:
            messenger: Messenger = SmtpMessenger(
                "127.0.0.1", server.port, SHOP, timeout_s=limits.total_s
            )
            yield Bench(
                name,
                messenger,
                lambda: [(one.recipients[0], _text(one)) for one in server.taken],
            )
            await messenger.close()
        return
    async with Providers.serve(HTTP.get(trouble, Trouble())) as providers:
        messenger = http_messenger(name, providers, limits)
        yield Bench(name, messenger, lambda: [(one.to, one.body) for one in providers.taken])
        await messenger.close()


def http_messenger(name: str, providers: Providers, limits: Limits = PATIENT) -> Messenger:
    if name == "twilio":
        return TwilioMessenger(
            providers.account_sid, providers.auth_token, US, base_url=providers.url, limits=limits
        )
    if name == "sendgrid":
        return SendGridMessenger(providers.api_key, SHOP, base_url=providers.url, limits=limits)
    if name == "ses":
        pytest.importorskip("boto3")
        from voxyray.messengers.ses import SesMessenger

        return SesMessenger(SHOP, region="us-east-1", endpoint_url=providers.url, limits=limits)
    return OutboxMessenger()


BEGAN = 1_750_000_000.0


def clock() -> Callable[[], float]:
    """Give a wall clock that goes with the running (virtual) loop, from any thread."""
    loop = asyncio.get_running_loop()
    return lambda: BEGAN + loop.time()


class Held:
    """A SQLite store on a virtual clock: its work is in threads that hold the clock still."""

    def __init__(self, path: Path) -> None:
        self._store = SqliteStore.open(path, clock())

    async def _held(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, asyncio.run, _begun(work))

    async def get(self, pk: str, sk: str) -> Item | None:
        item: Item | None = await self._held(lambda: self._store.get(pk, sk))
        return item

    async def query(
        self,
        pk: str,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Item]:
        items: list[Item] = await self._held(
            lambda: self._store.query(pk, prefix, after=after, limit=limit, reverse=reverse)
        )
        return items

    async def write(self, *writes: Write) -> None:
        await self._held(lambda: self._store.write(*writes))

    async def update(self, update: Update) -> Item:
        item: Item = await self._held(lambda: self._store.update(update))
        return item

    async def append(self, items: Sequence[Item]) -> None:
        await self._held(lambda: self._store.append(items))

    async def close(self) -> None:
        await self._held(self._store.close)


async def _begun(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await work()


@dataclass
class Fake:
    """A messenger that goes through outcomes: an id suffix, an error, or an awaitable to make."""

    outcomes: list[Any] = field(default_factory=list)
    name: str = "fake"
    ids: str = "SM"
    sent: list[Message] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    running: int = 0
    most: int = 0
    takes_s: float = 0
    closed: bool = False

    async def send(self, message: Message) -> str:
        self.sent.append(message)
        number = len(self.sent)
        self.at.append(asyncio.get_running_loop().time())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.takes_s)
            outcome = self.outcomes.pop(0) if self.outcomes else None
            if isinstance(outcome, BaseException):
                raise outcome
            if callable(outcome):
                await outcome()
            return f"{self.ids}{number}" if outcome is None or callable(outcome) else str(outcome)
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed = True
