"""Which parameters are in use, and the only way to others: durable first, then used, then in the file.

A version is a set that was put to use. Numbers only grow, and the highest is in use: rolling back makes a new
version of an old set. Where a parameter file is configured it is the published copy, and a door: what
somebody else writes there becomes a version too. Two sets that differ in nothing but their Meta are the same.

At the start the newest version of the store is used, unless the file holds a set that is none of the stored
versions: then somebody has written it while no master ran, and it becomes the newest. (The file may hold an
older version when the master died between commit and file; it is brought up to date. A file that is no
parameter set is left as it is until there is something new to publish: somebody is about to mend it.)
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from master.errors import InvalidRequestError, NotAllowedError
from master.events import InsertParams
from master.records import ParamsReason, ParamsVersion
from master.runner import Master
from master.store.base import KEPT_VERSIONS
from rtscore import GAParams, ParamsReloader, RTSScheduler, load_ga_params, save_ga_params
from rtscore.errors import ParamsError
from rtscore.params import params_from_dict, params_to_dict

log = structlog.get_logger(__name__)


class _Door:
    """What a `ParamsReloader` hands its findings to."""

    params: GAParams


class Versions:
    """The parameter versions of one master.

    Parameters
    ----------
    master : Master
        Started before `start` is called.
    policy : RTSScheduler
        Decides with what is put to use.
    path : str
        The parameter file; empty for none.
    reload_interval_s : float
        Seconds between two looks at the file.
    """

    def __init__(self, master: Master, policy: RTSScheduler, path: str, reload_interval_s: float) -> None:
        self._master = master
        self._policy = policy
        self._path = Path(path) if path else None
        self._reload_interval_s = reload_interval_s
        self._found = _Door()
        self._reloader = ParamsReloader(path, self._found, reload_interval_s) if path else None
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[ParamsVersion]] = set()
        self.current: ParamsVersion | None = None
        # How often a set was put to use, by why.
        self.changes: Counter[str] = Counter()

    @property
    def params(self) -> GAParams:
        """The set in use."""
        return self._policy.params

    @property
    def number(self) -> int:
        """Of the version in use; 0 before `start`."""
        return 0 if self.current is None else self.current.version

    async def start(self) -> None:
        """Put the newest version to use; the first master of a store makes the first one."""
        stored = await self._master.store.params_versions(KEPT_VERSIONS)
        sets = [(record, params) for record in stored if (params := _readable(record)) is not None]
        if stored:
            self._note(stored[0])
        in_file, unusable = await asyncio.to_thread(self._in_file)
        async with self._changing:
            if in_file is not None and not any(same(in_file, params) for _, params in sets):
                reason = ParamsReason.MANUAL if stored else ParamsReason.INITIAL
                await self._use(in_file, reason, {"file": str(self._path)})
            elif not sets:
                await self._use(GAParams.default(), ParamsReason.INITIAL, {}, publish=not unusable)
            elif sets[0][0] is not stored[0]:
                restored = {"restored": sets[0][0].version}
                await self._use(sets[0][1], ParamsReason.ROLLBACK, restored, publish=not unusable)
            else:
                self._policy.params = sets[0][1]
                if not unusable and (in_file is None or not same(in_file, self.params)):
                    await self._publish()

    async def use(self, params: GAParams, reason: ParamsReason, evidence: Mapping[str, Any]) -> ParamsVersion:
        """Put a set to use and return its version, which is durable then; done whole, even if cancelled."""

        async def change() -> ParamsVersion:
            async with self._changing:
                return await self._use(params, reason, evidence)

        return await self._whole(change())

    async def restore(
        self, version: int, reason: ParamsReason, evidence: Mapping[str, Any] | None = None
    ) -> ParamsVersion:
        """Put the set of an earlier version to use again, as a new version.

        Raises
        ------
        InvalidRequestError
            When that version is not kept.
        NotAllowedError
            When its set is the one in use, or can no longer be read.
        """

        async def change() -> ParamsVersion:
            async with self._changing:
                record = await self.find(version)
                params = _readable(record)
                if params is None:
                    raise NotAllowedError(f"version {record.version} holds no valid parameters")
                if same(params, self.params):
                    raise NotAllowedError(f"the parameters of version {record.version} are in use already")
                return await self._use(params, reason, {**(evidence or {}), "restored": record.version})

        return await self._whole(change())

    async def find(self, version: int) -> ParamsVersion:
        """A stored version; 0 is the one in use.

        Raises
        ------
        InvalidRequestError
            When it is not kept.
        """
        record = await self._master.store.params_version(version) if version else self.current
        if record is None:
            kept = [each.version for each in await self._master.store.params_versions(KEPT_VERSIONS)]
            raise InvalidRequestError(
                "version", f"{version} is not kept; allowed are {min(kept)} to {max(kept)}"
            )
        return record

    async def watch(self) -> None:
        """Put to use what somebody else writes into the file; for ever."""
        if self._reloader is None:
            return
        while True:
            await asyncio.sleep(self._reload_interval_s)
            async with self._changing:
                found = await asyncio.to_thread(self._reloader.check)
                if found and not same(self._found.params, self.params):
                    await self._use(self._found.params, ParamsReason.MANUAL, {"file": str(self._path)})

    async def stop(self) -> None:
        """Let changes that are under way finish, for at most a second."""
        if self._changes:
            _, late = await asyncio.wait(self._changes, timeout=1.0)
            for task in late:
                task.cancel()

    async def _whole(self, change: Coroutine[Any, Any, ParamsVersion]) -> ParamsVersion:
        # A client that hangs up must not leave a version that is stored and not used.
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _use(
        self, params: GAParams, reason: ParamsReason, evidence: Mapping[str, Any], *, publish: bool = True
    ) -> ParamsVersion:
        replaced = self.number
        number = replaced + 1
        document = params_to_dict(params)
        document["Meta"]["version"] = number
        text = json.dumps(document, sort_keys=True, allow_nan=False)
        record = ParamsVersion(
            number,
            self._master.clock(),
            replaced,
            reason,
            text,
            msgspec.json.encode(evidence).decode(),
        )
        await self._master.record(InsertParams(record))
        # As they will be read back, so that what is used, stored and published is one and the same.
        self._policy.params = params_from_dict(json.loads(text))
        self._note(record)
        self.changes[reason] += 1
        if reason is not ParamsReason.INITIAL:
            log.info("parameters put to use", version=number, replaced=replaced, reason=reason.value)
        if publish:
            await self._publish()
        return record

    def _note(self, record: ParamsVersion) -> None:
        self.current = record
        self._master.cluster.params_version = record.version

    async def _publish(self) -> None:
        if self._path is None:
            return
        try:
            await asyncio.to_thread(save_ga_params, self.params, self._path)
        except OSError as error:
            # The store has them, so nothing is lost: only who reads the file is late.
            log.error("the parameter file cannot be written", path=str(self._path), error=str(error))

    def _in_file(self) -> tuple[GAParams | None, bool]:
        """The set in the file, and whether there is a file that holds none."""
        if self._path is None:
            return None, False
        try:
            return load_ga_params(self._path), False
        except FileNotFoundError:
            return None, False
        except (OSError, ParamsError) as error:
            log.warning("the parameter file is not used", error=str(error))
            return None, True


def same(one: GAParams, other: GAParams) -> bool:
    """Whether two sets decide alike: all but their Meta is equal."""
    return all(
        getattr(one, name) == getattr(other, name) for name in GAParams.__struct_fields__ if name != "meta"
    )


def _readable(record: ParamsVersion) -> GAParams | None:
    try:
        return params_from_dict(json.loads(record.params))
    except (ParamsError, json.JSONDecodeError) as error:
        log.error("a stored parameter version cannot be used", version=record.version, error=str(error))
        return None
