"""The whole local cloud: a small stack of tests', and the deployed one with a call on it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from voxyray.commands.hosting import listen
from voxyray.twin import Carrier, Phone, Timing
from voxyray.twin.cloud.errors import CloudError
from voxyray.twin.cloud.local import Cloud, Options, local_cloud
from voxyray.twin.cloud.ministack import make_client

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[3]
pytest.importorskip("awslambdaric")


@asynccontextmanager
async def running(logs: Path, **changes: Any) -> AsyncIterator[Cloud]:
    options = {
        "logs": logs,
        "template": HERE / "template.yaml",
        "folder": HERE,
        "secrets": {"twilio-auth-token": "a-token-of-the-tests"},
    }
    with listen("127.0.0.1", 0) as listener:
        async with local_cloud(Options(**{**options, **changes}), listener) as cloud:
            yield cloud


async def test_a_small_stack_runs(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(tmp_path) as cloud:
        answer = await http.get(f"{cloud.url}/hello")
        assert await answer.text() == f"GET /hello {cloud.relay_url}"
        socket = await http.ws_connect(cloud.relay_url)
        for said, heard in (
            ("hello", "hello"),  # by a signed post to @connections
            ("queue later", "queued later"),  # over SQS
            ("secrets", "a-token-of-the-tests"),  # from SSM
        ):
            await socket.send_str(said)
            assert (await socket.receive(timeout=10)).data == heard
        await socket.close()
        assert cloud.gateway.failures == []
        relay = cloud.functions["voxyray-Relay"]
        dynamodb = make_client("dynamodb", cloud.environment["AWS_ENDPOINT_URL_DYNAMODB"])
        [item] = await _scan(dynamodb)
        assert item["sk"] == {"S": "good"}
        assert relay.environments
    assert relay.environments == 0
    assert {"ministack.log", "voxyray-Relay.log"} <= _names(tmp_path)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def _scan(dynamodb: Any) -> list[Any]:
    answer = await asyncio.to_thread(dynamodb.scan, TableName="voxyray-Table")
    items: list[Any] = answer["Items"]
    return items


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parameters": {"Name": "bad"}}, "voxyray-Defined was not made: it is bad"),
        ({"parameters": {"Secrets": "secretsmanager:arn:x"}}, "keeps secrets in SSM"),
        ({"template": HERE / "nothing.yaml"}, "cannot read"),
        ({"template": ROOT / "deploy/aws/database/template.yaml"}, "no WebSocket API"),
    ],
)
async def test_what_goes_wrong_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CloudError, match=said):
        async with running(tmp_path, **changes):
            pass


@pytest.mark.parametrize("missing", ["ministack", "awslambdaric"])
async def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: None if name == missing else real(name, package),
    )
    with pytest.raises(CloudError, match=r"pip install 'voxyray\[cloud\]'"):
        async with running(tmp_path):
            pass


async def test_a_call_on_the_deployed_stacks(tmp_path: Path) -> None:
    heard = []

    async def caller(phone: Phone) -> None:
        heard.append(await phone.listen())
        await phone.say("Ada Lovelace")
        heard.append(await phone.listen())

    deployed = {"template": ROOT / "deploy/aws/template.yaml", "folder": ROOT}
    async with running(tmp_path, **deployed) as cloud:
        carrier = Carrier(
            f"{cloud.url}/voice", "a-token-of-the-tests", timing=Timing().scaled(1 / 10)
        )
        record = await carrier.call(caller)
        assert cloud.gateway.failures == []
    assert record.ending is not None
    assert record.ending.status == "completed"
    assert not record.errors
    assert "first and last name" in heard[0]
    assert "Ada" in heard[1]
