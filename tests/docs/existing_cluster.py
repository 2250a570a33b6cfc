"""What an existing cluster leaves in MongoDB: `python existing_cluster.py URI AGENT_PORT` writes it.

Three finished tasks of old types, one that waits, and an agent that listens on AGENT_PORT.
"""

from __future__ import annotations

import datetime
import sys

import pymongo


def main(uri: str, port: str) -> None:
    """Write the documents with the existing cluster's field names and nothing of ours."""
    now = datetime.datetime.now(datetime.UTC)
    tasks = [
        {"task_id": "old-1", "task_type": "cpu", "status": "completed"},
        {"task_id": "old-2", "task_type": "gpu", "status": "completed"},
        {"task_id": "old-3", "status": "completed"},
        {"task_id": "old-4", "task_type": "cpu", "status": "pending"},
    ]
    fields = {
        "user_id": "admin",
        "docker_image": "",
        "command": "echo carried on",
        "req_cpu": 1.0,
        "req_memory": 1.0,
        "req_storage": 0.0,
        "req_gpu": 0.0,
        "created_at": now,
    }
    agent = {"worker_id": "agent-1", "worker_ip": f"127.0.0.1:{port}", "total_cpu": 4.0, "total_memory": 8.0}
    with pymongo.MongoClient(uri) as client:
        database = client.get_default_database()
        database["TASKS"].insert_many([fields | task for task in tasks])
        database["WORKER_REGISTRY"].insert_one(
            agent | {"total_storage": 10.0, "total_gpu": 0.0, "is_active": True, "registered_at": now}
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
