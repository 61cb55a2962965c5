"""What every host needs to carry calls: settings, agents, store, models, recorder, reception."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.errors import SettingsError
from voxyray.models import Model
from voxyray.models.offline import OfflineModel, load_script
from voxyray.models.opening import open_model
from voxyray.reception import Admission, Reception
from voxyray.recorder import Recorder
from voxyray.runner import Line, Runner
from voxyray.settings import OFFLINE, Settings
from voxyray.stores import Store, keys
from voxyray.stores.opening import open_store

_log = logging.getLogger(__name__)


class Service:
    """Everything that outlives a single call.

    runners: the calls of this host by id. models: by agent; store: given, or opened as the
    settings say.

    Raises:
        SettingsError: a setting that cannot work.
        StoreError: the store cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        agents: Sequence[Agent],
        *,
        store: Store | None = None,
        models: dict[str, Model] | None = None,
    ) -> None:
        if not agents:
            raise SettingsError("there is no agent to serve")
        if settings.accept_unsigned:
            _log.warning(
                "VOXYRAY_ACCEPT_UNSIGNED is on: anybody on this machine can place calls, and "
                "nothing is checked. Never use it anywhere else."
            )
        self.settings = settings
        self.agents = list(agents)
        self.models = models or {agent.name: choose_model(settings, agent) for agent in agents}
        self.store = open_store(settings.store) if store is None else store
        self.recorder = Recorder(self.store)
        self.reception = Reception(settings, agents, self.store)
        self.runners: dict[str, Runner] = {}

    def start(self, admission: Admission, line: Line) -> Runner:
        """Start a call that was let in: its `setup` is its first event."""
        agent, setup = admission.agent, admission.setup
        started_at = time.time()
        call = Call(
            setup.call_sid,
            agent,
            instructions=admission.instructions,
            greeting=admission.greeting,
            started_at=started_at,
            carried=admission.carried,
        )
        runner = Runner(
            call,
            line=line,
            model=self.models[agent.name],
            caller=admission.caller,
            store=self.store,
            recorder=self.recorder,
            expires_at=self.reception.expires_at(),
            agents=[other.listing for other in self.agents if other is not agent],
        )
        self.runners[call.id] = runner
        self._list(runner, started_at, admission)
        runner.receive(setup)
        return runner

    async def end(self, runner: Runner) -> None:
        """Let go of a call whose socket has closed."""
        if self.runners.get(runner.call.id) is runner:
            del self.runners[runner.call.id]
        await runner.finish()

    def _list(self, runner: Runner, started_at: float, admission: Admission) -> None:
        """Put the call into its day's list."""
        item: dict[str, Any] = {
            "pk": keys.day(started_at),
            "sk": keys.started(started_at, runner.call.id),
            "call": runner.call.id,
            "agent": admission.agent.name,
            "caller": admission.caller.number,
            "started_at_ms": int(started_at * 1000),
            "expires_at": self.reception.expires_at(),
        }
        self.recorder.put(item)

    async def close(self) -> None:
        """Write what is waiting and close models and store."""
        await asyncio.gather(*(self.end(runner) for runner in list(self.runners.values())))
        await self.recorder.close()
        for model in self.models.values():
            await model.close()
        await self.store.close()


def choose_model(settings: Settings, agent: Agent) -> Model:
    """Open the model of an agent: its own, else the settings', else the offline one.

    Raises:
        SettingsError: it names no model, or its key is missing.
        AgentError: the offline script is wrong.
    """
    spec = agent.model or settings.model_or_default
    if spec == OFFLINE:
        return OfflineModel(load_script(agent.offline) if agent.offline else None)
    return open_model(
        spec,
        openai_api_key=settings.openai_api_key or None,
        openai_base_url=settings.openai_base_url or None,
    )
