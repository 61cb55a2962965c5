"""Several models as one, so that neither a slow nor a broken one leaves the caller in silence.

The next model is asked when one fails; when it is only late, if the two stand side by side; and
when an answer breaks off, to go on with it. A model that keeps failing is asked last until a
probe, which no caller waits for, finds it well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Final, TypeAlias

import msgspec

from voxyray.errors import ModelError, SettingsError
from voxyray.models import (
    Attempt,
    Delta,
    Finish,
    Message,
    Model,
    ModelRequest,
    Outcome,
    TextDelta,
)
from voxyray.models.continuing import Joint, continued
from voxyray.models.hedging import (
    SHARE,
    Budget,
    Leg,
    Member,
    ended_early,
    failure_of,
    is_silent,
    wait_for_any,
)

_log = logging.getLogger(__name__)

GO_ON_S: Final = 4.0  # a silence amid a sentence; after it the caller is told
_PROBE: Final = ModelRequest((Message("user", "Answer with the one word: ready"),))
_Failures: TypeAlias = list[tuple[Member, ModelError]]


class FallbackModel:
    """Ask the first model, and others when it is late, fails or breaks off.

    models: in order of preference; those of an inner sequence stand in for one another already
    when one is late (at most two are asked at once). hedge_share: of the requests may be asked
    twice for that. `Finish.model` tells who answered, `Finish.attempts` who was asked.

    A tool call is passed on with the finish, never from an answer that broke off. When no model
    is left, the failure is passed on.

    Raises:
        SettingsError: no model was given.
    """

    def __init__(
        self, models: Sequence[Model | Sequence[Model]], *, hedge_share: float = SHARE
    ) -> None:
        groups = [each if isinstance(each, Sequence) else (each,) for each in models]
        self._members = [
            Member(model, number) for number, group in enumerate(groups) for model in group
        ]
        if not self._members:
            raise SettingsError("a fallback needs at least one model; name one in VOXYRAY_MODEL")
        self.name = " > ".join(member.model.name for member in self._members)
        self._budget = Budget(hedge_share)
        self._probes: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<FallbackModel {self.name}>"

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta, None]:
        """Ask until one model has answered to the end.

        Raises:
            ModelError: none did (the message names each), or an answer broke off and no model
                was left to go on.
        """
        self._probe_what_may_be_well()
        answer = _Answer(self._by_health(), self._budget, request)
        try:
            while True:
                leg = await answer.first_to_speak()
                try:
                    # Not `async for`: what was read in the race comes first.
                    delta = leg.first
                    while not isinstance(delta, Finish):
                        words = answer.take(leg, delta)
                        if words is not None:
                            yield words
                        delta = await anext(leg.stream)
                except StopAsyncIteration:
                    answer.break_off(leg, ended_early(leg.member.model))
                except ModelError as error:
                    answer.break_off(leg, error)
                else:
                    for last in answer.finish(leg, delta):
                        yield last
                    return
        finally:
            await answer.close()

    async def warm(self) -> None:
        """Warm every model at the same time."""
        await asyncio.gather(
            *(member.model.warm() for member in self._members), return_exceptions=True
        )

    async def close(self) -> None:
        """Close every model, also when one of them cannot be."""
        for probe in self._probes:
            probe.cancel()
        if self._probes:
            await asyncio.wait(self._probes)
        results = await asyncio.gather(
            *(member.model.close() for member in self._members), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _by_health(self) -> list[Member]:
        now = asyncio.get_running_loop().time()
        return sorted(self._members, key=lambda each: each.breaker.state(now) != "closed")

    def _probe_what_may_be_well(self) -> None:
        loop = asyncio.get_running_loop()
        for member in self._members:
            if member.breaker.begin_probe(loop.time()):
                # In a context of its own: what it logs is of no call.
                task = loop.create_task(_probe(member), context=contextvars.Context())
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)


class _Answer:
    """One request on its way through the models."""

    def __init__(self, members: list[Member], budget: Budget, request: ModelRequest) -> None:
        self._said: list[str] = []
        self._joint: Joint | None = None
        self._began = asyncio.get_running_loop().time()
        self._untried = members
        self._budget = budget
        self._request = self._original = request
        self._legs: list[Leg] = []
        self._failures: _Failures = []
        self._broken: ModelError | None = None

    async def first_to_speak(self) -> Leg:
        """Ask one model after the other, or two at once, until one begins to answer, or to go on.

        Raises:
            ModelError: none does.
        """
        if self._broken is None:
            leg = await self._ask_in_turn()
        else:
            leg = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GO_ON_S):
                    leg = await self._ask_in_turn()
        if leg is not None:
            return leg
        raise self._broken or _all_failed(self._failures)

    def take(self, leg: Leg, delta: Delta | None) -> TextDelta | None:
        """Give what can be passed on now; the rest is held until the finish."""
        if isinstance(delta, TextDelta):
            if self._joint is not None:
                delta = TextDelta(self._joint.feed(delta.text))
            if not delta.text:
                return None
            self._said.append(delta.text)
            return delta
        if delta is not None:
            leg.held.append(delta)
        return None

    def break_off(self, leg: Leg, error: ModelError) -> None:
        """Prepare that another model goes on with what was said."""
        said = "".join(self._said)
        self._fail(leg, error, "broke off" if said else "failed")
        if said and self._broken is None:
            self._broken = error
        if said.strip():
            self._request = continued(self._original, said)
        self._joint = Joint(said) if said else None

    def finish(self, leg: Leg, finish: Finish) -> list[Delta]:
        """Give what is passed on at the end."""
        leg.outcome = "answered"
        leg.member.breaker.succeeded()
        rest = self._joint.end() if self._joint is not None else ""
        last: list[Delta] = [TextDelta(rest)] if rest else []
        attempts: tuple[Attempt, ...] = ()
        if len(self._legs) > 1:
            attempts = tuple(map(self._attempt, self._legs))
        model = finish.model or leg.member.model.name
        signed = msgspec.structs.replace(finish, model=model, attempts=attempts)
        return [*last, *leg.held, signed]

    async def close(self) -> None:
        """Close all streams; those of losers were cancelled when they lost."""
        for leg in self._legs:
            if leg.outcome is None and leg.first is not None:
                leg.member.breaker.succeeded()  # the caller cut an answer that was under way
        if len(self._legs) == 1:
            await self._legs[0].close()
        else:
            await asyncio.gather(*(leg.close() for leg in self._legs))

    async def _ask_in_turn(self) -> Leg | None:
        while self._untried:
            partner = self._partner()
            leg = self._ask(self._untried[0])
            if partner is not None:
                winner = await self._race(leg, partner)
                if winner is not None:
                    return winner
                continue
            try:
                await leg.listen()
            except ModelError as error:
                self._fail(leg, error)
            else:
                return leg
        return None

    async def _race(self, leg: Leg, partner: Member) -> Leg | None:
        """Give the first to speak; None if the model failed, and its partner if it was asked."""
        self._budget.earn()
        leg.start()
        racing = [leg]
        while not await wait_for_any(racing, leg.member.late_after_s):
            # Others may have found out meanwhile that it does not answer at all.
            if not self._is_well(leg.member) or self._budget.spend():
                leg.is_late = True
                rival = self._ask(partner)
                rival.start()
                racing.append(rival)
                break
        silent: Leg | None = None
        while racing:
            await wait_for_any(racing)
            for each in [each for each in racing if each.task and each.task.done()]:
                racing.remove(each)
                error = failure_of(each)
                if error is not None:
                    self._fail(each, error)
                elif is_silent(each) and racing:
                    silent = each  # the other may have something to say
                else:
                    for loser in racing if silent is None else [*racing, silent]:
                        self._drop(loser)
                    return each
        return silent

    def _ask(self, member: Member) -> Leg:
        self._untried.remove(member)
        leg = Leg(member, self._request)
        self._legs.append(leg)
        return leg

    def _partner(self) -> Member | None:
        """Give who may stand in for the next model if it is late: one that is well."""
        first, *others = self._untried
        for member in others:
            if member.group == first.group and self._is_well(member):
                return member
        return None

    def _is_well(self, member: Member) -> bool:
        return member.breaker.state(asyncio.get_running_loop().time()) == "closed"

    def _fail(self, leg: Leg, error: ModelError, outcome: Outcome = "failed") -> None:
        leg.outcome = outcome
        self._failures.append((leg.member, error))
        self._count(leg)

    def _drop(self, leg: Leg) -> None:
        """Cancel a loser; should the winner break off, it may go on."""
        leg.outcome = "late"
        self._untried.append(leg.member)
        if leg.cancel():
            self._count(leg)

    def _count(self, leg: Leg) -> None:
        if leg.member.breaker.failed(asyncio.get_running_loop().time()):
            name = leg.member.model.name
            _log.warning("%s keeps failing or being late, and is asked last for now", name)

    def _attempt(self, leg: Leg) -> Attempt:
        at_ms = round((leg.at - self._began) * 1000, 3)
        return Attempt(leg.member.model.name, at_ms, leg.outcome or "late")


async def _probe(member: Member) -> None:
    """Ask a model that was failing for one word, and hang up when it begins."""
    answered: bool | None = None
    try:
        async with contextlib.aclosing(member.model.stream(_PROBE)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TextDelta | Finish):
                    answered = True
                    break
    except ModelError:
        answered = False
    finally:
        now = asyncio.get_running_loop().time()
        member.breaker.end_probe(now, answered=answered)
    if answered:
        _log.warning("%s answers again", member.model.name)


def _all_failed(failures: _Failures) -> ModelError:
    lines = []
    for member, error in failures:
        said, name = str(error), member.model.name
        lines.append(said if said.startswith(name) else f"{name}: {said}")
    return ModelError(
        "no model answered: " + "; ".join(lines),
        retryable=any(error.retryable for _, error in failures),
        loggable="no model answered: " + "; ".join(error.loggable for _, error in failures),
    )
