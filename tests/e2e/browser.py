"""A headless Chromium for tests, and pages that fail a test when they do what no page of ours may."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine, with a profile of its own; the test is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        # Where the tests decide about a change, a missing browser must not pass for success.
        if os.environ.get("RTS_TEST_BROWSER_REQUIRED"):
            raise AssertionError("RTS_TEST_BROWSER_REQUIRED is set and there is no chromium")
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def watched_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page that must not ask another machine for anything, nor complain on its console."""
    with browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        wrong = list[str]()
        page.on("request", lambda request: wrong.append(request.url) if _leaves(request.url) else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None,
        )
        yield page
        assert not wrong, wrong


def _leaves(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1"
