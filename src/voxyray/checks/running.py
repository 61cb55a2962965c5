"""Runs all checks at once, and gives what they find in an order that people can read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from voxyray.checks import Finding, Setup, aws, broken, carrier, clocks, local, model, server

Check: TypeAlias = Callable[[Setup], Awaitable[list[Finding]]]

WITHIN_S: Final = 30.0  # a check; its requests have shorter limits of their own

CHECKS: Final[dict[str, Check]] = {
    "python": local.python,
    "agents": local.agents,
    "store": local.store,
    "messages": local.messages,
    "aws": aws.services,
    "model": model.models,
    "twilio": carrier.account,
    "numbers": carrier.numbers,
    "server": server.server,
}


async def examine(setup: Setup, within_s: float = WITHIN_S) -> AsyncGenerator[Finding, None]:
    """Run all checks at once and give their findings in order, each as soon as it is its turn."""
    running = {name: asyncio.create_task(_run(name, setup, within_s)) for name in CHECKS}
    try:
        for task in running.values():
            for finding in await task:
                yield _clean(finding, setup)
        for finding in clocks.compared(setup.clocks):  # what the others have read in passing
            yield finding
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
        await setup.close()


async def _run(name: str, setup: Setup, within_s: float) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(within_s):
            return await CHECKS[name](setup)
    except TimeoutError:
        return [broken(name, f"could not be checked within {within_s:g} s", "try again")]
    except Exception as error:  # noqa: BLE001 - one check must not hide what the others found
        said = f"could not be checked: {type(error).__name__}"
        return [broken(name, said, "this is a fault of voxyray's; please report it")]


def _clean(finding: Finding, setup: Setup) -> Finding:
    """Take secrets out of what others said."""
    said, fix = finding.said, finding.fix
    for secret in setup.secrets:
        said, fix = said.replace(secret, "…"), fix.replace(secret, "…")
    return msgspec.structs.replace(finding, said=" ".join(said.split()), fix=fix)
