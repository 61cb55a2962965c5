"""The relay on Lambda: every frame is an invocation, and one of them at a time owns its call.

    $connect      check the signature, make the connection's item
    $default      a frame: own the call and go on with it, or leave the frame to the owner
    $disconnect   the same, for the end of the socket
    SQS record    a deadline of a call at rest, or a look whether its owner has died

The way of a prompt: `Relay.invoke` -> `_arrive` (one write claims the call, one read along with it
brings its history) -> `_own` (the `Call` is made anew from its snapshot; a `Runner` asks the model)
-> `_work` (ten times a second: store what was said, take what has arrived) -> `_rest`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import msgspec

from voxyray import definitions, frames, logs, snapshot
from voxyray.agent import Agent
from voxyray.aws import remote
from voxyray.aws.environment import open_service
from voxyray.aws.line import Connections, Gateway, PostLine, signer
from voxyray.aws.queues import Queue
from voxyray.aws.session import LEASE_MS, Kept, Mail, Session
from voxyray.aws.starting import open_at_start
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.errors import (
    ConditionFailed,
    ConnectionGone,
    JournalError,
    NotOwner,
    PostFailed,
    QueueError,
    RequestRefused,
    SettingsError,
    StoreError,
)
from voxyray.events import Closed, Tick
from voxyray.history import Carried
from voxyray.loading import Definition
from voxyray.policy import Policy
from voxyray.reception import SETUP_WITHIN_S
from voxyray.runner import Runner
from voxyray.service import Service
from voxyray.tool_definitions import definitions_of
from voxyray.tracebacks import traced

_log = logging.getLogger(__name__)

POLL_S: Final = 0.1
# A call whose owner dies is looked after so long after its turn began, and again after each look.
WATCH_S: Final = 4.0
# A deadline that is nearer than this is waited for; delayed messages know only whole seconds.
STAY_S: Final = 1.0
# API Gateway waits 29 s, and what the caller is then told takes time too.
_RESERVE_S: Final = 4.0
_LAST_RESERVE_S: Final = 1.5
_SETTLE_S: Final = 1.0
_SESSION_LIVES_S: Final = 3 * 3600  # API Gateway cuts a connection after two hours
_MOST_AGENTS: Final = 64
_MOST_KEPT: Final = 64  # calls that this process may see again
_OK: Final = {"statusCode": 200}
_DROPPED: Final = 1006


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Carry a frame, or wake a call; this is what Lambda calls."""
    loop, relay = _opened()
    remaining_s = context.get_remaining_time_in_millis() / 1000
    answer: dict[str, Any] = loop.run_until_complete(relay.invoke(event, remaining_s))
    return answer


@functools.cache
def _opened() -> tuple[asyncio.AbstractEventLoop, Relay]:
    # One loop for the life of the process: connections and locks belong to it.
    gateway = Gateway(_required("VOXYRAY_CONNECTIONS_URL"), signer())
    wakes = Queue(_required("VOXYRAY_WAKE_QUEUE_URL"))
    return asyncio.new_event_loop(), Relay(open_service(), gateway, wakes, time.time)


def _required(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set; the template of the application sets it")
    return value


class Wakes(Protocol):
    """Sends delayed messages that come back as invocations."""

    async def send(self, body: str, delay_s: float = 0.0) -> None:
        """Send one, to come after that, or a little later.

        Raises:
            QueueError: it was not taken.
        """
        ...


class Relay:
    """Carries calls, frame by frame; everything of it outlives an invocation.

    clock: epoch seconds, which calls are timed with.
    """

    def __init__(
        self,
        service: Service,
        connections: Connections,
        wakes: Wakes,
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._connections = connections
        self._wakes = wakes
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._agents: dict[tuple[str, str, str], Agent] = {}
        service.metrics.keep()

    async def invoke(self, event: Any, remaining_s: float = 28.0) -> dict[str, Any]:
        """Answer an event; never raises: API Gateway would tell the caller, in JSON.

        remaining_s: until this invocation is killed.
        """
        until = self._clock() + remaining_s
        try:
            if "Records" in event:
                return await self._wake_all(event["Records"], until)
            context = event["requestContext"]
            route = context["routeKey"]
            if route == "$connect":
                return {"statusCode": await self._connect(event, context)}
            await self._take(str(context["connectionId"]), _mail(event, context, route), until)
        except (ConditionFailed, KeyError, TypeError, ValueError, StoreError) as error:
            _log.warning("an event has no effect: %s: %s", type(error).__name__, error)
        except Exception as error:  # noqa: BLE001 - whatever it is must not reach the caller's ear
            _log.error("an invocation failed: %s", traced(error))
        return dict(_OK)

    async def _connect(self, event: Mapping[str, Any], context: Mapping[str, Any]) -> int:
        """Give the status of a handshake."""
        headers = {name.lower(): str(value) for name, value in (event["headers"] or {}).items()}
        try:
            self._service.reception.check_handshake(headers)
            session = self._session(str(context["connectionId"]))
            await asyncio.gather(
                session.open(session.now_ms // 1000 + _SESSION_LIVES_S),
                self._send_wake(session, SETUP_WITHIN_S),  # to find that no `setup` came
            )
        except RequestRefused as refusal:
            _log.warning("handshake refused: %s", refusal)
            return refusal.status
        except StoreError as error:
            _log.error("a connection cannot be taken: %s", error)
            return 503
        return 200

    def _session(self, connection: str) -> Session:
        return Session(self._service.store, connection, self._clock)

    # What arrives

    async def _take(self, connection: str, mail: Mail, until: float) -> None:
        try:
            await self._arrive(connection, mail, until)
        except ConditionFailed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is must not be silence on the line
            why = error if isinstance(error, StoreError) else traced(error)
            _log.error("a frame was lost: %s", why)
            # It may be in the item all the same, and a lease in force that nobody uses.
            looking_after = self._send_wake(self._session(connection), LEASE_MS / 1000)
            await asyncio.gather(self._apologise(connection, mail), looking_after)

    async def _apologise(self, connection: str, mail: Mail) -> None:
        """Say something although nothing is known of the call: silence would be worse."""
        frame = frames.decode(mail.text)
        if isinstance(frame, frames.Setup):
            await self._connections.delete(connection)  # the carrier then asks /relay-ended
        elif isinstance(frame, frames.Prompt) and frame.last:
            sorry = frames.Text(Policy().apology, last=True)
            with contextlib.suppress(ConnectionGone, PostFailed):
                await self._connections.post(connection, frames.encode(sorry))

    async def _arrive(self, connection: str, mail: Mail, until: float) -> None:
        session = self._session(connection)
        reading = asyncio.ensure_future(self._recall(session))
        try:
            owned = await session.deliver(mail)
        finally:
            # Never left behind: a frozen process would answer it much later.
            await asyncio.wait({reading})
        kept = reading.result() if reading.exception() is None else None
        if owned:
            await self._own(session, kept, until)

    async def _recall(self, session: Session) -> Kept:
        """Give what is stored once of a call, which this process may have seen before."""
        return self._kept.get(session.connection) or await session.kept()

    async def _wake_all(self, records: list[Any], until: float) -> dict[str, Any]:
        failed = []
        for record in records:
            try:
                await self._wake(str(msgspec.json.decode(record["body"])["connection"]), until)
            except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
                _log.warning("a wake-up has no effect: %s", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - it comes again
                _log.error("a wake-up failed: %s", traced(error))
                failed.append({"itemIdentifier": record.get("messageId", "")})
        return {"batchItemFailures": failed}

    async def _wake(self, connection: str, until: float) -> None:
        session = self._session(connection)
        owned = await session.wake()
        if owned is None:
            await self._send_wake(session, WATCH_S)
        elif owned:
            await self._own(session, None, until)

    # The owner

    async def _own(self, session: Session, kept: Kept | None, until: float) -> None:
        """Go on with the call until it rests; kept: None if it has to be read still."""
        line = PostLine(self._connections, session.connection, lambda: self._owns(session))
        runner = None
        try:
            if session.refused:
                await session.let_go()
                await self._connections.delete(session.connection)  # it is open still
                return
            runner = await self._raise(session, kept or await self._recall(session), line)
            if runner is not None:
                logs.bind(runner.call)
                await self._work(session, runner, line, until)
        except NotOwner:
            _log.warning("a call is owned by another invocation by now")
        except (RequestRefused, JournalError) as refusal:
            _log.warning("session refused: %s", refusal)
            await self._refuse(session)
        finally:
            line.stop()
            if runner is not None:
                await self._put_down(runner, line, until)
            await self._service.delivery.settle(_SETTLE_S)
            await self._service.recorder.flush()
            self._service.metrics.print_emf()

    async def _refuse(self, session: Session) -> None:
        try:
            await session.refuse()
        except ConditionFailed:
            raise  # another invocation owns the call, and may know better
        except StoreError as error:
            _log.error("a refusal was not stored: %s", error)
        await self._connections.delete(session.connection)

    async def _put_down(self, runner: Runner, line: PostLine, until: float) -> None:
        """Let a call go; what it still does is finished here, for the process stands still then."""
        runner.let_go()
        self._service.runners.pop(runner.call.id, None)
        left_s = until - self._clock() - _LAST_RESERVE_S / 2
        loose = runner.loose if line.sender is None else {*runner.loose, line.sender}
        if loose and left_s > 0:
            await asyncio.wait(loose, timeout=left_s)

    def _owns(self, session: Session) -> bool:
        # A stalled process must not go on where another one has taken over meanwhile.
        return session.now_ms - session.renewed_ms < LEASE_MS

    async def _raise(self, session: Session, kept: Kept, line: PostLine) -> Runner | None:
        """Make the call's runner: from its snapshot, or by its `setup`; None before that came."""
        if session.state:
            resuming = self._resume(session, kept, line)
            return await _renewing(session, resuming)
        while True:
            arrived = session.waiting
            decoded = [frames.decode(mail.text) for mail in arrived if mail.kind == "frame"]
            setup = next((frame for frame in decoded if isinstance(frame, frames.Setup)), None)
            if setup is not None:
                runner = await _renewing(session, self._start(session, setup, line))
                # The token is used up: whoever comes next goes on from here.
                await session.save(*_state(runner, session))
                return runner
            # Frames overtake each other, so `setup` may be on its way still.
            if session.now_ms - session.opened_ms >= SETUP_WITHIN_S * 1000:
                raise RequestRefused("no setup in time")
            if await session.let_go():
                return None

    async def _start(self, session: Session, setup: frames.Setup, line: PostLine) -> Runner:
        warming = [asyncio.ensure_future(self._connections.warm())]
        try:
            admission = await self._service.reception.admit(setup)
            warming.append(asyncio.ensure_future(remote.warm(admission.agent.tools)))
        finally:
            await asyncio.wait(warming)
        runner = self._service.start(admission, line)
        call = runner.call
        definition = definitions.definition_of(admission.agent).definition
        await session.bind(
            {
                "call": call.id,
                "agent": call.agent.name,
                "definition": msgspec.json.encode(definition).decode(),
                "tools": msgspec.json.encode(definitions_of(call.agent.tools)).decode(),
                "instructions": admission.instructions,
                "greeting": admission.greeting,
                "carried": msgspec.json.encode(admission.carried).decode(),
                "started_at": repr(call.started_at),
                "expires_at": session.now_ms // 1000 + _SESSION_LIVES_S,
            }
        )
        for mail in session.take():
            if mail.kind == "gone" or frames.decode(mail.text) != setup:
                _feed(runner, mail)
        return runner

    async def _resume(self, session: Session, kept: Kept, line: PostLine) -> Runner:
        state = snapshot.decode(session.state)
        session.turns_kept = state.settled
        if kept.binding is None or len(kept.turns) < state.settled:  # written after it was read
            kept = await session.kept()
        binding = kept.binding
        if binding is None:
            raise JournalError("a call's binding is missing")
        call = Call(
            str(binding["call"]),
            self._agent(binding["agent"], binding["definition"], binding["tools"]),
            instructions=str(binding["instructions"]),
            greeting=str(binding["greeting"]),
            started_at=float(binding["started_at"]),
            carried=msgspec.json.decode(binding["carried"], type=Carried | None),
        )
        snapshot.restore(call, state, kept.turns)
        self._remember(session, Kept(binding, call.history.turns[: state.settled]))
        caller = msgspec.json.decode(session.caller, type=dict[str, Any])
        runner = self._service.runner(call, line, Caller(**caller, store=self._service.store))
        self._service.runners[call.id] = runner
        await runner.take_over()
        return runner

    def _remember(self, session: Session, kept: Kept) -> None:
        self._kept.pop(session.connection, None)
        self._kept[session.connection] = kept
        if len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def _agent(self, name: str, definition: str, tools: str) -> Agent:
        """Give the agent as it was when the call began, whatever was edited since."""
        key = (name, definition, tools)
        if key not in self._agents:
            if len(self._agents) >= _MOST_AGENTS:
                self._agents.clear()
            edit = definitions.Stored(
                msgspec.json.decode(definition, type=Definition),
                "",  # the call has them, rendered for its caller
                tools=msgspec.json.decode(tools, type=definitions.Tools | None),
            )
            ours = self._service.reception.agents.get(name)
            if edit.tools is not None:
                self._agents[key] = definitions.build(name, edit, remote.remote_tool)
            elif ours is not None:
                self._agents[key] = definitions.apply(ours, edit)
            else:
                raise JournalError(f"the call's agent {name} is not there any more")
        return self._agents[key]

    async def _work(self, session: Session, runner: Runner, line: PostLine, until: float) -> None:
        """Feed the call what arrives, store what it says, until it waits for the caller."""
        loop = asyncio.get_running_loop()
        stored, looked_at, watched, given_up = session.state, loop.time(), False, False
        arrived = session.take()
        if not arrived:
            runner.receive(Tick())  # it was a deadline that woke us
        while True:
            for mail in arrived:
                _feed(runner, mail)
            if line.gone:
                runner.receive(Closed(line.closed_with or _DROPPED))
            left_s = until - self._clock()
            over = left_s < _LAST_RESERVE_S
            if over or self._is_at_rest(runner, line):
                if line.sender is not None:  # what was said is not to be lost for the hurry
                    await asyncio.wait({line.sender}, timeout=left_s / 2)
                if await self._rest(session, runner, left_s):
                    return
                arrived = session.take()
                continue
            if not watched:
                watched = True
                await self._watch(session)
            if left_s < _RESERVE_S and (not given_up or left_s < _RESERVE_S / 2):
                given_up = True
                runner.give_up_waiting()
            await _pause(runner, line, max(0.0, looked_at + POLL_S - loop.time()))
            if loop.time() >= looked_at + POLL_S:
                looked_at = loop.time()
                stored = await self._poll(session, runner, stored)
            arrived = session.take()

    def _is_at_rest(self, runner: Runner, line: PostLine) -> bool:
        if runner.work or line.sender is not None:
            return False
        wake_at = runner.call.next_deadline
        over = runner.call.phase == "closed"
        return over or wake_at is None or wake_at - self._clock() > STAY_S

    async def _poll(self, session: Session, runner: Runner, stored: str) -> str:
        """Store what has changed, or only look what has arrived; gives what is stored then."""
        state, caller = _state(runner, session)
        try:
            if state != stored or session.now_ms - session.renewed_ms > LEASE_MS / 4:
                await session.save(state, caller)
                return state
            await session.look()
        except StoreError as error:
            # The talk goes on; nobody else can have taken the call over while the store is away.
            _log.warning("call %s: not stored, will be tried again: %s", runner.call.id, error)
            session.renewed_ms = session.now_ms
        return stored

    async def _keep_turns(self, session: Session, runner: Runner) -> None:
        """Store settled turns apart, before any state that leaves them out."""
        settled, kept = snapshot.settled(runner.call), session.turns_kept
        if settled > kept:
            turns = runner.call.history.turns[kept:settled]
            texts = {kept + n: snapshot.encode_turn(turn) for n, turn in enumerate(turns)}
            await session.keep(texts, session.now_ms // 1000 + _SESSION_LIVES_S)
            session.turns_kept = settled
            known = self._kept.get(session.connection)
            if known is not None:
                self._remember(session, Kept(known.binding, runner.call.history.turns[:settled]))

    async def _rest(self, session: Session, runner: Runner, left_s: float) -> bool:
        """Let the call go until something arrives or a deadline comes, if the store takes it."""
        try:
            await self._keep_turns(session, runner)
            return await self._release(session, runner)
        except StoreError as error:
            if left_s < _LAST_RESERVE_S / 2:
                raise
            _log.warning("call %s: cannot rest yet: %s", runner.call.id, error)
            await asyncio.sleep(POLL_S)
            return False

    async def _release(self, session: Session, runner: Runner) -> bool:
        state, caller = _state(runner, session)
        wake_ms = session.wake_ms
        wake_at = None if runner.call.phase == "closed" else runner.call.next_deadline
        if wake_at is not None and not session.now_ms < wake_ms <= wake_at * 1000:
            # Sent before it counts as sent: whoever is woken earlier would trust in it.
            wake_ms = int(wake_at * 1000)
            if not await self._send_wake(session, wake_at - self._clock()):
                wake_ms = 0
            session.wake_ms = wake_ms
        return await session.release(state, caller, wake_ms)

    async def _watch(self, session: Session) -> None:
        """Make sure that somebody looks after the call if this process dies."""
        latest_ms = session.now_ms + int(WATCH_S * 1000)
        if session.now_ms < session.wake_ms <= latest_ms:
            return
        if await self._send_wake(session, WATCH_S):
            session.wake_ms = latest_ms

    async def _send_wake(self, session: Session, delay_s: float) -> bool:
        """Send a wake-up; whether it is on its way for sure."""
        body = msgspec.json.encode({"connection": session.connection}).decode()
        try:
            await self._wakes.send(body, max(0.0, delay_s))
        except QueueError as error:
            _log.error("no wake-up could be sent: %s", error)
            return False
        return True


async def _renewing(session: Session, making: Coroutine[Any, Any, Runner]) -> Runner:
    """Make a call's runner; meanwhile nothing else renews the lease, and a store may be slow."""
    made = asyncio.Event()
    renewing = asyncio.ensure_future(_renew(session, made))
    try:
        return await making
    finally:
        made.set()
        await renewing


async def _renew(session: Session, until: asyncio.Event) -> None:
    while not until.is_set():
        try:
            async with asyncio.timeout(LEASE_MS / 4000):
                await until.wait()
        except TimeoutError:
            try:
                await session.renew()
            except (NotOwner, StoreError) as error:
                _log.warning("a lease was not renewed: %s", error)


def _feed(runner: Runner, mail: Mail) -> None:
    if mail.kind == "gone":
        runner.receive(Closed(int(mail.text)))
    else:
        runner.receive(frames.decode(mail.text))


def _state(runner: Runner, session: Session) -> tuple[str, str]:
    caller = runner.caller
    fields = {name: value for name, value in vars(caller).items() if name != "store"}
    state = snapshot.take(runner.call, session.turns_kept)
    return snapshot.encode(state), msgspec.json.encode(fields).decode()


async def _pause(runner: Runner, line: PostLine, most_s: float) -> None:
    """Wait until something has ended that the call's rest may depend on, or so long."""
    waiting: set[asyncio.Task[None]] = set(runner.work)
    if line.sender is not None:
        waiting.add(line.sender)
    if waiting:
        await asyncio.wait(waiting, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(most_s)


def _mail(event: Mapping[str, Any], context: Mapping[str, Any], route: str) -> Mail:
    at_ms = int(context["requestTimeEpoch"])
    if route == "$disconnect":
        code = context.get("disconnectStatusCode")
        text = str(code) if isinstance(code, int) else "1006"
        return Mail(at_ms, "gone", str(context.get("requestId", "")), text)
    body = event.get("body")
    if not isinstance(body, str):
        raise TypeError("a frame without a body")
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body).decode()
        except (binascii.Error, UnicodeDecodeError):
            body = ""
    if len(body) > frames.MAX_FRAME_BYTES:
        body = ""  # what is too long is no frame, and the item has no room for it
    return Mail(at_ms, "frame", str(context["messageId"]), body)


open_at_start(_opened)
