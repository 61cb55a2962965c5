"""Reads an agent's offline script: `offline.toml`, or `offline.py` with a function."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import msgspec

from voxyray.errors import AgentError
from voxyray.loading import load_module
from voxyray.models.offline import dialogue, smalltalk
from voxyray.models.offline.definition import read_definition
from voxyray.models.offline.talk import Action, Replied, Responder, Said, Say, Talk


class Script(msgspec.Struct, frozen=True):
    """How to answer: a pure function of the talk. source: where it stands, for messages."""

    reply: Responder
    source: str = ""


def load_script(path: Path) -> Script:
    """Read a script; a Python file must define `reply(talk: Talk) -> Say | Use`.

    Raises:
        AgentError: naming the file, the place in it and the fix.
    """
    if path.suffix == ".py":
        return _load_python(path)
    if path.suffix != ".toml":
        raise AgentError(f"{path}: an offline script is a .toml or a .py file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(f"{path} cannot be read: {error}") from error
    return parse_script(text, str(path))


def parse_script(text: str, source: str = "offline.toml") -> Script:
    """Read a script from TOML text.

    Raises:
        AgentError: naming the source, the place in it and the fix.
    """
    return Script(functools.partial(dialogue.respond, read_definition(text, source)), source)


def _load_python(path: Path) -> Script:
    if not path.is_file():
        raise AgentError(f"{path} cannot be read: there is no such file")
    reply = getattr(load_module(path), "reply", None)
    if not callable(reply):
        raise AgentError(f"{path}: define a function reply(talk: Talk) -> Say | Use")
    if inspect.iscoroutinefunction(reply):
        raise AgentError(f"{path}: reply must be a plain function: it only reads the talk")
    return Script(reply, str(path))


_NO_SCRIPT = "This agent has no offline script, so it needs a language model to be of any use."


def without_script(talk: Talk) -> Action:
    """Hold a polite conversation for an agent that has no script."""
    if action := talk.small_talk(replies={"help": (_NO_SCRIPT,)}):
        return action
    first = not any(isinstance(event, Replied) for event in talk.events)
    if not isinstance(talk.latest, Said):
        words = f"Hello! {_NO_SCRIPT}" if first else _NO_SCRIPT
        return Say(f"{words} You can say goodbye whenever you like.")
    if smalltalk.kind_of(talk.text, ("nothing",)):
        return talk.hang_up(smalltalk.REPLIES["nothing"][0])
    echo = " ".join(talk.text.split())[:120].rstrip(" .,;:!?")
    words = talk.vary("I understood", "I heard", "You said")
    return Say(f"{words}: {echo}. {_NO_SCRIPT}")


NO_SCRIPT = Script(without_script)
