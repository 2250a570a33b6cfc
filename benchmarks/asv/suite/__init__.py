"""What asv tracks from commit to commit.

asv puts the directory that holds this package first on the path. The repository comes last, so that `rtscore`
is the one that asv installed for the commit in question, and only `benchmarks` is taken from here.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))
