"""What the documents say of the sources is what the sources say: settings, files, links, units."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT

import rtscore
import rtscore.client.errors
from rtscore import load_ga_params
from rtscore.params import params_to_dict

CONFIGURATION = (ROOT / "docs/RTS_CONFIGURATION.md").read_text(encoding="utf-8")


def test_the_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: run `make docs`"


def test_every_table_and_file_is_shown_somewhere() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md"))
    tables = re.findall(r'^    "([a-z-]+)": \w+,$', (ROOT / "docs/generate.py").read_text(), re.MULTILINE)
    files = [f"docs/examples/{name}" for name in ("own_scheduler.py", "ga_output.json")]
    assert len(tables) >= 6
    assert {name for name in [*tables, *files] if f"<!-- generated: {name} -->\n\n" not in texts} == set()


def test_each_number_has_a_unit_and_each_setting_and_parameter_an_effect() -> None:
    tables: dict[str, list[dict[str, str]]] = {}
    for name in ("master-settings", "worker-settings", "client-variables", "parameter-keys"):
        (text,) = re.findall(
            rf"<!-- generated: {name} -->\n\n(.*?)\n\n<!-- end -->", CONFIGURATION, re.DOTALL
        )
        titles, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
        )
        tables[name] = [dict(zip(titles, row, strict=True)) for row in rows]
    assert all(row["effect"] and row["default"] for rows in tables.values() for row in rows)
    numbers = [row for rows in tables.values() for row in rows if re.fullmatch(r"`[0-9.]+`", row["default"])]
    assert len(numbers) > 30
    assert [row for row in numbers if not row.get("unit", "-")] == []


def test_every_variable_that_the_sources_read_is_in_the_configuration() -> None:
    named: set[str] = set()
    for package in ("rtscore", "aod", "master", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            named |= set(re.findall(r'"((?:RTS|GA|SCHED)_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    # Not for people: the worker's mark on its tasks, and what the demo tells its own.
    ours = {"RTS_TASK_DIR", "RTS_DEMO_TIMES"}
    assert {name for name in named - ours if f"`{name}`" not in CONFIGURATION} == set()
    assert {"RTS_LISTEN", "GA_GENERATIONS", "RTS_TOKEN"} <= named


def test_every_public_name_is_in_the_api_reference() -> None:
    text = (ROOT / "docs/RTS_API_REFERENCE.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: rtscore\.(\w+)$", text, re.MULTILINE))
    assert set(rtscore.__all__) - shown == set()
    records = set(re.findall(r"^::: rtscore\.client\.(\w+)$", text, re.MULTILINE))
    # These three stand on the pages of their modules.
    elsewhere = {"Tls", "CredentialsError", *rtscore.client.errors.__dict__}
    assert set(rtscore.client.__all__) - records - elsewhere == set()


def test_the_example_of_a_parameter_file_is_one_with_every_key() -> None:
    path = ROOT / "docs/examples/ga_output.json"
    written = params_to_dict(load_ga_params(path))
    assert written == json.loads(path.read_text(encoding="utf-8"))
    assert len(written["AffinityMatrix"]) == 6


def test_the_scheduler_of_the_worked_example_runs_in_the_core() -> None:
    done = subprocess.run(
        [sys.executable, "docs/examples/own_scheduler.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    met = {line.split()[0]: float(line.split()[1].rstrip("%")) for line in done.stdout.splitlines()}
    assert set(met) == {"best-fit", "round-robin", "rts"}
    assert met["rts"] > met["best-fit"] > 50.0
    said = (ROOT / "docs/RTS_API_REFERENCE.md").read_text(encoding="utf-8")
    assert done.stdout.strip() in said


def test_a_broken_link_fails_the_site(tmp_path: Path) -> None:
    broken = ["nowhere.md", "page.md#nowhere", "/absolute.md"]
    pages = tmp_path / "pages"
    pages.mkdir()
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: pages\nsite_dir: site\nnav: [page.md]\nplugins: []\n"
    )

    def build(*links: str) -> subprocess.CompletedProcess[str]:
        (pages / "page.md").write_text("# A page\n\n" + "".join(f"[to]({link})\n" for link in links))
        command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(tmp_path / "mkdocs.yml")]
        return subprocess.run(command, capture_output=True, text=True)

    good = build("page.md#a-page")
    assert good.returncode == 0, good.stderr
    bad = build(*broken)
    assert bad.returncode != 0
    assert f"{len(broken)} warnings in strict mode" in bad.stdout + bad.stderr
    assert all(link in bad.stderr for link in broken)


@pytest.mark.parametrize(
    "unit", sorted((ROOT / "docs/systemd").glob("*.service")), ids=lambda path: path.name
)
def test_systemd_understands_the_units(unit: Path, tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze")
    copy = tmp_path / unit.name
    # It wants the program to be there.
    copy.write_text(unit.read_text().replace("/opt/rts/bin/rts", "/bin/true"))
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, [])


def test_a_stop_of_a_worker_leaves_its_tasks_to_the_agent() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "docs/systemd/rts-worker.service").read_text(), re.M))
    assert settings["KillMode"] == "mixed"
    assert settings["OOMPolicy"] == "continue"
    # Draining, ending what is left, and handing over.
    assert int(settings["TimeoutStopSec"]) >= 30 + 5 + 5 + 2
