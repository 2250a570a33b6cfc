"""What all pages of a dashboard share: the client, the picture of the cluster, and what may be changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from nicegui import ui

from master.cli.dashboard.picture import PERIOD_S, Look, Picture, Topic
from rtscore.client import AsyncMasterClient, ClientError, EpochOutcome, ParamsVersion, TaskInfo, WorkerInfo

T = TypeVar("T")


class ReadOnlyError(ClientError):
    """This dashboard was started to look only."""


class Desk:
    """The dashboard's own client of the master, and whose hands may use it.

    Everything that changes the cluster goes through here and is refused by a read-only dashboard, whether or
    not a page has shown a button for it.
    """

    def __init__(self, client: AsyncMasterClient, address: str, read_only: bool) -> None:
        self.client = client
        self.address = address
        self.read_only = read_only
        self.picture = Picture()

    def look(
        self,
        key: Hashable,
        ask: Callable[[], Awaitable[T]],
        use: Callable[[Topic[T]], None],
        period_s: float = PERIOD_S,
    ) -> Look:
        """As `Picture.look`, until the page that is being built is closed."""
        look = self.picture.look(key, ask, use, period_s)
        ui.context.client.on_delete(look.close)
        return look

    async def cancel(self, task_id: str) -> TaskInfo:
        """End a task."""
        self._may_change()
        return self._changed(await self.client.cancel(task_id))

    async def drain(self, worker_id: str, drain: bool) -> WorkerInfo:
        """Place nothing new on a worker, or again."""
        self._may_change()
        return self._changed(await self.client.drain(worker_id, drain))

    async def roll_back(self, version: int) -> ParamsVersion:
        """Put the parameters of an earlier version to use again."""
        self._may_change()
        return self._changed(await self.client.roll_back(version))

    async def train(self) -> EpochOutcome:
        """Run an epoch of learning."""
        self._may_change()
        return self._changed(await self.client.train())

    def _may_change(self) -> None:
        if self.read_only:
            raise ReadOnlyError("this dashboard is read-only: it was started with --read-only")

    def _changed(self, outcome: T) -> T:
        self.picture.ask_again()
        return outcome
