"""Twilio's error codes for messages, and what to do about each.

From twilio.com/docs/api/errors. They come at once, in the answer to a send, or later, in a status
callback; a message that failed later is not sent again, for part of it may have arrived.
"""

from __future__ import annotations

from typing import Final

OPTED_OUT: Final = "21610"

# What is wrong, and the fix where it is ours.
MEANINGS: Final = {
    "20003": "the account's credentials are wrong: check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
    "20429": "too many requests",
    "21211": "the number is not valid",
    "21408": "the region is not enabled: see the account's messaging geographic permissions",
    "21603": "no sender: set VOXYRAY_SMS_FROM",
    "21606": "the sender cannot send messages to this number: check VOXYRAY_SMS_FROM",
    "21608": "a trial account sends to verified numbers only",
    OPTED_OUT: "the recipient has opted out",
    "21614": "the number is not a mobile number",
    "21617": "the message is too long",
    "21659": "the sender is not ours: check VOXYRAY_SMS_FROM",
    "30003": "the phone is unreachable",
    "30005": "the number is unknown",
    "30006": "a landline, or an unreachable carrier",
    "30007": "filtered as spam: change what it says",
    "30034": "the sending number is not registered for A2P 10DLC: register it",
    "30450": "blocked as suspected traffic pumping: review who is sent messages",
}
RETRYABLE: Final = frozenset({"20429"})
# Nothing will be sent until somebody changes the configuration.
OURS: Final = frozenset({"20003", "21408", "21603", "21606", "21608", "21659", "30034"})


def meaning(code: str) -> str:
    """Say what a code means; empty for one that is not known here."""
    return MEANINGS.get(code, "")
