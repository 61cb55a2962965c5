"""voxyray puts AI agents on the phone.

    from voxyray import Agent, Caller, tool

The public names; everything else is for those who extend voxyray.
"""

from voxyray.agent import Agent
from voxyray.builtin import hang_up, transfer_to_agent, transfer_to_person
from voxyray.caller import Caller
from voxyray.context import CallContext
from voxyray.errors import AgentError, ToolError, VoxyrayError
from voxyray.policy import Key, Policy
from voxyray.tool import Tool, tool

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentError",
    "CallContext",
    "Caller",
    "Key",
    "Policy",
    "Tool",
    "ToolError",
    "VoxyrayError",
    "__version__",
    "hang_up",
    "tool",
    "transfer_to_agent",
    "transfer_to_person",
]
