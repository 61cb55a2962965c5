"""What carries messages of SQS queues to functions: Lambda's event source mappings.

It asks the queue over HTTP itself, without a client's threads, and gives functions the records as
Lambda does. What succeeded is deleted; the rest comes back after its visibility timeout, and ends
in the dead-letter queue by the queue's own redrive policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

import aiohttp
import msgspec

from voxyray.twin.cloud.errors import FunctionFailed
from voxyray.twin.cloud.functions import ACCOUNT, REGION, Pool
from voxyray.twin.cloud.runtime import ACCESS_KEY

_log = logging.getLogger(__name__)

_AGAIN_AFTER_S: Final = 1.0


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """From which queue to which function; queue: its name.

    report_failures: whether the function names the messages that failed
    (ReportBatchItemFailures). concurrency: most batches at a time.
    """

    queue: str
    function: str
    batch_size: int = 10
    report_failures: bool = False
    concurrency: int = 10


class Poller:
    """Takes messages from a queue to a function until it is stopped.

    endpoint: of SQS. wait_s: how long a request waits for messages. batches: how many were handed
    over; failed: how many messages failed.
    """

    def __init__(
        self,
        mapping: Mapping,
        function: Pool,
        endpoint: str,
        *,
        region: str = REGION,
        wait_s: int = 20,
    ) -> None:
        self.mapping = mapping
        self.function = function
        self.batches = self.failed = 0
        self._endpoint = endpoint
        self._region = region
        self._wait_s = wait_s
        self._queue_url = f"{endpoint}/{ACCOUNT}/{mapping.queue}"
        self._slots = asyncio.Semaphore(mapping.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Poll; ends only by being cancelled."""
        async with aiohttp.ClientSession() as session:
            try:
                while True:
                    await self._slots.acquire()
                    if not (messages := await self._receive(session)):
                        self._slots.release()
                        continue
                    task = asyncio.create_task(self._hand_over(session, messages))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()):
            _log.error("a batch of %s was lost", self.mapping.queue, exc_info=error)

    async def _receive(self, session: aiohttp.ClientSession) -> list[dict[str, Any]]:
        wanted = {
            "QueueUrl": self._queue_url,
            "MaxNumberOfMessages": min(10, self.mapping.batch_size),
            "WaitTimeSeconds": self._wait_s,
            "AttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        try:
            answer = await self._ask(session, "ReceiveMessage", wanted)
        except (aiohttp.ClientError, OSError) as error:
            _log.warning("queue %s: %s", self.mapping.queue, error)
            await asyncio.sleep(_AGAIN_AFTER_S)
            return []
        messages: list[dict[str, Any]] = answer.get("Messages") or []
        return messages

    async def _hand_over(
        self, session: aiohttp.ClientSession, messages: list[dict[str, Any]]
    ) -> None:
        self.batches += 1
        records = [self._record(message) for message in messages]
        ids = {record["messageId"] for record in records}
        try:
            answer = await self.function.invoke({"Records": records})
            failed = failures(answer, ids) if self.mapping.report_failures else set()
        except FunctionFailed as error:
            _log.info("a batch of %s failed: %s", self.mapping.queue, error)
            failed = ids
        self.failed += len(failed)
        entries = [
            {"Id": str(index), "ReceiptHandle": record["receiptHandle"]}
            for index, record in enumerate(records)
            if record["messageId"] not in failed
        ]
        if entries:
            done = {"QueueUrl": self._queue_url, "Entries": entries}
            await self._ask(session, "DeleteMessageBatch", done)

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {
                name: _attribute(value)
                for name, value in message.get("MessageAttributes", {}).items()
            },
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{self._region}:{ACCOUNT}:{self.mapping.queue}",
            "awsRegion": self._region,
        }
        if digest := message.get("MD5OfMessageAttributes"):
            record["md5OfMessageAttributes"] = digest
        return record

    async def _ask(
        self, session: aiohttp.ClientSession, action: str, request: dict[str, Any]
    ) -> dict[str, Any]:
        scope = f"{ACCESS_KEY}/20260101/{self._region}/sqs/aws4_request"
        headers = {
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Content-Type": "application/x-amz-json-1.0",
            # Not a signature: it only says whose queue of which region this is.
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host",
        }
        body = msgspec.json.encode(request)
        async with session.post(self._endpoint, data=body, headers=headers) as answer:
            answer.raise_for_status()
            got: dict[str, Any] = msgspec.json.decode(await answer.read() or b"{}")
            return got


@contextlib.asynccontextmanager
async def polling(*pollers: Poller) -> AsyncGenerator[None, None]:
    """Poll while the block runs."""
    tasks = [asyncio.create_task(poller.run()) for poller in pollers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def failures(answer: Any, ids: set[str]) -> set[str]:
    """Give the messages that failed by a function's answer; nonsense means all of them."""
    if answer is None or answer == {}:
        return set()
    named = answer.get("batchItemFailures", ()) if isinstance(answer, dict) else None
    if named is None and isinstance(answer, dict):
        return set()
    if not isinstance(named, list | tuple):
        return ids
    failed = {each.get("itemIdentifier") if isinstance(each, dict) else None for each in named}
    return {each for each in ids if each in failed} if failed <= ids else ids


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    read = {"dataType": value["DataType"], "stringListValues": [], "binaryListValues": []}
    for theirs, ours in (("StringValue", "stringValue"), ("BinaryValue", "binaryValue")):
        if theirs in value:
            read[ours] = value[theirs]
    return read
