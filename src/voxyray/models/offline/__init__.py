"""The `offline` model: scripted, deterministic, and honest about it.

    model = OfflineModel(load_script(Path("agents/default/offline.toml")))

A script is declared in `offline.toml` (`definition` says what it may hold) or, for a dialogue that
outgrows it, in `offline.py`:

    def reply(talk: Talk) -> Say | Use: ...
"""

from voxyray.models.offline.choices import Option, choose
from voxyray.models.offline.model import OfflineModel
from voxyray.models.offline.names import Name, find_name
from voxyray.models.offline.numbers import number, numbers
from voxyray.models.offline.script import Script, load_script, parse_script
from voxyray.models.offline.talk import (
    Action,
    Called,
    Event,
    Keyed,
    Noted,
    Replied,
    Said,
    Say,
    Talk,
    Use,
)
from voxyray.models.offline.words import correction, likeness, normal, resembles, yes_or_no

__all__ = [
    "Action",
    "Called",
    "Event",
    "Keyed",
    "Name",
    "Noted",
    "OfflineModel",
    "Option",
    "Replied",
    "Said",
    "Say",
    "Script",
    "Talk",
    "Use",
    "choose",
    "correction",
    "find_name",
    "likeness",
    "load_script",
    "normal",
    "number",
    "numbers",
    "parse_script",
    "resembles",
    "yes_or_no",
]
