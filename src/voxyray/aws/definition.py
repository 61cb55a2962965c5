"""The custom resource that brings a use case into the table when its stack is deployed.

CloudFormation waits up to an hour for an answer, so there is one in every case: whatever fails,
however long it takes. So the work has a thread of its own, and imports what it needs there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)

_PREFIX: Final = "voxyray-agent-"
_MARGIN_S: Final = 10.0  # for the answer, before the function is stopped from outside
_ANSWER_TRIES: Final = 3
_ANSWER_TIMEOUT_S: Final = 3.0
_PAUSE_S = 0.2
_MOST_REASON: Final = 2000  # bytes; CloudFormation takes an answer of 4 KB
_TRIES: Final = 3
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

Work = Callable[[Mapping[str, Any]], dict[str, Any]]


def handler(event: Any, context: Any) -> None:
    """Do what CloudFormation asks for, and answer it; this is what Lambda calls."""
    respond(event, context.get_remaining_time_in_millis() / 1000 - _MARGIN_S)


def respond(event: Any, within_s: float, work: Work | None = None) -> None:
    """Work for at most within_s, and answer at the event's ResponseURL; never raises."""
    if not isinstance(event, Mapping) or not isinstance(event.get("ResponseURL"), str):
        _log.error("an event that is not CloudFormation's has no effect")
        return
    data, reason = _bounded(work or carry_out, event, within_s)
    answer = {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": _cut(reason) or "done",
        "PhysicalResourceId": _physical_id(event),
        "StackId": event.get("StackId", ""),
        "RequestId": event.get("RequestId", ""),
        "LogicalResourceId": event.get("LogicalResourceId", ""),
        "Data": data,
    }
    if reason:
        _log.error("%s failed: %s", event.get("RequestType"), answer["Reason"])
    _put(event["ResponseURL"], json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))


def carry_out(event: Mapping[str, Any]) -> dict[str, Any]:
    """Create, update or delete; gives what the stack may read of it."""
    if event.get("RequestType") == "Delete":
        return asyncio.run(_delete(event))
    if event.get("RequestType") in ("Create", "Update"):
        return asyncio.run(_deploy(event))
    raise ValueError(f"RequestType {event.get('RequestType')!r:.60} is none we know")


async def _deploy(event: Mapping[str, Any]) -> dict[str, Any]:
    from voxyray import definitions, tool_definitions
    from voxyray.aws.refresh import refresh
    from voxyray.aws.use_case import open_use_case
    from voxyray.errors import ConditionFailed

    use_case = open_use_case()
    properties = event.get("ResourceProperties") or {}
    function = str(properties.get("ToolsFunction") or "")
    agent, tools = use_case.agent, None
    if function:
        tools = tuple(tool_definitions.define(tool, function) for tool in agent.tools)
    try:
        for attempt in range(1, _TRIES + 1):
            try:
                deployed = await definitions.deploy(
                    use_case.store, agent, tools, owner=_owner(event)
                )
                break
            except ConditionFailed:  # somebody edited it at this moment
                if attempt == _TRIES:
                    raise
        made = await refresh(use_case)
    finally:
        await use_case.store.close()
    return {
        "Agent": agent.name,
        "Done": deployed.done,
        "Version": deployed.version,
        "Tools": "function" if function else "application",
        "Seeds": made,
    }


async def _delete(event: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the definition, if it is still this resource's; data stays."""
    from voxyray import definitions
    from voxyray.settings import load_settings
    from voxyray.stores.opening import open_store

    name = str(event.get("PhysicalResourceId", ""))
    if not name.startswith(_PREFIX):  # it was never created
        return {"Done": "nothing"}
    name = name.removeprefix(_PREFIX)
    store = open_store(load_settings().store)
    try:
        removed = await definitions.remove(store, name, owner=_owner(event))
    finally:
        await store.close()
    return {"Agent": name, "Done": "removed" if removed else "nothing"}


def _owner(event: Mapping[str, Any]) -> str:
    # Of two resources with one agent, as after a renaming, the one to go must not take it away.
    return f"{event.get('StackId', '')} {event.get('LogicalResourceId', '')}"


def _physical_id(event: Mapping[str, Any]) -> str:
    if event.get("RequestType") == "Delete":
        return str(event.get("PhysicalResourceId", ""))
    name = Path(os.environ.get("VOXYRAY_AGENT", "")).name
    return f"{_PREFIX}{name}"


def _bounded(work: Work, event: Mapping[str, Any], within_s: float) -> tuple[dict[str, Any], str]:
    """Do the work in a thread, that even an import that hangs is not waited for.

    Gives its data, and the reason why it failed or nothing.
    """
    done: list[tuple[dict[str, Any], str]] = []

    def run() -> None:
        try:
            done.append((work(event), ""))
        except BaseException as error:  # noqa: BLE001 - the reason is told, whatever it is
            done.append(({}, f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=run, name="definition", daemon=True)
    thread.start()
    thread.join(max(0.0, within_s))
    return done[0] if done else ({}, f"it was not done within {within_s:.0f} s")


def _put(url: str, body: bytes) -> None:
    """Answer, more than once if need be; what CloudFormation does not hear, it times out."""
    if not _is_answerable(url):
        _log.error("the ResponseURL is none")
        return
    # The URL is signed for a request without a content type.
    headers = {"Content-Type": ""}
    request = urllib.request.Request(url, body, headers, method="PUT")  # noqa: S310 - checked
    for attempt in range(1, _ANSWER_TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S):  # noqa: S310
                return
        except (OSError, ValueError) as error:
            # Not the URL: it is a secret for as long as it is valid.
            _log.error("CloudFormation was not answered: %s", type(error).__name__)
            time.sleep(_PAUSE_S * attempt)


def _cut(reason: str) -> str:
    return reason.encode("utf-8", "replace")[:_MOST_REASON].decode("utf-8", "ignore")


def _is_answerable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
