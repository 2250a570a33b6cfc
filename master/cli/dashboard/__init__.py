"""The dashboard: live pages about a cluster, in a process of its own that is a client like any other."""
