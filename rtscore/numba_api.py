"""The kernel's C entry points as functions that numba-compiled code can call, without the GIL.

Importing this module needs numba and registers the symbols; `import rtscore` does not import it. The
functions take handles (``table.handle``, ``scheduler.policy.handle``: int64), slots, amounts in the usual
units, and work in
``nopython``, ``nogil``, ``parallel=True`` and ``cache=True``. They do not lock: one thread at a time per
table and the policies bound to it; give each thread a table of its own. Keep the objects alive while a handle
is in use. Workers are added from Python only.

====================  ======================================================================================
``select``            ``(policy, cpu, memory, gpu, storage, type, tau, slack)`` -> slot, or `NOTHING_FITS`,
                      `NO_FINITE_RISK`, `BAD_ARGUMENT`, `NO_MEMORY`; slack is deadline - now, type an index
                      into `TASK_TYPES`
``runtime``           ``(policy, slot, cpu, memory, gpu, tau)`` -> modelled runtime there now, in seconds
``next_feasible``     ``(table, from_slot, cpu, memory, gpu, storage)`` -> slot or `NOTHING_FITS`
``reserve``           ``(table, slot, cpu, memory, gpu, storage)`` -> 0, or 1 to 4: the resource that is short
``release``           the same; 1 to 4: the resource of which less is allocated
``set_load``          ``(table, slot, load)`` -> 0, sets the reported load
``set_schedulable``   ``(table, slot, 0 or 1)`` -> 0
``load``              ``(table, slot)`` -> max(reported, promised)
``available``         ``(table, slot, resource 0..3)`` -> amount
``rows``              ``(table)`` -> slots that may have a worker
``clear``             ``(table)`` -> 0, nothing allocated and nothing reported any more
``set_weights``       ``(policy, theta1, theta2, theta3, theta4, alpha, beta)`` -> 0
``set_affinity``      ``(policy, type, slot, score)`` -> 0
``set_penalty``       ``(policy, slot, score)`` -> 0
====================  ======================================================================================
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding  # type: ignore[import-untyped]
from numba.core import types

from rtscore._kernel.selector import c_entry_points

NOTHING_FITS = -1
NO_FINITE_RISK = -2
BAD_ARGUMENT = -3
NO_MEMORY = -4

_I, _D = types.int64, types.float64

for _name, _address in c_entry_points().items():
    binding.add_symbol(_name, _address)


def _external(name: str, result: Any, *arguments: Any) -> Any:
    return types.ExternalFunction(name, result(*arguments))


select = _external("rts_select", _I, _I, _D, _D, _D, _D, _I, _D, _D)
runtime = _external("rts_runtime", _D, _I, _I, _D, _D, _D, _D)
next_feasible = _external("rts_next_feasible", _I, _I, _I, _D, _D, _D, _D)
reserve = _external("rts_reserve", _I, _I, _I, _D, _D, _D, _D)
release = _external("rts_release", _I, _I, _I, _D, _D, _D, _D)
set_load = _external("rts_set_load", _I, _I, _I, _D)
set_schedulable = _external("rts_set_schedulable", _I, _I, _I, _I)
load = _external("rts_load", _D, _I, _I)
available = _external("rts_available", _D, _I, _I, _I)
rows = _external("rts_rows", _I, _I)
clear = _external("rts_clear", _I, _I)
set_weights = _external("rts_set_weights", _I, _I, _D, _D, _D, _D, _D, _D)
set_affinity = _external("rts_set_affinity", _I, _I, _I, _I, _D)
set_penalty = _external("rts_set_penalty", _I, _I, _I, _D)
