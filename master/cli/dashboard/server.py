"""The dashboard's process: pages on a port, one client of the master behind them."""

from __future__ import annotations

import logging
import signal
import sys

from nicegui import app, ui

from master.cli import output
from master.cli.dashboard import cluster_page, frame, learning_page, task_page, tasks_page, trends_page
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.guard import Guard
from rtscore.client import AsyncMasterClient
from rtscore.credentials import Credentials, is_loopback

# A call that takes longer shows as a master that does not answer.
_TIMEOUT_S = 10.0


def serve(master: str, shown: Credentials, host: str, port: int, read_only: bool) -> None:
    """Serve the pages until SIGTERM or SIGINT; then the process ends with code 0."""
    # The server ends in order on both and then sends itself the signal again.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))
    # It writes down every address that does not exist.
    logging.getLogger("nicegui").setLevel(logging.ERROR)
    app.add_middleware(Guard, local=is_loopback(host))
    frame.install()

    async def begin() -> None:
        # What is asked every other second need not be repeated, unless another master may know better.
        patience_s = None if "," in master else 0.0
        client = AsyncMasterClient(
            master, timeout_s=_TIMEOUT_S, retry_for_s=patience_s, tls=shown.tls, token=shown.token
        )
        desk = Desk(client, master, read_only)
        for each in (cluster_page, tasks_page, task_page, learning_page, trends_page):
            each.install(desk)

        async def end() -> None:
            await desk.picture.close()
            await client.close()

        app.on_shutdown(end)
        shown_host = f"[{host}]" if ":" in host else host
        output.say(f"The dashboard of {master} is at http://{shown_host}:{port} (Ctrl-C ends it).")

    app.on_startup(begin)
    ui.run(
        host=host,
        port=port,
        title="rts",
        favicon=frame.ICON,
        dark=None,
        show=False,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        # After a break in the connection a page is loaded anew instead of brought up to date from a record.
        message_history_length=0,
        uvicorn_logging_level="error",
        access_log=False,
        # gRPC's own event engine is tested with this loop.
        loop="asyncio",
        timeout_graceful_shutdown=2,
    )
