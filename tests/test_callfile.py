"""A call as a file: written and read back, refused when it cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.desk import Desk, make_agent
from tests.support.recorded import EXPIRES_AT, recorded
from tests.test_replay import talk
from voxyray import callfile, journal
from voxyray.call import Call
from voxyray.callfile import MAX_BYTES, CallFile, decode, encode, load, new_call, setup_of
from voxyray.errors import JournalError
from voxyray.history import Carried
from voxyray.loading import load_folder
from voxyray.models import Message
from voxyray.replay import replay
from voxyray.stores import Put, Store
from voxyray.stores.memory import MemoryStore
from voxyray.stores.values import check_item

AGENTS = sorted(path.parent for path in Path(__file__).parent.parent.glob("agents/*/agent.toml"))
LINES = encode(recorded(talk())).splitlines(keepends=True)


class TestFile:
    def test_it_is_read_back_as_it_was(self) -> None:
        call = recorded(talk())
        assert decode(encode(call)) == call

    def test_an_entry_a_line_that_tells_what_it_is(self) -> None:
        head, setup, *entries = LINES
        assert head.startswith(b'{"voxyray_call":1,"voxyray":"')
        assert setup.startswith(b'{"session":{"agent":"agent","instructions":"Be kind.",')
        assert entries[2] == (
            b'{"turn":0,"seq":2,"at_us":0,"what":{"type":"turn_started","cause":"greeting",'
            b'"text":""}}\n'
        )

    @pytest.mark.parametrize("folder", AGENTS, ids=lambda folder: folder.name)
    def test_shipped_agents_can_be_made_again(self, folder: Path) -> None:
        agent = load_folder(folder)
        call = Call("CA1", agent, instructions="As rendered.", greeting="Hi!", started_at=5.5)
        setup = msgspec.json.decode(msgspec.json.encode(setup_of(call)), type=callfile.Setup)
        again = new_call("CA1", setup)
        assert (again.history.instructions, again.greeting) == ("As rendered.", "Hi!")
        assert again.policy == agent.policy
        assert [tool.spec for tool in again.agent.tools] == [tool.spec for tool in agent.tools]
        assert setup_of(again) == msgspec.structs.replace(
            setup, definition=msgspec.structs.replace(setup.definition, greeting="")
        )

    def test_what_a_later_session_began_with_is_kept(self) -> None:
        carried = Carried((Message("user", "Hi"),), 4, 3.25)
        call = Call("CA1", make_agent(), instructions="x", carried=carried, speaks_first=False)
        again = new_call("CA1", setup_of(call))
        assert (again.carried, again.speaks_first) == (carried, False)

    def test_an_agent_that_cannot_be_made_again_is_an_error(self) -> None:
        setup = setup_of(Desk().call)
        (tool, *_) = setup.tools
        broken = msgspec.structs.replace(tool, parameters={"type": "odd"})
        with pytest.raises(JournalError, match="cannot be made again: tool look_up"):
            new_call("CA1", msgspec.structs.replace(setup, tools=(broken,)))


class TestRefusals:
    @pytest.mark.parametrize(
        "data", [b"", b"\n", b"hello", b"{}", b"[1]", b'{"what":1}', b"\xff\xfe", b"[" * 99_999]
    )
    def test_what_is_no_call(self, data: bytes) -> None:
        with pytest.raises(JournalError, match=r"x\.call is no exported call; `voxyray export"):
            decode(data, "x.call")

    def test_a_newer_version(self) -> None:
        data = b"".join(LINES).replace(b'"voxyray_call":1', b'"voxyray_call":2', 1)
        with pytest.raises(JournalError, match="has version 2; this voxyray reads version 1"):
            decode(data)

    def test_a_newer_journal(self) -> None:
        data = b"".join(LINES).replace(b'"journal":1', b'"journal":7', 1)
        with pytest.raises(JournalError, match="a journal of version 7"):
            decode(data)

    @pytest.mark.parametrize("left", [1, 2, 9, len(LINES) - 1])
    def test_one_that_was_cut_off(self, left: int) -> None:
        with pytest.raises(JournalError, match=f"cut off: {left - 1} of its {len(LINES) - 1} l"):
            decode(b"".join(LINES[:left]))

    def test_one_with_more_than_belongs_to_it(self) -> None:
        with pytest.raises(JournalError, match="and more follow"):
            decode(b"".join([*LINES, LINES[-1]]))

    @pytest.mark.parametrize("number", [2, 3, 20])
    @pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"turn":1\n', b"null\n", b"[" * 9999])
    def test_a_damaged_line_is_named(self, number: int, line: bytes) -> None:
        lines = list(LINES)
        lines[number - 1] = line if line.endswith(b"\n") else line + b"\n"
        with pytest.raises(JournalError, match=f"x.call, line {number}, is damaged"):
            decode(b"".join(lines), "x.call")

    def test_a_file_that_no_call_fills(self) -> None:
        with pytest.raises(JournalError, match=r"67,108,865 bytes; a call has 64 MB at most"):
            decode(bytes(MAX_BYTES + 1))

    def test_a_head_that_lacks_something(self) -> None:
        with pytest.raises(JournalError, match="line 1, is damaged"):
            decode(b'{"voxyray_call":1}')


async def kept(store: Store, desk: Desk) -> None:
    item = callfile.setup_item(desk.call, EXPIRES_AT)
    check_item(item)
    items = [item, *(journal.to_item("CA1", entry, EXPIRES_AT) for entry in desk.entries)]
    await store.write(*(Put(each) for each in items[:20]))
    await store.append(items[20:])


class TestStore:
    async def test_a_call_is_read_from_its_items(self) -> None:
        store, desk = MemoryStore(now=lambda: 0), talk()
        await kept(store, desk)
        call = await load(store, "CA1")
        assert call == CallFile("CA1", recorded(desk).sessions)
        assert replay(call).identical

    async def test_one_of_before_replay_cannot_be(self) -> None:
        store, desk = MemoryStore(now=lambda: 0), talk()
        await store.append([journal.to_item("CA1", each, EXPIRES_AT) for each in desk.entries])
        with pytest.raises(JournalError, match="was kept for 0 of 1 sessions"):
            await load(store, "CA1")

    async def test_one_that_never_was(self) -> None:
        with pytest.raises(JournalError, match="has no journal"):
            await load(MemoryStore(), "CA1")

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"v": 2}, "has version 2"), ({"setup": "{"}, "damaged"), ({"setup": 5}, "damaged")],
    )
    async def test_a_damaged_setup(self, change: dict[str, Any], message: str) -> None:
        store, desk = MemoryStore(now=lambda: 0), talk()
        await kept(store, desk)
        await store.write(Put({**callfile.setup_item(desk.call, EXPIRES_AT), **change}))
        with pytest.raises(JournalError, match=message):
            await load(store, "CA1")
