"""Is the account at Twilio well, and do its numbers lead here."""

from __future__ import annotations

from typing import Final

from voxyray.carriers.numbers import Number, open_account, same_url
from voxyray.checks import Finding, Setup, broken, ok, warning
from voxyray.errors import CarrierError, SettingsError

_RELAY: Final = (
    "whether ConversationRelay is switched on cannot be asked: the AI/ML Features Addendum must be "
    "agreed to in the console's Voice settings; see "
    "twilio.com/docs/voice/conversationrelay/onboarding"
)
_TRIAL: Final = (
    "callers hear Twilio's trial notice first, and texts go to verified numbers only: upgrade it "
    "before others call; "
)


async def account(setup: Setup) -> list[Finding]:
    """Check the credentials, and that the account is active."""
    if setup.account is None:
        return [_no_account(setup)]
    try:
        found = await setup.standing()
    except CarrierError as error:
        return [broken("twilio", str(error), _account_fix(error))]
    setup.note_clock("Twilio", found.clock_s)
    if found.status != "active":
        fix = "no call reaches it: see the Twilio console for the reason"
        return [broken("twilio", f"the account is {found.status or 'in no known state'}", fix)]
    if found.trial:
        return [warning("twilio", "the account is active, on trial", _TRIAL + _RELAY)]
    return [ok("twilio", "the account is active", _RELAY)]


def _no_account(setup: Setup) -> Finding:
    """Say why the settings name no account; on a laptop none is needed."""
    try:
        open_account(setup.settings)
    except SettingsError as error:
        said, _, fix = str(error).partition(": ")
        if "not set" in said:
            return warning("twilio", f"{said}: not looked at", f"for real calls {fix}")
        return broken("twilio", said, fix)
    return warning("twilio", "not looked at", "run `voxyray doctor`")


def _account_fix(error: CarrierError) -> str:
    if error.status in (401, 403, 404):
        return "copy both from the first page of the Twilio console"
    return "try again"


async def numbers(setup: Setup) -> list[Finding]:
    """Check which numbers lead here, and that the sender of texts is one of the account's."""
    if setup.account is None:
        return []
    try:
        found = await setup.numbers()
    except CarrierError as error:
        if await _is_active(setup):
            return [broken("numbers", str(error), "try again")]
        return []  # the account's own check tells it
    return _leading_here(setup, found) + _sender(setup, found)


async def _is_active(setup: Setup) -> bool:
    try:
        return (await setup.standing()).status == "active"
    except CarrierError:
        return False


def _leading_here(setup: Setup, found: list[Number]) -> list[Finding]:
    if setup.settings.is_local:
        return []  # none can
    webhook = f"{setup.settings.base_url}/voice"
    here = [each for each in found if same_url(each.voice_url, webhook)]
    deaf = [each for each in here if each.bound_to or each.voice_method != "POST"]
    findings = [_deaf(each) for each in deaf]
    if well := [each for each in here if each not in deaf]:
        names = ", ".join(tail(each.phone_number) for each in well[:5])
        more = f" and {len(well) - 5} more" if len(well) > 5 else ""
        said = f"{len(well)} of the account's {len(found)} lead here: {names}{more}"
        return [ok("numbers", said), *findings]
    fix = f"run: voxyray number set +1... --url {webhook}"
    if not found:
        return [warning("numbers", "the account has no number", f"buy one, then {fix}")]
    said = f"none of the account's {len(found)} leads calls here"
    return [*findings, warning("numbers", said, fix)]


def _deaf(number: Number) -> Finding:
    name = tail(number.phone_number)
    if number.bound_to:
        said = f"{name} is bound to {number.bound_to.rpartition(' ')[0]}: its webhook is ignored"
        fix = "in the Twilio console choose Webhook in the number's Voice Configuration"
        return broken("numbers", said, fix)
    said = f"{name} calls the webhook by {number.voice_method or 'no method'}, which is refused"
    return broken("numbers", said, "run: voxyray number set with that number")


def _sender(setup: Setup, found: list[Number]) -> list[Finding]:
    settings = setup.settings
    sender = settings.sms_from
    if not sender.startswith("+") or settings.sms == "outbox":
        return []
    known = next((each for each in found if each.phone_number == sender), None)
    if known is None:
        said = f"VOXYRAY_SMS_FROM ({tail(sender)}) is no number of this account"
        return [warning("messages", said, "set it to one that `voxyray number list` shows")]
    if not known.sms:
        said = f"VOXYRAY_SMS_FROM ({tail(sender)}) cannot send texts"
        return [broken("messages", said, "set it to a number that can, or to a messaging service")]
    return []


def tail(number: str) -> str:
    """Name a number by its last digits, so that what is shown can be shown to others."""
    return f"…{number[-4:]}"
