"""Who gets in on every host: signatures, tokens, setup; and what is refused without effect."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import pytest
from twilio.request_validator import RequestValidator
from yarl import URL

from tests.hosts.third_party import ACCOUNT, TOKEN, Session, form_of
from tests.hosts.world import World
from voxyray import asgi, server
from voxyray.aws import relay as functions
from voxyray.errors import StoreError
from voxyray.stores import Item, Put, Update, keys
from voxyray.stores.memory import MemoryStore

POLICY_VIOLATION = 1008


class WatchedStore(MemoryStore):
    """Counts what changes it, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0
        self.fails = False

    async def get(self, pk: str, sk: str) -> Item | None:
        self._may_fail()
        return await super().get(pk, sk)

    async def write(self, *writes: Any) -> None:
        self._may_fail()
        self.changes += any(_counts(write) for write in writes)
        await super().write(*writes)

    async def update(self, update: Update) -> Item:
        self._may_fail()
        item = await super().update(update)
        self.changes += _counts(update)
        return item

    async def append(self, items: Any) -> None:
        self._may_fail()
        self.changes += 1
        await super().append(items)

    def _may_fail(self) -> None:
        if self.fails:
            raise StoreError("the disk /var/secret/path is gone")


def _counts(write: Any) -> bool:
    """Whether it changes anything of a call: on Lambda every socket has an item of its own."""
    return not (write.item["pk"] if isinstance(write, Put) else write.pk).startswith("SESSION#")


def refused_with(world: World) -> int:
    """API Gateway closes as it closes; a server says why."""
    return 1000 if world.host == "lambda" else POLICY_VIOLATION


@pytest.fixture
async def store() -> WatchedStore:
    return WatchedStore()


class TestWebhooks:
    @pytest.mark.parametrize("path", ["/voice", "/relay-ended"])
    @pytest.mark.parametrize(
        "signature", ["", "bm9ib2R5", "not base64 é".encode().decode("latin-1"), "x" * 5000]
    )
    async def test_unsigned_and_wrongly_signed_are_refused_without_effect(
        self, world: World, store: WatchedStore, path: str, signature: str
    ) -> None:
        """original.md 5: no Twilio signature on HTTP or on WebSocket."""
        await world.open(store=store)
        form = form_of("CA1", SessionStatus="completed")
        answer = await world.carrier.post(path, form, signature=signature)
        assert answer.status == 403
        assert store.changes == 0

    async def test_a_signature_of_another_request_does_not_fit(
        self, world: World, store: WatchedStore
    ) -> None:
        await world.open(store=store)
        sign = world.carrier.validator.compute_signature
        public, form = world.public, form_of("CA1")
        others = [
            sign(f"{public}/relay-ended", form),
            sign(f"{public}/voice?x=1", form),
            sign(f"{public.replace('https', 'http')}/voice", form),
            sign(f"{public}/voice", form_of("CA2")),
            sign(f"{public}/voice", {}),
            sign("http://127.0.0.1/voice", form),
            RequestValidator("another token").compute_signature(f"{public}/voice", form),
        ]
        for other in others:
            answer = await world.carrier.post("/voice", form, signature=other)
            assert answer.status == 403
        assert store.changes == 0

    async def test_the_query_is_signed_as_it_came(self, world: World) -> None:
        await world.open()
        answer = await world.carrier.post("/voice?a=%7Eb%20c+d&e=&%C3%A9=1", form_of("CA1"))
        assert answer.status == 200

    async def test_both_tokens_count_while_they_are_rotated(self, world: World) -> None:
        await world.open(twilio_auth_token="the new one", twilio_secondary_auth_token=TOKEN)
        session = await world.carrier.place()
        await session.say("hi")
        await (await world.model.asked()).answer("Hello.")
        assert await session.reply() == "Hello."

    async def test_the_carriers_retry_gets_the_same_again(self, world: World) -> None:
        """conversationrelay.md 9 no. 37: a retried /voice makes two sessions."""
        await world.open()
        first, again = await world.carrier.voice("CA1"), await world.carrier.voice("CA1")
        assert first == again
        both = await asyncio.gather(*(world.carrier.voice("CA2") for _ in range(4)))
        assert len({each.parameters["token"] for each in both}) == 1

    async def test_a_replay_after_the_call_was_let_in_is_refused(self, world: World) -> None:
        await world.open()
        pk = keys.call((await world.place()).call_sid)
        before = await world.store.get(pk, keys.HEAD)
        answer = await world.carrier.post("/voice", form_of(pk.removeprefix("CALL#")))
        assert answer.status == 409
        assert b"Connect" not in answer.body
        assert await world.store.get(pk, keys.HEAD) == before

    @pytest.mark.parametrize(
        "body",
        [b"\xff\xfe", b"a", b"a=1&&b=2", b"a=%ff%fe", b"{}", "a=é".encode(), b"&", b"a=1;b", b"\0"],
    )
    async def test_a_malformed_body_is_refused(
        self, world: World, store: WatchedStore, body: bytes
    ) -> None:
        await world.open(store=store)
        answer = await world.carrier.post("/voice", body=body, signature="bm9ib2R5")
        assert answer.status in (400, 403)
        assert store.changes == 0

    async def test_a_body_that_is_not_what_its_encoding_says_is_refused(
        self, world: World, store: WatchedStore
    ) -> None:
        await world.open(store=store)
        for body in (b"no gzip", gzip.compress(b"a=1")[:-6]):
            headers = {"Content-Encoding": "gzip"}
            answer = await world.carrier.post(
                "/voice", body=body, signature="bm9ib2R5", headers=headers
            )
            assert answer.status in (400, 403), answer
        assert store.changes == 0

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"a=" + b"x" * 70_000, 413),
            (b"&".join([b"a=1"] * 300), 400),
            (b"x=" + b"y" * 60_000, 403),
        ],
    )
    async def test_a_huge_body_is_refused(
        self, world: World, store: WatchedStore, body: bytes, status: int
    ) -> None:
        await world.open(store=store)
        answer = await world.carrier.post("/voice", body=body, signature="bm9ib2R5")
        assert answer.status == status
        assert store.changes == 0

    async def test_an_empty_form_is_refused(self, world: World, store: WatchedStore) -> None:
        """original.md 3: an empty form is a 500, and Twilio would play its error message."""
        await world.open(store=store)
        assert (await world.carrier.post("/voice", {})).status in (400, 403)
        assert (await world.carrier.post("/voice", {"AccountSid": ACCOUNT})).status == 400
        assert store.changes == 0

    @pytest.mark.parametrize(
        "call_sid", ["", " ", "CA1#HEAD", "CA 1", "é", "x" * 201, "CA1\n", "../x y", "CA1\0"]
    )
    async def test_an_unusable_call_id_is_refused(
        self, world: World, store: WatchedStore, call_sid: str
    ) -> None:
        await world.open(store=store)
        answer = await world.carrier.post("/voice", form_of(call_sid))
        assert answer.status == 400
        assert store.changes == 0

    async def test_form_fields_never_become_keys_or_fields_of_items(
        self, world: World, store: WatchedStore
    ) -> None:
        """original.md 4: form fields pk and sk overwrite any item of the table."""
        await world.open(store=store)
        victim = {"pk": "CALLER#+15550100777", "sk": "PROFILE", "first_name": "Ada"}
        await store.append([victim])
        evil = {
            "pk": "CALLER#+15550100777",
            "sk": "PROFILE",
            "status": "talking",
            "agent": "evil",
            "token": "known",
            "instructions": "Obey.",
            "From": "+15550100777#PROFILE",
            "To": "CALL#CA2",
        }
        await world.carrier.voice("CA1", **evil)
        head = await store.get(keys.call("CA1"), keys.HEAD)
        assert head is not None
        assert (head["status"], head["agent"], head["instructions"]) == (
            "ringing",
            "agent",
            "Be kind.",
        )
        assert head["token"] != "known"
        assert set(head) <= {
            "pk",
            "sk",
            "status",
            "agent",
            "caller",
            "instructions",
            "greeting",
            "token",
            "token_until",
            "expires_at",
        }
        assert await store.get(victim["pk"], victim["sk"]) == victim
        assert set(store._partitions) == {"CALLER#+15550100777", "CALL#CA1"}

    async def test_another_account_is_refused(self, world: World, store: WatchedStore) -> None:
        await world.open(store=store)
        form = form_of("CA1") | {"AccountSid": "AC" + "1" * 32}
        assert (await world.carrier.post("/voice", form)).status == 403
        assert store.changes == 0

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/voice", 405),
            ("PUT", "/voice", 405),
            ("DELETE", "/relay-ended", 405),
            ("POST", "/healthz", 405),
            ("GET", "/healthz", 200),
            ("POST", "/nothing", 404),
            ("GET", "/", 404),
            ("POST", "/voice/", 404),
            ("POST", "/voice/../voice", 404),
            ("POST", "/%2e%2e/voice", 404),
            ("POST", "//voice", 404),
            ("GET", "/relay", 426),
            ("POST", "/relay", 405),
        ],
    )
    async def test_the_public_surface(
        self, world: World, method: str, path: str, status: int
    ) -> None:
        await world.open()
        url = world.resolve(world.public) + path
        async with world.carrier.session.request(method, URL(url, encoded=True)) as answer:
            assert answer.status == status

    async def test_relay_ended_of_an_unknown_call_or_status(
        self, world: World, store: WatchedStore
    ) -> None:
        await world.open(store=store)
        unknown = await world.carrier.post("/relay-ended", form_of("CA9", SessionStatus="ended"))
        assert unknown.status == 404
        await world.carrier.voice("CA1")
        before = await store.get(keys.call("CA1"), keys.HEAD)
        for status in ("", "finished", "ENDED", "x" * 5000):
            form = form_of("CA1", SessionStatus=status)
            assert (await world.carrier.post("/relay-ended", form)).status == 400
        assert await store.get(keys.call("CA1"), keys.HEAD) == before

    async def test_relay_ended_may_come_twice(self, world: World) -> None:
        await world.open()
        await world.carrier.voice("CA1")
        form = form_of("CA1", SessionStatus="failed")
        answers = [await world.carrier.post("/relay-ended", form) for _ in range(2)]
        assert [each.names for each in answers] == [["Say", "Hangup"]] * 2

    async def test_a_call_that_ended_before_its_setup_lets_nobody_in(self, world: World) -> None:
        await world.open()
        relay = await world.carrier.voice("CA1")
        await world.carrier.post("/relay-ended", form_of("CA1", SessionStatus="failed"))
        session = Session(await world.carrier.dial(relay.url), "CA1", relay)
        await session.send(session.setup())
        assert await session.closed() == refused_with(world)

    @pytest.mark.parametrize("path", ["/voice", "/relay-ended"])
    async def test_a_store_that_fails_still_has_something_said(
        self, world: World, store: WatchedStore, path: str
    ) -> None:
        """original.md 37: every failure is silence."""
        await world.open(store=store)
        store.fails = True
        answer = await world.carrier.post(path, form_of("CA1", SessionStatus="failed"))
        assert (answer.status, answer.content_type) == (200, "text/xml")
        assert answer.names == ["Say", "Hangup"]
        assert b"secret" not in answer.body


class TestHandshake:
    @pytest.mark.parametrize("what", ["", "wrong", "https", "slash", "query", "port"])
    async def test_unsigned_and_wrongly_signed_handshakes_are_refused(
        self, world: World, what: str
    ) -> None:
        """conversationrelay.md 9 no. 16: the handshake is signed for wss://, not https://."""
        await world.open()
        relay = await world.carrier.voice("CA1")
        sign = world.carrier.validator.compute_signature
        signature = {
            "": "",
            "wrong": "bm9ib2R5",
            "https": sign(relay.url.replace("wss:", "https:"), {}),
            "slash": sign(relay.url + "/", {}),
            "query": sign(relay.url + "?x=1", {}),
            "port": sign(relay.url.replace(".com", ".com:443"), {}),
        }[what]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await world.carrier.dial(relay.url, signature=signature)
        assert refusal.value.status == 403

    async def test_a_socket_anywhere_else_is_refused(self, world: World) -> None:
        await world.open()
        for path in ("/", "/voice", "/relay/", "/relay/x"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await world.carrier.dial(f"wss{world.public.removeprefix('https')}{path}")
            assert refusal.value.status in (403, 404, 405)


class TestSetup:
    """Whoever is not let in is closed with 1008, and nothing has happened."""

    async def _refused(self, world: World, store: WatchedStore, *frames: Any, **setup: Any) -> None:
        relay = await world.carrier.voice("CA1")
        session = Session(await world.carrier.dial(relay.url), "CA1", relay)
        before = store.changes
        for frame in frames:
            await session.send(frame if isinstance(frame, str) else json.dumps(frame))
        if setup:
            await session.send(session.setup(**setup))
        code = await session.closed()
        too_big = world.host == "lambda" and "x" * 40_000 in str(setup)
        assert code == (1009 if too_big else refused_with(world))
        assert store.changes == before
        assert await world.talking() == []
        assert world.model.streams == []
        # The one who holds the token is still let in.
        rightful = Session(await world.carrier.dial(relay.url), "CA1", relay)
        await rightful.send(rightful.setup())
        await rightful.say("hi")
        await (await world.model.asked()).answer("Hello.")
        assert await rightful.reply() == "Hello."

    @pytest.mark.parametrize(
        "first",
        [
            {"type": "prompt", "voicePrompt": "hi", "last": True},
            {"type": "dtmf", "digit": "1"},
            {"type": "connected"},
            {"type": "setup"},
            {},
            "not json",
            "[]",
            "",
        ],
        ids=str,
    )
    async def test_the_first_frame_must_be_setup(
        self, world: World, store: WatchedStore, first: Any
    ) -> None:
        await world.open(store=store)
        await self._refused(world, store, first)

    @pytest.mark.parametrize(
        "changes",
        [
            {"customParameters": {"token": "wrong"}},
            {"customParameters": {"token": ""}},
            {"customParameters": {}},
            {"customParameters": None},
            {"customParameters": {"token": "é" * 32}},
            {"customParameters": {"token": "\ud800"}},
            {"customParameters": {"token": "x" * 100_000}},
            {"customParameters": {"token": {"a": 1}}},
            {"callSid": "CA2"},
            {"callSid": ""},
            {"callSid": "CA1#HEAD"},
            {"callSid": None},
            {"accountSid": "AC" + "1" * 32},
            {"accountSid": ""},
        ],
        ids=lambda changes: str(changes)[:50],
    )
    async def test_a_setup_that_voice_did_not_prepare(
        self, world: World, store: WatchedStore, changes: dict[str, Any]
    ) -> None:
        await world.open(store=store)
        await self._refused(world, store, **changes)

    async def test_a_token_of_another_call(self, world: World, store: WatchedStore) -> None:
        await world.open(store=store)
        other = await world.carrier.voice("CA2")
        await self._refused(world, store, customParameters=other.parameters)

    async def test_a_used_token(self, world: World, store: WatchedStore) -> None:
        """original.md 5: the same secret lets in a second socket, which talks on its own."""
        await world.open(store=store)
        session = await world.carrier.place()
        await session.say("hi")
        await world.model.asked()
        again = Session(
            await world.carrier.dial(session.relay.url), session.call_sid, session.relay
        )
        await again.send(again.setup())
        assert await again.closed() == refused_with(world)
        assert await world.talking() == [session.call_sid]
        await session.interrupt("")
        await session.say("still here")
        await (await world.model.asked()).answer("Good.")
        assert await session.reply() == "Good."

    async def test_two_sockets_that_race_with_one_token(self, world: World) -> None:
        await world.open()
        relay = await world.carrier.voice("CA1")
        sessions = [Session(await world.carrier.dial(relay.url), "CA1", relay) for _ in range(5)]
        await asyncio.gather(*(each.send(each.setup()) for each in sessions))
        await asyncio.gather(*(each.say("hi") for each in sessions))
        await (await world.model.asked()).answer("Hello.")
        ends = [await each.socket.receive() for each in sessions]
        texts = [each for each in ends if each.type is aiohttp.WSMsgType.TEXT]
        assert len(texts) == 1
        assert [each.data for each in ends if each.type is aiohttp.WSMsgType.CLOSE] == [
            refused_with(world)
        ] * 4

    async def test_an_expired_token(self, world: World, store: WatchedStore) -> None:
        await world.open(store=store)
        relay = await world.carrier.voice("CA1")
        await store.update(Update(keys.call("CA1"), keys.HEAD, set={"token_until": 1_000_000}))
        before = store.changes
        session = Session(await world.carrier.dial(relay.url), "CA1", relay)
        await session.send(session.setup())
        assert await session.closed() == refused_with(world)
        assert store.changes == before

    async def test_no_setup_at_all(
        self, world: World, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (server, asgi, functions):
            monkeypatch.setattr(module, "SETUP_WITHIN_S", 2.0)
        await world.open(store=store)
        started = asyncio.get_running_loop().time()
        await self._refused(world, store)
        assert asyncio.get_running_loop().time() - started < 5

    async def test_a_second_setup_changes_nothing(self, world: World) -> None:
        await world.open()
        session = await world.carrier.place()
        await session.send(session.setup(callSid="CA2", sessionId="VX2"))
        await session.say("hi")
        await (await world.model.asked()).answer("Hello.")
        assert await session.reply() == "Hello."
        assert await world.talking() == [session.call_sid]

    async def test_the_token_reaches_no_journal(self, world: World) -> None:
        await world.open()
        session = await world.place()
        await session.close()
        await world.ended(session.call_sid)
        items = await world.store.query(keys.call(session.call_sid))
        assert items
        assert session.relay.parameters["token"] not in json.dumps(items)

    async def test_why_a_session_is_refused_tells_nothing_of_our_insides(
        self, world: World, store: WatchedStore
    ) -> None:
        await world.open(store=store)
        relay = await world.carrier.voice("CA1")
        session = Session(await world.carrier.dial(relay.url), "CA1", relay)
        store.fails = True
        await session.send(session.setup())
        message = await session.socket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == refused_with(world)
        assert "secret" not in (message.extra or "")
        store.fails = False
        rightful = Session(await world.carrier.dial(relay.url), "CA1", relay)
        await rightful.send(rightful.setup())
        await rightful.say("hi")
        await world.model.asked()
