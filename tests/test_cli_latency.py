"""`voxyray why-slow`, `stats` and the receipt of `show`, as people use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.desk import Desk
from voxyray import events, journal
from voxyray.cli import main
from voxyray.models import Finish, TextDelta, Usage
from voxyray.settings import VARIABLES
from voxyray.stores import Put, keys
from voxyray.stores.opening import open_store

NOW_S = 1_900_000_000.0
FAR = 2_100_000_000


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("VOXYRAY_STORE", f"sqlite:{tmp_path}/calls.sqlite")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("time.time", lambda: NOW_S)
    monkeypatch.chdir(tmp_path)
    return iter([tmp_path])


def voxyray(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str) -> Any:
    return json.loads(voxyray(*arguments, "--json").stdout)


def talk(*waits_s: float, usage: Usage | None = None) -> Desk:
    desk = Desk()
    for wait_s in waits_s:
        request = desk.say("Hello?")
        desk.pass_time(wait_s)
        desk.do(events.ModelEvent(request, TextDelta("Hi.")))
        if usage is not None:
            desk.do(events.ModelEvent(request, usage))
        desk.do(events.ModelEvent(request, Finish("stop", "openai:gpt-5.4-mini")))
        desk.pass_time(0.1)
    desk.do(events.Closed(1000))
    return desk


def keep(**calls: Desk) -> None:
    async def write() -> None:
        store = open_store(f"sqlite:{Path.cwd()}/calls.sqlite")
        for number, (id_, desk) in enumerate(calls.items()):
            at_s = NOW_S - 60 + number
            listed = {
                "pk": keys.day(at_s),
                "sk": keys.started(at_s, id_),
                "call": id_,
                "agent": "agent",
                "caller": "+15550100001",
                "started_at_ms": int(at_s * 1000),
                "expires_at": FAR,
            }
            head = {"pk": keys.call(id_), "sk": keys.HEAD, "expires_at": FAR}
            await store.write(Put(listed), Put(head))
            await store.append([journal.to_item(id_, entry, FAR) for entry in desk.entries])
        await store.close()

    asyncio.run(write())


def test_why_slow_explains_the_slowest_turns_of_all_calls() -> None:
    keep(CA1=talk(0.2, 1.2), CA2=talk(0.9))
    told = voxyray("why-slow").stdout
    assert "3 turns were answered in 2 calls, 2 of them slowly." in told
    first, second = told.index("Turn 2 took 1,200 ms"), told.index("Turn 1 took 900 ms")
    assert first < second
    assert "the model's first token took 1,200 ms of them" in told
    assert "Try a smaller or nearer model" in told
    found = as_json("why-slow", "--turns", "1")
    assert [(each["call"], each["turn"], each["culprit"]) for each in found["turns"]] == [
        ("CA1", 2, "model")
    ]


def test_why_slow_of_one_call() -> None:
    keep(CA1=talk(0.2), CA2=talk(0.9))
    told = voxyray("why-slow", "CA1").stdout
    assert "1 turn was answered, none slowly." in told
    assert "Turn 1 took 200 ms" in told
    assert "900" not in told


def test_without_calls_it_says_how_to_place_one() -> None:
    assert "voxyray call" in voxyray("why-slow", code=2).stderr
    assert "voxyray call" in voxyray("stats", code=2).stderr
    keep(CA1=talk())
    assert "nothing to explain" in voxyray("why-slow").stdout
    assert "No turn was measured yet" in voxyray("stats").stdout


def test_stats_say_where_there_are_too_few_turns() -> None:
    keep(CA1=talk(*[0.01 * n for n in range(1, 13)]))
    told = voxyray("stats").stdout
    (gap,) = [line.split() for line in told.splitlines() if " gap " in line]
    assert gap[-6:] == ["12", "60", "110", "-", "-", "120"]
    assert "n is too small to tell; needed are for p50 2, p90 10, p95 20, p99 100" in told
    found = as_json("stats", "--by", "model")
    assert found["groups"]["openai:gpt-5.4-mini"]["gap"]["p90_ms"] == 110.0
    assert found["all"]["gap"]["p99_ms"] is None


def test_a_damaged_journal_does_not_hide_the_others() -> None:
    keep(CA1=talk(0.2), CA2=talk(0.3))

    async def damage() -> None:
        store = open_store(f"sqlite:{Path.cwd()}/calls.sqlite")
        await store.append(
            [{"pk": keys.call("CA2"), "sk": "J#00001#0000900", "v": 99, "expires_at": FAR}]
        )
        await store.close()

    asyncio.run(damage())
    assert as_json("stats")["unreadable"] == ["CA2"]
    assert "1 journals cannot be read" in voxyray("why-slow").stdout


def test_show_ends_with_a_receipt() -> None:
    keep(CA1=talk(0.2, usage=Usage(2000, 100, 1000)))
    told = voxyray("show", "CA1").stdout
    # 1000 at $0.75, 1000 cached at $0.075, 100 out at $4.50 a million tokens.
    assert "0.1275" in told
    assert "carrier, 1 min" in told
    found = as_json("show", "CA1")["receipt"]
    assert found["tokens"] == {
        "type": "usage",
        "input_tokens": 2000,
        "output_tokens": 100,
        "cached_tokens": 1000,
    }
    assert found["total_cents"] == pytest.approx(0.1275 + 7.85)


def test_prices_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(CA1=talk(0.2, usage=Usage(2000, 100, 1000)))
    file = tmp_path / "mine.toml"
    file.write_text("[carrier]\nper_minute = 0.5\n")
    monkeypatch.setenv("VOXYRAY_PRICES", str(file))
    told = voxyray("show", "CA1").stdout
    assert "no price is known of openai:gpt-5.4-mini" in told
    assert "50.00" in told
    assert as_json("show", "CA1")["receipt"]["total_cents"] is None
    monkeypatch.setenv("VOXYRAY_PRICES", "nowhere.toml")
    assert "VOXYRAY_PRICES" in voxyray("show", "CA1", code=2).stderr


def test_a_barge_in_is_a_number_of_its_own() -> None:
    desk = Desk()
    desk.say("Tell me more")
    desk.answer("First we open the door. Then we close it.")
    desk.info("agentSpeaking", "on")
    desk.pass_time(1)
    desk.interrupt("First we open")
    desk.pass_time(0.04)
    desk.info("agentSpeaking", "off")
    keep(CA1=desk)
    told = voxyray("show", "CA1").stdout
    assert "not one word was sent after it, silence after 40 ms" in told
    assert "barge-in to silence 40 ms" in told
    assert "barge-in to silence" in voxyray("stats").stdout
    assert as_json("show", "CA1")["turns"][1]["silence_ms"] == 40.0
