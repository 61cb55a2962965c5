"""What can be sent at all: recipients, texts, headers. Every way to send goes through here.

Texts come from models: they are cleaned where that cannot change their meaning, else refused with
words that a model can act on. No refusal quotes a number or an address, since refusals are logged.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from voxyray.arguments import harmless
from voxyray.errors import MessageRefused
from voxyray.messengers import Message

SMS_CHARS: Final = 1600  # Body of Twilio's Messages API; error 21617 beyond
EMAIL_BYTES: Final = 200_000  # of UTF-8: half of what every store takes in one item
SUBJECT_CHARS: Final = 200
NAME_CHARS: Final = 100
KEY_CHARS: Final = 500

_PUNCTUATION: Final = re.compile(r"[\s().\-\u00a0\u2010-\u2015]+")
# `[0-9]`, not `\d`: digits of other scripts are no number to a carrier.
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
# RFC 5321 without quoted local parts and address literals, which no caller has.
_ADDRESS: Final = re.compile(
    rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[A-Za-z][A-Za-z0-9\-]*[A-Za-z0-9]"
)
_LOCAL_CHARS, _ADDRESS_CHARS = 64, 254


def checked(message: Message) -> Message:
    """Give a message as it can be sent: its recipient in one form, its texts without controls.

    Raises:
        MessageRefused: it cannot be sent; the message says what to change.
    """
    try:
        message = msgspec.convert(msgspec.structs.asdict(message), Message)
    except msgspec.ValidationError as error:
        raise MessageRefused(f"not a message: {error}", "body") from None
    if not message.key or len(message.key) > KEY_CHARS:
        raise MessageRefused(f"a message needs a key of at most {KEY_CHARS} characters", "key")
    body = harmless(message.body).strip()
    if not body:
        raise MessageRefused("the message is empty; write what it should say", "body")
    if message.kind == "sms":
        # Twilio counts characters as UTF-16 does: an emoji is two.
        size = len(body.encode("utf-16-le")) // 2
        if size > SMS_CHARS:
            raise MessageRefused(
                f"the text message is {size} characters long; at most {SMS_CHARS} can be sent, "
                "shorten it",
                "body",
            )
        return msgspec.structs.replace(
            message, to=number(message.to), body=body, subject="", from_name=""
        )
    if len(body.encode()) > EMAIL_BYTES:
        raise MessageRefused(f"the e-mail is too long; at most {EMAIL_BYTES // 1000} kB", "body")
    return msgspec.structs.replace(
        message,
        to=address(message.to),
        body=body,
        subject=_subject(message.subject),
        from_name=one_line(message.from_name)[:NAME_CHARS].strip(),
    )


def recipient(to: str) -> str:
    """Give a number or an address in its one form, by which opt-outs are remembered.

    Raises:
        MessageRefused: it is neither.
    """
    return address(to).lower() if "@" in to else number(to)


def number(to: str) -> str:
    """Give a phone number as E.164; spaces, dashes and brackets are taken out.

    Raises:
        MessageRefused: it is no international number.
    """
    plain = _PUNCTUATION.sub("", to)
    if not _E164.fullmatch(plain):
        raise MessageRefused(
            "the recipient is no phone number in international form, such as +14155550100; "
            "ask for the whole number",
            "recipient",
        )
    return plain


def address(to: str) -> str:
    """Give an e-mail address without the space around it.

    Raises:
        MessageRefused: it is none that every mail server takes.
    """
    plain = to.strip()
    fits = len(plain) <= _ADDRESS_CHARS and plain.find("@") <= _LOCAL_CHARS
    if not fits or not _ADDRESS.fullmatch(plain):
        raise MessageRefused(
            "the recipient is no e-mail address such as ada@example.com; ask for it, letter by "
            "letter",
            "recipient",
        )
    return plain


def one_line(text: str) -> str:
    """Make text safe for a header: no line breaks of any script, no control characters."""
    return " ".join(harmless(text).split())


def _subject(text: str) -> str:
    subject = one_line(text)
    if not subject:
        raise MessageRefused("the e-mail has no subject; give it one", "subject")
    if len(subject) > SUBJECT_CHARS:
        raise MessageRefused(
            f"the subject may have {SUBJECT_CHARS} characters; shorten it", "subject"
        )
    return subject
