"""Sends to SQS: messages of the outbox for the sender function, and whatever else is to be woken.

The queues are standard ones: what is sent arrives at least once, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Annotated, Final

import msgspec

from voxyray.aws.clients import ask, client, code_of, explain
from voxyray.errors import QueueError
from voxyray.messengers import Kind
from voxyray.messengers.records import Place

MOST_DELAY_S: Final = 900

_VARIABLES: Final[dict[Kind, str]] = {
    "sms": "VOXYRAY_SMS_QUEUE_URL",
    "email": "VOXYRAY_EMAIL_QUEUE_URL",
}
_MISSING: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class Ticket(msgspec.Struct, frozen=True):
    """What a queue holds of a message in the outbox: where it is, nothing personal.

    Only places of the outbox can be told, so that a ticket from elsewhere moves no other item.
    """

    pk: Annotated[str, msgspec.Meta(pattern=r"^OUTBOX#[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    sk: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{15}#[0-9a-f]{24}\Z")]
    kind: Kind

    @property
    def place(self) -> Place:
        """Where the message is in the store."""
        return Place(self.pk, self.sk)


class Queue:
    """One queue, by its URL; the client is made now, for that takes a while.

    Raises:
        SettingsError: boto3 is not installed, or no region is set.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # A request sent twice is a message that comes twice, which the receivers are made for.
        self._send = client("sqs", attempts=2).send_message

    async def send(self, body: str, delay_s: float = 0.0) -> None:
        """Put a text into the queue, to be received after delay_s or, beyond 900 s, after these.

        Whoever receives it before its time puts it back.

        Raises:
            QueueError: it may not be in the queue.
        """
        whole_s = min(MOST_DELAY_S, max(0, math.ceil(delay_s)))
        try:
            await ask(self._send, QueueUrl=self.url, MessageBody=body, DelaySeconds=whole_s)
        except Exception as error:  # noqa: BLE001 - botocore makes its exceptions at run time
            problem = QueueError(f"the queue {self._name} took nothing: {_explained(error)}")
        else:
            return
        raise problem

    @property
    def _name(self) -> str:
        return self.url.rpartition("/")[2]


class Outgoing:
    """Has messages of the outbox sent by the sender function: a `Dispatcher` over queues by kind.

    Kinds without a queue are not taken.
    """

    def __init__(self, queues: Mapping[Kind, Queue]) -> None:
        self._queues = queues

    @property
    def kinds(self) -> Container[str]:
        """The kinds there are queues for."""
        return self._queues

    async def dispatch(self, place: Place, kind: Kind, wait_s: float = 0.0) -> None:
        """Put a ticket into the queue of its kind.

        Raises:
            QueueError: it may not be there.
        """
        if kind not in self._queues:
            raise QueueError(f"there is no queue for {kind}; set {_VARIABLES[kind]}")
        ticket = Ticket(place.pk, place.sk, kind)
        await self._queues[kind].send(msgspec.json.encode(ticket).decode(), wait_s)


def open_outgoing(environ: Mapping[str, str]) -> Outgoing:
    """Open the queues that VOXYRAY_SMS_QUEUE_URL and VOXYRAY_EMAIL_QUEUE_URL name.

    Raises:
        SettingsError: a queue is named, but boto3 is not installed, or no region is set.
    """
    urls = {kind: environ.get(name, "").strip() for kind, name in _VARIABLES.items()}
    return Outgoing({kind: Queue(url) for kind, url in urls.items() if url})


def _explained(error: Exception) -> str:
    if code_of(error) in _MISSING:
        return "it does not exist; check the queue's URL and AWS_REGION"
    return explain(error)
