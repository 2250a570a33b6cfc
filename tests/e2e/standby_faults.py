"""The faults of a master that has a standby: each is over when one serves and the other stands by again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from fault_cluster import FaultCluster, MasterUnderTest, said_after, size
from faults import PATIENCE_S, Faults, Measured
from rts_processes import until

# Of the one that was taken for dead, when it finds that out.
REPLACED = "This master was replaced"


class StandbyFaults:
    """What can be done to one of two masters; noticed is the moment at which the other one serves.

    Parameters
    ----------
    cluster : FaultCluster
        With two masters.
    faults : Faults
        Sees whether tasks are accepted.
    """

    def __init__(self, cluster: FaultCluster, faults: Faults) -> None:
        self._cluster = cluster
        self._faults = faults

    def killed(self, hold_s: float) -> Measured:
        """SIGKILL to the master in office; started again, as a standby, after a while."""

        def kill(master: MasterUnderTest) -> None:
            master.rts.kill()

        return self._taken_over("master killed, standby takes over", kill, hold_s)

    def stopped(self, hold_s: float) -> Measured:
        """SIGTERM to the master in office, which hands over."""

        def stop(master: MasterUnderTest) -> None:
            assert master.rts.stop(PATIENCE_S) == 0, master.rts.said()[-2000:]

        return self._taken_over("master stopped, standby takes over", stop, hold_s)

    def suspended(self, hold_s: float) -> Measured:
        """SIGSTOP to the master in office; it wakes when another one serves, and has to end by itself."""

        def suspend(master: MasterUnderTest) -> None:
            master.rts.process.send_signal(signal.SIGSTOP)

        def wake(master: MasterUnderTest) -> None:
            woken = size(master.log)
            master.rts.process.send_signal(signal.SIGCONT)
            code = master.rts.process.wait(PATIENCE_S)
            assert code == 1, master.rts.said()[-2000:]
            assert said_after(master.log, woken, REPLACED)(), master.rts.said()[-2000:]

        return self._taken_over("master suspended, standby takes over", suspend, hold_s, wake)

    def standby_killed(self, hold_s: float) -> Measured:
        """SIGKILL to the one that stands by; nobody has to notice."""
        with self._cluster.master_stays:
            active = self._cluster.settled()
            (standby,) = (master for master in self._cluster.masters if master is not active)
            measured = Measured("standby killed", "master", time.monotonic())
            standby.held_down = True
            standby.rts.kill()
        time.sleep(hold_s)
        return self._back(measured, standby)

    def _taken_over(
        self,
        kind: str,
        end: Callable[[MasterUnderTest], None],
        hold_s: float,
        revive: Callable[[MasterUnderTest], None] = lambda master: None,
    ) -> Measured:
        with self._cluster.master_stays:
            active = self._cluster.settled()
            (other,) = (master for master in self._cluster.masters if master is not active)
            measured = Measured(kind, "master", time.monotonic())
            active.held_down = True
            end(active)
            # A store that is taken away only now would have nobody to refuse anything.
            until(other.serves, PATIENCE_S, f"the standby serves: {kind}")
            measured.detect_s = time.monotonic() - measured.began
        time.sleep(hold_s)
        revive(active)
        return self._back(measured, active)

    def _back(self, measured: Measured, master: MasterUnderTest) -> Measured:
        """Start it again; over when it stands by and tasks are accepted."""
        healed = time.monotonic()
        master.held_down = False
        self._cluster.settled()
        until(self._faults.serves, PATIENCE_S, f"over: {measured.kind}")
        measured.ended = time.monotonic()
        measured.recover_s = measured.ended - healed
        return measured
