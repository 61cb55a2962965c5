"""One relay session in memory: every behaviour of the reference's checklist (9.1)."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import msgspec
import pytest

from voxyray.twin import (
    Binary,
    CallOver,
    Closed,
    Ending,
    Language,
    Line,
    Oddities,
    Phone,
    RelayAttributes,
    Timing,
    TwinTimeout,
    virtual,
)
from voxyray.twin.record import Event, Interrupted

from .apps import EVENTS, OPEN, answering, call, incoming, names, send, text

LONG = "Sentence 1 of this reply. Sentence 2 of this reply. Sentence 3 of this reply."


def having(base: RelayAttributes = OPEN, **changes: Any) -> RelayAttributes:
    return msgspec.structs.replace(base, **changes)


async def hangs_up(phone: Phone) -> None:
    await phone.wait(1)


async def asks(phone: Phone) -> None:
    await phone.say("What is up?")
    await phone.listen()


# -- setup, greeting ---------------------------------------------------------------------------


@virtual
async def test_setup_comes_first_and_at_once() -> None:
    record = await call(answering(), hangs_up, attributes=having(parameters={"tenant": "t_42"}))
    first = record.frames[0]
    assert first.t_ms == 0
    assert first.data is not None
    assert re.fullmatch(r"VX[0-9a-f]{32}", first.data["sessionId"])
    assert first.data["customParameters"] == {"tenant": "t_42"}
    assert (first.data["direction"], first.data["callStatus"]) == ("inbound", "RINGING")


@virtual
async def test_the_greeting_is_spoken_with_events() -> None:
    async def script(phone: Phone) -> None:
        assert await phone.listen() == "Hello there. How can I help?"

    record = await call(
        answering(), script, attributes=having(welcome_greeting="Hello there. How can I help?")
    )
    assert names(record) == [
        "setup",
        "agentSpeaking on",
        "tokensPlayed Hello there.",
        "tokensPlayed How can I help?",
        "agentSpeaking off",
    ]
    assert [s.source for s in record.spoken] == ["greeting", "greeting"]
    assert 250 <= record.spoken[0].t_ms <= 700


@virtual
async def test_no_events_unless_asked_for() -> None:
    async def script(phone: Phone) -> None:
        await phone.listen()
        await asks(phone)

    record = await call(
        answering([text("Fine.", last=True)]),
        script,
        attributes=having(events=frozenset(), welcome_greeting="Hi."),
    )
    assert "info" not in {frame["type"] for frame in record.received()}
    assert record.heard == "Hi.Fine."


@virtual
async def test_debugging_reports_the_round_trip() -> None:
    record = await call(answering(), hangs_up, attributes=having(events=frozenset({"debugging"})))
    assert names(record)[1] == "roundTripDelayMs 148"


# -- prompts -----------------------------------------------------------------------------------


@virtual
async def test_prompts_are_final_only_by_default() -> None:
    record = await call(answering([text("Fine.", last=True)]), asks)
    assert record.received("prompt") == [
        {"type": "prompt", "voicePrompt": "What is up?", "lang": "en-US", "last": True}
    ]


@virtual
async def test_partials_are_cumulative_and_the_final_repeats_the_last() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("I want to change my booking to Friday")
        await phone.listen()

    record = await call(
        answering([text("Done.", last=True)]), script, attributes=having(partial_prompts=True)
    )
    frames = [f for f in record.frames if f.data and f.data["type"] == "prompt"]
    said = [f.data["voicePrompt"] for f in frames if f.data]
    assert len(said) > 4
    assert all(said[-1].startswith(part) for part in said)
    assert [len(s) for s in said] == sorted(len(s) for s in said)
    assert said[-1] == said[-2] == "I want to change my booking to Friday"
    assert frames[-1].t_ms - frames[-2].t_ms == pytest.approx(450)
    assert (frames[1].t_ms - frames[0].t_ms) % 250 == pytest.approx(0)


@virtual
async def test_partials_may_be_revised_and_the_final_repunctuated() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("one two four five six seven eight nine ten eleven")
        await phone.listen()

    record = await call(
        answering([text("Done.", last=True)]),
        script,
        attributes=having(partial_prompts=True),
        oddities=Oddities(garbled_partials=True, repunctuated_final=True),
    )
    said = [f["voicePrompt"] for f in record.received("prompt")]
    assert said[-1] == said[-2] + "."
    assert not all(said[-1].startswith(part) for part in said)


@virtual
async def test_flux_and_multi_send_the_primary_language() -> None:
    for attributes in (having(speech_model="flux"), having(transcription_language="multi")):
        record = await call(answering([text("Fine.", last=True)]), asks, attributes=attributes)
        assert record.received("prompt")[0]["lang"] == "en"


@virtual
async def test_two_prompts_in_a_row_and_an_empty_one() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("One.")
        await phone.say("Two.")
        await phone.say("")
        await phone.wait(2)

    record = await call(answering(), script)
    assert [f["voicePrompt"] for f in record.received("prompt")] == ["One.", "Two.", ""]


# -- barge-in ----------------------------------------------------------------------------------


async def cuts(phone: Phone) -> None:
    await phone.say("Tell me")
    assert (
        await phone.cut_in("No, wait", after_words=8) == "Sentence 1 of this reply. Sentence 2 of"
    )
    await phone.wait(3)


@virtual
async def test_barge_in_by_voice_in_the_observed_order() -> None:
    record = await call(
        answering([text(LONG, last=True)]), cuts, attributes=having(partial_prompts=True)
    )
    sequence = names(record)
    start = sequence.index("interrupt") - 2
    assert sequence[start : start + 5] == [
        "clientSpeaking on",
        "tokensPlayed Sentence 2 of",
        "interrupt",
        "partial",
        "agentSpeaking off",
    ]
    assert sequence[-2:] == ["clientSpeaking off", "final"]
    burst = [f.t_ms for f in record.frames if f.data and f.data["type"] == "interrupt"]
    assert all(
        f.t_ms == burst[0]
        for f in record.frames
        if f.data and f.data.get("value") == "off" and f.data["name"] == "agentSpeaking"
    )


@virtual
async def test_an_interrupt_tells_the_current_clause_only_and_purges_the_rest() -> None:
    record = await call(answering([text(LONG, last=True)]), cuts)
    [frame] = record.received("interrupt")
    assert frame["utteranceUntilInterrupt"] == "Sentence 2 of"
    assert frame["durationUntilInterruptMs"] == pytest.approx(867, abs=1)
    assert isinstance(frame["durationUntilInterruptMs"], int)
    assert record.heard == "Sentence 1 of this reply. Sentence 2 of"
    assert record.spoken[-1].fate == "interrupted"


@virtual
async def test_a_key_comes_before_the_interrupt_that_it_causes() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("Tell me")
        while len(phone.heard.split()) < 7:
            await phone.wait(0.05)
        await phone.press("5")
        await phone.wait(1)

    record = await call(answering([text(LONG, last=True)]), script)
    sequence = names(record)
    start = sequence.index("dtmf")
    assert sequence[start:] == [
        "dtmf",
        "tokensPlayed Sentence 2",
        "interrupt",
        "agentSpeaking off",
    ]


@virtual
async def test_late_tokens_are_spoken() -> None:
    async def app(line: Line) -> None:
        async for frame in incoming(line):
            if frame["type"] == "prompt":
                await send(line, [text(LONG)])
            if frame["type"] == "interrupt":
                await send(line, [text(" Late words.", last=True)])

    async def script(phone: Phone) -> None:
        await phone.say("Tell me")
        await phone.cut_in("stop", after_words=2)
        await phone.wait(5)

    record = await call(app, script)
    assert record.heard.startswith("Sentence 1")
    assert " Late words." in record.heard


@virtual
async def test_a_caller_can_cut_after_a_time() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("Tell me")
        await phone.cut_in("stop", after_ms=500)

    record = await call(answering([text(LONG, last=True)]), script)
    assert record.received("interrupt")[0]["durationUntilInterruptMs"] == 500


@virtual
async def test_speech_before_the_audio_starts_interrupts_with_nothing_heard() -> None:
    async def app(line: Line) -> None:
        async for frame in incoming(line):
            if frame["type"] == "setup":
                await send(line, [text("Never heard.", last=True)])

    async def script(phone: Phone) -> None:
        await phone.wait(0.1)
        await phone.say("Hello?")
        await phone.wait(2)

    record = await call(app, script)
    [frame] = record.received("interrupt")
    assert (frame["utteranceUntilInterrupt"], frame["durationUntilInterruptMs"]) == ("", 0)
    assert record.heard == ""


@virtual
async def test_an_agent_that_starts_while_the_caller_talks_is_cut() -> None:
    async def app(line: Line) -> None:
        async for frame in incoming(line):
            if frame["type"] == "prompt" and not frame["last"]:
                await send(line, [text("Speaking over you.", last=True)])
                break
        async for _ in incoming(line):
            pass

    async def script(phone: Phone) -> None:
        await phone.say("I am not nearly done with what I have to say")
        await phone.wait(5)

    record = await call(app, script, attributes=having(partial_prompts=True))
    assert len(record.received("interrupt")) == 1


# -- what may interrupt, and what is reported --------------------------------------------------


async def talks_over(phone: Phone) -> None:
    await phone.wait(1)
    await phone.say("Hello?")
    await phone.wait(1)
    await phone.press("1")
    await phone.wait(8)


@pytest.mark.parametrize(
    ("interruptible", "report", "expected"),
    [
        ("any", "any", ["interrupt", "final", "dtmf"]),
        ("speech", "none", ["interrupt", "dtmf"]),
        ("none", "any", ["final", "dtmf"]),
        ("none", "none", []),
        ("dtmf", "speech", ["final", "interrupt"]),
        ("dtmf", "dtmf", ["dtmf", "interrupt"]),
    ],
)
@virtual
async def test_interruptible_and_report_settings(
    interruptible: str, report: str, expected: list[str]
) -> None:
    record = await call(
        answering(first=[text(LONG, last=True)]),
        talks_over,
        attributes=having(interruptible=interruptible, report_input_during_agent_speech=report),
    )
    assert names(record, "interrupt", "final", "dtmf") == expected


@virtual
async def test_a_message_can_forbid_interruption() -> None:
    record = await call(answering(first=[text(LONG, last=True, interruptible=False)]), talks_over)
    assert record.received("interrupt") == []
    assert record.heard == LONG


@virtual
async def test_keys_are_unseen_without_dtmf_detection() -> None:
    record = await call(
        answering(first=[text(LONG, last=True)]),
        talks_over,
        attributes=having(dtmf_detection=False),
    )
    assert names(record, "dtmf") == []
    assert "dtmfDetection is off: keys are not seen" in record.warnings


@virtual
async def test_a_backchannel_does_not_interrupt_if_ignored() -> None:
    async def script(phone: Phone) -> None:
        await phone.cut_in("Uh-huh.", after_words=3)
        await phone.wait(8)

    record = await call(
        answering(first=[text(LONG, last=True)]), script, attributes=having(ignore_backchannel=True)
    )
    assert record.heard == LONG


# -- frames of ours ----------------------------------------------------------------------------

BAD = [
    "not json",
    "[]",
    "{}",
    '{"type":7}',
    '{"type":"bogus"}',
    '{"type":"text"}',
    '{"type":"text","token":null}',
    '{"type":"text","token":7}',
    '{"type":"text","token":"x","last":"true"}',
    '{"type":"play"}',
    '{"type":"play","source":"hold.mp3"}',
    '{"type":"play","source":"https://x.example/a.mp3","loop":-1}',
    '{"type":"sendDigits","digits":""}',
    '{"type":"sendDigits","digits":"12A"}',
    '{"type":"language"}',
    '{"type":"end","handoffData":{"reason":"x"}}',
    Binary('{"type":"text","token":"x"}'),
]


@pytest.mark.parametrize("bad", BAD)
@virtual
async def test_a_bad_frame_is_answered_with_64107_and_dropped(bad: str) -> None:
    async def app(line: Line) -> None:
        await line.receive()
        await line.send(bad)
        assert not isinstance(await line.receive(), Closed)
        await send(line, [text("Still here.", last=True)])
        await line.receive()

    async def script(phone: Phone) -> None:
        assert await phone.listen() == "Still here."

    record = await call(app, script, attributes=having(events=frozenset()))
    [error] = record.received("error")
    assert error["description"] == f"Invalid message received, code: 64107, {bad}"
    assert [fault.code for fault in record.errors] == [64107]
    assert record.ending == Ending("completed", 1000, "Closing websocket session")


@virtual
async def test_ten_bad_frames_in_a_row_close_with_1007() -> None:
    ends: list[Closed] = []

    async def app(line: Line) -> None:
        await line.receive()
        for _ in range(9):
            await line.send("x")
        await send(line, [text("good", last=True)])  # the limit is on consecutive ones
        for _ in range(10):
            await line.send("x")
        while not isinstance(got := await line.receive(), Closed):
            pass
        ends.append(got)

    async def script(phone: Phone) -> None:
        await phone.wait_for_end()

    record = await call(app, script)
    assert ends == [Closed(1007, "Too many consecutive malformed messages")]
    assert len(record.received("error")) == 19
    assert record.ending is not None
    assert (record.ending.status, record.ending.error_code) == ("failed", 64105)


@virtual
async def test_extra_fields_and_new_frames_are_warnings() -> None:
    frames = [
        text("Fine.", last=True, id=7),
        text("Too.", last=True, lang=None),
        text("Hallo.", last=True, lang="de-DE"),
        {"type": "config", "interruptible": "none"},
    ]
    record = await call(answering(first=frames), hangs_up)
    assert record.errors == ()
    assert record.warnings == (
        "extra field 'id' in a text frame",
        "null 'lang' in a text frame",
        "language 'de-DE' is declared by no <Language>",
        "the twin takes no notice of 'config' frames",
    )


@virtual
async def test_a_language_switch_changes_the_language_of_prompts() -> None:
    first = [{"type": "language", "ttsLanguage": "es-ES", "transcriptionLanguage": "es-ES"}]
    record = await call(
        answering([text("Hola.", last=True)], first=first),
        asks,
        attributes=having(languages=(Language("es-ES"),)),
    )
    assert record.received("prompt")[0]["lang"] == "es-ES"
    assert record.warnings == ()


@virtual
async def test_digits_and_files_are_played_and_digits_reported() -> None:
    first = [
        {"type": "play", "source": "https://x.example/a.mp3"},
        {"type": "sendDigits", "digits": "1234#"},
    ]

    async def script(phone: Phone) -> None:
        await phone.wait(9)

    record = await call(answering(first=first), script)
    assert [(s.source, s.text) for s in record.spoken] == [
        ("play", "https://x.example/a.mp3"),
        ("digits", "1234#"),
    ]
    assert names(record)[1:] == ["agentSpeaking on", "agentSpeaking off", "tokensPlayed 1234#"]
    assert record.spoken[0].until_ms - record.spoken[0].t_ms == pytest.approx(2000)


@virtual
async def test_a_preempted_filler_gives_tokens_played_but_no_interrupt() -> None:
    async def app(line: Line) -> None:
        async for frame in incoming(line):
            if frame["type"] == "prompt":
                await send(line, [text("One moment please, I look.", last=True, preemptible=True)])
                await asyncio.sleep(1)
                await send(line, [text("Here you are.", last=True)])

    async def script(phone: Phone) -> None:
        await phone.say("Where is it?")
        assert (await phone.listen()).endswith("Here you are.")

    record = await call(app, script)
    sequence = names(record)
    assert sequence[sequence.index("agentSpeaking on") :] == [
        "agentSpeaking on",
        "tokensPlayed One moment",
        "tokensPlayed Here you are.",
        "agentSpeaking off",
    ]


# -- how it ends -------------------------------------------------------------------------------


async def stays(phone: Phone) -> None:
    await phone.say("Bye.")
    await phone.wait_for_end()


@virtual
async def test_end_drains_speech_and_closes_after_90_ms() -> None:
    frames = [text("Good bye, then."), {"type": "end", "handoffData": '{"why":"done"}'}]
    record = await call(answering(frames), stays)
    assert record.heard == "Good bye, then."
    assert record.ending == Ending(
        "ended", 1000, "Closing websocket session", handoff_data='{"why":"done"}'
    )
    assert record.sessions[0].duration_ms - record.spoken[-1].until_ms == pytest.approx(90)


@virtual
async def test_a_second_end_is_refused_and_later_text_is_not_spoken() -> None:
    frames = [{"type": "end"}, {"type": "end"}, text("More.", last=True)]
    record = await call(answering(frames), stays)
    assert [fault.code for fault in record.errors] == [64107]
    assert record.warnings == ("a text frame came after end",)
    assert record.heard == ""
    assert record.ending is not None
    assert record.ending.handoff_data is None


@virtual
async def test_hanging_up_closes_with_1000() -> None:
    ends: list[Any] = []

    async def app(line: Line) -> None:
        while not isinstance(got := await line.receive(), Closed):
            pass
        ends.append(got)

    record = await call(app, hangs_up)
    assert ends == [Closed(1000, "Closing websocket session")]
    assert record.ending == Ending("completed", 1000, "Closing websocket session")
    assert record.script_done


@virtual
async def test_a_drop_is_1006_and_failed_64105() -> None:
    ends: list[Any] = []

    async def app(line: Line) -> None:
        while not isinstance(got := await line.receive(), Closed):
            pass
        ends.append(got)

    async def script(phone: Phone) -> None:
        phone.drop()
        await phone.wait_for_end()

    record = await call(app, script)
    assert ends == [Closed(1006)]
    assert record.ending is not None
    assert (record.ending.status, record.ending.error_code) == ("failed", 64105)
    assert [fault.code for fault in record.errors] == [64105]


@virtual
async def test_an_app_that_closes_the_socket_has_failed() -> None:
    async def app(line: Line) -> None:
        await line.receive()
        await line.close(1011, "crash")

    record = await call(app, stays)
    assert record.ending == Ending("failed", 1011, "crash", None, 64105, "Websocket ended")


# -- oddities ----------------------------------------------------------------------------------


@virtual
async def test_every_second_duration_is_a_string() -> None:
    async def script(phone: Phone) -> None:
        for _ in range(4):
            await phone.say("Again")
            await phone.cut_in("Stop", after_words=2)
            await phone.wait(1)

    record = await call(
        answering(*[[text(LONG, last=True)]] * 8),
        script,
        oddities=Oddities(text_duration_every=2),
    )
    durations = [f["durationUntilInterruptMs"] for f in record.received("interrupt")]
    assert [type(d).__name__ for d in durations[:4]] == ["int", "str", "int", "str"]
    assert durations[1].isdigit()


@virtual
async def test_unknown_extra_and_duplicate_frames() -> None:
    odd = Oddities(unknown_frames=True, extra_fields=True, duplicate_frames=True)
    record = await call(answering([text("Fine.", last=True)]), asks, oddities=odd)
    assert names(record, "setup", "weather", "final") == [
        "setup",
        "weather",
        "weather",
        "final",
        "final",
    ]
    assert all("novelty" in frame for frame in record.received())


@virtual
async def test_optional_fields_may_be_absent_or_null() -> None:
    record = await call(answering(), asks_in_vain, oddities=Oddities(omitted_fields=True))
    assert record.received("setup")[0].keys() == {
        "type",
        "sessionId",
        "accountSid",
        "callSid",
        "from",
        "to",
        "direction",
        "callStatus",
    }
    assert record.received("prompt") == [{"type": "prompt", "voicePrompt": "What?"}]
    record = await call(answering(), hangs_up, oddities=Oddities(null_fields=True))
    assert record.received("setup")[0]["callerName"] is None


async def asks_in_vain(phone: Phone) -> None:
    await phone.say("What?")
    await phone.wait(3)


@virtual
async def test_an_interrupt_may_come_while_idle_and_tell_nothing() -> None:
    record = await call(answering(), asks_in_vain, oddities=Oddities(idle_interrupt=True))
    assert names(record, "interrupt", "final") == ["interrupt", "final"]
    record = await call(
        answering([text(LONG, last=True)]), cuts, oddities=Oddities(silent_fragment=True)
    )
    assert record.received("interrupt")[0]["utteranceUntilInterrupt"] == ""


@virtual
async def test_anything_can_be_sent_raw() -> None:
    async def script(phone: Phone) -> None:
        phone.raw('{"type":"dtmf"}')
        phone.raw("no json")
        await phone.wait(0.1)

    seen: list[Any] = []

    async def app(line: Line) -> None:
        while not isinstance(got := await line.receive(), Closed):
            seen.append(got)

    await call(app, script)
    assert seen[1:] == ['{"type":"dtmf"}', "no json"]


# -- the caller's patience ---------------------------------------------------------------------


@virtual
async def test_listening_in_vain_says_what_was_seen() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("Hello?")
        await phone.listen(timeout_s=10)

    with pytest.raises(TwinTimeout, match=r"heard 'Unclosed\.', the agent is still busy"):
        await call(answering([text("Unclosed.")]), script)


@virtual
async def test_cutting_in_too_late_says_so() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("Hello?")
        await phone.cut_in("stop", after_words=9)

    with pytest.raises(TwinTimeout, match=r"not heard for 9 words; heard 'Hi\.'"):
        await call(answering([text("Hi.", last=True)]), script)


@virtual
async def test_acting_after_the_end_ends_the_script() -> None:
    async def script(phone: Phone) -> None:
        await phone.say("Bye.")
        await phone.wait_for_end()
        with pytest.raises(CallOver):
            await phone.say("Anybody?")
        await phone.press("1")

    record = await call(answering([{"type": "end"}]), script)
    assert not record.script_done


@virtual
async def test_a_failing_script_fails_the_call() -> None:
    async def script(phone: Phone) -> None:
        raise KeyError("in the script")

    with pytest.raises(KeyError, match="in the script"):
        await call(answering(), script)


@virtual
async def test_listen_can_wait_for_several_cycles() -> None:
    answer = "Found it, and it is a long story."

    async def app(line: Line) -> None:
        async for frame in incoming(line):
            if frame["type"] == "prompt":
                await send(line, [text("One moment.", last=True)])
                await asyncio.sleep(3)
                await send(line, [text(answer, last=True)])

    async def script(phone: Phone) -> None:
        await phone.say("Where?")
        assert await phone.listen(quiet_ms=2500) == "One moment." + answer

    await call(app, script)


@virtual
async def test_observers_see_typed_events_in_order() -> None:
    events: list[Event] = []
    record = await call(answering([text(LONG, last=True)]), cuts, on_event=events.append)
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        "SessionOpened",
        "CallerSaid",
        "AgentToken",
        "ClausePlayed",
        "ClausePlayed",
        "Interrupted",
        "CallerSaid",
        "Closed",
    ]
    [cut] = [event for event in events if isinstance(event, Interrupted)]
    assert (cut.heard, cut.by) == ("Sentence 2 of", "speech")
    assert [e.t_ms for e in events] == sorted(e.t_ms for e in events)
    assert record.duration_ms < 20_000


@virtual
async def test_two_runs_of_one_call_are_the_same() -> None:
    async def once() -> list[tuple[float, str]]:
        record = await call(
            answering([text(LONG, last=True)]),
            cuts,
            attributes=having(partial_prompts=True, events=EVENTS),
            oddities=Oddities(garbled_partials=True),
            timing=Timing(),
        )
        return [(round(f.t_ms, 3), f.text) for f in record.frames[1:]]

    assert await once() == await once()


@virtual
async def test_a_record_survives_json() -> None:
    record = await call(answering([text("Fine.", last=True)]), asks)
    data = msgspec.json.encode(record)
    assert msgspec.json.decode(data, type=type(record)) == record
    assert json.loads(data)["spoken"][0]["heard"] == "Fine."
