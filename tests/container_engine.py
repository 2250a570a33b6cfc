"""A real container engine for the tests, images for it, and a registry to pull them from."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil

IMAGE = "localhost/rts-test:1"
# Prints what it is told by its own command.
OWN_COMMAND = "localhost/rts-own-command:1"
WITHOUT_SHELL = "localhost/rts-without-shell:1"

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class NoEngineHereError(Exception):
    """What is missing, for the message of a skipped test."""


class TestEngine:
    """An engine on `host`; its service can be ended and started again when it is ours."""

    __test__ = False

    def __init__(self, host: str, directory: Path | None) -> None:
        self.host = host
        self._directory = directory
        self._service: subprocess.Popen[bytes] | None = None

    @property
    def ours(self) -> bool:
        """Whether the engine is this one's and not one that was there before."""
        return self._directory is not None

    def client(self) -> docker.DockerClient:
        """A client to arrange and check with."""
        return docker.DockerClient(self.host)

    def containers(self) -> list[str]:
        """Every container that was made for a task, running or not."""
        with contextlib.closing(self.client()) as client:
            found = client.api.containers(all=True, filters={"label": ["rtscore.worker"]})
        return [container["Id"] for container in found]

    def start(self) -> None:
        """Start the service and return when it answers."""
        assert self._directory is not None
        with (self._directory / "service.log").open("ab") as log:
            self._service = subprocess.Popen(
                ["podman", "system", "service", "-t", "0", self.host],
                env=self._environment(),
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception), contextlib.closing(self.client()) as client:
                client.ping()
                return
            said = (self._directory / "service.log").read_text()
            assert self._service.poll() is None, f"podman does not run here: {said}"
            assert time.monotonic() < give_up, f"podman does not answer: {said}"
            time.sleep(0.05)

    def end(self) -> None:
        """End the service, as an update of the engine does; containers live on."""
        assert self._service is not None
        self._service.kill()
        self._service.wait()

    def end_for_good(self) -> None:
        """End the service and what it left: podman keeps two processes for five minutes after an exec."""
        self.end()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self._directory) in argument for argument in process.cmdline()):
                    process.kill()

    def remove_all(self) -> None:
        """Remove every container of tasks."""
        with contextlib.closing(self.client()) as client:
            for container in self.containers():
                client.api.remove_container(container, force=True)

    def _environment(self) -> dict[str, str]:
        assert self._directory is not None
        names = {"CONTAINERS_CONF": "containers", "CONTAINERS_STORAGE_CONF": "storage"}
        names["CONTAINERS_REGISTRIES_CONF"] = "registries"
        return os.environ | {name: str(self._directory / f"{file}.conf") for name, file in names.items()}


@contextlib.contextmanager
def container_engine(directory: Path, registry: str) -> Iterator[TestEngine]:
    """The engine of RTS_TEST_CONTAINER_HOST, or podman with everything it stores in `directory`.

    `registry` is a host:port from which podman pulls without TLS.

    Raises
    ------
    NoEngineHereError
        When there is neither. A podman that is there and does not work is an AssertionError.
    """
    busybox = Path("/bin/busybox")
    # ldd fails on what needs no library, and only that runs in an image of its own.
    if not busybox.exists() or subprocess.run(["ldd", busybox], capture_output=True).returncode == 0:
        raise NoEngineHereError("no static /bin/busybox to make an image of (Debian: busybox-static)")
    host = os.environ.get("RTS_TEST_CONTAINER_HOST", "")
    engine = TestEngine(host, None) if host else _podman(directory, registry)
    if engine.ours:
        engine.start()
    try:
        with contextlib.closing(engine.client()) as client:
            _import_images(client, busybox)
        yield engine
        engine.remove_all()
    finally:
        if engine.ours:
            engine.end_for_good()


def _podman(directory: Path, registry: str) -> TestEngine:
    for program in ("podman", "runc"):
        if shutil.which(program) is None:
            raise NoEngineHereError(f"no {program} on the PATH, and no RTS_TEST_CONTAINER_HOST")
    if os.geteuid() != 0:
        raise NoEngineHereError("the tests' podman needs root, and RTS_TEST_CONTAINER_HOST names no engine")
    (directory / "containers.conf").write_text(_CONTAINERS_CONF)
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\nrunroot = "{directory}/run"\ngraphroot = "{directory}/graph"\n'
    )
    (directory / "registries.conf").write_text(
        f'[[registry]]\nprefix = "{registry}"\nlocation = "{registry}"\ninsecure = true\n'
    )
    return TestEngine(f"unix://{directory}/engine.sock", directory)


def root_tar(busybox: Path, names: list[str]) -> bytes:
    """A file system with busybox under the given names."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        tar.add(busybox, "bin/busybox")
        for name in names:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return data.getvalue()


def _import_images(client: docker.DockerClient, busybox: Path) -> None:
    every = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    own = ['CMD ["/bin/sh", "-c", "echo own command; exec sleep 300"]']
    for image, names, changes in (
        (IMAGE, every, None),
        (OWN_COMMAND, every, own),
        (WITHOUT_SHELL, ["sleep"], None),
    ):
        data = root_tar(busybox, [name for name in names if name != "busybox"])
        # podman takes the tag only as a part of the name.
        client.api.import_image_from_data(data, repository=image, changes=changes)


class Registry:
    """A registry on this machine with one image, `image`.

    It speaks just the part of the distribution protocol that a pull needs.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._answers = threading.Event()
        self._answers.set()
        layer = root_tar(Path("/bin/busybox"), ["sh", "echo", "sleep"])
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        blobs = {"config": json.dumps(config).encode(), "layer": gzip.compress(layer, 1, mtime=0)}
        digests = {name: f"sha256:{hashlib.sha256(blob).hexdigest()}" for name, blob in blobs.items()}
        docker_type = "application/vnd.docker."
        types = {"config": "container.image.v1+json", "layer": "image.rootfs.diff.tar.gzip"}
        about = {
            name: {"mediaType": docker_type + types[name], "size": len(blob), "digest": digests[name]}
            for name, blob in blobs.items()
        }
        manifest = {"schemaVersion": 2, "mediaType": f"{docker_type}distribution.manifest.v2+json"}
        manifest |= {"config": about["config"], "layers": [about["layer"]]}
        self._files = {f"/v2/rts/blobs/{digests[name]}": blob for name, blob in blobs.items()}
        self._files |= {"/v2/": b"{}", "/v2/rts/manifests/1": json.dumps(manifest).encode()}
        self._manifest_type = str(manifest["mediaType"])
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.image = f"{self.address}/rts:1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def hold(self) -> None:
        """Answer nothing from now on; `asked` says that somebody waits."""
        self.asked.clear()
        self._answers.clear()

    def release(self) -> None:
        """Answer again."""
        self._answers.set()

    def stop(self) -> None:
        """Stop listening."""
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.set()
        self._answers.wait(60)
        path = request.path
        if "/manifests/sha256:" in path:
            path = "/v2/rts/manifests/1"
        body = self._files.get(path)
        request.send_response(404 if body is None else 200)
        manifest = "/manifests/" in path
        request.send_header("Content-Type", self._manifest_type if manifest else "application/octet-stream")
        request.send_header("Content-Length", str(len(body or b"")))
        request.end_headers()
        if body is not None and request.command == "GET":
            with contextlib.suppress(OSError):
                request.wfile.write(body)
