"""The wire: anything at all may come in, nothing the carrier refuses goes out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxyray import frames
from voxyray.errors import FrameError
from voxyray.frames import (
    Dtmf,
    End,
    Error,
    Info,
    Interrupt,
    Language,
    Malformed,
    Play,
    Prompt,
    SendDigits,
    Setup,
    Text,
    Unknown,
    decode,
    encode,
)

SETUP = Setup(
    session_id="VX00000000000000000000000000000000",
    account_sid="AC00000000000000000000000000000000",
    call_sid="CA00000000000000000000000000000000",
    from_="+18005550100",
    to="+18005550101",
    forwarded_from="+18005550102",
    call_type="PSTN",
    direction="inbound",
    call_status="RINGING",
    custom_parameters={"tenant": "t_42"},
)
# Verbatim from conversationrelay.md 2.1-2.6.
DOCUMENTED: list[tuple[str, frames.InboundFrame]] = [
    (
        (
            '{"type":"setup","sessionId":"VX00000000000000000000000000000000",'
            '"accountSid":"AC00000000000000000000000000000000",\n "parentCallSid":"",'
            '"callSid":"CA00000000000000000000000000000000","from":"+18005550100",'
            '"to":"+18005550101",\n "forwardedFrom":"+18005550102","callType":"PSTN",'
            '"callerName":"","direction":"inbound","callStatus":"RINGING",\n '
            '"customParameters":{"tenant":"t_42"}}'
        ),
        SETUP,
    ),
    (
        '{"type":"prompt","voicePrompt":"I want to change my booking","lang":"en-US","last":true}',
        Prompt("I want to change my booking", "en-US", last=True),
    ),
    (
        '{"type":"prompt","voicePrompt":"I want to","lang":"en","last":false}',
        Prompt("I want to", "en", last=False),
    ),
    ('{"type":"dtmf","digit":"5"}', Dtmf("5")),
    (
        (
            '{"type":"interrupt","utteranceUntilInterrupt":"Sentence 2 of",'
            '"durationUntilInterruptMs":684}'
        ),
        Interrupt("Sentence 2 of", 684),
    ),
    (
        (
            '{"type":"error","description":"Invalid message received, code: 64107, '
            '{\\"type\\":\\"bogus\\"}"}'
        ),
        Error('Invalid message received, code: 64107, {"type":"bogus"}'),
    ),
    ('{"type":"info","name":"roundTripDelayMs","value":"148"}', Info("roundTripDelayMs", "148")),
    ('{"type":"info","name":"agentSpeaking","value":"on"}', Info("agentSpeaking", "on")),
    ('{"type":"info","name":"clientSpeaking","value":"off"}', Info("clientSpeaking", "off")),
    ('{"type":"info","name":"tokensPlayed","value":"I heard:"}', Info("tokensPlayed", "I heard:")),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
FIELDS = sorted(
    {"type", "extra"}
    | {
        field.encode_name
        for kind in frames._KNOWN.values()
        for field in msgspec.structs.fields(kind)
    }
)
TYPES: st.SearchStrategy[Any] = (
    st.sampled_from([*frames._KNOWN, "bogus", "unknown", "malformed"]) | JSON
)


def is_harmless(frame: frames.InboundFrame) -> bool:
    """Whether the frame holds what its types say, and can be kept in a journal."""
    again = msgspec.json.decode(msgspec.json.encode(frame), type=type(frame), strict=True)
    return again == frame


class TestDocumented:
    @pytest.mark.parametrize(("text", "frame"), DOCUMENTED)
    def test_every_documented_frame_is_read(self, text: str, frame: frames.InboundFrame) -> None:
        assert decode(text) == frame
        assert decode(text.encode()) == frame

    def test_a_telnyx_setup_is_read(self) -> None:
        text = {
            "type": "setup",
            "sessionId": "6a7d4a3e-6a0f-11ee-b5f1-02420a0d7e68",
            "accountSid": "f1a2",
            "callSid": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BorherQ/=",
            "callControlId": "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BorherQ/=",
            "callSessionId": "1",
            "callLegId": "2",
            "from": "+18005550100",
            "to": "+18005550101",
            "direction": "inbound",
            "callStatus": "active",
        }
        frame = decode(json.dumps(text))
        assert isinstance(frame, Setup)
        assert frame.call_sid == text["callSid"]
        assert (frame.call_type, frame.call_status, frame.custom_parameters) == ("", "active", {})


class TestLeniency:
    @pytest.mark.parametrize(
        ("text", "frame"),
        [
            ('{"type":"setup"}', Setup()),
            ('{"type":"setup","callerName":null,"customParameters":null}', Setup()),
            ('{"type":"setup","from":15550100}', Setup(from_="15550100")),
            ('{"type":"setup","from":["+1"],"to":"+2"}', Setup(to="+2")),
            ('{"type":"setup","customParameters":[]}', Setup()),
            (
                ('{"type":"setup","customParameters":{"token":"t","a":null,"b":{"c":1},"d":5,'
                '"e":true,"f":[]}}'),
                Setup(custom_parameters={"token": "t", "d": "5", "e": "true"}),
            ),
            ('{"type":"prompt","voicePrompt":"hi"}', Prompt("hi", last=True)),
            ('{"type":"prompt","voicePrompt":"hi","last":null}', Prompt("hi", last=True)),
            ('{"type":"prompt","voicePrompt":"hi","last":"false"}', Prompt("hi", last=False)),
            ('{"type":"prompt","voicePrompt":"hi","last":"maybe"}', Prompt("hi", last=True)),
            ('{"type":"prompt","voicePrompt":"hi","last":[]}', Prompt("hi", last=True)),
            ('{"type":"prompt","voicePrompt":"","lang":null}', Prompt("")),
            ('{"type":"prompt","voicePrompt":"hi","confidence":{"a":[1]}}', Prompt("hi")),
            ('{"type":"prompt","voicePrompt":{"text":"hi"}}', Prompt("")),
            ('{"voicePrompt":"hi","type":"prompt"}', Prompt("hi")),
            ('{"type":"prompt","voicePrompt":"a","voicePrompt":"b"}', Prompt("b")),
            (' \n{"type":"dtmf","digit":"#"} \n', Dtmf("#")),
            ('{"type":"dtmf","digit":5}', Dtmf("5")),
            ('{"type":"dtmf"}', Dtmf("")),
            ('{"type":"interrupt"}', Interrupt("", 0)),
            ('{"type":"interrupt","durationUntilInterruptMs":"460"}', Interrupt("", 460)),
            ('{"type":"interrupt","durationUntilInterruptMs":15.5}', Interrupt("", 15.5)),
            ('{"type":"interrupt","durationUntilInterruptMs":""}', Interrupt("", 0)),
            ('{"type":"interrupt","durationUntilInterruptMs":"soon"}', Interrupt("", 0)),
            ('{"type":"interrupt","durationUntilInterruptMs":"nan"}', Interrupt("", 0)),
            ('{"type":"interrupt","durationUntilInterruptMs":"inf"}', Interrupt("", 0)),
            ('{"type":"interrupt","durationUntilInterruptMs":true}', Interrupt("", 0)),
            ('{"type":"info","name":"roundTripDelayMs","value":148}',
             Info("roundTripDelayMs", "148")),
            ('{"type":"info","name":"configUpdated","value":{"a":1}}', Info("configUpdated", "")),
            ('{"type":"error","description":null}', Error("")),
        ],
    )  # fmt: skip
    def test_what_is_absent_or_wrongly_typed_becomes_its_default(
        self, text: str, frame: frames.InboundFrame
    ) -> None:
        assert decode(text) == frame

    @pytest.mark.parametrize(
        ("text", "frame"),
        [
            ('{"type":"connected","protocol":"Call"}', Unknown("connected", {"protocol": "Call"})),
            ('{"type":"Prompt"}', Unknown("Prompt")),
            ('{"type":"unknown","name":"x"}', Unknown("unknown", {"name": "x"})),
            ('{"type":"malformed","reason":1}', Unknown("malformed", {"reason": 1})),
            ('{"type":""}', Unknown("")),
        ],
    )
    def test_an_unknown_type_is_kept_as_it_is(self, text: str, frame: frames.InboundFrame) -> None:
        assert decode(text) == frame

    def test_a_type_of_any_length_is_cut(self) -> None:
        frame = decode('{"type":"' + "x" * 9999 + '"}')
        assert isinstance(frame, Unknown)
        assert len(frame.name) == 100

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ("", "not JSON"),
            (b"\x00\xff", "not JSON"),
            ("hello", "not JSON"),
            ('{"type":"prompt"', "not JSON"),
            ('{"type":"prompt","voicePrompt":NaN}', "not JSON"),
            (b'{"type":"prompt","voicePrompt":"\xff"}', "not JSON"),
            ('{"type":"prompt","voicePrompt":"\ud800"}', "not JSON"),
            ('{"type":"prompt","voicePrompt":"\\ud800"}', "not JSON"),
            ('{"message":"Internal server error"}', "no type"),
            ('{"type":null}', "no type"),
            ('{"type":5}', "no type"),
            ('["prompt"]', "not a JSON object"),
            ("null", "not a JSON object"),
            ("5", "not a JSON object"),
            ("[" * 60_000, "not JSON"),
            ('{"type":"x","x":' * 5_000, "not JSON"),
            ('{"type":"x","x":' + "[" * 100 + "]" * 100 + "}", "nested more than 32 deep"),
            ("x" * 200_000, "200000 bytes; at most 131072"),
            (b"x" * 200_000, "200000 bytes; at most 131072"),
        ],
    )  # fmt: skip
    def test_what_is_no_frame_is_malformed(self, data: bytes | str, reason: str) -> None:
        frame = decode(data)
        assert isinstance(frame, Malformed)
        assert reason in frame.reason
        assert len(frame.excerpt) <= 200
        assert is_harmless(frame)


class TestArbitrary:
    @given(st.binary() | st.text(st.characters()))
    def test_bytes_and_text(self, data: bytes | str) -> None:
        assert is_harmless(decode(data))

    @given(JSON)
    def test_json(self, value: Any) -> None:
        assert is_harmless(decode(json.dumps(value)))

    @given(TYPES, st.dictionaries(st.sampled_from(FIELDS), JSON))
    def test_json_in_the_fields_of_frames(self, type_: Any, fields: dict[str, Any]) -> None:
        assert is_harmless(decode(json.dumps({**fields, "type": type_})))

    @given(st.sampled_from(DOCUMENTED), st.data())
    def test_damaged_frames(self, documented: tuple[str, Any], data: st.DataObject) -> None:
        text = documented[0].encode()
        at = data.draw(st.integers(0, len(text)))
        damage = data.draw(st.binary(max_size=3))
        skip = data.draw(st.integers(0, 3))
        assert is_harmless(decode(text[:at] + damage + text[at + skip :]))


class TestOutbound:
    @pytest.mark.parametrize(
        ("frame", "text"),
        [
            # Verbatim from conversationrelay.md 3.1-3.5.
            (Text("Sure, ", last=False), '{"type":"text","token":"Sure, ","last":false}'),
            (
                Text("let me look.", last=True, interruptible=True, preemptible=False,
                     lang="en-US"),
                ('{"type":"text","token":"let me look.","last":true,"interruptible":true,'
                '"preemptible":false,"lang":"en-US"}'),
            ),
            (Text("", last=True), '{"type":"text","token":"","last":true}'),
            (frames.CLOSE_CYCLE, '{"type":"text","token":"","last":true}'),
            (
                Play("https://voice.example.com/hold.mp3", loop=1, preemptible=True,
                     interruptible=True),
                ('{"type":"play","source":"https://voice.example.com/hold.mp3","loop":1,'
                '"preemptible":true,"interruptible":true}'),
            ),
            (Play("https://x/a.mp3", loop=0), '{"type":"play","source":"https://x/a.mp3","loop":0}'),
            (SendDigits("1234ww#"), '{"type":"sendDigits","digits":"1234ww#"}'),
            (
                Language("es-ES", "es-ES"),
                '{"type":"language","ttsLanguage":"es-ES","transcriptionLanguage":"es-ES"}',
            ),
            (Language("es-ES"), '{"type":"language","ttsLanguage":"es-ES"}'),
            (End(), '{"type":"end"}'),
            (
                End('{"reasonCode":"live-agent-handoff"}'),
                '{"type":"end","handoffData":"{\\"reasonCode\\":\\"live-agent-handoff\\"}"}',
            ),
            (Text(' “é你👋"\n', last=False),
             '{"type":"text","token":" “é你👋\\"\\n","last":false}'),
        ],
    )  # fmt: skip
    def test_frames_are_written_as_documented(self, frame: frames.OutboundFrame, text: str) -> None:
        written = encode(frame)
        assert json.loads(written) == json.loads(text)
        assert json.loads(text)["type"].encode() in written[:24]
        assert msgspec.json.decode(written, type=type(frame)) == frame

    def test_the_end_of_a_cycle_is_written_once_and_for_all(self) -> None:
        assert encode(frames.CLOSE_CYCLE) == encode(Text("", last=True))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Play(""),
            lambda: Play("hold.mp3"),
            lambda: Play("ftp://x/hold.mp3"),
            lambda: Play("https://x/a.mp3", loop=-1),
            lambda: SendDigits(""),
            lambda: SendDigits("1 2"),
            lambda: SendDigits("12\n"),
            lambda: SendDigits("ABCD"),
            lambda: SendDigits("١"),
            lambda: Language(),
            lambda: Language("", ""),
            lambda: End({"reason": "x"}),  # type: ignore[arg-type]
            lambda: End(5),  # type: ignore[arg-type]
            lambda: Text(None, last=False),  # type: ignore[arg-type]
            lambda: Text("hi", last="true"),  # type: ignore[arg-type]
            lambda: Text("hi", last=True, interruptible="true"),  # type: ignore[arg-type]
            lambda: Text("hi\ud800", last=True),
            lambda: Play(5),  # type: ignore[arg-type]
            lambda: Play("https://x/a.mp3", loop=True),
            lambda: Play("https://x/a.mp3", preemptible=1),  # type: ignore[arg-type]
            lambda: SendDigits(5),  # type: ignore[arg-type]
            lambda: Language(5),  # type: ignore[arg-type]
        ],
    )
    def test_a_frame_the_carrier_would_refuse_cannot_be_built(self, make: Any) -> None:
        with pytest.raises(FrameError):
            encode(make())
