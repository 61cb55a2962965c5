"""Sending requests to DynamoDB: what is sent again and for how long, and what its errors mean."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from voxyray.aws.clients import answer_of, ask, code_of, explain
from voxyray.errors import StoreError
from voxyray.stores.dynamodb_values import WireItem

_FIRST_PAUSE_S: Final = 0.025
_LONGEST_PAUSE_S: Final = 0.4

_CONFLICT: Final = frozenset(
    {"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"}
)
_BUSY: Final = _CONFLICT | {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingError",
    "ThrottlingException",
}
# Nobody got the request.
_NOT_SENT: Final = frozenset({"ConnectTimeoutError", "EndpointConnectionError"})
# Somebody may have got it, and done it.
_LOST: Final = frozenset(
    {"ConnectionClosedError", "GarbledAnswer", "HTTPClientError", "ReadTimeoutError"}
)
_NO_TABLE: Final = (
    "there is no such table; deploy the stack deploy/aws/database, or run: aws dynamodb "
    "create-table --region {region} --table-name {table} --billing-mode PAY_PER_REQUEST "
    "--attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S "
    "--key-schema AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE"
)

_decoder: Final = msgspec.json.Decoder(dict[str, Any])


class NotHeld(Exception):
    """A condition did not hold.

    olds: what was there instead, by the place of the write among those of its request.
    in_doubt: an answer was lost before, so the write itself may have changed what is there.
    """

    def __init__(self, olds: Mapping[int, WireItem | None], in_doubt: bool) -> None:
        super().__init__("a condition did not hold")
        self.olds = olds
        self.in_doubt = in_doubt


class GarbledAnswer(Exception):
    """An answer that is no JSON object."""


class Refused(StoreError):
    """DynamoDB holds the request for wrong: too large an item, or a table of another shape."""


class Sender:
    """Send requests for one table, again if need be.

    patience_s: no request is sent again later than this after its first sending.
    """

    def __init__(self, table: str, region: str, patience_s: float) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        self._table = table
        self._region = region
        self._patience_s = patience_s
        self._errors = (ClientError, BotoCoreError, GarbledAnswer)
        self._under_way = 0
        self._idle = asyncio.Event()

    async def send(
        self, method: Callable[..., Any], *, reading: bool = False, **arguments: Any
    ) -> Any:
        """Send a request and give its answer.

        reading: it changes nothing, so nothing is in doubt when its answer is lost.

        Raises:
            NotHeld: a condition did not hold.
            Refused: the request is wrong.
            StoreError: it was not answered; the message says what to do.
        """
        self._under_way += 1
        self._idle.clear()
        try:
            return await self._send(method, arguments, reading)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await self._idle.wait()

    def pauses(self) -> Pauses:
        """Give the pauses between sendings; whoever makes progress begins anew."""
        return Pauses(self._patience_s)

    def give_up(self, why: str) -> StoreError:
        """Say what was the matter with the table."""
        return StoreError(f"the table {self._table} in {self._region}: {why}")

    def too_busy(self, code: str) -> StoreError:
        """Say that it was busy for longer than we wait."""
        fix = (
            "other writes go to the same items all the time; make fewer at once"
            if code in _CONFLICT
            else "it is used more than it may be; try again later, raise its maximum throughput, "
            "or look for one partition that takes it all"
        )
        return self.give_up(f"busy for {self._patience_s:g} s: {fix} ({code})")

    async def _send(
        self, method: Callable[..., Any], arguments: dict[str, Any], reading: bool
    ) -> Any:
        pauses = self.pauses()
        in_doubt = False
        while True:
            try:
                return await ask(method, **arguments)
            except self._errors as error:
                code = _telling_code(error)
                if (olds := _not_held(error)) is not None:
                    raise NotHeld(olds, in_doubt) from None
                lost = _is_lost(error, code)
                in_doubt = in_doubt or (lost and not reading)
                again = lost or code in _BUSY or code in _NOT_SENT
                if not again or not await pauses.pause():
                    # The cause stays here: its text may repeat what was to be stored.
                    raise self._error(error, code, in_doubt) from None

    def _error(self, error: Exception, code: str, in_doubt: bool) -> StoreError:
        if code == "ResourceNotFoundException":
            return self.give_up(_NO_TABLE.format(region=self._region, table=self._table))
        if code in ("ValidationException", "ValidationError"):
            return Refused(
                f"the table {self._table} in {self._region}: the request was refused ({code}); "
                "are its keys the strings pk and sk, and does no update name hundreds of fields?"
            )
        if code in _BUSY:
            return self.too_busy(code)
        why = explain(error)
        return self.give_up(f"{why}; a write may have been done all the same" if in_doubt else why)


class Pauses:
    """Pauses that grow, at random so that those who met do not meet again, for a bounded time."""

    def __init__(self, patience_s: float) -> None:
        self._until = asyncio.get_running_loop().time() + patience_s
        self._longest = _FIRST_PAUSE_S

    async def pause(self) -> bool:
        """Wait a while; false, at once, if that would take too long in all."""
        pause_s = random.uniform(0, self._longest)
        if asyncio.get_running_loop().time() + pause_s > self._until:
            return False
        self._longest = min(2 * self._longest, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)
        return True


def read_fast(client: Any) -> None:
    """Let a client take DynamoDB's answers as they are, in plain JSON.

    botocore would compare every value of every item with each type it knows of.
    """
    client.meta.events.register("before-parse.dynamodb", _decode, unique_id="voxyray")


def _decode(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    if response_dict["status_code"] != 200:
        return
    try:
        answer = _decoder.decode(response_dict["body"])
    except msgspec.DecodeError as error:
        # A proxy, most likely. botocore would take it for an empty answer.
        raise GarbledAnswer("the answer is not DynamoDB's") from error
    customized_response_dict.update(answer)
    response_dict["body"] = b"{}"


def _reasons(error: Exception) -> list[dict[str, Any]]:
    return answer_of(error).get("CancellationReasons") or []


def _telling_code(error: Exception) -> str:
    """Give the code; of a cancelled transaction, that of the first write to blame."""
    code = code_of(error)
    if code != "TransactionCanceledException":
        return code
    codes = [reason.get("Code", "None") for reason in _reasons(error)]
    blamed = [code for code in codes if code != "None"]
    # What cannot get better decides.
    return next((code for code in blamed if code not in _BUSY), blamed[0] if blamed else code)


def _not_held(error: Exception) -> dict[int, WireItem | None] | None:
    if code_of(error) == "ConditionalCheckFailedException":
        return {0: answer_of(error).get("Item") or None}
    return {
        at: reason.get("Item") or None
        for at, reason in enumerate(_reasons(error))
        if reason.get("Code") == "ConditionalCheckFailed"
    } or None


def _is_lost(error: Exception, code: str) -> bool:
    status = answer_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code not in _BUSY and (code in _LOST or status >= 500)
