"""Writes a test of a call: redacted, readable, and replayed as part of a suite from then on."""

from __future__ import annotations

import textwrap
from typing import Final

from voxyray import callfile
from voxyray.callfile import CallFile
from voxyray.redact import redact
from voxyray.waterfall import TurnView, turns

MARK: Final = "Written by `voxyray replay --to-test`"
_WIDTH: Final = 92
_TEMPLATE: Final = '''"""A recorded call, with every word and number replaced: {size}.

{mark}. What came in is fed to today's code at the times it came then;
if a decision differs, the test fails and says which is the first.

{story}
"""

# ruff: noqa: E501 - an entry of the journal is a line

from __future__ import annotations

from voxyray.callfile import decode
from voxyray.replay import replay

CALL = r\'\'\'
{call}\'\'\'


def test_the_call_goes_as_it_went() -> None:
    replayed = replay(decode(CALL.lstrip().encode()))
    assert replayed.difference is None, str(replayed.difference)
    assert replayed.stopped is None, replayed.notes
'''


def write_test(call: CallFile) -> str:
    """Give the source of a pytest file that replays the call.

    Raises:
        JournalError: the call does not replay identically today, or cannot be redacted.
    """
    redacted = call if call.redacted else redact(call)
    views = [view for session in redacted.sessions for view in turns(session.entries)]
    # JSON's own escape keeps whatever was said from ending the text it stands in.
    data = callfile.encode(redacted).decode().replace("'''", "\\u0027" * 3)
    story = "\n".join(line for view in views for line in _told(view))
    size = f"{len(views)} turns"
    return _TEMPLATE.format(size=size, mark=MARK, story=_harmless(story), call=data)


def _told(view: TurnView) -> list[str]:
    begun = view.caller if view.cause in ("speech", "keys") else f"({view.cause})"
    lines = textwrap.wrap(f"{view.number:>3}  {begun}", _WIDTH, subsequent_indent=" " * 9)
    did = [f"{tool.name}: {tool.status}" for tool in view.tools]
    said = view.heard + (" —" if view.cut is not None else "")
    for text in (*did, f"> {said}"):
        lines += textwrap.wrap(text, _WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 7)
    return lines


def _harmless(text: str) -> str:
    return text.replace("\\", "/").replace('"""', "'''")
