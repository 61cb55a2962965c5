"""What this agent can do so far: hang up."""

from __future__ import annotations

from voxyray.builtin import hang_up

tools = [hang_up]
