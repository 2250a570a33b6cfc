"""A Docker-compatible engine behind its socket: what an executor asks of it, and its errors as sentences.

Everything here blocks. The SDK's client is for one thread, so each thread opens its own; that costs no
request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import docker
import msgspec
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

_TIMEOUT_S = 60.0

# What every process of a container gets, except its first one, to which the kernel delivers only signals that
# it handles. SIGCONT: a stopped process acts on SIGTERM only when it is continued.
_TERMINATE_ALL = ("/bin/sh", "-c", "kill -TERM -1; kill -CONT -1")


class EngineError(OSError):
    """The engine refused, failed or did not answer."""


class GoneError(EngineError):
    """The container does not exist, or has ended."""


class ContainerEnd(msgspec.Struct, frozen=True):
    """How a container ended, as its engine tells it."""

    exit_code: int
    out_of_memory: bool
    error: str


class Engine:
    """An engine that answered; a factory of connections to it.

    Parameters
    ----------
    host : str
        unix://PATH or tcp://HOST:PORT; for tcp, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH hold as for Docker.

    Raises
    ------
    EngineError
        When nothing answers there.
    """

    def __init__(self, host: str) -> None:
        self._environment = {**os.environ, "DOCKER_HOST": host}
        self._version = "auto"
        with self.connect() as connection:
            self._version = connection.api_version
            info = connection.info()
        self.name = str(info.get("Name", ""))
        # docker-init, or nothing where the engine has none.
        self.has_init = bool(info.get("InitBinary"))
        self.cpus = float(info.get("NCPU") or os.cpu_count() or 1)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection for one thread."""
        with _said("does not answer"):
            client = docker.DockerClient.from_env(
                version=self._version, timeout=int(_TIMEOUT_S), environment=self._environment
            )
        try:
            yield Connection(client)
        finally:
            client.close()


class Connection:
    """What one thread asks of the engine; every call raises EngineError, GoneError where it says so."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._api = client.api

    @property
    def api_version(self) -> str:
        """The version of the API that is spoken."""
        return self._api.api_version

    def info(self) -> Mapping[str, Any]:
        """Return what the engine says of itself."""
        with _said("does not answer"):
            answer: Mapping[str, Any] = self._api.info()
            return answer

    def has_image(self, image: str) -> bool:
        """Whether the engine has the image."""
        try:
            with _said(f"cannot look for the image {image}"):
                self._client.images.get(image)
        except GoneError:
            return False
        return True

    def pull(self, image: str, given_up: Callable[[], bool]) -> None:
        """Fetch an image from its registry, until it is there or nobody wants it any more."""
        with _said(f"cannot pull the image {image}"):
            for line in self._api.pull(image, stream=True, decode=True):
                if "error" in line:
                    raise EngineError(f"the container engine cannot pull the image {image}: {line['error']}")
                if given_up():
                    return

    def create(self, image: str, host: Mapping[str, Any], **options: Any) -> str:
        """Return the id of a new container that does not run yet."""
        with _said(f"cannot make a container of {image}"):
            config = self._api.create_host_config(**host)
            return str(self._api.create_container(image, host_config=config, **options)["Id"])

    def attach(self, container_id: str) -> Iterator[bytes]:
        """Return what a container prints from now on; the request is made at once, and the end is silent."""
        with _said("cannot read a container's output"):
            stream: Iterator[bytes] = self._api.attach(container_id, stream=True, logs=False)
            return stream

    def start(self, container_id: str) -> None:
        """Start a container."""
        with _said("cannot start the container"):
            self._api.start(container_id)

    def wait(self, container_id: str) -> ContainerEnd:
        """Return once the container has ended; GoneError when it does not exist any more."""
        with _said("lost a container"):
            # Without a time limit: the engine closes the connection when it goes.
            self._api.wait(container_id, timeout=None)
            state = self._api.inspect_container(container_id)["State"]
        return ContainerEnd(
            exit_code=int(state.get("ExitCode", 0)),
            out_of_memory=bool(state.get("OOMKilled")),
            error=str(state.get("Error") or ""),
        )

    def pid(self, container_id: str) -> int:
        """Return the process id of the container's first process, 0 when it does not run."""
        with _said("cannot inspect a container"):
            return int(self._api.inspect_container(container_id)["State"].get("Pid") or 0)

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to the container's first process; GoneError when it has ended."""
        try:
            with _said(f"cannot send {name} to a container"):
                self._api.kill(container_id, signal=name)
        except EngineError as error:
            # podman before 5.0 answers 500 to that, as to everything else.
            if not self.pid(container_id):
                raise GoneError(str(error)) from error
            raise

    def terminate_all(self, container_id: str) -> None:
        """Send SIGTERM to every process but the first; needs /bin/sh in the image.

        It runs a command there. podman keeps two small processes for that, for five minutes.
        """
        with _said("cannot run a command in a container"):
            self._api.exec_start(self._api.exec_create(container_id, list(_TERMINATE_ALL))["Id"])

    def labelled(self, labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return the containers that have all of the labels, running or not: id to labels."""
        filters = {"label": [f"{name}={value}" for name, value in labels.items()]}
        with _said("cannot list containers"):
            found = self._api.containers(all=True, filters=filters)
        return {container["Id"]: container["Labels"] for container in found}

    def remove(self, container_id: str) -> None:
        """End a container and remove it with what it wrote; nothing when it does not exist."""
        with suppress(GoneError):
            # podman's forced removal would first wait ten seconds for SIGTERM.
            with suppress(GoneError):
                self.signal(container_id, "SIGKILL")
            with _said("cannot remove a container"):
                self._api.remove_container(container_id, force=True, v=True)


@contextmanager
def _said(failure: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise GoneError(f"the container engine {failure}: {_explained(error)}") from error
    except APIError as error:
        # 409 is a container in the wrong state: one to signal that has ended.
        kind = GoneError if error.status_code == 409 else EngineError
        raise kind(f"the container engine {failure}: {_explained(error)}") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise EngineError(f"the container engine does not answer: {_root(error)}") from error
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise EngineError(f"the container engine {failure}: {_root(error)}") from error


def _root(error: BaseException) -> str:
    """What the operating system said, below the layers that wrapped it; else what the last of them says."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return str(error)


def _explained(error: APIError) -> str:
    return str(error.explanation or error).strip()
