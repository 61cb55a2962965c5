"""What the local cloud raises; all of it is TwinError.

TwinError
├── CloudError           the local cloud cannot be started; the message says the fix
│   └── TemplateError    a template has what the local cloud does not know
└── FunctionFailed       an invocation gave no answer
    ├── FunctionTimedOut ... in time; its environment is gone
    └── Throttled        ... because all environments it may have are busy
"""

from __future__ import annotations

from typing import Any

from voxyray.twin.errors import TwinError


class CloudError(TwinError):
    """The local cloud cannot be started or used so; the message says the fix."""


class TemplateError(CloudError):
    """A template has what the local cloud does not know; the message names the place."""


class FunctionFailed(TwinError):
    """An invocation gave no answer.

    payload: what Lambda answers then, such as {"errorType": "KeyError", "errorMessage": "'a'"}.
    """

    def __init__(self, kind: str, message: str, **more: Any) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.payload: dict[str, Any] = {"errorType": kind, "errorMessage": message, **more}


class FunctionTimedOut(FunctionFailed):
    """A function was not done in time; its environment was ended."""

    def __init__(self, request_id: str, timeout_s: float) -> None:
        said = f"{request_id} Error: Task timed out after {timeout_s:.2f} seconds"
        super().__init__("Sandbox.Timedout", said)


class Throttled(FunctionFailed):
    """All environments that a function may have are busy."""

    def __init__(self, name: str) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")
        self.name = name
