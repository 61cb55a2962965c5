"""The model that needs no account: it answers from a script, at the pace of a language model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

import msgspec

from voxyray.errors import ModelError
from voxyray.models import Delta, Finish, ModelRequest, TextDelta, ToolCall
from voxyray.models.offline import smalltalk
from voxyray.models.offline.script import NO_SCRIPT, Script
from voxyray.models.offline.talk import Action, Called, Noted, Replied, Say, Talk, Use


class OfflineModel:
    """Answers from a script; the same request always gets the same answer.

    script: of `load_script`; None holds a polite conversation and says that it has none.
    first_token_s and words_per_s set the pace; words_per_s 0 gives all at once.
    """

    name = "offline"

    def __init__(
        self,
        script: Script | None = None,
        *,
        first_token_s: float = 0.25,
        words_per_s: float = 40.0,
    ) -> None:
        self._script = script or NO_SCRIPT
        self._first_token_s = first_token_s
        self._words_per_s = words_per_s

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        """Answer a request.

        Raises:
            ModelError: the script's own function failed.
        """
        action = respond(self._script, Talk(request))
        text = action.text if isinstance(action, Say) else action.say
        async for delta in self._paced(text):
            yield delta
        if isinstance(action, Say):
            yield Finish("stop", self.name)
            return
        for number, use in enumerate((action, *action.others), 1):
            yield _tool_call(use, request, number)
        yield Finish("tool_calls", self.name)

    async def _paced(self, text: str) -> AsyncGenerator[TextDelta, None]:
        """Give the words when they are due; what is due at one wake-up comes together."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._first_token_s
        words = re.findall(r"\s*\S+\s*\Z|\s*\S+", text)
        await _until(due)
        if not self._words_per_s or not words:
            if text:
                yield TextDelta(text)
            return
        at = 0
        while at < len(words):
            late = int((loop.time() - due) * self._words_per_s)
            upto = min(len(words), max(at, late) + 1)
            yield TextDelta("".join(words[at:upto]))
            at = upto
            if at < len(words):
                await _until(due + at / self._words_per_s)

    async def warm(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: nothing is open."""


async def _until(due: float) -> None:
    """Sleep until the loop's clock says so, and not at all if it does already."""
    wait = due - asyncio.get_running_loop().time()
    if wait > 0:
        await asyncio.sleep(wait)


def _tool_call(use: Use, request: ModelRequest, number: int) -> ToolCall:
    number += sum(len(message.tool_calls) for message in request.messages)
    arguments = msgspec.json.encode(use.arguments).decode()
    return ToolCall(f"offline_{number}", use.tool, arguments)


def respond(script: Script, talk: Talk) -> Action:
    """Give the script's answer, with what every answer owes the caller.

    Whatever the script wants, a question about what this is gets an honest answer, a repetition
    repeats, an interrupted reply goes on where it was cut, and only tools on offer are used, each
    once for an input.

    Raises:
        ModelError: the script's own function failed.
    """
    kinds = [event.kind for event in talk.pending if isinstance(event, Noted)]
    latest = talk.latest
    if isinstance(latest, Noted) and latest.kind in ("repeat", "resume") and not _called_off(talk):
        again = _whole_reply(script, talk) if latest.kind == "repeat" else _rest(script, talk)
        if again:
            return Say(again)
    action = _checked(_ask(script, talk), talk)
    lead = []
    if "identity" in kinds:
        lead.append(smalltalk.HONEST)
    if "failed" in kinds:
        lead.append("I'm sorry, that didn't work.")
    return _led(" ".join(lead), action)


def _called_off(talk: Talk) -> bool:
    """Whether the words that were cut went with a tool that did not run: both are to come again."""
    before = talk.events[-2] if len(talk.events) > 1 else None
    return isinstance(before, Called) and before.status == "cancelled"


def _ask(script: Script, talk: Talk) -> Action:
    try:
        action: object = script.reply(talk)
    except Exception as error:
        where = script.source or "the offline script"
        raise ModelError(f"{where}: {type(error).__name__}: {error}", retryable=False) from error
    if not isinstance(action, Say | Use):
        problem = f"{script.source}: reply gave {type(action).__name__}, not Say or Use"
        raise ModelError(problem, retryable=False)
    return action


def _led(lead: str, action: Action) -> Action:
    if not lead:
        return action
    if isinstance(action, Use):
        return action.saying(f"{lead} {action.say}".strip())
    return Say(f"{lead} {action.text}".strip())


_CANNOT = "I'm sorry, I can't do that right now."
_DONE = "That is as far as I can take it right now. What would you like to do?"


def _checked(action: Action, talk: Talk) -> Action:
    """Hold a script to what is on offer, so that no request fails or goes round for ever."""
    if talk.forced and not (isinstance(action, Use) and action.tool == talk.forced):
        spec = next(spec for spec in talk.request.tools if spec.name == talk.forced)
        if not spec.parameters.get("required"):
            return Use(talk.forced)
    if isinstance(action, Say):
        return action if action.text.strip() else Say(_DONE)
    if not talk.offers(action.tool):
        return Say(action.say.strip() or _CANNOT)
    uses = (action, *action.others)
    new = [use for use in uses if talk.offers(use.tool) and not _is_done(use, talk)]
    if not new:
        return Say(action.say.strip() or _DONE)
    first = Use(new[0].tool, **new[0].arguments).saying(action.say)
    return first.together(*new[1:])


def _is_done(use: Use, talk: Talk) -> bool:
    """Whether the same was done for this input already."""
    return any(
        call.name == use.tool and dict(call.arguments) == _plain(use) and call.status != "cancelled"
        for call in talk.calls_of_turn
    )


def _plain(use: Use) -> object:
    return msgspec.json.decode(msgspec.json.encode(use.arguments))


def _last_reply(talk: Talk) -> Replied | None:
    return next((each for each in reversed(talk.events) if isinstance(each, Replied)), None)


def _generated(script: Script, talk: Talk, reply: Replied) -> str:
    """Give all that was going to be said in a reply: the script says the same again."""
    action = respond(script, talk.before(reply.at))
    return action.text if isinstance(action, Say) else action.say


def _whole_reply(script: Script, talk: Talk) -> str:
    reply = _last_reply(talk)
    if reply is None:
        return ""
    whole = _generated(script, talk, reply)
    return whole if reply.cut and _overlap(reply.text, whole) else reply.text


_CLAUSE_END = re.compile(r"[.!?;:,]\s+")


def _rest(script: Script, talk: Talk) -> str:
    """Give what a cut reply still had to say, from the clause in which it was cut."""
    reply = _last_reply(talk)
    if reply is None or not reply.cut:
        return ""
    whole = _generated(script, talk, reply)
    heard = _overlap(reply.text, whole)
    ends = [end.end() for end in _CLAUSE_END.finditer(whole) if end.start() <= heard]
    return whole[ends[-1] if ends else 0 :].strip() if heard else ""


def _overlap(heard: str, whole: str) -> int:
    """Give how many characters of a text were heard; a filler may stand before them."""
    for end in range(len(whole), 0, -1):
        part = whole[:end].strip()
        if part and heard.endswith(part):
            return end
    return 0
