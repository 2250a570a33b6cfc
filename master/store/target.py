"""What the setting of a store names, and how it may be shown."""

from __future__ import annotations


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
