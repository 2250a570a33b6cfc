"""Every client command of `rts`, through its process, against a real master and worker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rts_processes import RTS, call, environment, free_port, until

from rtscore.client import MasterClient, RequestError, TaskInfo, TaskSpec


def document(ran: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    """The one JSON document that is all of stdout."""
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout)


def ended(client: MasterClient, task_id: str, command: str = "true", **fields: Any) -> TaskInfo:
    """A task that has been submitted and has ended."""
    client.submit(TaskSpec(task_id=task_id, command=command, **fields))
    return client.wait([task_id], timeout_s=30)[0]


def one_sentence(ran: subprocess.CompletedProcess[str]) -> str:
    """What went wrong: on stderr alone, short, and no traceback."""
    assert ran.stdout == ""
    assert ran.stderr.startswith("rts: ")
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    return ran.stderr


# ---- submit ----


def test_a_submission_prints_the_id_alone_on_stdout(cluster: str) -> None:
    ran = call("submit", "--id", "cli-alone", "--cpu", "1", "true", master=cluster)
    assert (ran.returncode, ran.stdout) == (0, "cli-alone\n")
    assert "cpu-light" in ran.stderr
    assert "deadline at" in ran.stderr


def test_several_words_are_quoted_and_one_is_a_shell_line(cluster: str, client: MasterClient) -> None:
    line = call("submit", "--id", "cli-line", "--wait", "echo a | tr a b; echo $RTS_TASK_ID", master=cluster)
    words = call(
        "submit", "--id", "cli-words", "--wait", "--", "printf", "%s-", "a b", "$HOME", master=cluster
    )
    assert (line.returncode, words.returncode) == (0, 0)
    assert "".join(client.logs("cli-line")) == "b\ncli-line\n"
    assert "".join(client.logs("cli-words")) == "a b-$HOME-"


def test_every_flag_reaches_the_task(cluster: str) -> None:
    flags = (
        *("--cpu", "1.5", "--memory", "2", "--gpu", "0.5", "--storage", "3", "--type", "mixed"),
        *("--sla-multiplier", "3", "--time-limit", "20", "--user", "ann", "--id", "cli-flags"),
    )
    task = document(call("submit", *flags, "--json", "--wait", "true", master=cluster))
    expected = {
        "task_id": "cli-flags",
        "user_id": "ann",
        "command": "true",
        "cpu": 1.5,
        "memory": 2.0,
        "gpu": 0.5,
        "storage": 3.0,
        "task_type": "mixed",
        "sla_multiplier": 3.0,
        "time_limit_s": 20.0,
        "state": "completed",
        "worker_id": "w1",
        "attempt": 1,
        "exit_code": 0,
        "sla_success": True,
    }
    assert {name: task[name] for name in expected} == expected
    assert task["deadline"] == pytest.approx(task["submitted_at"] + 3 * task["tau"])


def test_a_deadline_may_be_given_from_now_on(cluster: str) -> None:
    before = time.time()
    task = document(call("submit", "--deadline", "5m", "--json", "true", master=cluster))
    assert before + 300 <= task["deadline"] <= time.time() + 300


def test_waiting_for_a_task_that_fails_exits_1_and_says_why(cluster: str) -> None:
    ran = call("submit", "--id", "cli-fails", "--wait", "exit 3", master=cluster)
    assert ran.returncode == 1
    assert "failed" in ran.stderr
    assert "3" in ran.stderr.splitlines()[-1]


def test_a_missed_deadline_is_said_and_is_no_failure(cluster: str) -> None:
    ran = call("submit", "--deadline", "0.05s", "--wait", "sleep 0.3", master=cluster)
    assert ran.returncode == 0
    assert re.search(r"completed on w1 in .* s, .* after its deadline", ran.stderr)


def test_the_same_submission_again_is_the_same_task_and_another_one_is_refused(cluster: str) -> None:
    for _ in range(2):
        assert call("submit", "--id", "cli-twice", "true", master=cluster).stdout == "cli-twice\n"
    ran = call("submit", "--id", "cli-twice", "false", master=cluster)
    assert ran.returncode == 1
    assert "cli-twice" in one_sentence(ran)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("submit",), "There is no command"),
        (("submit", "--cpu", "-1", "true"), "cpu"),
        (("submit", "--cpu", "nan", "true"), "cpu"),
        (("submit", "--type", "huge", "true"), "cpu-light"),
        (("submit", "--deadline", "soon", "true"), "--deadline"),
        (("submit", "--file", "/does/not/exist"), "/does/not/exist"),
        (("submit", "--file", "x", "--cpu", "3"), "--cpu"),
        (("submit", "--file", "x", "true"), "a command"),
        (("tasks", "--state", "done"), "completed"),
        (("tasks", "--master", "nowhere"), "HOST:PORT"),
        (("tasks", "--master", "host:99999"), "HOST:PORT"),
    ],
)
def test_wrong_use_exits_2_and_says_what_is_allowed(
    cluster: str, arguments: tuple[str, ...], said: str
) -> None:
    ran = call(*arguments, master=cluster)
    assert ran.returncode == 2
    assert said in one_sentence(ran)


@pytest.mark.parametrize(
    "arguments", [("submit", "--cpu", "two", "true"), ("dance",), ("task",), ("tasks", "-x")]
)
def test_what_the_parser_refuses_exits_2_without_a_traceback(arguments: tuple[str, ...]) -> None:
    ran = call(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert "Usage: rts" in ran.stderr


# ---- submit --file ----


def write_lines(path: Path, *tasks: object) -> str:
    path.write_text("".join(f"{json.dumps(task)}\n" for task in tasks))
    return str(path)


def test_a_file_is_one_task_a_line_and_each_has_an_answer(cluster: str, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "t.jsonl",
        *({"command": f"echo {n}", "cpu": 1, "task_id": f"cli-file-{n}"} for n in range(5)),
    )
    tasks = document(call("submit", "--file", file, "--wait", "--json", master=cluster))
    assert [task["task_id"] for task in tasks] == [f"cli-file-{n}" for n in range(5)]
    assert {task["state"] for task in tasks} == {"completed"}


def test_a_file_may_come_from_stdin_and_its_ids_come_in_order(cluster: str) -> None:
    lines = "".join(json.dumps({"command": "true", "task_id": f"cli-stdin-{n}"}) + "\n" for n in range(3))
    ran = call("submit", "--file", "-", master=cluster, stdin=lines)
    assert (ran.returncode, ran.stdout) == (0, "cli-stdin-0\ncli-stdin-1\ncli-stdin-2\n")


def test_one_refused_task_of_a_file_does_not_stop_the_others(cluster: str, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "t.jsonl",
        {"command": "true", "task_id": "cli-good-1"},
        {"command": "true", "cpu": -1},
        {"command": "true", "task_id": "cli-good-2"},
    )
    ran = call("submit", "--file", file, "--json", master=cluster)
    good_1, bad, good_2 = document(ran, code=1)
    assert (good_1["task_id"], good_2["task_id"]) == ("cli-good-1", "cli-good-2")
    assert bad["code"] == "INVALID_ARGUMENT"
    assert "task 2: cpu" in ran.stderr


def test_a_bad_line_submits_nothing(cluster: str, client: MasterClient, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"command": "true", "task_id": "cli-never"}\n{"comand": "true"}\n')
    ran = call("submit", "--file", str(file), master=cluster)
    assert ran.returncode == 2
    assert "line 2" in one_sentence(ran)
    with pytest.raises(RequestError, match="cli-never"):
        client.task("cli-never")


def test_waiting_for_a_file_with_a_failing_task_exits_1(cluster: str, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "t.jsonl", {"command": "true"}, {"command": "false"})
    tasks = document(call("submit", "--file", file, "--wait", "--json", master=cluster), code=1)
    assert [task["state"] for task in tasks] == ["completed", "failed"]


# ---- tasks, task, logs, cancel ----


def test_a_listing_is_newest_first_and_filters_by_state_and_user(cluster: str, client: MasterClient) -> None:
    for n in range(3):
        ended(client, f"cli-list-{n}", user_id="lister")
    ended(client, "cli-list-bad", "false", user_id="lister")
    tasks = document(call("tasks", "--user", "lister", "--json", master=cluster))
    assert [task["task_id"] for task in tasks] == ["cli-list-bad", "cli-list-2", "cli-list-1", "cli-list-0"]
    failed = document(call("tasks", "--user", "lister", "--state", "failed", "--json", master=cluster))
    assert [task["task_id"] for task in failed] == ["cli-list-bad"]
    newest = document(call("tasks", "--user", "lister", "--limit", "2", "--json", master=cluster))
    assert len(newest) == 2
    assert document(call("tasks", "--user", "nobody", "--json", master=cluster)) == []


def test_a_table_in_a_pipe_keeps_long_ids_whole_and_has_no_colour(cluster: str, client: MasterClient) -> None:
    long_id = "cli-" + "x" * 150
    client.submit(TaskSpec(task_id=long_id, command="true", user_id="long"))
    ran = call("tasks", "--user", "long", master=cluster)
    heading, row = ran.stdout.splitlines()
    assert heading.split() == ["TASK", "STATE", "TYPE", "WORKER", "RUNTIME", "SLA"]
    assert row.split()[0] == long_id
    assert "\x1b" not in ran.stdout


def test_a_task_is_shown_with_everything_about_it(cluster: str, client: MasterClient) -> None:
    ended(client, "cli-shown", "echo shown", cpu=1)
    shown = call("task", "cli-shown", master=cluster).stdout
    for line in (
        r"state +completed",
        r"command +echo shown",
        r"request +1 cores",
        r"worker +w1",
        r"SLA +met \(",
    ):
        assert re.search(line, shown), shown


def test_the_output_of_a_running_task_can_be_read(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="cli-running", command="echo so far; sleep 30"))
    until(lambda: "".join(client.logs("cli-running")), what="output")
    assert call("logs", "cli-running", master=cluster).stdout == "so far\n"
    client.cancel("cli-running")


def test_cancelling_ends_a_running_task_and_a_queued_one(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="cli-long", command="sleep 60", cpu=1))
    client.submit(TaskSpec(task_id="cli-waits", command="true", cpu=1000))
    until(lambda: client.task("cli-long").state == "running")
    ran = call("cancel", "cli-long", "cli-waits", master=cluster)
    assert (ran.returncode, ran.stdout) == (0, "cli-long cancelled\ncli-waits cancelled\n")
    assert {client.task(task_id).state for task_id in ("cli-long", "cli-waits")} == {"cancelled"}
    # How long it would have run nobody knows.
    assert "runtime" not in call("task", "cli-long", master=cluster).stdout
    until(lambda: client.workers()[0].cpu_avail == 4.0)


def test_what_cannot_be_cancelled_is_named_and_the_rest_is_cancelled(
    cluster: str, client: MasterClient
) -> None:
    ended(client, "cli-done")
    client.submit(TaskSpec(task_id="cli-queued", command="true", cpu=1000))
    ran = call("cancel", "cli-done", "cli-unknown", "cli-queued", "--json", master=cluster)
    assert [task["task_id"] for task in document(ran, code=1)] == ["cli-queued"]
    assert "completed" in ran.stderr
    assert "cli-unknown" in ran.stderr


@pytest.mark.parametrize("command", ["task", "logs", "explain", "cancel"])
def test_an_unknown_task_exits_1_and_is_named(cluster: str, command: str) -> None:
    ran = call(command, "cli-nothing", master=cluster)
    assert ran.returncode == 1
    assert "cli-nothing" in ran.stderr
    assert "Traceback" not in ran.stderr


# ---- workers, drain, explain, stats ----


def test_workers_are_listed_with_what_is_taken(cluster: str) -> None:
    (worker,) = document(call("workers", "--json", master=cluster))
    assert (worker["worker_id"], worker["state"], worker["total_cpu"]) == ("w1", "active", 4.0)
    ran = call("workers", master=cluster)
    assert ran.stdout.splitlines()[1].split()[:2] == ["w1", "active"]
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_a_drained_worker_gets_nothing_until_the_drain_is_taken_back(
    cluster: str, client: MasterClient
) -> None:
    ran = call("drain", "w1", master=cluster)
    assert (ran.returncode, ran.stdout.split(",")[0]) == (0, "w1 draining")
    try:
        client.submit(TaskSpec(task_id="cli-drained", command="true"))
        assert client.task("cli-drained").state == "queued"
    finally:
        assert document(call("drain", "w1", "--undo", "--json", master=cluster))["state"] == "active"
    until(lambda: client.task("cli-drained").state == "completed")


def test_draining_an_unknown_worker_exits_1(cluster: str) -> None:
    ran = call("drain", "w-nothing", master=cluster)
    assert ran.returncode == 1
    assert "w-nothing" in one_sentence(ran)


def test_explain_says_where_and_why(cluster: str, client: MasterClient) -> None:
    ended(client, "cli-why", cpu=1)
    found = document(call("explain", "cli-why", "--json", master=cluster))
    assert found["placement"]["worker_id"] == "w1"
    assert found["placement"]["source"] == "rts"
    assert [c["worker_id"] for c in found["decision"]["candidates"]] == ["w1"]
    shown = call("explain", "cli-why", master=cluster).stdout
    assert re.search(r"Placed on w1 at \S+ by rts with risk \d", shown)
    assert "There is no runner-up.\n1 of 1 worker could take it." in shown
    assert re.search(r"^WORKER +RISK +RUNTIME +LATE +LOAD +AFFINITY +PENALTY$", shown, re.MULTILINE)
    assert "parameters version" in shown
    assert "as they are now" not in shown
    now = call("explain", "cli-why", "--now", master=cluster).stdout
    assert re.search(r"as they are now:\nWORKER .* LACKS", now)


def test_explain_says_why_a_task_waits(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="cli-huge", command="true", gpu=3))
    try:
        shown = call("explain", "cli-huge", master=cluster).stdout
        assert "Of 1 worker, 1 lacks gpu:" in shown
        assert re.search(r"^w1 +gpu 2$", shown, re.MULTILINE)
        (row,) = document(call("explain", "cli-huge", "--json", master=cluster))["rows"]
        assert not row["feasible"]
        assert "gpu" in row["lacks"]
    finally:
        client.cancel("cli-huge")


def test_a_plan_says_where_and_whether_and_submits_nothing(cluster: str, client: MasterClient) -> None:
    before = client.stats()
    ran = call("plan", "--cpu", "1", "--memory", "0.5", master=cluster)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Would be placed on worker w1 now.\ncpu-light, expected to run ")
    assert max(map(len, ran.stdout.splitlines())) <= 80
    assert "It should meet it." in ran.stdout
    found = document(call("plan", "--cpu", "1", "--json", "--", "sleep", "1", master=cluster))
    assert (found["worker_id"], found["verdict"], found["task"]["command"]) == ("w1", "meets", "sleep 1")
    after = client.stats()
    assert (before.queued, before.completed) == (after.queued, after.completed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cpu", "64"), "No worker could ever take it."),
        (("--memory", "2", "--gpu", "2"), "No worker could ever take it."),
        (("--cpu", "1", "--deadline", "2001-01-31T12:00:00"), "It will probably miss it."),
    ],
)
def test_a_plan_that_will_not_make_it_exits_1_and_says_so(
    cluster: str, options: tuple[str, ...], said: str
) -> None:
    ran = call("plan", *options, master=cluster)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert said in ran.stdout


def test_stats_count_tasks_and_decisions(cluster: str, client: MasterClient) -> None:
    ended(client, "cli-counted")
    stats = document(call("stats", "--json", master=cluster))
    assert stats["scheduler"] == "rts"
    assert stats["completed"] >= 1
    assert stats["decisions"] >= 1
    assert 0 < stats["decision_p50_us"] <= stats["decision_p99_us"]
    assert len(stats["tau"]) == 6
    shown = call("stats", master=cluster).stdout
    assert re.search(r"tau gpu-training +60\.0 s", shown)


# ---- the master is not there, the terminal, the help ----


def test_without_a_master_every_command_exits_3_and_says_what_to_do() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    commands = (
        ("submit", "true"),
        ("tasks",),
        ("task", "t"),
        ("logs", "t"),
        ("cancel", "t"),
        ("workers", "--json"),
        ("drain", "w"),
        ("explain", "t"),
        ("plan", "--cpu", "1"),
        ("stats",),
    )
    # At once: each tries for two seconds.
    with ThreadPoolExecutor(len(commands)) as pool:
        for ran in pool.map(lambda arguments: call(*arguments, master=nobody), commands):
            assert ran.returncode == 3, ran.args
            assert "rts master" in one_sentence(ran)


def test_interrupting_a_wait_leaves_the_task_alone(cluster: str, client: MasterClient) -> None:
    waiting = subprocess.Popen(
        [*RTS, "submit", "--master", cluster, "--id", "cli-left", "--wait", "sleep 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert waiting.stdout is not None
    # The id is printed when the submission is acknowledged; from then on it only waits.
    assert waiting.stdout.readline() == "cli-left\n"
    until(lambda: client.task("cli-left").state == "running")
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    assert "the tasks go on" in said
    assert "Traceback" not in said
    assert client.cancel("cli-left").state == "cancelled"


INTERRUPTED_AMID_A_CALL = """
import os
import signal
import sys

import grpc._channel

from master.cli.app import main

serve_the_call = grpc._channel._run_channel_spin_thread

def interrupted_first(state):
    os.kill(os.getpid(), signal.SIGINT)
    serve_the_call(state)

# gRPC has registered the call by then, and closing or freeing a channel waits for its calls.
grpc._channel._run_channel_spin_thread = interrupted_first
sys.argv[0] = "rts"
main()
"""


def test_an_interrupt_amid_the_start_of_a_call_ends_the_wait(cluster: str, client: MasterClient) -> None:
    submit = ["submit", "--master", cluster, "--id", "cli-amid", "--wait", "sleep 60"]
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AMID_A_CALL, *submit],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
    )
    assert (ran.returncode, ran.stdout) == (130, "cli-amid\n")
    assert "the tasks go on" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert client.cancel("cli-amid").state == "cancelled"


def test_a_reader_that_goes_away_is_no_error(cluster: str, client: MasterClient) -> None:
    ended(client, "cli-yes", "yes | head -c 60000")
    ran = subprocess.run(
        f"{' '.join(RTS)} logs cli-yes --master {cluster} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert ran.stdout == "y\n"
    assert "Traceback" not in ran.stderr


def test_a_terminal_without_a_letter_for_it_is_no_error(cluster: str) -> None:
    ran = subprocess.run(
        [*RTS, "stats", "--master", cluster],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment() | {"PYTHONIOENCODING": "ascii"},
    )
    assert ran.returncode == 0
    assert r"\xb5s (p50)" in ran.stdout


def test_an_argument_that_is_not_text_is_wrong_use(cluster: str) -> None:
    ran = subprocess.run(
        [*RTS, "submit", "--master", cluster, b"echo \xff"],
        capture_output=True,
        timeout=60,
        env=environment(),
    )
    assert ran.returncode == 2
    assert b"not UTF-8 text" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, master.cli.app as _; print({'numpy', 'grpc', 'rich', 'psutil'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "set()\n", ran.stderr


def test_help_fits_80_columns() -> None:
    top = call("--help").stdout
    commands = re.findall(r"^  ([a-z][a-z-]*)  +[A-Z]", top, re.MULTILINE)
    assert {"demo", "master", "worker", "submit", "tasks", "logs", "explain", "top"} <= set(commands)
    for text in (top, *(call(command, "--help").stdout for command in commands)):
        prose = [line for line in text.splitlines() if not line.startswith("    ")]
        assert max(map(len, prose)) <= 80, text
