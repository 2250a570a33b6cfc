"""The backend that the setting of a store names."""

from __future__ import annotations

from master.store.base import Store, StoreOpenError
from master.store.sqlite import SqliteStore
from master.store.target import is_mongo


def make_store(target: str, lease_period_s: float) -> Store:
    """The store that the setting names, not opened.

    Parameters
    ----------
    target : str
        A file of the embedded store, or the URI of a MongoDB deployment.
    lease_period_s : float
        Of a master among several on one deployment.

    Raises
    ------
    StoreOpenError
        When pymongo is needed and not installed.
    """
    if not is_mongo(target):
        return SqliteStore(target)
    try:
        from master.store.mongo import MongoStore
    except ImportError as error:
        raise StoreOpenError(
            f"a store in MongoDB needs pymongo, which the extra cluster brings: rtscore[cluster] ({error})"
        ) from None
    return MongoStore(target, lease_period_s=lease_period_s)
