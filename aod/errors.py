"""Every exception that aod raises on purpose.

::

    RtscoreError
    └── AodError
        ├── HistoryError (ValueError)    columns that are no history
        └── GAConfigError (ValueError)   a setting of the search that is out of bounds

A bad record is not among them: it is left out and counted.
"""

from __future__ import annotations

from rtscore.errors import RtscoreError


class AodError(RtscoreError):
    """The root: catch it to catch everything of this package."""


class HistoryError(AodError, ValueError):
    """Columns that cannot be a history: a missing one, lengths that differ, codes out of range."""


class GAConfigError(AodError, ValueError):
    """A setting of the genetic algorithm that is out of bounds."""
