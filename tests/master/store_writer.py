"""A process for the kill test: writes batches through the journal, prints the name of each that returned."""

from __future__ import annotations

import asyncio
import os
import sys

from store_samples import insert, outcome, place

from master.events import PutTau
from master.journal import Journal
from master.store.sqlite import SqliteStore

TASKS_PER_BATCH = 7
CALLERS = 6


async def main(path: str, name: str) -> None:
    store = SqliteStore(path)
    await store.open()
    journal = Journal(store, deliver=print, before=lambda: None)

    async def caller(number: int) -> None:
        serial = 0
        while True:
            batch = f"{name}.{number}.{serial}"
            tasks = [f"{batch}/{row}" for row in range(TASKS_PER_BATCH)]
            journal.append(
                [
                    *map(insert, tasks),
                    *map(place, tasks),
                    *map(outcome, tasks),
                    PutTau(batch, float(serial)),
                ]
            )
            await journal.durable()
            os.write(1, f"{batch}\n".encode())
            serial += 1

    await asyncio.gather(journal.run(), *map(caller, range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
