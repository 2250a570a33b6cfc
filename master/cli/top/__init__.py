"""`rts top`: the cluster on a terminal, as it goes."""
