"""What every host needs to carry calls: settings, agents, store, models, recorder, reception."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from voxyray import logs
from voxyray.agent import Agent
from voxyray.call import Call
from voxyray.caller import Caller
from voxyray.callfile import setup_item
from voxyray.errors import SettingsError, StoreError, VoxyrayError
from voxyray.feed import Feed
from voxyray.messengers.delivery import Delivery, Dispatcher
from voxyray.messengers.opening import open_messengers
from voxyray.meter import Meter
from voxyray.metrics import CALLS_ACTIVE, Metrics
from voxyray.models import Model
from voxyray.models.offline import OfflineModel, load_script
from voxyray.models.opening import open_model
from voxyray.receipts import load_prices
from voxyray.reception import Admission, Reception, Request, Response
from voxyray.recorder import Recorder
from voxyray.runner import Line, Runner
from voxyray.scraping import METRICS_PATH, Scraping
from voxyray.settings import OFFLINE, Settings
from voxyray.stores import Store, keys
from voxyray.stores.opening import open_store
from voxyray.texting import Texting
from voxyray.tool_definitions import MakeTool

if TYPE_CHECKING:
    from voxyray.dashboard import Dashboard
    from voxyray.otlp import Sender
    from voxyray.tracing import Tracer

_log = logging.getLogger(__name__)


class Service:
    """Everything that outlives a single call.

    runners: the calls of this host by id. models: by agent; store: given, or opened as the
    settings say. dispatcher: has others send the messages. make_tool: makes the tools of
    agents that only the store knows. clock: what calls are timed with,
    seconds; None takes the loop's, which uvloop keeps to whole milliseconds.

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
        dispatcher: Dispatcher | None = None,
        make_tool: MakeTool | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not agents and make_tool is None:
            raise SettingsError("there is no agent to serve")
        if settings.accept_unsigned:
            _log.warning(
                "VOXYRAY_ACCEPT_UNSIGNED is on: anybody on this machine can place calls, and "
                "nothing is checked. Never use it anywhere else."
            )
        self.settings = settings
        self.agents = list(agents)
        self.models = models or {agent.name: choose_model(settings, agent) for agent in agents}
        self._clock = clock
        self._models_named = {agent.name: agent.model for agent in agents}
        self.store = open_store(settings.store) if store is None else store
        self.feed = Feed()
        self.metrics = Metrics()
        meter = Meter(self.metrics, load_prices(settings.prices), self._fallbacks)
        tracer, self._sender = self._open_tracing(settings.traces_url)
        self.recorder = Recorder(self.store, self.feed, meter, tracer)
        self.delivery = Delivery(
            self.store,
            open_messengers(settings) if dispatcher is None else {},
            retention_days=settings.retention_days,
            dispatcher=dispatcher,
        )
        self.reception = Reception(settings, agents, self.store, make_tool=make_tool)
        self.texting = Texting(
            self.store, self.delivery, self.reception.bind_text, self._text_runner, time.time
        )
        self.reception.take_texts(self.texting, self.delivery)
        self.runners: dict[str, Runner] = {}
        self.metrics.gauge(CALLS_ACTIVE, lambda: len(self.runners))
        self._scraping = Scraping(settings.metrics_token, self.metrics, self.recorder)
        self._recovery: asyncio.Task[Any] | None = None
        self._dashboard: Dashboard | None = None

    @property
    def dashboard(self) -> Dashboard:
        """The web pages, made when somebody first asks for one."""
        if self._dashboard is None:
            from voxyray.dashboard import Dashboard  # functions have no pages to wait for

            self._dashboard = Dashboard(self)
        return self._dashboard

    async def answer(self, request: Request) -> Response:
        """Answer a request: a page of the dashboard, the metrics, or what the carrier asks."""
        if request.path.startswith("/dashboard"):
            return await self.dashboard.answer(request)
        if request.path == METRICS_PATH:
            return self._scraping.answer(request)
        return await self.reception.answer(request)

    def close_pages(self) -> None:
        """End what streams to watchers, which would keep a host from closing."""
        if self._dashboard is not None:
            self._dashboard.close()

    def wake(self) -> None:
        """Take up what an earlier process left; a host calls it when its loop runs."""
        if self._recovery is None:
            self._recovery = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        try:
            await self.delivery.recover()
        except StoreError as error:
            _log.error("messages of before are not taken up: %s", error)

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
        runner = self.runner(call, line, admission.caller)
        self.runners[call.id] = runner
        if admission.carried is None:
            self._list(call, started_at, admission.caller.number)
        self._keep(call)
        runner.receive(setup)
        return runner

    def runner(self, call: Call, line: Line, caller: Caller) -> Runner:
        """Give the runner of a call, which is new or goes on."""
        agents = self.reception.agents
        logs.bind(call)
        return Runner(
            call,
            line=line,
            model=self._model_for(call.agent),
            caller=caller,
            store=self.store,
            recorder=self.recorder,
            expires_at=self.reception.expires_at(),
            agents=[other.listing for name, other in agents.items() if name != call.agent.name],
            delivery=self.delivery,
            clock=self._clock,
        )

    def _fallbacks(self, agent: str) -> set[str]:
        """Give the models that an agent asks when its first one fails; without one those of all."""
        asked = [m.name for key, m in self.models.items() if agent in ("", key.partition(" ")[0])]
        return {name for chain in asked for name in chain.split(" > ")[1:]}

    def _open_tracing(self, url: str) -> tuple[Tracer | None, Sender | None]:
        if not url:
            return None, None
        from voxyray.otlp import Sender  # who has no traces has nothing of it to load
        from voxyray.tracing import Tracer

        sender = Sender(url)
        return Tracer(sender.send, self._first_model), sender

    def _first_model(self, agent: str) -> str:
        """Give the model that an agent asks first, as its latest definition says."""
        names = [m.name for key, m in self.models.items() if key.partition(" ")[0] == agent]
        return names[-1].partition(" > ")[0] if names else ""

    def _model_for(self, agent: Agent) -> Model:
        """Give the agent's model; an edited definition may name another one than at the start."""
        if agent.model == self._models_named.get(agent.name):
            return self.models[agent.name]
        key = f"{agent.name} {agent.model}"
        if key not in self.models:
            try:
                self.models[key] = choose_model(self.settings, agent)
            except VoxyrayError as error:
                _log.error("the model of the stored definition of %s: %s", agent.name, error)
                self.models[key] = self.models.get(agent.name) or choose_model(
                    self.settings, dataclasses.replace(agent, model="")
                )
        return self.models[key]

    def _text_runner(self, call: Call, line: Line, caller: Caller) -> Runner:
        self._list(call, time.time(), caller.number)
        self._keep(call)
        return self.runner(call, line, caller)

    async def end(self, runner: Runner) -> None:
        """Let go of a call whose socket has closed."""
        if self.runners.get(runner.call.id) is runner:
            del self.runners[runner.call.id]
        await runner.finish()

    def _list(self, call: Call, started_at: float, number: str) -> None:
        """Put the call into its day's list."""
        item: dict[str, Any] = {
            "pk": keys.day(started_at),
            "sk": keys.started(started_at, call.id),
            "call": call.id,
            "agent": call.agent.name,
            "caller": number,
            "started_at_ms": int(started_at * 1000),
            "expires_at": self.reception.expires_at(),
        }
        self.recorder.put(item)

    def _keep(self, call: Call) -> None:
        """Keep what the call was made with, so that it can be replayed."""
        try:
            self.recorder.put(setup_item(call, self.reception.expires_at()))
        except StoreError as error:
            _log.warning("call %s cannot be replayed later: %s", call.id, error)

    async def close(self) -> None:
        """Write what is waiting and close models and store."""
        await asyncio.gather(*(self.end(runner) for runner in list(self.runners.values())))
        await self._scraping.close()
        await self.texting.close()
        if self._recovery is not None:
            await self._recovery
        await self.delivery.close()
        await self.recorder.close()
        if self._sender is not None:
            await self._sender.close()
        for model in {id(model): model for model in self.models.values()}.values():
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
