"""The pizza shop without a language model: rules over the same pure modules as the tools.

`reply` gives what to do about the latest input. Whatever is wanted is given to the tools at once;
they refuse what cannot be, in words that are then said to the caller.
"""

from __future__ import annotations

import re

import msgspec

from voxyray.models.offline import Action, Called, Keyed, Say, Talk, Use, normal
from voxyray.models.offline.smalltalk import kind_of

from .asking import asked_for, is_question
from .order import ASK_ADDRESS, ASK_ITEM, ASK_TYPE
from .ordering import Plan, connected, planned
from .recall import (
    DONE,
    DROPPED,
    MORE,
    PLACE,
    QUESTIONS,
    TEXT,
    WAITING,
    State,
    Turn,
    problem,
    read_turn,
)
from .whereto import type_in

_MISSED = ("I'm sorry, I didn't get that.", "I'm afraid I don't follow.", "Sorry, I missed that.")
_HELP = (
    "I can take your order for pickup or delivery, and tell you about the menu, our hours and "
    "where we are."
)
_SMALL_TALK = {
    "help": (_HELP,),
    "wait": WAITING,
    "thanks": ("You're welcome.",),
    "hello": ("Hello!",),
}
_PERSON = re.compile(
    r"\bput me through\b|\b(?:speak|talk|connect|transfer|put|get|give|want|need)\b.*"
    r"\b(?:person|human|manager|someone|somebody|operator|representative|employee|staff|boss|agent|people)\b",
    re.IGNORECASE,
)
_RECEPTION = re.compile(
    r"\b(?:reception(?:ist)?|main menu|switchboard|apartments|apartment search|leasing)\b",
    re.IGNORECASE,
)


def reply(talk: Talk) -> Action:
    """Answer the latest input."""
    turn = read_turn(talk)
    plan = _plan(talk, turn)
    if turn.calls:
        return _after_tools(turn, plan)
    if plan.uses:
        first, *others = plan.uses
        return first.together(*others).saying(plan.say)
    if plan.say in WAITING:
        return Say(plan.say)
    now = _without_dropped(turn.now, plan)
    if plan.closing:
        return _close(now, plan.say)
    return Say(" ".join(part for part in (plan.say, _question(now, plan)) if part))


def _plan(talk: Talk, turn: Turn) -> Plan:
    """Make of the caller's words what is to be done, small talk last of all but mere sounds."""
    if not turn.text:
        keys = any(isinstance(each, Keyed) for each in turn.inputs)
        menu = "Press 1 for our hours, 2 for where we are, 3 to hear your order, 0 for a person."
        return Plan(say=menu if keys else "")
    return (
        _leaving(talk, turn)
        or asked_for(turn)
        or planned(turn)
        or _small_talk(talk)
        or Plan(say=_missed(talk, turn))
    )


def _missed(talk: Talk, turn: Turn) -> str:
    if not normal(turn.text):
        return "Take your time."
    if turn.text.rstrip().endswith("?") or is_question(normal(turn.text), turn.text):
        return "I'm afraid I don't know that. I can put you through to a person, if you like."
    return talk.vary(*_MISSED)


def _leaving(talk: Talk, turn: Turn) -> Plan | None:
    """Let the caller go, or put them through."""
    if _RECEPTION.search(turn.text) and talk.fact(r"^- (default):"):
        words = "One moment, I'll put you through to the reception."
        return Plan([Use("transfer_to_agent", name="default")], say=words)
    kind = kind_of(turn.text)  # of all kinds, for thanks are like a goodbye
    if turn.before.asked == ASK_TYPE and type_in(turn.text):
        return None  # "to go"
    action = talk.small_talk("goodbye") if kind == "goodbye" else None
    if action is None and kind != "person" and not _PERSON.search(turn.text):
        return None
    order = turn.before.order
    if isinstance(action, Use):
        lost = "Your order was not placed. " if order.lines else ""
        return Plan([action], say=f"{lost}{action.say}")
    return connected(turn.before)


def _small_talk(talk: Talk) -> Plan | None:
    action = talk.small_talk(replies=_SMALL_TALK)
    return Plan(say=action.text) if isinstance(action, Say) else None


# After the tools


def _after_tools(turn: Turn, plan: Plan) -> Action:
    """Tell what came of it, and ask what is to be asked next."""
    calls, now = turn.calls, turn.now
    if any(call.status == "waiting" for call in calls):
        return Say("That is taking a moment. I'll tell you when it is done.")
    failed = [problem(call.result) for call in calls if call.status == "failed"]
    last = calls[-1]
    if last.name == "place_order" and failed:
        return Say(f"{failed[-1]} {DONE}") if now.closed else _close(now)
    done = [call for call in calls if call.status == "done"]
    if plan.closing and not failed and last.name != "read_order" and now.order.lines:
        return _close(now, "" if not now.order.missing() else _told(done))
    told = _told([call for call in done if last.name != "read_order" or call is last])
    parts = [told, *failed]
    if not parts[-1].endswith("?"):
        following = _next(turn, plan)
        parts += [following] if following not in parts else []
    return Say(" ".join(part for part in parts if part))


def _told(calls: list[Called]) -> str:
    """Give what the tools answered; of several items one is told after the other."""
    return " ".join(call.result for call in calls)


def _next(turn: Turn, plan: Plan) -> str:
    last = turn.calls[-1]
    if last.status == "done" and last.name == "place_order":
        return TEXT
    return _question(turn.now, plan)


def _close(now: State, told: str = "") -> Action:
    """Ask what is missing; with nothing missing read the order. told: what is said before."""
    open_ = [wish.problem for wish in now.wishes if wish.is_question]
    if open_ or not now.order.lines:
        nothing = DONE if now.placed or now.closed else ASK_ITEM
        return Say(f"{told} {[*open_, nothing][0]}".strip())
    missing = now.order.missing()
    if not missing:
        return Use("read_order").saying(told)
    return Say(told if missing in told else f"{told} {missing}".strip())


def _without_dropped(now: State, plan: Plan) -> State:
    """Leave out what the caller has just given up."""
    dropped = plan.say.startswith(DROPPED)
    return msgspec.structs.replace(now, wishes=[]) if dropped else now


def _question(now: State, plan: Plan) -> str:
    """Give the question that is open."""
    if any(question in plan.say for question in QUESTIONS) or plan.say.endswith("?"):
        return ""
    open_ = [wish.problem for wish in now.wishes if wish.is_question]
    if open_:
        return open_[0]
    if now.order.lines:
        if now.read:
            return PLACE
        closing = plan.closing or now.asked in (ASK_TYPE, ASK_ADDRESS)
        return (closing and now.order.missing()) or MORE
    if now.placed:
        return TEXT if now.asked == TEXT and not now.sent else DONE
    return DONE if now.closed else ASK_ITEM
