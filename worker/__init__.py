"""The agent that runs a worker's tasks; `worker.agent.run` is its entry point."""
