"""`rts simulate` through its process: what it prints, writes and refuses, against the simulator itself."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pexpect
import pytest
from rts_processes import RTS, call, environment

from aod.epoch import run_ga_epoch
from aod.jsonlines import write_history
from aod.policies import Policy
from aod.replay import QueueOrder, Replayer, Summary
from aod.workloads import make_machines, make_workload, write_tasks
from master.cli.simulate.comparison import PLAYERS
from rtscore import TASK_TYPES, GAParams, save_ga_params

SMALL = ("--generate", "steady", "--tasks", "400", "--workers", "12")
CLOCK = "decisions_per_s"


def document(*arguments: str) -> Any:
    ran = call("simulate", *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def without_clock(value: Any) -> Any:
    """The document without what depends on how fast the machine is."""
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k != CLOCK}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


def refusal(*arguments: str) -> str:
    ran = call("simulate", *arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("rts: ")
    assert "Traceback" not in ran.stderr
    return ran.stderr


# ---- what it finds is what the simulator finds ----


def test_the_figures_are_those_of_the_simulator_called_directly() -> None:
    found = document(
        *SMALL,
        "--policy",
        "random,rts-untrained,oracle",
        "--queue",
        "edf,ours",
        "--load",
        "1.5",
        "--seeds",
        "2",
    )
    assert [(row["queue"], row["policy"]) for row in found["rows"]] == [
        (queue, policy) for queue in ("edf", "ours") for policy in ("random", "rts-untrained", "oracle")
    ]
    for row in found["rows"]:
        assert [run["seed"] for run in row["runs"]] == [1, 2]
        for run in row["runs"]:
            seed = run.pop("seed")
            machines = make_machines(12, seed)
            tasks = make_workload(400, machines, 1.5, seed + 2000)
            policy = Policy.RTS if row["policy"] == "rts-untrained" else Policy.of(row["policy"])
            direct = Replayer(machines, tasks, QueueOrder(row["queue"])).run(policy, seed=seed).summary()
            assert without_clock(run) == without_clock(msgspec.to_builtins(direct))


def test_rts_has_what_an_epoch_learns_from_other_tasks() -> None:
    found = document(*SMALL, "--policy", "rts", "--seeds", "1")
    machines = make_machines(12, 1)
    past = Replayer(machines, make_workload(800, machines, 0.7, 1001)).run().history()
    totals = dict(zip(machines.worker_ids, map(tuple, machines.totals.tolist()), strict=True))
    report = run_ga_epoch(past, totals, seed=1)  # type: ignore[arg-type]
    assert report.accepted
    direct = Replayer(machines, make_workload(400, machines, 0.7, 2001)).run(Policy.RTS, report.params)
    (row,), (learned,) = found["rows"], found["learned"]
    assert row["runs"][0]["misses"] == direct.summary().misses
    assert (learned["verdict"], learned["records"]) == ("accepted", 800)
    assert learned["generations"] == [msgspec.to_builtins(of) for of in report.generations]


def test_the_means_and_intervals_are_those_of_the_runs() -> None:
    found = document(*SMALL, "--policy", "round-robin", "--seeds", "5")
    (row,) = found["rows"]
    for name, figure in row["figures"].items():
        values = [run[name] for run in row["runs"]]
        assert figure["mean"] == pytest.approx(sum(values) / 5)
        spread = sum((v - figure["mean"]) ** 2 for v in values) ** 0.5 / 2
        assert figure["half_width"] == pytest.approx(2.776 * spread / 5**0.5, rel=1e-3, abs=1e-12)


def test_too_few_seeds_have_no_interval_and_it_says_so() -> None:
    ran = call("simulate", *SMALL, "--policy", "random", "--seeds", "4")
    assert ran.returncode == 0
    assert "±" not in ran.stdout
    assert "4 seeds are too few for intervals" in ran.stderr


def test_the_same_command_gives_the_same_document_but_for_the_clock() -> None:
    command = (*SMALL, "--policy", "rts,random,power-of-two", "--seeds", "2")
    assert without_clock(document(*command)) == without_clock(document(*command))


def test_the_search_is_set_by_the_environment_of_the_trainer() -> None:
    command = [*RTS, "simulate", *SMALL, "--policy", "rts", "--seeds", "1", "--json"]
    settings = environment() | {"GA_GENERATIONS": "1", "GA_POPULATION_SIZE": "6"}
    ran = subprocess.run(command, capture_output=True, text=True, env=settings)
    (learned,) = json.loads(ran.stdout)["learned"]
    assert [of["evaluations"] for of in learned["generations"]] == [6, 10]
    wrong = subprocess.run(command, capture_output=True, text=True, env=settings | {"GA_GENERATIONS": "ten"})
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("rts: GA_GENERATIONS='ten':")


def test_given_parameters_are_used_and_nothing_is_learned(tmp_path: Path) -> None:
    # Everything is drawn to one worker, and the least-loaded default is not.
    drawn = GAParams(affinity={str(name): {"w00003": 5.0} for name in TASK_TYPES})
    save_ga_params(drawn, tmp_path / "p.json")
    found = document(
        *SMALL, "--policy", "rts,rts-untrained", "--params", str(tmp_path / "p.json"), "--seeds", "1"
    )
    machines = make_machines(12, 1)
    direct = Replayer(machines, make_workload(400, machines, 0.7, 2001)).run(Policy.RTS, drawn).summary()
    misses = {row["policy"]: row["runs"][0]["misses"] for row in found["rows"]}
    assert misses["rts"] == direct.misses != misses["rts-untrained"]
    assert found["learned"] == []


def test_the_table_has_a_line_per_policy_and_load_the_best_first() -> None:
    ran = call("simulate", *SMALL, "--load", "0.7,1.2", "--seeds", "5")
    assert ran.returncode == 0, ran.stderr
    tables = ran.stdout.split("\n\n")
    assert [table.splitlines()[0] for table in tables[:2]] == [
        f"load {load} %: 400 tasks on 12 workers, 5 seeds, ± is the 95 % interval" for load in (70, 120)
    ]
    for table in tables[:2]:
        lines = table.splitlines()[2:]
        assert sorted(line.split()[0] for line in lines) == sorted(PLAYERS)
        met = [float(line.split()[1]) for line in lines]
        assert met == sorted(met, reverse=True)
    assert "queue" not in ran.stdout


# ---- inputs ----


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Summary]:
    """A history that the default parameters made of 1,000 tasks, and its summary."""
    machines = make_machines(8, 3)
    replay = Replayer(machines, make_workload(1000, machines, 0.9, 4, start=1.7e9)).run()
    path = tmp_path / "attempts.jsonl"
    write_history(replay.history(), path)
    return path, replay.summary()


def test_a_history_replayed_by_the_policy_that_made_it_ends_as_recorded(
    recorded: tuple[Path, Summary],
) -> None:
    path, direct = recorded
    found = document("--history", str(path), "--policy", "rts-untrained", "--seeds", "1")
    rows = {row["policy"]: row["runs"][0] for row in found["rows"]}
    assert rows.keys() == {"recorded", "rts-untrained"}
    for name in ("tasks", "misses", "unplaced"):
        assert rows["recorded"][name] == rows["rts-untrained"][name] == getattr(direct, name)
    for name in ("wait_mean_s", "wait_p95_s", "utilisation", "overload"):
        for row in rows.values():
            # Unix times: waits are differences of numbers near 1.7e9.
            assert row[name] == pytest.approx(getattr(direct, name), rel=1e-3, abs=1e-5)


def test_what_is_learned_of_a_history_is_judged_on_its_newer_part(recorded: tuple[Path, Summary]) -> None:
    path, _ = recorded
    found = document("--history", str(path), "--policy", "rts,rts-untrained", "--seeds", "1")
    assert found["tasks"] == 300
    assert found["learned"][0]["records"] == 700
    rows = {row["policy"]: row["runs"][0] for row in found["rows"]}
    assert rows["recorded"]["misses"] == rows["rts-untrained"]["misses"]
    assert rows["rts"]["misses"] < rows["recorded"]["misses"]


def test_a_history_may_be_replayed_on_another_cluster(recorded: tuple[Path, Summary], tmp_path: Path) -> None:
    machines = make_machines(8, 3)
    lines = [
        {"worker_id": name, **dict(zip(("cpu", "memory", "gpu", "storage"), row, strict=True))}
        for name, row in zip(machines.worker_ids, machines.totals.tolist(), strict=True)
    ]
    lines += [{**line, "worker_id": f"{line['worker_id']}-twin"} for line in lines]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = document(
        *("--history", str(recorded[0]), "--cluster", str(tmp_path / "more.jsonl")),
        *("--policy", "rts-untrained", "--seeds", "1"),
    )
    assert found["workers"] == 16
    (row,) = found["rows"]
    assert row["runs"][0]["misses"] < recorded[1].misses


def test_a_workload_file_is_replayed_as_it_is_by_the_first_seed(tmp_path: Path) -> None:
    machines = make_machines(12, 1)
    tasks = make_workload(300, machines, 0.8, 5)
    write_tasks(tasks, tmp_path / "tasks.jsonl")
    found = document(
        *("--workload", str(tmp_path / "tasks.jsonl"), "--workers", "12"),
        *("--policy", "least-loaded", "--seeds", "2"),
    )
    first, second = found["rows"][0]["runs"]
    direct = Replayer(machines, tasks).run(Policy.LEAST_LOADED, seed=1).summary()
    assert without_clock({**first, "seed": 0}) == without_clock({**msgspec.to_builtins(direct), "seed": 0})
    assert second["wait_mean_s"] != first["wait_mean_s"] or second["slowdown_p95"] != first["slowdown_p95"]


def test_the_trace_is_read_from_its_folder(tmp_path: Path) -> None:
    nodes = [f"node-{i},{64000 + i},{262144},{i % 3 * 4},{'A' if i % 2 else 'B'}" for i in range(24)]
    (tmp_path / "openb_node_list_all_node.csv").write_text(
        "sn,cpu_milli,memory_mib,gpu,model\n" + "\n".join(nodes) + "\n"
    )
    at = [120 * 86_400 + 60 * i for i in range(200)]
    pods = [f"pod-{i},{2000 + i},8192,{i % 2},500,{t},{t + 900},{t + 3}" for i, t in enumerate(at)]
    (tmp_path / "openb_pod_list_default.csv").write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time,scheduled_time\n"
        + "\n".join(pods)
        + "\n"
    )
    found = document(
        "--openb", str(tmp_path), "--policy", "best-fit,first-fit", "--load", "0.5", "--seeds", "1"
    )
    assert (found["tasks"], found["workers"]) == (200, 3)
    assert [row["policy"] for row in found["rows"]] == ["best-fit", "first-fit"]


# ---- the report ----


class _Page(HTMLParser):
    """Every tag with its attributes, and the text of cells and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    ran = call("simulate", *SMALL, "--seeds", "1", "--load", "0.7,1.5", "--report", str(path))
    assert ran.returncode == 0, ran.stderr
    text = path.read_text()
    page = _Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in text
    assert "url(" not in text
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [attrs["alt"] for attrs in images] == [
        "Deadlines met, by load",
        "Waits, load 150 %",
        "Learned affinity",
        "True speed",
        "Fitness by generation",
    ]
    for attrs in images:
        kind, data = str(attrs["src"]).split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        svg = ElementTree.fromstring(base64.b64decode(data))
        assert svg.tag.endswith("}svg")
        links = [v for of in svg.iter() for k, v in of.attrib.items() if k.endswith("href") or k == "src"]
        assert links
        assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    cells = {text.strip() for text in page.text}
    assert set(PLAYERS) <= cells
    assert any("rts simulate --generate steady --tasks 400" in text for text in page.text)


def test_a_picture_and_a_folder_of_pictures(tmp_path: Path) -> None:
    for path in (tmp_path / "out.png", tmp_path / "folder"):
        ran = call("simulate", *SMALL, "--seeds", "1", "--policy", "random", "--report", str(path))
        assert ran.returncode == 0, ran.stderr
    pictures = [tmp_path / "out.png", *(tmp_path / "folder" / f"{k}.png" for k in ("deadlines", "waits"))]
    assert sorted(tmp_path.rglob("*.*")) == sorted(pictures)
    for picture in pictures:
        content = picture.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 900
        assert height >= 450


def test_without_the_drawing_library_it_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import importlib.util, sys\n"
        "absent, found = sys.argv.pop(1), importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == absent else found(name, *more)\n"
        "from master.cli.app import main\n"
        "main()\n"
    )
    for library, words in (("matplotlib", "rtscore[report]"), ("numba", "rtscore[numba]")):
        command = [sys.executable, "-c", program, library, "simulate", *SMALL]
        ran = subprocess.run(
            [*command, "--report", str(tmp_path / "a.html")],
            capture_output=True,
            text=True,
            env=environment(),
        )
        assert (ran.returncode, ran.stdout) == (2, "")
        assert f"pip install '{words}'" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


# ---- refusals ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to replay was given; give one of --generate"),
        (("--generate", "steady", "--openb", "x"), "--generate and --openb were given"),
        (("--generate", "weekly"), "'weekly' came; allowed are steady, burst, mixed, diurnal"),
        ((*SMALL, "--load", "70"), "'70' came; a number from 0.01 to 20 is allowed, and 0.7 is 70 %"),
        ((*SMALL, "--load", "nan"), "'nan' came"),
        ((*SMALL, "--policy", "rts,best"), "'best' came; allowed are rts, rts-untrained, round-robin"),
        ((*SMALL, "--queue", "lifo"), "'lifo' came; allowed are ours, fifo, edf, least-laxity"),
        ((*SMALL, "--params", "/nowhere.json"), "/nowhere.json"),
        ((*SMALL, "--cluster", "/nowhere.jsonl"), "--cluster and a made-up cluster"),
        (("--history", "/nowhere.jsonl"), "/nowhere.jsonl cannot be read: No such file"),
        (("--workload", "/nowhere.jsonl"), "/nowhere.jsonl cannot be read: No such file"),
        (("--workload", "/dev/null", "--tasks", "5"), "--tasks goes with --generate and --openb"),
        (("--history", "/dev/null", "--workers", "5"), "--workers and --identical go with"),
        (("--history", "/dev/null"), "/dev/null holds no attempt that can be replayed"),
        (("--workload", "/dev/null"), "/dev/null holds no tasks"),
        (("--openb", "/dev"), "/dev holds no openb_node_list_all_node.csv"),
        ((*SMALL, "--report", "out.pdf"), "out.pdf came; a name that ends in .html or .png"),
        ((*SMALL, "--report", "/nowhere/out.html"), "there is no folder /nowhere"),
    ],
)
def test_wrong_use_is_one_sentence_before_anything_runs(arguments: tuple[str, ...], words: str) -> None:
    said = refusal(*arguments)
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    machines = make_machines(4, 1)
    write_tasks(make_workload(3, machines, 0.7, 1), tasks)
    good = tasks.read_text().splitlines()
    tasks.write_text("\n".join([*good, "{}"]))
    assert f"{tasks}:4:" in refusal("--workload", str(tasks))
    negative = json.loads(good[1]) | {"runtime_s": -1.0, "task_id": "odd"}
    tasks.write_text("\n".join([good[0], json.dumps(negative)]))
    assert "task 'odd': runtime_s is -1.0; 1e-9 to 1e9 is allowed" in refusal("--workload", str(tasks))
    cluster = tmp_path / "cluster.jsonl"
    cluster.write_text(
        '{"worker_id": "a", "cpu": 1, "memory": 1}\n{"worker_id": "a", "cpu": 1, "memory": 1}\n'
    )
    tasks.write_text("\n".join(good))
    said = refusal("--workload", str(tasks), "--cluster", str(cluster))
    assert f"{cluster}:2: worker 'a' came before" in said


def test_lines_of_a_history_that_are_no_attempt_are_counted(recorded: tuple[Path, Summary]) -> None:
    path, direct = recorded
    with path.open("a") as file:
        file.write("not json\n")
        line = json.loads(path.read_text().splitlines()[0])
        file.write(json.dumps(line | {"actual_runtime_s": -1.0}) + "\n")
    ran = call("simulate", "--history", str(path), "--policy", "first-fit", "--seeds", "1", "--json")
    assert "1 lines are no attempt; the first is line 1001:" in ran.stderr
    assert "Attempts that cannot be replayed: 1 runtime not positive." in ran.stderr
    assert json.loads(ran.stdout)["tasks"] == direct.tasks


# ---- while it runs ----


def test_a_terminal_sees_a_bar_and_ctrl_c_ends_it() -> None:
    child = pexpect.spawn(
        RTS[0],
        [*RTS[1:], "simulate", "--generate", "steady", "--load", "0.7,0.8,0.9,1"],
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"},
        timeout=60,
        encoding="utf-8",
    )
    try:
        child.expect(r"load 70 %, seed 1: learning")
        child.sendintr()
        child.expect("Stopped; nothing was written.")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 130
