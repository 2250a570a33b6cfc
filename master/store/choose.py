"""Which backend the setting of a store names, and how it may be shown."""

from __future__ import annotations

from master.store.base import Store, StoreOpenError
from master.store.sqlite import SqliteStore


def is_mongo(target: str) -> bool:
    """Whether the setting of a store names a MongoDB deployment, not a file."""
    return target.startswith(("mongodb://", "mongodb+srv://"))


def without_secrets(target: str) -> str:
    """The setting of a store as it may be shown: without user, password and options."""
    if not is_mongo(target):
        return target
    # The driver takes a password with # or / in it, where a parser of URLs sees the end of the host.
    scheme, _, rest = target.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


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
