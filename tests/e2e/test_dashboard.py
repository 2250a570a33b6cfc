"""The dashboard in a real browser: what is seen, followed and ended by hand, and what strangers cannot do."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from browser import chromium, watched_page
from playwright.sync_api import Browser, Page, expect
from rts_processes import Rts, free_port, running, until

from rtscore import GAParams, Risk, save_ga_params
from rtscore.client import MasterClient, MasterUnreachableError, TaskSpec
from rtscore.task_ids import new_task_id

# A tag that would say so if it became one.
TAG = "<img src=x onerror=alert(1)>"
HOSTILE = f"w{TAG}"
PAGES = ("/", "/tasks", "/learning", "/trends")
BEYOND = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def reachable(url: str) -> bool:
    host = url.removeprefix("http://")
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection(host, timeout=5)
        connection.request("GET", "/theme?to=auto")
        return connection.getresponse().status == 303
    return False


@contextlib.contextmanager
def dashboard_of(master: str, log: Path, *more: str) -> Iterator[str]:
    """The address of a dashboard for the time of a `with` block."""
    listen = f"127.0.0.1:{free_port()}"
    with running(log, "dashboard", "--master", master, "--listen", listen, *more) as rts:
        until(lambda: reachable(f"http://{listen}"), 60.0, what=f"a dashboard: {rts.said()}")
        yield f"http://{listen}"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


LEARNED = GAParams(affinity={"cpu-light": {HOSTILE: 1.5}, "mixed": {HOSTILE: -0.5}}, penalty={HOSTILE: 0.25})


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parameter file of `busy`."""
    file: Path = tmp_path_factory.mktemp("params") / "params.json"
    save_ga_params(LEARNED, file)
    return file


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, params: Path) -> Iterator[str]:
    """The address of a master with parameters, and a worker whose name is a tag."""
    directory: Path = tmp_path_factory.mktemp("busy")
    address = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        arguments = ("--listen", address, "--store", str(directory / "m.db"), "--params", str(params))
        arguments += ("--params-reload-interval", "0.5")
        stack.enter_context(running(directory / "m.log", "master", *arguments))
        stack.enter_context(
            running(
                directory / "w.log",
                *("worker", "--master", address, "--id", HOSTILE, "--cpu", "8", "--memory", "16"),
                *("--work-dir", str(directory / "w"), "--drain-timeout", "0"),
            )
        )
        with MasterClient(address) as waiting:
            until(lambda: active(waiting), 60.0, what="an active worker")
        yield address


def active(client: MasterClient) -> bool:
    with contextlib.suppress(MasterUnreachableError):
        return any(worker.state == "active" for worker in client.workers())
    return False


@pytest.fixture(scope="module")
def busy_client(busy: str) -> Iterator[MasterClient]:
    with MasterClient(busy) as connected:
        yield connected


@pytest.fixture(scope="module")
def site(busy: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard_of(busy, tmp_path_factory.mktemp("site") / "d.log") as url:
        yield url


@pytest.fixture
def page(chrome: Browser) -> Iterator[Page]:
    with watched_page(chrome) as opened:
        yield opened


def submit(client: MasterClient, command: str, prefix: str = "t", **more: float) -> str:
    spec = {"cpu": 1.0, "memory": 1.0, **more}
    return client.submit(TaskSpec(command=command, task_id=f"{prefix}-{new_task_id()}", **spec)).task_id  # type: ignore[arg-type]


def test_a_task_is_seen_running_explained_followed_and_cancelled(
    page: Page, site: str, busy_client: MasterClient, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    command = f"echo first words; until [ -e {gate} ]; do sleep .05; done; echo second words; sleep 600"
    task_id = submit(busy_client, command)
    until(lambda: busy_client.task(task_id).state == "running")

    page.goto(f"{site}/tasks")
    row = page.locator("tr", has_text=task_id)
    expect(row.locator(".chip.running")).to_have_text("running")
    row.get_by_role("link", name=task_id).click()
    expect(page.get_by_role("heading", name=task_id)).to_be_visible()
    expect(page.locator(".title .chip").first).to_have_text("running")
    expect(page.get_by_text("Attempt 1 was placed on")).to_contain_text("at risk")
    chosen = page.locator("section", has_text="at the moment of the decision")
    expect(chosen.get_by_role("cell", name=HOSTILE)).to_be_visible()
    expect(chosen.get_by_text("with the weights of version 1")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text("first words")
    assert "second words" not in page.get_by_role("log").inner_text()
    gate.touch()
    expect(page.get_by_role("log")).to_contain_text("second words")

    page.get_by_role("button", name="Cancel task").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert busy_client.task(task_id).state == "running"
    page.get_by_role("button", name="Cancel task").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel task").click()
    expect(page.locator(".title .chip").first).to_have_text("cancelled")
    assert busy_client.task(task_id).state == "cancelled"
    expect(page.get_by_role("button", name="Cancel task")).to_be_hidden()
    expect(page.get_by_role("log")).to_contain_text("The task has been cancelled.")


def test_a_task_that_waits_says_why(page: Page, site: str, busy_client: MasterClient) -> None:
    task_id = submit(busy_client, "true", cpu=1000.0)
    page.goto(f"{site}/task?id={task_id}")
    expect(page.locator(".title .chip").first).to_have_text("queued")
    expect(page.get_by_text("needs cpu 1000; the largest worker has 8").first).to_be_visible()
    expect(page.locator("tr", has_text=HOSTILE).get_by_role("cell").nth(1)).to_have_text(
        re.compile("99[2-9]")
    )
    busy_client.cancel(task_id)
    expect(page.locator(".title .chip").first).to_have_text("cancelled")


def test_what_tasks_and_workers_say_is_shown_as_text(
    page: Page, site: str, busy_client: MasterClient
) -> None:
    spec = TaskSpec(
        command=f"echo '{TAG}' # {TAG}", task_id=f"t{TAG}", user_id=f"u{TAG}", cpu=1.0, memory=1.0
    )
    busy_client.submit(spec)
    busy_client.wait([spec.task_id], timeout_s=30.0)
    page.goto(f"{site}/task?id=t%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    expect(page.get_by_role("heading", name=f"t{TAG}")).to_be_visible()
    expect(page.get_by_role("log")).to_contain_text(TAG)
    expect(page.get_by_text(f"echo '{TAG}' # {TAG}", exact=True)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    page.goto(f"{site}/tasks?text=onerror")
    expect(page.get_by_role("link", name=f"t{TAG}")).to_be_visible()
    expect(page.get_by_role("cell", name=f"u{TAG}")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    page.goto(site)
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    page.goto(f"{site}/learning")
    map = page.get_by_role("img", name="Affinity of task types for workers")
    expect(map.locator("canvas").first).to_be_visible()
    # Charts write what the pointer is on into the page.
    map.hover()
    expect(map.get_by_text(HOSTILE)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_of_much_output_a_page_holds_the_end(page: Page, site: str, busy_client: MasterClient) -> None:
    task_id = submit(busy_client, "seq 400000; echo the end")
    page.goto(f"{site}/task?id={task_id}")
    expect(page.get_by_role("log")).to_contain_text("the end")
    expect(page.get_by_role("log")).to_contain_text("The task has completed.")
    lines = [line for line in page.get_by_role("log").inner_text().splitlines() if line]
    assert lines[-3:-1] == ["400000", "the end"]
    assert len(lines) < 8_000


def test_a_search_and_its_pages_are_cut_by_the_master(
    page: Page, site: str, busy_client: MasterClient
) -> None:
    specs = [
        TaskSpec(command="true", task_id=f"many-{number:03d}", user_id="ada", cpu=500.0)
        for number in range(120)
    ]
    busy_client.submit_many(specs)
    page.goto(f"{site}/tasks?user=ada&state=unfinished")
    rows = page.locator("tbody tr", has_text="many-")
    expect(rows).to_have_count(50)
    seen = set(rows.locator("a").all_inner_texts())
    for more in (50, 20):
        page.get_by_role("button", name="Next").click()
        expect(rows.locator("a").first).not_to_have_text(re.compile("|".join(sorted(seen))))
        expect(rows).to_have_count(more)
        seen |= set(rows.locator("a").all_inner_texts())
    assert seen == {spec.task_id for spec in specs}
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_role("button", name="Previous").click()
    expect(rows).to_have_count(50)
    page.get_by_label("Search id, user or command").fill("many-07")
    expect(rows).to_have_count(10)
    expect(page).to_have_url(re.compile("text=many-07"))
    page.reload()
    expect(rows).to_have_count(10)
    page.get_by_label("User", exact=True).fill("nobody")
    expect(page.get_by_text("No such tasks.")).to_be_visible()
    for spec in specs:
        busy_client.cancel(spec.task_id)


def test_a_worker_is_drained_and_used_again(page: Page, site: str, busy_client: MasterClient) -> None:
    page.goto(site)
    row = page.locator("tr", has_text=HOSTILE)
    for verb, word in (("Drain", "draining"), ("Use", "active")):
        row.get_by_role("button", name=verb).click()
        page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()
        expect(row.locator(".chip")).to_have_text(word)
        assert busy_client.workers()[0].state == word


def test_an_earlier_version_is_put_to_use_again(
    page: Page, site: str, busy_client: MasterClient, params: Path
) -> None:
    save_ga_params(msgspec.structs.replace(LEARNED, risk=Risk(7.0, 2.0)), params)
    until(lambda: busy_client.stats().params_version == 2)
    page.goto(f"{site}/learning")
    row = page.locator("tr", has=page.get_by_role("cell", name="1", exact=True))
    row.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("Version 3 is in use, with the parameters of version 1.")).to_be_visible()
    assert busy_client.params().version == 3


def test_every_page_fits_wide_and_narrow_screens_in_light_and_dark(
    page: Page, site: str, busy_client: MasterClient
) -> None:
    task_id = submit(busy_client, "echo " + "x" * 500)
    busy_client.wait([task_id], timeout_s=30.0)
    for path in (*PAGES, f"/task?id={task_id}"):
        page.goto(f"{site}{path}")
        expect(page.locator("main h1")).to_be_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            expect(page.locator(f"body.body--{scheme}")).to_be_attached()
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                # Charts take the new width a moment later.
                where = f"{path} {scheme} at {width} without overflow"
                until(lambda: page.evaluate(BEYOND) == 0, what=where)


def test_a_choice_of_light_or_dark_is_remembered(page: Page, site: str) -> None:
    page.goto(f"{site}/tasks?text=a%26b")
    page.get_by_role("link", name="dark").click()
    expect(page.locator("body.body--dark")).to_be_attached()
    assert page.url == f"{site}/tasks?text=a%26b"
    page.get_by_role("link", name="Trends").click()
    expect(page.locator("body.body--dark")).to_be_attached()


def test_when_the_master_is_away_a_page_keeps_its_picture_and_goes_on_by_itself(
    chrome: Browser, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    arguments = ("master", "--listen", address, "--store", str(tmp_path / "m.db"))
    with (
        running(tmp_path / "m1.log", *arguments) as first,
        dashboard_of(address, tmp_path / "d.log") as url,
        watched_page(chrome) as page,
        MasterClient(address, retry_for_s=60.0) as client,
    ):
        before = submit(client, "true")
        page.goto(f"{url}/tasks")
        expect(page.get_by_role("link", name=before)).to_be_visible()
        first.kill()
        expect(page.get_by_role("alert")).to_contain_text(f"No master answers at {address} since")
        expect(page.get_by_role("link", name=before)).to_be_visible()
        with running(tmp_path / "m2.log", *arguments):
            after = submit(client, "true")
            expect(page.get_by_role("link", name=after)).to_be_visible()
            expect(page.get_by_role("alert")).to_be_hidden()


def test_a_read_only_dashboard_has_no_button_that_changes_anything(
    chrome: Browser, busy: str, busy_client: MasterClient, tmp_path: Path
) -> None:
    task_id = submit(busy_client, "sleep 600")
    # The page is closed first: one whose dashboard ends complains.
    with (
        dashboard_of(busy, tmp_path / "d.log", "--read-only") as url,
        watched_page(chrome) as page,
    ):
        for path in (*PAGES, f"/task?id={task_id}"):
            page.goto(f"{url}{path}")
            expect(page.get_by_text("read-only", exact=True)).to_be_visible()
            expect(page.locator("tbody tr, canvas").first).to_be_visible()
            for verb in ("Cancel", "Drain", "Roll back", "Learn now"):
                assert page.get_by_role("button", name=verb).count() == 0, (path, verb)
    busy_client.cancel(task_id)


def answer(url: str, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


def test_pages_of_other_sites_cannot_use_it(site: str) -> None:
    own = site.removeprefix("http://")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    socket = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket&client_id=x&implicit_handshake=false"
    assert answer(site, socket, upgrade | {"Origin": site}).status == 101
    assert answer(site, socket, upgrade | {"Origin": "http://foreign.example"}).status == 403
    assert answer(site, "/", {}).status == 200
    assert answer(site, "/", {"Origin": f"https://{own}.foreign.example"}).status == 403
    # A foreign name that was made to mean this machine.
    assert answer(site, "/", {"Host": "foreign.example"}).status == 403
    policy = answer(site, "/", {}).getheader("Content-Security-Policy") or ""
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer(site, "/theme?to=dark&back=//foreign.example", {}).getheader("Location") == "/"


def test_it_ends_in_order_when_it_is_told_to(tmp_path: Path, busy: str, chrome: Browser) -> None:
    listen = f"127.0.0.1:{free_port()}"
    rts = Rts(tmp_path / "d.log", "dashboard", "--master", busy, "--listen", listen)
    try:
        until(lambda: reachable(f"http://{listen}"), 60.0)
        with chrome.new_context() as context:
            opened = context.new_page()
            opened.goto(f"http://{listen}")
            expect(opened.get_by_role("link", name=HOSTILE)).to_be_visible()
            assert rts.stop() == 0
    finally:
        rts.kill()
    assert [line for line in rts.said().splitlines() if line] == [
        f"The dashboard of {busy} is at http://{listen} (Ctrl-C ends it)."
    ]
