"""The ways in which a worker can run a task."""
