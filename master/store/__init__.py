"""Where the master keeps what must survive it."""
