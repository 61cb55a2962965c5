"""Execution environments that are processes: a handler under Lambda's own runtime client.

The client (awslambdaric) asks a Runtime API for invocations; each environment here has one of its
own, on loopback. What is seen of the machine is what a function sees on Lambda: its variables, and
no others. Between invocations the process is frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from voxyray.twin.cloud.errors import CloudError, FunctionFailed
from voxyray.twin.cloud.functions import REGION, Invocation, Pool
from voxyray.twin.cloud.processes import tied

ACCESS_KEY: Final = "LOCALCLOUDACCESSKEY0"
SECRET_KEY: Final = "local-cloud-secret-key"  # noqa: S105 - opens nothing but the local cloud
_VERSION: Final = "2018-06-01"
_INIT_WITHIN_S: Final = 10.0
_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function as its template describes it; folder: where its code is, as on LAMBDA_TASK_ROOT.

    log: what it prints is appended there.
    """

    name: str
    handler: str
    folder: Path
    environment: Mapping[str, str] = {}
    timeout_s: float = 28
    memory_mb: int = 1769
    concurrency: int = 1000
    log: Path | None = None

    def variables(self, runtime_api: str) -> dict[str, str]:
        """Give the environment variables that Lambda sets, and the function's own."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "_HANDLER": self.handler,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{_PYTHON}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": "local",
            "LAMBDA_TASK_ROOT": str(self.folder),
            **self.environment,
        }


def pool(function: Function, *, freeze: bool = True, **settings: Any) -> Pool:
    """Give a function whose environments are processes; settings: the pool's.

    Raises:
        CloudError: the runtime client is not installed.
    """
    if importlib.util.find_spec("awslambdaric") is None:
        raise CloudError(
            "awslambdaric, Lambda's runtime client, is not installed; "
            "run: pip install 'voxyray[cloud]' (it exists for Linux only)"
        )
    return Pool(
        function.name,
        lambda: Process(function, freeze=freeze),
        timeout_s=function.timeout_s,
        concurrency=function.concurrency,
        **settings,
    )


class Process:
    """An environment: one process, one Runtime API.

    freeze: whether it is stopped between invocations, as Lambda does. pid: 0 until it runs.
    """

    def __init__(self, function: Function, *, freeze: bool = True) -> None:
        self.function = function
        self.freeze = freeze
        self.pid = 0
        self.alive = True
        self._process: asyncio.subprocess.Process | None = None
        self._runner: web.AppRunner | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._running: tuple[Invocation, asyncio.Future[bytes]] | None = None
        self._next: asyncio.Queue[Invocation] = asyncio.Queue()

    async def start(self) -> None:
        """Start the process and wait until it asks for its first invocation."""
        self._ready = asyncio.get_running_loop().create_future()
        address = await self._listen()
        with contextlib.ExitStack() as stack:
            log = self.function.log
            output = stack.enter_context(log.open("ab")) if log else asyncio.subprocess.DEVNULL
            self._process = await asyncio.create_subprocess_exec(
                *tied("awslambdaric", self.function.handler),
                cwd=self.function.folder,
                env=self.function.variables(address),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # its children are frozen and killed with it
            )
        self.pid = self._process.pid
        self._watching = asyncio.create_task(self._watch(self._process))
        try:
            async with asyncio.timeout(_INIT_WITHIN_S):
                await self._ready
        except TimeoutError:
            raise FunctionFailed(
                "Sandbox.Timedout", f"init of {self.function.name} took over {_INIT_WITHIN_S:g} s"
            ) from None

    async def run(self, invocation: Invocation) -> bytes:
        """Hand over an invocation and wait for its response."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._running = invocation, answer
        if not self.alive:
            raise _exited(invocation, self._process)
        self._signal(signal.SIGCONT)
        self._next.put_nowait(invocation)
        try:
            return await answer
        finally:
            self._running = None

    async def stop(self) -> None:
        """Kill the process."""
        self.alive = False
        self._signal(signal.SIGKILL)
        if self._watching is not None:
            await self._watching
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    # The Runtime API

    async def _listen(self) -> str:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        base = f"/{_VERSION}/runtime"
        app.router.add_get(f"{base}/invocation/next", self._give)
        app.router.add_post(f"{base}/invocation/{{id}}/response", self._take)
        app.router.add_post(f"{base}/invocation/{{id}}/error", self._take)
        app.router.add_post(f"{base}/init/error", self._take_init_error)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.01
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def _give(self, _request: web.Request) -> web.Response:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        if self._next.empty() and self.freeze:
            self._signal(signal.SIGSTOP)
        invocation = await self._next.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{invocation.number:08x}-{0:024x};Sampled=0",
            "Content-Type": "application/json",
        }
        return web.Response(body=invocation.event, headers=headers)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        running = self._running
        if running is None or running[0].request_id != request.match_info["id"]:
            return web.json_response({"errorType": "InvalidRequestID"}, status=400)
        if not running[1].done():
            if request.path.endswith("/error"):
                running[1].set_exception(_failure(body))
            else:
                running[1].set_result(body)
        return web.json_response({"status": "OK"}, status=202)

    async def _take_init_error(self, request: web.Request) -> web.Response:
        failure = _failure(await request.read())
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(failure)
        return web.json_response({"status": "OK"}, status=202)

    # The process

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.alive = False
        if self._running is not None and not self._running[1].done():
            self._running[1].set_exception(_exited(self._running[0], process))
        if self._ready is not None and not self._ready.done():
            said = f"the process ended during init, exit status {process.returncode}"
            self._ready.set_exception(FunctionFailed("Runtime.ExitError", said))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _exited(invocation: Invocation, process: asyncio.subprocess.Process | None) -> FunctionFailed:
    code = process.returncode if process else None
    why = f"signal: {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
    said = f"RequestId: {invocation.request_id} Error: Runtime exited with error: {why}"
    return FunctionFailed("Runtime.ExitError", said)


def _failure(body: bytes) -> FunctionFailed:
    payload = msgspec.json.decode(body, type=dict[str, Any])
    kind, message = payload.pop("errorType", ""), payload.pop("errorMessage", "")
    return FunctionFailed(str(kind), str(message), **payload)
