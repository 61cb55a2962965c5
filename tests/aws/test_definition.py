"""The custom resource: CloudFormation is answered in every case, and people's edits are kept."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from voxyray import definitions
from voxyray.aws import definition
from voxyray.aws.definition import handler, respond
from voxyray.definitions import Stored
from voxyray.loading import load_folder
from voxyray.stores import Put, keys
from voxyray.stores.sqlite import SqliteStore

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:shop-tools:live"


class CloudFormation:
    """Takes answers over HTTP, as the bucket behind a ResponseURL does."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.content_types: list[str | None] = []
        self.sizes: list[int] = []
        self.refuse = 0
        heard = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.refuse -= 1
                if heard.refuse < 0:
                    heard.answers.append(json.loads(body))
                    heard.sizes.append(len(body))
                    heard.content_types.append(self.headers["Content-Type"])
                self.send_response(200 if heard.refuse < 0 else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/answer?signature=secret"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    made = CloudFormation()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(definition, "_PAUSE_S", 0.0)
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


FILES = {
    "agent.toml": 'title = "Shop"\ntime_zone = "Asia/Tokyo"\n',
    "prompt.md": "Be kind.\n",
    "tools.py": (
        "from voxyray.tool import tool\n"
        '@tool(effect="write", timeout_s=3, filler="I book {slot}.")\n'
        "async def book(slot: str, party: int = 2) -> str:\n"
        '    """Book a slot."""\n'
        "    return slot\n"
    ),
    "seeds.py": (
        "from voxyray.stores import Put\n"
        "async def seed(store, now):\n"
        '    await store.write(Put({"pk": "SLOTS", "sk": now.isoformat()[:10]}))\n'
        "    return 1\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    made = tmp_path / "shop"
    made.mkdir()
    for name, text in FILES.items():
        (made / name).write_text(text)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path / 'table'}")
    monkeypatch.setenv("VOXYRAY_AGENT", str(made))
    level = logging.getLogger().level
    yield made
    logging.getLogger().setLevel(level)


@pytest.fixture
async def table(folder: Path, tmp_path: Path) -> Any:
    store = SqliteStore.open(tmp_path / "table")
    yield store
    await store.close()


def event(cloud: CloudFormation, kind: str = "Create", **more: Any) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": cloud.url,
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/shop/1",
        "RequestId": "r1",
        "LogicalResourceId": "Definition",
        "ResourceType": "Custom::Definition",
        "ResourceProperties": {"ServiceToken": "arn", "ToolsFunction": ARN},
        **more,
    }


def ask(cloud: CloudFormation, kind: str = "Create", **more: Any) -> dict[str, Any]:
    handler(event(cloud, kind, **more), Context())
    return cloud.answers[-1]


GONE = {"PhysicalResourceId": "voxyray-agent-shop"}
IN_APPLICATION = {"ResourceProperties": {"ServiceToken": "arn"}}


async def test_a_deployment_brings_definition_tools_listing_and_data(
    cloud: CloudFormation, folder: Path, table: SqliteStore
) -> None:
    assert ask(cloud) == {
        "Status": "SUCCESS",
        "Reason": "done",
        "PhysicalResourceId": "voxyray-agent-shop",
        "StackId": "arn:aws:cloudformation:eu-central-1:1:stack/shop/1",
        "RequestId": "r1",
        "LogicalResourceId": "Definition",
        "Data": {"Agent": "shop", "Done": "written", "Version": 1, "Tools": "function", "Seeds": 1},
    }
    assert cloud.content_types == [""]  # the URL is signed for none
    stored = await definitions.stored(table, "shop")
    assert stored is not None
    assert stored.instructions == "Be kind.\n"
    (tool,) = stored.tools or ()
    assert (tool.name, tool.effect, tool.timeout_s, tool.function) == ("book", "write", 3, ARN)
    assert await definitions.listed(table) == {"shop": 1}
    assert len(await table.query("SLOTS")) == 1


async def test_tools_may_be_the_applications_own(
    cloud: CloudFormation, folder: Path, table: SqliteStore
) -> None:
    assert ask(cloud)["Data"]["Tools"] == "function"
    assert ask(cloud, "Update", **IN_APPLICATION)["Data"] == {
        "Agent": "shop",
        "Done": "unchanged",
        "Version": 2,
        "Tools": "application",
        "Seeds": 1,
    }
    stored = await definitions.stored(table, "shop")
    assert stored is not None
    assert stored.tools is None


async def test_an_edit_is_kept_until_something_else_is_deployed(
    cloud: CloudFormation, folder: Path, table: SqliteStore
) -> None:
    ask(cloud)
    agent = load_folder(folder)
    edit = Stored(definitions.definition_of(agent).definition, "Be brief.")
    assert await definitions.save(table, agent, edit) == 2
    other = {"ResourceProperties": {"ToolsFunction": ARN.replace("live", "2")}}
    done = ask(cloud, "Update", **other)["Data"]
    assert (done["Done"], done["Version"]) == ("kept", 3)
    stored = await definitions.stored(table, "shop")
    assert stored is not None
    assert stored.instructions == "Be brief."
    assert stored.tools is not None
    assert stored.tools[0].function.endswith(":2")
    done = ask(cloud, "Update", **other)["Data"]
    assert (done["Done"], done["Version"]) == ("kept", 3)  # and nothing new: no new version
    (folder / "prompt.md").write_text("Be quick.\n")
    assert ask(cloud, "Update")["Data"]["Done"] == "replaced"
    assert ask(cloud, "Update")["Data"] == {
        "Agent": "shop",
        "Done": "unchanged",
        "Version": 4,
        "Tools": "function",
        "Seeds": 1,
    }
    stored = await definitions.stored(table, "shop")
    assert stored is not None
    assert stored.instructions == "Be quick.\n"


async def test_what_was_pushed_by_hand_is_replaced_by_a_first_deployment(
    cloud: CloudFormation, folder: Path, table: SqliteStore
) -> None:
    await definitions.push(table, load_folder(folder))
    assert ask(cloud)["Data"]["Done"] == "unchanged"


async def test_deleting_leaves_data(
    cloud: CloudFormation, folder: Path, table: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(cloud)
    (folder / "agent.toml").write_text("broken")  # which is no reason to keep a stack
    monkeypatch.delenv("VOXYRAY_AGENT")
    answer = ask(cloud, "Delete", **GONE)
    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == "voxyray-agent-shop"
    assert answer["Data"]["Done"] == "removed"
    assert await definitions.stored(table, "shop") is None
    assert await definitions.listed(table) == {}
    assert len(await table.query("SLOTS")) == 1
    assert ask(cloud, "Delete", **GONE)["Data"]["Done"] == "nothing"


@pytest.mark.parametrize(
    "other",
    [{"StackId": "another"}, {"LogicalResourceId": "Renamed"}, {"PhysicalResourceId": "2026/x"}],
)
async def test_a_resource_that_goes_takes_only_what_is_its_own(
    cloud: CloudFormation, folder: Path, table: SqliteStore, other: dict[str, str]
) -> None:
    """Of one renamed in its template, the new one is created before the old one is deleted."""
    ask(cloud)
    answer = ask(cloud, "Delete", **{**GONE, **other})
    assert (answer["Status"], answer["Data"]["Done"]) == ("SUCCESS", "nothing")
    assert await definitions.stored(table, "shop") is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"agent.toml": "title ="}, "agent.toml: Invalid value"),
        ({"prompt.md": ""}, "prompt.md is empty"),
        ({"tools.py": "import nothing_like_it"}, "No module named 'nothing_like_it'"),
        ({"tools.py": "raise SystemExit(3)"}, "SystemExit: 3"),
        ({"seeds.py": "async def seed(store, now):\n    1 / 0"}, "ZeroDivisionError"),
        ({"seeds.py": "seed = 3"}, "define `async def seed"),
    ],
)
def test_a_folder_that_cannot_be_used_fails_with_the_reason(
    cloud: CloudFormation, folder: Path, change: dict[str, str], said: str
) -> None:
    for name, text in change.items():
        (folder / name).write_text(text)
    answer = ask(cloud)
    assert answer["Status"] == "FAILED"
    assert said in answer["Reason"]
    assert answer["PhysicalResourceId"] == "voxyray-agent-shop"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VOXYRAY_AGENT", "", "VOXYRAY_AGENT is not set"),
        ("VOXYRAY_STORE", "nonsense", "names no store"),
        ("VOXYRAY_AGENT", "/nowhere", "/nowhere/agent.toml is missing"),
    ],
)
def test_a_setting_that_is_wrong_fails_with_the_reason(
    cloud: CloudFormation,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)
    answer = ask(cloud)
    assert (answer["Status"], said in answer["Reason"]) == ("FAILED", True)


def test_work_that_hangs_is_answered_for_in_time(cloud: CloudFormation) -> None:
    go_on = threading.Event()

    def hang(_: Any) -> dict[str, Any]:
        go_on.wait()
        return {}

    respond(event(cloud), 0.01, hang)
    go_on.set()
    (answer,) = cloud.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == "it was not done within 0 s"


def test_a_function_without_time_left_answers_at_once(cloud: CloudFormation) -> None:
    go_on = threading.Event()
    respond(event(cloud), -5, lambda _: {"x": go_on.wait()})
    go_on.set()
    assert cloud.answers[0]["Status"] == "FAILED"


def test_an_answer_is_never_larger_than_cloudformation_takes(cloud: CloudFormation) -> None:
    def fail(_: Any) -> dict[str, Any]:
        raise RuntimeError("\u00e4\ud800" * 100_000)

    respond(event(cloud), 5, fail)
    assert cloud.answers[0]["Reason"].startswith("RuntimeError: \u00e4")
    assert cloud.sizes[0] < 4096


def test_an_unknown_request_fails(cloud: CloudFormation) -> None:
    assert "'Explode' is none we know" in ask(cloud, "Explode")["Reason"]


def test_an_answer_that_is_not_taken_is_given_again(
    cloud: CloudFormation, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.refuse = 2
    respond(event(cloud), 5, lambda _: {})
    assert [answer["Status"] for answer in cloud.answers] == ["SUCCESS"]
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "hostile",
    [
        None,
        [],
        {},
        {"ResponseURL": 3},
        {"ResponseURL": "file:///etc/passwd"},
        {"ResponseURL": "http://example.com/"},
        {"ResponseURL": "http://127.0.0.1:1/"},
        {"ResponseURL": "nonsense"},
        {"ResponseURL": "https://[/"},
    ],
    ids=str,
)
def test_an_event_that_nobody_can_be_answered_for_has_no_effect(
    hostile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition, "_PAUSE_S", 0.0)
    respond(hostile, 5, lambda _: {})


async def test_somebody_who_edits_at_the_same_moment_is_waited_for(
    folder: Path, table: SqliteStore, monkeypatch: pytest.MonkeyPatch, cloud: CloudFormation
) -> None:
    ask(cloud)
    read = SqliteStore.get
    edits = [1]

    async def read_then_somebody_edits(self: SqliteStore, pk: str, sk: str) -> Any:
        item = await read(self, pk, sk)
        if sk == keys.DEFINITION and item is not None and edits:
            edits.pop()
            await self.write(Put({**item, "version": 7, "instructions": "Be brief."}))
        return item

    monkeypatch.setattr(SqliteStore, "get", read_then_somebody_edits)
    (folder / "prompt.md").write_text("Be quick.\n")
    answer = ask(cloud, "Update")
    assert (answer["Data"]["Done"], answer["Data"]["Version"]) == ("replaced", 8)
