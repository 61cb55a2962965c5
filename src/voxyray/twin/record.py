"""What a simulated call leaves behind: its record, and events for those who watch it live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

Direction: TypeAlias = Literal["to_app", "from_app"]


class FrameSeen(msgspec.Struct, frozen=True):
    """One frame on the wire; data is the decoded object, or None if it was no JSON object."""

    t_ms: float
    direction: Direction
    session: int
    text: str
    data: dict[str, Any] | None = None


class Spoken(msgspec.Struct, frozen=True):
    """One piece that the caller heard, or would have.

    t_ms, until_ms: when it played. source: `greeting`, `text`, `play`, `digits`, or `verb`. text
    was to be said, heard was. fate: `played`, `interrupted`, or `preempted`.
    """

    t_ms: float
    until_ms: float
    text: str
    heard: str
    source: str = "text"
    fate: str = "played"
    session: int = 0


class Fault(msgspec.Struct, frozen=True):
    """An alert as Twilio's console would list it."""

    t_ms: float
    code: int
    text: str


class Post(msgspec.Struct, frozen=True):
    """One webhook: `voice`, `action`, `dial`, `redirect` or `status`; status 0 is no answer."""

    t_ms: float
    what: str
    url: str
    fields: dict[str, str]
    status: int = 0
    answer: str = ""


class VerbRun(msgspec.Struct, frozen=True, tag=True):
    """A TwiML verb was carried out; detail is its text, URL or target."""

    t_ms: float
    verb: str
    detail: str = ""


class Ending(msgspec.Struct, frozen=True):
    """How a relay session ended: `completed` (hung up), `ended` (our `end`), or `failed`."""

    status: str
    close_code: int
    close_reason: str = ""
    handoff_data: str | None = None
    error_code: int | None = None
    error_message: str = ""


class Session(msgspec.Struct, frozen=True):
    """One relay session, with its ending."""

    session_id: str
    t_ms: float
    duration_ms: float
    ending: Ending


class CallRecord(msgspec.Struct, frozen=True):
    """Everything that happened in one simulated call; times count from its start.

    script_done: false if the call was over before the caller's script was.
    """

    call_sid: str
    account_sid: str
    from_: str
    to: str
    frames: tuple[FrameSeen, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    sessions: tuple[Session, ...] = ()
    verbs: tuple[VerbRun, ...] = ()
    posts: tuple[Post, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[Fault, ...] = ()
    duration_ms: float = 0
    script_done: bool = True

    @property
    def ending(self) -> Ending | None:
        """How the last relay session ended; None if there was none."""
        return self.sessions[-1].ending if self.sessions else None

    @property
    def heard(self) -> str:
        """All text that the caller heard, greetings and verbs included."""
        return "".join(s.heard for s in self.spoken if s.source not in ("play", "digits"))

    def sent(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Give the frames that the app sent, all or of one type."""
        return self._frames("from_app", kind)

    def received(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Give the frames that the app was sent, all or of one type."""
        return self._frames("to_app", kind)

    def _frames(self, direction: Direction, kind: str | None) -> list[dict[str, Any]]:
        return [
            f.data
            for f in self.frames
            if f.direction == direction
            and f.data is not None
            and (kind is None or f.data.get("type") == kind)
        ]


class SessionOpened(msgspec.Struct, frozen=True, tag=True):
    """A relay socket is open and `setup` was sent."""

    t_ms: float
    session_id: str


class CallerSaid(msgspec.Struct, frozen=True, tag=True):
    """A transcript went to the app; last is false for a partial."""

    t_ms: float
    text: str
    last: bool


class KeyPressed(msgspec.Struct, frozen=True, tag=True):
    """The caller pressed a key."""

    t_ms: float
    digit: str


class AgentToken(msgspec.Struct, frozen=True, tag=True):
    """A text frame came from the app."""

    t_ms: float
    text: str
    last: bool


class ClausePlayed(msgspec.Struct, frozen=True, tag=True):
    """A piece was heard; fate as in `Spoken`."""

    t_ms: float
    text: str
    heard: str
    fate: str


class Interrupted(msgspec.Struct, frozen=True, tag=True):
    """The caller cut the agent, by `speech` or `dtmf`; heard is the fragment of the cut piece."""

    t_ms: float
    heard: str
    by: str


class Closed(msgspec.Struct, frozen=True, tag=True):
    """A relay session is over."""

    t_ms: float
    ending: Ending


class Posted(msgspec.Struct, frozen=True, tag=True):
    """A webhook was answered, or not."""

    t_ms: float
    post: Post


class Complained(msgspec.Struct, frozen=True, tag=True):
    """An error (with Twilio's code) or a warning (code 0) was noted."""

    t_ms: float
    code: int
    text: str


Event: TypeAlias = (
    SessionOpened
    | CallerSaid
    | KeyPressed
    | AgentToken
    | ClausePlayed
    | Interrupted
    | Closed
    | Posted
    | Complained
    | VerbRun
)
OnEvent: TypeAlias = Callable[[Event], None]


class Recorder:
    """Collects what becomes a `CallRecord` and tells the observer at once."""

    def __init__(self, now_s: Callable[[], float], on_event: OnEvent | None = None) -> None:
        self._now_s = now_s
        self._start_s = now_s()
        self._on_event = on_event
        self.frames: list[FrameSeen] = []
        self.spoken: list[Spoken] = []
        self.sessions: list[Session] = []
        self.verbs: list[VerbRun] = []
        self.posts: list[Post] = []
        self.warnings: list[str] = []
        self.errors: list[Fault] = []

    @property
    def now_ms(self) -> float:
        """Milliseconds since the call started."""
        return (self._now_s() - self._start_s) * 1000

    def tell(self, event: Event) -> None:
        """Show an event to whoever watches."""
        if self._on_event is not None:
            self._on_event(event)

    def warn(self, text: str) -> None:
        """Note what Twilio would let pass silently, once per wording."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.tell(Complained(self.now_ms, 0, text))

    def fail(self, code: int, text: str) -> None:
        """Note an alert with Twilio's error code."""
        self.errors.append(Fault(self.now_ms, code, text))
        self.tell(Complained(self.now_ms, code, text))

    def verb(self, name: str, detail: str = "") -> None:
        """Note that a verb starts."""
        run = VerbRun(self.now_ms, name, detail)
        self.verbs.append(run)
        self.tell(run)

    def post(self, post: Post) -> None:
        """Note a webhook and its answer."""
        self.posts.append(post)
        self.tell(Posted(self.now_ms, post))

    def say(self, spoken: Spoken) -> None:
        """Note a piece that was played."""
        self.spoken.append(spoken)
        self.tell(ClausePlayed(spoken.until_ms, spoken.text, spoken.heard, spoken.fate))

    def close(self, session_id: str, opened_ms: float, ending: Ending) -> None:
        """Note the end of a relay session."""
        now_ms = self.now_ms
        self.sessions.append(Session(session_id, opened_ms, now_ms - opened_ms, ending))
        self.tell(Closed(now_ms, ending))

    def record(
        self, *, call_sid: str, account_sid: str, from_: str, to: str, script_done: bool
    ) -> CallRecord:
        """Give the record of the call as it stands."""
        return CallRecord(
            call_sid,
            account_sid,
            from_,
            to,
            tuple(self.frames),
            tuple(self.spoken),
            tuple(self.sessions),
            tuple(self.verbs),
            tuple(self.posts),
            tuple(self.warnings),
            tuple(self.errors),
            self.now_ms,
            script_done,
        )
