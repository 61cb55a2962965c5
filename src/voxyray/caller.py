"""Who is calling: what is known of them across calls, and how a tool adds to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from voxyray.arguments import harmless
from voxyray.errors import ConditionFailed, StoreError, ToolError
from voxyray.stores import Equals, Item, Missing, Store, Update, keys

MAX_LENGTH: Final = 200  # characters of any one value
MAX_NOTES: Final = 50

_SAVED: Final = ("first_name", "last_name", "email", "agent", "language")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*|multi")
_ATTEMPTS: Final = 5


@dataclass(repr=False)
class Caller:
    """Who is calling, as far as known; a field that is not known is empty.

    number is E.164, a SIP or a client identity, or empty if withheld; agent is the use case they
    chose; language is a tag such as `es-ES`. Without a store, or without a number, what is saved
    is kept for this call only.
    """

    number: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    agent: str = ""
    language: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    store: Store | None = field(default=None, compare=False)

    @classmethod
    async def load(cls, store: Store, number: str) -> Caller:
        """Read what is known of a number; a withheld one, or a new one, is an empty caller.

        Raises:
            StoreError: the store could not be read.
        """
        if not keys.is_caller(number):
            return cls(store=store)
        caller = cls(number, store=store)
        caller._take(await store.get(keys.caller(number), keys.PROFILE) or {})
        return caller

    @property
    def known(self) -> bool:
        """Whether they can be greeted by name."""
        return bool(self.first_name)

    @property
    def name(self) -> str:
        """Their full name, as far as known."""
        return " ".join(part for part in (self.first_name, self.last_name) if part)

    def __repr__(self) -> str:
        # Objects end up in logs; a caller's data must not.
        return f"Caller({'...' + self.number[-2:] if self.number else 'withheld'})"

    async def save(self, **changes: Any) -> None:
        """Set the given fields, here and in the store; all others stay as they are.

        Fields are those of this class but number; notes are merged by name. An empty text clears
        a field.

        Raises:
            ToolError: an unknown field, or a value of the wrong type, form or length; nothing
                was saved.
            StoreError: the store could not be written.
        """
        values = _checked(changes)
        notes = values.pop("notes", {})
        if not values and not notes:
            return
        if self.store is None or not keys.is_caller(self.number):
            self._merge(values, _limited({**self.notes, **notes}))
            return
        item = await self._write(self.store, values, notes)
        self._merge(values, _texts(item.get("notes")) if notes else {})

    async def _write(self, store: Store, values: Item, notes: dict[str, str]) -> Item:
        pk = keys.caller(self.number)
        if not notes:
            return await store.update(Update(pk, keys.PROFILE, set=values))
        # Notes are one field: two tools, or two calls, may add to them at the same time.
        for _ in range(_ATTEMPTS):
            item = await store.get(pk, keys.PROFILE)
            old = (item or {}).get("notes")
            merged = {**values, "notes": _limited({**_texts(old), **notes})}
            when = Missing() if item is None else Equals("notes", old)
            try:
                return await store.update(Update(pk, keys.PROFILE, set=merged, when=when))
            except ConditionFailed:
                continue
        raise StoreError("a caller's notes kept changing while they were saved")

    def _merge(self, values: Item, notes: dict[str, str]) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self.notes = {**self.notes, **notes}

    def _take(self, item: Item) -> None:
        """Take over a stored item; what has the wrong type counts as not known."""
        for name in _SAVED:
            value = item.get(name)
            setattr(self, name, _clean(value) if isinstance(value, str) else "")
        self.notes = _texts(item.get("notes"))


def is_language(tag: str) -> bool:
    """Whether this is the form of a language tag, such as `es-ES`, or `multi`."""
    return _LANGUAGE.fullmatch(tag) is not None


def _texts(stored: object) -> dict[str, str]:
    if not isinstance(stored, dict):
        return {}
    return {
        _clean(name): _clean(text)
        for name, text in stored.items()
        if isinstance(name, str) and isinstance(text, str)
    }


def _clean(text: str) -> str:
    """Make it one line of bounded length: it will stand in prompts, TwiML and speech."""
    return " ".join(harmless(text).split())[:MAX_LENGTH]


def _limited(notes: dict[str, str]) -> dict[str, str]:
    if len(notes) > MAX_NOTES:
        raise ToolError(f"a caller can have {MAX_NOTES} notes; reuse the name of an old one")
    return notes


def _checked(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in changes.items()}


def _value(name: str, value: Any) -> Any:
    if name == "notes":
        if not isinstance(value, dict):
            raise ToolError("notes must be an object of texts")
        return {
            _text("a note's name", key): _text(f"note {key}", text) for key, text in value.items()
        }
    if name not in _SAVED:
        raise ToolError(f"a caller has no field {name!r}; there are {', '.join(_SAVED)}, notes")
    text = _text(name, value)
    if name == "email" and text and not _EMAIL.fullmatch(text):
        raise ToolError("email is not an e-mail address such as ada@example.com")
    if name == "language" and text and not is_language(text):
        raise ToolError("language must be a tag such as en-US")
    if name == "agent" and text:
        try:
            keys.agent(text)
        except StoreError as error:
            raise ToolError(str(error)) from error
    return text


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ToolError(f"{what} must be text, not {type(value).__name__}")
    if len(value) > MAX_LENGTH:
        raise ToolError(f"{what} may have {MAX_LENGTH} characters, not {len(value)}")
    return _clean(value)
