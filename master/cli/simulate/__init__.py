"""`rts simulate`: policies, loads and queue orders compared on one workload, by the production kernel."""
