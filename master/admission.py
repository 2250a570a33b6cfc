"""Whether the queue takes more: the limits on queued tasks, in all and of one user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from master.book import Book
from master.errors import LimitReachedError
from master.records import TaskState


class Admission:
    """Admits the new tasks of a request together, or none of them.

    Tasks that are queued again count, and are never refused: they were accepted once.

    Parameters
    ----------
    book : Book
        Counts what is queued.
    max_queued, max_queued_per_user : int
        0: no limit. Tasks without a user are those of one user.
    """

    def __init__(self, book: Book, max_queued: int, max_queued_per_user: int) -> None:
        self._book = book
        self._max_queued = max_queued
        self._max_queued_per_user = max_queued_per_user
        # What was admitted and is not in the book yet.
        self._promised: Counter[str] = Counter()

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._max_queued or self._max_queued_per_user)

    def check(self, users: Iterable[str]) -> LimitReachedError | None:
        """Say why new tasks of these users, one entry a task, are too many; None: they are not."""
        coming = Counter(users)
        if not coming:
            return None
        queued, most = self._book.counts[TaskState.QUEUED] + self._promised.total(), self._max_queued
        if 0 < most < queued + coming.total():
            return LimitReachedError(
                f"{queued} tasks are queued and {coming.total()} more came; the master queues at most {most} "
                "(RTS_MAX_QUEUED)"
            )
        most = self._max_queued_per_user
        for user, count in coming.items():
            queued = self._book.queued_by_user.get(user, 0) + self._promised[user]
            if 0 < most < queued + count:
                whose = f"of user {user!r}" if user else "without a user"
                return LimitReachedError(
                    f"{queued} tasks {whose} are queued and {count} more came; the master queues at most "
                    f"{most} of one user (RTS_MAX_QUEUED_PER_USER)"
                )
        return None

    def promise(self, users: Iterable[str]) -> None:
        """Count tasks that were admitted and will come in later steps."""
        self._promised.update(users)

    def keep(self, users: Iterable[str]) -> None:
        """Count tasks no longer that are about to be in the book."""
        self._promised.subtract(users)
        self._promised = +self._promised
