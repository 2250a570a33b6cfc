"""The demo: a cluster of real processes on this machine, and work for it."""
