"""Learning from what happened: the runtime model, affinities, penalties and the search for better weights."""
