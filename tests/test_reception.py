"""The reception without a host: bindings, tokens, what follows a session."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import make_agent
from voxyray import frames
from voxyray.agent import Agent
from voxyray.carriers import twilio
from voxyray.errors import RequestRefused, StoreError
from voxyray.reception import TOKEN_LIVES_S, Reception, Request, Response
from voxyray.settings import Settings
from voxyray.stores import Put, keys
from voxyray.stores.memory import MemoryStore

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = "AC00000000000000000000000000000000"
PERSON = "+15550100009"
WORDS = "what a caller said"


class Desk:
    """A reception, its store and its clock."""

    def __init__(self, *agents: Agent, store: Any = None, **settings: Any) -> None:
        self.now = 1_000_000.0
        self.store = store if store is not None else MemoryStore(now=lambda: self.now)
        values = {
            "public_url": "https://voice.example.com",
            "twilio_auth_token": TOKEN,
            "twilio_account_sid": ACCOUNT,
            **settings,
        }
        self.settings = Settings(**values)
        self.reception = Reception(
            self.settings, agents or (make_agent(),), self.store, now=lambda: self.now
        )

    async def post(self, path: str, sign: bool = True, **form: Any) -> Response:
        fields = list({"AccountSid": ACCOUNT, "CallSid": "CA1", **form}.items())
        url = self.settings.base_url + path
        headers = {"x-twilio-signature": twilio.sign(TOKEN, url, fields)} if sign else {}
        body = urlencode(fields).encode()
        return await self.reception.answer(Request("POST", path, "", headers, body))

    async def token(self, **form: Any) -> str:
        answer = await self.post("/voice", **form)
        parameter = ElementTree.fromstring(answer.body).find(".//Parameter")
        assert parameter is not None
        return parameter.get("value", "")

    async def admit(self, token: str, **changes: Any) -> Any:
        values = {"call_sid": "CA1", "account_sid": ACCOUNT, "session_id": "VX1", **changes}
        return await self.reception.admit(
            frames.Setup(custom_parameters={"token": token, "own": "kept"}, **values)
        )


def names(answer: Response) -> list[str]:
    return [verb.tag for verb in ElementTree.fromstring(answer.body)]


DIALS = ["Say", "Dial"]
ENDINGS = [
    ("completed", "", [], []),
    ("ended", "", ["Hangup"], ["Hangup"]),
    ("ended", '{"reasonCode":"silence"}', ["Hangup"], ["Hangup"]),
    ("ended", '{"reasonCode":"live-agent-handoff"}', DIALS, ["Say", "Hangup"]),
    ("ended", '{"reasonCode":"model-failure"}', DIALS, ["Hangup"]),
    ("ended", '{"reasonCode":"application-failure"}', DIALS, ["Hangup"]),
    ("failed", "", DIALS, ["Say", "Hangup"]),
    ("ended", "not json", ["Hangup"], ["Hangup"]),
    ("ended", '{"reasonCode":["live-agent-handoff"]}', ["Hangup"], ["Hangup"]),
    ("ended", '{"reasonCode":{"a":1}}', ["Hangup"], ["Hangup"]),
    ("ended", '{"to":"+15550666666"}', ["Hangup"], ["Hangup"]),
    ("ended", '"live-agent-handoff"', ["Hangup"], ["Hangup"]),
    ("ended", "[" * 9000, ["Hangup"], ["Hangup"]),
    ("ended", '{"a":' * 3000, ["Hangup"], ["Hangup"]),
    ("ended", "1" * 9000, ["Hangup"], ["Hangup"]),
    ("ended", "\0", ["Hangup"], ["Hangup"]),
]


class TestAfterASession:
    @pytest.mark.parametrize(("status", "data", "with_person", "without"), ENDINGS)
    @pytest.mark.parametrize("to", ["", PERSON])
    async def test_the_answer_fits_status_and_reason(
        self, status: str, data: str, with_person: list[str], without: list[str], to: str
    ) -> None:
        """conversationrelay.md 9 no. 28: hand-over data that is trusted, or a 500 for it."""
        desk = Desk(handoff_to=to)
        await desk.post("/voice")
        answer = await desk.post("/relay-ended", SessionStatus=status, HandoffData=data)
        assert (answer.status, answer.content_type) == (200, "text/xml")
        assert names(answer) == (with_person if to else without)
        assert b"+15550666666" not in answer.body


class TestVoice:
    @given(form=st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=5))
    async def test_no_form_has_an_effect_beyond_its_own_call(self, form: dict[str, str]) -> None:
        desk = Desk()
        fields: dict[str, Any] = {**form}
        for name in ("path", "sign", "self"):
            fields.pop(name, None)
        try:
            answer = await desk.post("/voice", **fields)
        except UnicodeEncodeError:
            return  # no client can send it
        assert answer.status in (200, 400, 403)
        assert set(desk.store._partitions) <= {"CALL#CA1", keys_of(form)}

    async def test_outbound_calls_are_of_the_called_number(self) -> None:
        desk = Desk(make_agent(greeting="Hi {{ caller.first_name }}"))
        await desk.store.write(
            Put({"pk": keys.caller(PERSON), "sk": keys.PROFILE, "first_name": "Ada"})
        )
        answer = await desk.post("/voice", Direction="outbound-api", From="+15550100001", To=PERSON)
        assert b"Hi Ada" in answer.body

    async def test_a_retry_keeps_the_agent_of_the_first_answer(self) -> None:
        one = make_agent(name="default", greeting="One", relay={"language": "en-US"})
        two = make_agent(name="two", greeting="Two", relay={"language": "es-ES"})
        desk = Desk(one, two)
        first = await desk.post("/voice", From=PERSON)
        await desk.store.write(Put({"pk": keys.caller(PERSON), "sk": keys.PROFILE, "agent": "two"}))
        assert await desk.post("/voice", From=PERSON) == first

    async def test_texts_that_cannot_be_made_still_have_something_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        desk = Desk(make_agent(greeting="{{ 1 / (17 - caller.first_name | length) }}"))
        await desk.store.write(
            Put({"pk": keys.caller(PERSON), "sk": keys.PROFILE, "first_name": "A" * 17})
        )
        answer = await desk.post("/voice", From=PERSON)
        assert (answer.status, names(answer)) == (200, ["Say", "Hangup"])
        assert "AgentError" in caplog.text
        assert PERSON not in caplog.text

    async def test_a_store_with_a_bug_still_has_something_said(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Buggy(MemoryStore):
            async def get(self, pk: str, sk: str) -> Any:
                raise KeyError(WORDS)

            async def write(self, *writes: Any) -> None:
                raise KeyError(WORDS)

            async def update(self, update: Any) -> Any:
                raise KeyError(WORDS)

        desk = Desk(store=Buggy())
        assert names(await desk.post("/voice")) == ["Say", "Hangup"]
        assert names(await desk.post("/relay-ended", SessionStatus="failed")) == ["Say", "Hangup"]
        assert "KeyError" in caplog.text
        assert WORDS not in caplog.text

    async def test_the_development_switch_lets_the_unsigned_in(self) -> None:
        desk = Desk(public_url="http://127.0.0.1:8080", accept_unsigned=True)
        assert (await desk.post("/voice", sign=False)).status == 200
        desk.reception.check_handshake({})


class TestAdmission:
    async def test_a_token_works_once_and_reaches_nobody(self) -> None:
        desk = Desk()
        token = await desk.token(From=PERSON)
        admission = await desk.admit(token)
        assert admission.caller.number == PERSON
        assert admission.setup.custom_parameters == {"own": "kept"}
        with pytest.raises(RequestRefused):
            await desk.admit(token)

    @pytest.mark.parametrize(
        ("after", "fits"), [(TOKEN_LIVES_S - 1, True), (TOKEN_LIVES_S + 1, False)]
    )
    async def test_a_token_lives_for_a_while(self, after: float, fits: bool) -> None:
        desk = Desk()
        token = await desk.token()
        desk.now += after
        if fits:
            await desk.admit(token)
            return
        with pytest.raises(RequestRefused, match="expired"):
            await desk.admit(token)

    @pytest.mark.parametrize(
        "changes",
        [{"call_sid": "CA2"}, {"call_sid": ""}, {"call_sid": "#"}, {"account_sid": "AC1"}],
        ids=str,
    )
    async def test_what_does_not_fit_is_refused_and_spends_nothing(self, changes: Any) -> None:
        desk = Desk()
        token = await desk.token()
        with pytest.raises(RequestRefused):
            await desk.admit(token, **changes)
        await desk.admit(token)

    @pytest.mark.parametrize("token", ["", "x", "é", "\ud800", "x" * 10_000])
    async def test_no_other_token_fits(self, token: str) -> None:
        desk = Desk()
        await desk.token()
        with pytest.raises(RequestRefused):
            await desk.admit(token)

    async def test_a_call_without_a_token_takes_no_empty_one(self) -> None:
        desk = Desk()
        with pytest.raises(RequestRefused):
            await desk.admit("")

    async def test_an_agent_that_is_gone_lets_nobody_in(self) -> None:
        desk = Desk()
        token = await desk.token()
        desk.reception._roster._agents = {}
        with pytest.raises(RequestRefused, match="no agent"):
            await desk.admit(token)

    async def test_a_store_that_fails_is_not_quoted_to_the_carrier(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = Desk()
        token = await desk.token()

        async def fail(*_: Any) -> Any:
            raise StoreError("/var/secret")

        monkeypatch.setattr(desk.store, "get", fail)
        with pytest.raises(RequestRefused) as refusal:
            await desk.admit(token)
        assert "secret" not in str(refusal.value)
        assert refusal.value.status == 503


def keys_of(form: dict[str, str]) -> str:
    try:
        return keys.call(form.get("CallSid", "CA1"))
    except StoreError:
        return ""
