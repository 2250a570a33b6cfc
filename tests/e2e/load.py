"""Clients under which faults happen: they submit short commands and remember what was acknowledged."""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path

from rtscore.client import ClientError, MasterClient, RequestError, SubmitError, TaskSpec


class LoadClient(threading.Thread):
    """Submits until told to end, alone and in batches.

    Parameters
    ----------
    name : str
        Begins the ids of its tasks.
    address : str
        The master.
    journal : Path
        Each command begins by adding "<task> <attempt>" to it.
    seed : int
    cancels : float
        The share of single submissions that are cancelled soon after.
    pause_s : tuple of float
        Bounds of the pause between two calls.

    Attributes
    ----------
    acknowledged : set of str
        Tasks that the master has accepted.
    cancelled : set of str
        Tasks whose cancellation it has confirmed.
    seen : dict
        A state that it gave as a task's last, and the attempt.
    refusals : int
        Calls that failed after all their tries; what they submitted may or may not be there.
    """

    def __init__(
        self,
        name: str,
        address: str,
        journal: Path,
        seed: int,
        *,
        cancels: float = 0.0,
        pause_s: tuple[float, float] = (0.02, 0.12),
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged: set[str] = set()
        self.cancelled: set[str] = set()
        self.seen: dict[str, tuple[str, int]] = {}
        self.refusals = 0
        self.stop = threading.Event()
        self.error: Exception | None = None
        self._address = address
        self._journal = journal
        self._chance = random.Random(seed)
        self._cancels = cancels
        self._pause_s = pause_s
        self._made = 0

    def run(self) -> None:
        try:
            with MasterClient(self._address, timeout_s=5.0) as client:
                while not self.stop.wait(self._chance.uniform(*self._pause_s)):
                    # The master may be gone for longer than the client tries; what it did not
                    # acknowledge it need not keep.
                    try:
                        self._submit(client)
                    except ClientError:
                        self.refusals += 1
        except Exception as error:
            self.error = error

    def _submit(self, client: MasterClient) -> None:
        if self._chance.random() < 0.7:
            task_id = client.submit(self._spec()).task_id
            self.acknowledged.add(task_id)
            if self._cancels:
                self._look(client, self._chance.choice(sorted(self.acknowledged)))
                if self._chance.random() < self._cancels:
                    self._cancel(client, task_id)
            return
        for answer in client.submit_many([self._spec() for _ in range(self._chance.randint(2, 6))]):
            assert not isinstance(answer, SubmitError), answer
            self.acknowledged.add(answer.task_id)

    def _cancel(self, client: MasterClient, task_id: str) -> None:
        # It may have ended already.
        with contextlib.suppress(RequestError):
            assert client.cancel(task_id).state == "cancelled"
            self.cancelled.add(task_id)

    def _look(self, client: MasterClient, task_id: str) -> None:
        task = client.task(task_id)
        if task.finished:
            told = task.state, task.attempt
            assert self.seen.setdefault(task_id, told) == told, (task_id, self.seen[task_id], told)

    def _spec(self) -> TaskSpec:
        self._made += 1
        after = self._chance.choice(("", "; sleep 0.05", "; sleep 0.2", "; exit 3"))
        return TaskSpec(
            task_id=f"{self.name}-{self._made}",
            command=command(self._journal) + after,
            cpu=1.0,
            memory=0.25,
            task_type="cpu-light",
        )


def command(journal: Path) -> str:
    """A shell command that notes which attempt it is, or fails."""
    return f'echo "$RTS_TASK_ID $RTS_ATTEMPT" >> {journal} || exit 4'


def all_acknowledged(clients: list[LoadClient]) -> set[str]:
    """What any of them was told is accepted."""
    return set().union(*(client.acknowledged.copy() for client in clients))
