"""The masters that a client may ask, one of which takes calls, and the one that it asks at present."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rtscore.client.calls import RETRY_FOR_S

S = TypeVar("S")

SEVERAL_RETRY_FOR_S = 20.0
"""A standby takes over within six seconds, unless it was told otherwise, and then has to load its tasks."""
SEVERAL_TRY_S = 5.0
"""How long one of several is given to answer: one that hangs must not keep a call from the next."""


class Masters(Generic[S]):
    """Addresses in turn; safe to use from several threads.

    Parameters
    ----------
    addresses : str
        "host:port", or several with commas between.
    dial : callable
        The stub for an address; nothing is connected before it is first asked.

    Raises
    ------
    ValueError
        When there is no address.
    """

    def __init__(self, addresses: str, dial: Callable[[str], S]) -> None:
        self._stubs = [dial(address.strip()) for address in addresses.split(",") if address.strip()]
        if not self._stubs:
            raise ValueError(
                f"address: {addresses!r} came; host:port is allowed, or several with commas between"
            )
        self._lock = threading.Lock()

    def retry_for_s(self, given: float | None) -> float:
        """Seconds for which a call is repeated, where None leaves it to us."""
        if given is not None:
            return given
        return SEVERAL_RETRY_FOR_S if self.several else RETRY_FOR_S

    @property
    def several(self) -> bool:
        """Whether a call may reach one that takes none."""
        return len(self._stubs) > 1

    @property
    def try_s(self) -> float | None:
        """Seconds for one try of a call; None: what the call has."""
        return SEVERAL_TRY_S if self.several else None

    def current(self) -> S:
        """The one to ask."""
        return self._stubs[0]

    def pass_over(self, stub: S) -> None:
        """Ask another one from now on, unless somebody has seen to that already."""
        with self._lock:
            if self._stubs[0] is stub:
                self._stubs = [*self._stubs[1:], stub]
