"""A second process on one file, for test_sqlite.py.

`acknowledge PATH`: writes for ever, and prints the sk of each write once it returned.
`claim PATH NAME`: waits for a line of input, claims fifty items and prints those it won.
`unwritable PATH`: gives up root's powers, opens the store and prints the error.
"""

import asyncio
import os
import sys
from pathlib import Path

from voxyray.errors import ConditionFailed, StoreError
from voxyray.stores import Missing, Put
from voxyray.stores.sqlite import SqliteStore


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def acknowledge(path: Path) -> None:
    store = SqliteStore.open(path)

    async def write(writer: int) -> None:
        n = 0
        while True:
            sk = f"{writer}#{n:09}"
            await store.write(Put({"pk": "P", "sk": sk, "text": "x" * 500}))
            say(sk)
            n += 1

    await asyncio.gather(*(write(writer) for writer in range(8)))


async def claim(path: Path, name: str) -> None:
    say("ready")
    sys.stdin.readline()
    store = SqliteStore.open(path)

    async def one(slot: int) -> None:
        try:
            await store.write(Put({"pk": "P", "sk": str(slot), "by": name}, when=Missing()))
        except ConditionFailed:
            return
        say(str(slot))

    for first in range(0, 50, 5):
        await asyncio.gather(*(one(slot) for slot in range(first, first + 5)))
    await store.close()


def unwritable(path: Path) -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        SqliteStore.open(path)
    except StoreError as error:
        say(str(error))


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "acknowledge":
        asyncio.run(acknowledge(Path(where)))
    elif what == "claim":
        asyncio.run(claim(Path(where), *rest))
    else:
        unwritable(Path(where))
