"""MiniStack in a process of its own: the table, the queues and the secrets of the local cloud."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import aiohttp

from voxyray.twin.cloud.errors import CloudError
from voxyray.twin.cloud.functions import REGION
from voxyray.twin.cloud.processes import tied
from voxyray.twin.cloud.runtime import ACCESS_KEY, SECRET_KEY

_BOOTS_WITHIN_S: Final = 30.0
_STOPS_WITHIN_S: Final = 5.0


@contextlib.asynccontextmanager
async def ministack(folder: Path) -> AsyncGenerator[str, None]:
    """Run it while the block runs, and give its URL; it keeps everything in memory.

    folder: for its log and whatever else it writes.

    Raises:
        CloudError: it is not installed, or does not start.
    """
    if importlib.util.find_spec("ministack") is None:
        raise CloudError(
            "MiniStack, which the local cloud stands on, is not installed; "
            "run: pip install 'voxyray[cloud]'"
        )
    log = folder / "ministack.log"
    # The socket is ours from the start, so that nobody can take the port meanwhile.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = await _start(listening, folder, log)
    try:
        await _wait_ready(url, process, log)
        yield url
    finally:
        await _stop(process)


def make_client(service: str, url: str) -> Any:
    """Make a client of the local cloud, whatever the environment says; it blocks when used.

    Raises:
        CloudError: boto3 is not installed.
    """
    try:
        from botocore.session import Session
    except ImportError as error:
        raise CloudError(
            "boto3 is not installed, which the functions use; run: pip install 'voxyray[cloud]'"
        ) from error
    return Session().create_client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


async def _start(listening: socket.socket, folder: Path, log: Path) -> asyncio.subprocess.Process:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *tied(
                *("hypercorn", "ministack.app:app", "--bind", f"fd://{listening.fileno()}"),
                *("--log-level", "WARNING", "--keep-alive", "75", "--graceful-timeout", "0"),
            ),
            env={
                **ours,
                "GATEWAY_PORT": str(listening.getsockname()[1]),
                "MINISTACK_REGION": REGION,
                "LOG_LEVEL": "WARNING",
                "TMPDIR": str(folder),
                # What would open further ports, or look for containers.
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "DOCKER_HOST": "unix:///nowhere",
            },
            pass_fds=[listening.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is ours: functions are stopped before it
        )


async def _wait_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    # The socket listens already: the question waits in its backlog until somebody answers.
    ended = asyncio.ensure_future(process.wait())
    asking = asyncio.ensure_future(_ask(f"{url}/_ministack/ready"))
    try:
        await asyncio.wait(
            {ended, asking}, timeout=_BOOTS_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        if asking.done() and asking.exception() is None:
            return
        raise CloudError(f"MiniStack did not start; its log is {log}")
    finally:
        for task in (ended, asking):
            task.cancel()
        await asyncio.gather(ended, asking, return_exceptions=True)


async def _ask(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        answer.raise_for_status()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOPS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
