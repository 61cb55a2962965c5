"""What the AWS part needs: credentials, the table, the queues."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Callable
from typing import Any, Final

from voxyray.checks import Finding, Setup, broken, ok, warning
from voxyray.errors import SettingsError

_QUEUES: Final = ("VOXYRAY_WAKE_QUEUE_URL", "VOXYRAY_SMS_QUEUE_URL", "VOXYRAY_EMAIL_QUEUE_URL")


async def services(setup: Setup) -> list[Finding]:
    """Check what of AWS the settings use; nothing if they use none of it."""
    kind, _, table = setup.settings.store.partition(":")
    queues = {name: url for name in _QUEUES if (url := setup.environ.get(name, "").strip())}
    if kind != "dynamodb" and not queues:
        return []
    identity = await _identity(setup)
    if identity.level == "broken":
        return [identity]
    looked = [_queue(name, url) for name, url in queues.items()]
    if kind == "dynamodb" and table:
        looked.insert(0, _table(table))
    return [identity, *await asyncio.gather(*looked)]


async def _identity(setup: Setup) -> Finding:
    answer = await _asked("sts", "get_caller_identity")
    if isinstance(answer, str):
        return broken("aws", answer, "the store and the queues cannot be used until then")
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if date := headers.get("date"):
        setup.note_clock("AWS", email.utils.parsedate_to_datetime(date).timestamp())
    return ok("aws", f"the credentials are good, of account …{str(answer.get('Account'))[-4:]}")


async def _table(table: str) -> Finding:
    described, expiry = await asyncio.gather(
        _asked("dynamodb", "describe_table", TableName=table),
        _asked("dynamodb", "describe_time_to_live", TableName=table),
    )
    if isinstance(described, str):
        fix = "check the name in VOXYRAY_STORE, and AWS_REGION; the database stack creates it"
        return broken("table", f"{table}: {described}", fix)
    status = described["Table"].get("TableStatus")
    if status not in ("ACTIVE", "UPDATING"):
        return broken("table", f"{table} is {status}", "wait until it is ACTIVE")
    keys = [each["AttributeName"] for each in described["Table"].get("KeySchema", ())]
    if keys != ["pk", "sk"]:
        fix = "its keys must be pk and sk, both strings: create it with the database stack"
        return broken("table", f"{table} has the keys {' and '.join(keys)}", fix)
    if isinstance(expiry, str):
        return warning("table", f"{table} is there; its expiry: {expiry}", "allow the action")
    ttl = expiry.get("TimeToLiveDescription", {})
    on = ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    if not on or ttl.get("AttributeName") != "expires_at":
        fix = "switch its time to live on, for expires_at: else old calls are kept for ever"
        return warning("table", f"{table} is active, but nothing in it expires", fix)
    return ok("table", f"{table} is {status.lower()}, old items expire")


async def _queue(variable: str, url: str) -> Finding:
    answer = await _asked(
        "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["RedrivePolicy"]
    )
    if isinstance(answer, str):
        fix = f"set {variable} to the queue's URL, and AWS_REGION to where it is"
        return broken("queue", f"{variable}: {answer}", fix)
    if "RedrivePolicy" not in answer.get("Attributes", {}):
        fix = "give it a dead-letter queue: else what always fails is tried until it expires"
        return warning("queue", f"{variable} is there, without a dead-letter queue", fix)
    return ok("queue", f"{variable} is there")


async def _asked(service: str, method: str, **arguments: Any) -> dict[str, Any] | str:
    """Ask a service; gives its answer, or what is wrong."""
    from voxyray.aws import clients  # botocore takes a while to import

    try:
        made = await asyncio.to_thread(clients.client, service)
        call: Callable[..., Any] = getattr(made, method)
        answer: dict[str, Any] = await clients.ask(call, **arguments)
    except SettingsError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - botocore makes its exceptions at run time
        if clients.code_of(error) == "NoRegionError":  # sts finds out only when it is asked
            return "no AWS region is set; set AWS_REGION, such as eu-central-1"
        return clients.explain(error)
    return answer
