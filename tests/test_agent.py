"""An agent that could not work in a call is refused when it is made, with the fix."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.desk import hang_up, look_up
from voxyray.agent import Agent, Listing
from voxyray.caller import Caller
from voxyray.errors import AgentError
from voxyray.policy import Key, Policy
from voxyray.tool import tool

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@tool(effect="read", name="look_up")
def another() -> str:
    """Look something else up."""
    return ""


def agent(**changes: Any) -> Agent:
    return Agent(**{"instructions": "Be kind.", "name": "shop", **changes})


class TestTexts:
    def test_they_are_filled_in_for_the_caller(self) -> None:
        made = agent(
            title="Ada's bike shop",
            instructions=(
                "\n{{ agent.title }}, {{ now.strftime('%A') }}, "
                "{{ agents | map(attribute='title') | join('+') }}\n"
            ),
            greeting="\n{% if caller.known %}\n  Hello\n  {{ caller.first_name }}!\n{% endif %}\n",
        )
        texts = made.render(Caller(first_name="Bob"), NOON, [Listing("a", "A", ""), made.listing])
        assert texts.instructions == "Ada's bike shop, Sunday, A+Ada's bike shop"
        assert texts.greeting == "Hello Bob!"
        assert made.render(Caller(), NOON, []).greeting == ""

    def test_what_a_caller_is_named_is_no_template(self) -> None:
        texts = agent(greeting="Hi {{ caller.first_name }}").render(
            Caller(first_name="{{ now }} <b>"), NOON, []
        )
        assert texts.greeting == "Hi {{ now }} <b>"

    @pytest.mark.parametrize(
        ("template", "where"),
        [
            ("a\n{% if %}", "line 2: Expected an expression"),
            ("a\n\n{% for x in agents %}{{ x }", "line 3: "),
            ("{% include 'x' %}", "no loader"),
            ("{{ caller", "line 1: "),
            # unknown names, also where no caller of the trial comes
            ("a\n{{ callr.name }}", r"line 2: unknown variable 'callr'; did you mean 'caller'\?"),
            ("{% if false %}\n{{ weather }}{% endif %}",
             "line 2: unknown variable 'weather'; there are agent, agents, caller, now"),
            ("{% if caller.known %}\n{{ caller.frist_name }}{% endif %}", "line 2: .*frist_name"),
            ("{% if not caller.known %}\n{{ caller.frist_name }}{% endif %}", "line 2: .*frist"),
            ("{% for a in agents %}\n{{ a.titel }}{% endfor %}", "line 2: .*titel"),
            ("a\n{{ 1 // 0 }}", "line 2: .*zero"),
            ("{{ now + 1 }}", "line 1: unsupported operand"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "line 1: maximum recursion"),
            ("{{ ''.__class__.__mro__ }}", "line 1: .*unsafe"),
            ("{% for i in range(9999999) %}{% endfor %}", "line 1: Range too big"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("field", ["instructions", "greeting"])
    def test_a_wrong_template_is_named_with_its_line(
        self, field: str, template: str, where: str
    ) -> None:
        with pytest.raises(AgentError, match=f"agent shop: {field}.*{where}"):
            agent(**{field: template})

    def test_globals_and_own_variables_are_known(self) -> None:
        agent(
            instructions="{% set x = 1 %}{% for i in range(x) %}{{ i }}{{ loop.index }}{% endfor %}"
        )


class TestFields:
    @pytest.mark.parametrize("name", ["", "Bike Shop", "../x", "a#b", "x" * 99, None])
    def test_a_name_that_is_no_key(self, name: Any) -> None:
        with pytest.raises(AgentError, match=r"name .* is not lower case .*like bike_shop"):
            agent(name=name)

    @pytest.mark.parametrize(
        ("zone", "said"),
        [
            ("Europe/Pariss", r"there is no 'Europe/Pariss'; .*did you mean 'Europe/Paris'\?"),
            ("Europe", "there is no 'Europe'; write it like Europe/Paris"),
            ("", "there is no ''"),
            ("../../etc/passwd", "there is no"),
            ("a\x00b", "there is no"),
            ("x" * 9999, "there is no"),
            ("\ud800", "there is no"),
            (None, "there is no None"),
        ],
    )
    def test_a_time_zone_that_is_none(self, zone: Any, said: str) -> None:
        with pytest.raises(AgentError, match=f"agent shop: time_zone: {said}"):
            agent(time_zone=zone)

    def test_a_tool_that_is_none(self) -> None:
        def plain() -> None: ...

        with pytest.raises(AgentError, match=r"agent shop: tools: .*plain is not a tool; decorate"):
            agent(tools=[plain])

    def test_two_tools_of_one_name(self) -> None:
        with pytest.raises(AgentError, match="tools: two tools are named 'look_up'"):
            agent(tools=[look_up, another])

    @pytest.mark.parametrize(
        ("keypad", "said"),
        [
            ({"10": Key(say="x")}, "'10' is no key of a phone"),
            ({"": Key(say="x")}, "'' is no key of a phone"),
            ({"A": Key(say="x")}, "'A' is no key of a phone"),
            ({"1": "hello"}, "key 1 must be a Key"),
            ({"1": Key(tool="look_upp")},
             r"key 1 names no tool: 'look_upp'; did you mean 'look_up'\?"),
            ({"1": Key(tool="zzz")}, "key 1 names no tool: 'zzz'; there are hang_up, look_up"),
        ],
    )  # fmt: skip
    def test_a_key_that_could_do_nothing(self, keypad: Any, said: str) -> None:
        with pytest.raises(AgentError, match=f"agent shop: keypad: {said}"):
            agent(keypad=keypad, tools=[hang_up, look_up])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"relay": {"ttsProvidr": "Google"}}, r"relay: .*did you mean 'ttsProvider'\?"),
            ({"relay": {"interruptByDtmf": True}}, "relay: .*Twilio ignores it"),
            ({"relay": {"interruptible": "maybe"}}, "relay: .*none, dtmf, speech, any"),
            ({"relay": {"url": "wss://x"}}, "relay: .*set by the host"),
            ({"languages": [{"code": "es-ES"}, {"voice": "x"}]},
             "languages, number 2: <Language> needs a code"),
            ({"languages": [{"code": "es-ES", "ttsProvider": "Gogle"}]},
             "languages, number 1: .*Google, Amazon, ElevenLabs"),
        ],
    )  # fmt: skip
    def test_an_attribute_the_carrier_would_ignore_or_refuse(
        self, changes: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(AgentError, match=f"agent shop: {said}"):
            agent(**changes)


class TestDefaults:
    def test_every_call_gets_what_it_needs_and_the_agent_may_differ(self) -> None:
        attributes = agent(relay={"interruptible": "speech", "partialPrompts": True})
        assert attributes.relay_attributes == {
            "interruptible": "speech",
            "reportInputDuringAgentSpeech": "any",
            "dtmfDetection": "true",
            "events": "speaker-events tokens-played",
            "debug": "debugging",
            "partialPrompts": True,
        }

    def test_others_see_a_title(self) -> None:
        assert agent(name="bike_shop").listing == Listing("bike_shop", "bike shop", "")
        assert agent(title="Ada's", description="Sells.").listing == Listing(
            "shop", "Ada's", "Sells."
        )


def test_speculating_asks_for_partial_transcripts() -> None:
    early = agent(policy=Policy(speculate=True))
    assert early.relay_attributes["partialPrompts"] == "true"
    assert "partialPrompts" not in agent().relay_attributes


@pytest.mark.parametrize("off", ["false", False])
def test_speculating_without_partial_transcripts_is_refused(off: bool | str) -> None:
    with pytest.raises(AgentError, match="policy: speculate needs partial transcripts, but relay"):
        agent(policy=Policy(speculate=True), relay={"partialPrompts": off})
    agent(policy=Policy(speculate=True), relay={"partialPrompts": True})
