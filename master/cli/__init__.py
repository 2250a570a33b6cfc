"""`rts`: the command line of the master, the workers and their users."""
