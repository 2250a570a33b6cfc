"""The master's settings: from flags, then the environment, then a file, then defaults."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rtscore.credentials import is_loopback


class ConfigError(ValueError):
    """A setting that cannot be: the message names the key, the value and where it came from."""


class MasterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a master runs; seconds where a name ends in `_s`.

    `listen` is host:port, port 0 takes a free one. `store` is the file of the embedded store, or the URI of a
    MongoDB database: of the masters on one database the first works, the others stand by, and one of them
    takes over when the first has not renewed its lease for two times `lease_period_s`. `params` is a
    parameter file, empty for none: what is learned is written there, and what somebody else writes there is
    put to use; it is looked at every `params_reload_interval_s`. A worker that has been silent for three
    heartbeats and then `worker_grace_s` is lost. Beyond `max_queued` tasks, or `max_queued_per_user` of one
    user, new ones are refused (0: no limit). `stop_grace_s` bounds a graceful stop. Every
    `ga_epoch_interval_s` (0: never) parameters are learned from what finished in the last `train_window_s`;
    the other `ga_` settings are the genetic algorithm's. `tls_cert` and `tls_key` are the PEM files of an
    encrypted port, with `client_ca` for clients that show a certificate of these authorities only. `tokens`
    is the file that `master.tokens` reads; empty: nobody is asked for one. At `metrics_listen`, host:port,
    Prometheus finds /metrics (empty: nowhere), with series of their own for `metrics_workers` workers. At
    `log_level` "debug" the risks behind a decision are logged for the share `log_risk_sample` of the tasks.
    """

    listen: str = "127.0.0.1:7070"
    store: str = ".rts/master.db"
    lease_period_s: float = 2.0
    scheduler: str = "rts"
    params: str = ""
    params_reload_interval_s: float = 30.0
    sla_multiplier: float = 2.0
    max_attempts: int = 3
    max_queued: int = 1_000_000
    max_queued_per_user: int = 0
    heartbeat_interval_s: float = 2.0
    worker_grace_s: float = 10.0
    stop_grace_s: float = 10.0
    ga_epoch_interval_s: float = 60.0
    ga_population_size: int = 20
    ga_generations: int = 10
    ga_mutation_rate: float = 0.1
    ga_crossover_rate: float = 0.7
    train_window_s: float = 86_400.0
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    tokens: str = ""
    insecure: bool = False
    metrics_listen: str = ""
    metrics_workers: int = 100
    log_level: str = "info"
    log_format: str = "console"
    log_risk_sample: float = 0.01


_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(value: object) -> float:
    """Seconds of 30, "30", "30s", "500ms", "2m" or "1h"."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*(ms|s|m|h|)\s*", str(value))
    if match is None:
        raise ValueError('a number of seconds, or one with a unit as in "30s", "500ms", "2m" is allowed')
    return _positive(float(match[1]) * _UNITS[match[2]])


def _positive(value: object) -> float:
    number = float(str(value))
    if not (number > 0.0 and math.isfinite(number)):
        raise ValueError("a finite number above 0 is allowed")
    return number


def _count(value: object) -> int:
    number = int(str(value))
    if number < 1:
        raise ValueError("a whole number of at least 1 is allowed")
    return number


def _limit(value: object) -> int:
    """A count, or 0 for no limit."""
    number = int(str(value))
    if number < 0:
        raise ValueError("a whole number, or 0 for no limit, is allowed")
    return number


def _interval(value: object) -> float:
    """A duration, or 0 for never."""
    return 0.0 if str(value).strip() in ("0", "0s", "0.0") else duration(value)


def _within(kind: type[int] | type[float], low: float, high: float) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        number = kind(str(value))
        if not low <= number <= high:
            raise ValueError(f"{low:g} to {high:g} is allowed")
        return number

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text is allowed")
    return value


def _flag(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    if (answer := words.get(str(value).lower())) is None:
        raise ValueError("true or false is allowed")
    return answer


def _one_of(*allowed: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"allowed are {', '.join(allowed)}")
        return str(value)

    return read


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port"."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise ValueError("host:port is allowed, with a port up to 65535")
    return host, int(port)


def _address(value: object) -> str:
    split_address(_text(value))
    return str(value)


def _optional_address(value: object) -> str:
    return _address(value) if value else ""


# The key, its environment variable, and how its value is read.
_SETTINGS: tuple[tuple[str, str, Callable[[object], Any]], ...] = (
    ("listen", "RTS_LISTEN", _address),
    ("store", "RTS_STORE", _text),
    ("lease_period_s", "RTS_LEASE_PERIOD", duration),
    ("scheduler", "RTS_SCHEDULER", _one_of("rts", "round-robin")),
    ("params", "RTS_PARAMS", _text),
    ("params_reload_interval_s", "RTS_PARAMS_RELOAD_INTERVAL", duration),
    ("sla_multiplier", "SCHED_SLA_MULTIPLIER", _positive),
    ("max_attempts", "RTS_MAX_ATTEMPTS", _count),
    ("max_queued", "RTS_MAX_QUEUED", _limit),
    ("max_queued_per_user", "RTS_MAX_QUEUED_PER_USER", _limit),
    ("heartbeat_interval_s", "RTS_HEARTBEAT_INTERVAL", duration),
    ("worker_grace_s", "RTS_WORKER_GRACE", duration),
    ("stop_grace_s", "RTS_STOP_GRACE", duration),
    ("ga_epoch_interval_s", "GA_EPOCH_INTERVAL", _interval),
    ("ga_population_size", "GA_POPULATION_SIZE", _within(int, 4, 10_000)),
    ("ga_generations", "GA_GENERATIONS", _within(int, 0, 10_000)),
    ("ga_mutation_rate", "GA_MUTATION_RATE", _within(float, 0, 1)),
    ("ga_crossover_rate", "GA_CROSSOVER_RATE", _within(float, 0, 1)),
    ("train_window_s", "RTS_TRAIN_WINDOW", duration),
    ("tls_cert", "RTS_TLS_CERT", _text),
    ("tls_key", "RTS_TLS_KEY", _text),
    ("client_ca", "RTS_CLIENT_CA", _text),
    ("tokens", "RTS_TOKENS", _text),
    ("insecure", "RTS_INSECURE", _flag),
    ("metrics_listen", "RTS_METRICS_LISTEN", _optional_address),
    ("metrics_workers", "RTS_METRICS_WORKERS", _count),
    ("log_level", "RTS_LOG_LEVEL", _one_of("debug", "info", "warning", "error")),
    ("log_format", "RTS_LOG_FORMAT", _one_of("console", "json")),
    ("log_risk_sample", "RTS_LOG_RISK_SAMPLE", _within(float, 0, 1)),
)


PROTECTION_VARIABLES = ("RTS_TLS_CERT", "RTS_TLS_KEY", "RTS_CLIENT_CA", "RTS_TOKENS")


def load_config(
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> MasterConfig:
    """The settings from all their sources.

    Parameters
    ----------
    flags : mapping
        By field name; None means that the flag was not given.
    environ : mapping
        `os.environ` when None. `MONGODB_URI` is the store where `RTS_STORE` is not given.
    file : path
        TOML with the field names as keys; None means that there is no file.

    Raises
    ------
    ConfigError
        When a value cannot be, a key does not exist, the file cannot be read, or the address is not loopback,
        TLS or tokens are missing, and `insecure` is not set.
    """
    environ = dict(os.environ if environ is None else environ)
    if "MONGODB_URI" in environ:
        environ.setdefault("RTS_STORE", environ["MONGODB_URI"])
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    in_file = _read(file) if file is not None else {}
    known = {key for key, _, _ in _SETTINGS}
    for source, mapping in (("flags", given), (f"file {file}", in_file)):
        for key in mapping:
            if key not in known:
                raise ConfigError(f"{key} ({source}): no such setting; known are {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for key, variable, read in _SETTINGS:
        for source, mapping, name in (
            (f"flag --{key.removesuffix('_s').replace('_', '-')}", given, key),
            (f"environment {variable}", environ, variable),
            (f"file {file}", in_file, key),
        ):
            if name in mapping:
                values[key] = _value(read, key, mapping[name], source)
                break
    config = MasterConfig(**values)
    refuse_open_address(config)
    return config


def refuse_open_address(config: MasterConfig) -> None:
    """Workers run what clients send, so an open port is a shell for everyone.

    Raises
    ------
    ConfigError
        When others than this machine could connect and nobody said that this is intended.
    """
    host, _ = split_address(config.listen)
    settings = {"--tls-cert": config.tls_cert, "--tls-key": config.tls_key, "--tokens": config.tokens}
    missing = [flag for flag, value in settings.items() if not value]
    if missing and not (is_loopback(host) or config.insecure):
        raise ConfigError(
            f"listen: {config.listen} can be reached from other machines, and whoever reaches the master "
            f"runs commands on its workers; give {', '.join(missing)}, use a loopback address as 127.0.0.1, "
            "or say --insecure"
        )


def _read(file: str | os.PathLike[str]) -> Mapping[str, object]:
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"file {file}: {error.strerror}") from None
    except ValueError as error:
        # Not TOML, not UTF-8, or an integer of more digits than Python reads.
        raise ConfigError(f"file {file}: not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"file {file}: nested too deeply to be settings") from None


def _value(read: Callable[[object], Any], key: str, value: object, source: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        reason = str(error)
        if not reason.endswith("allowed") and "allowed" not in reason:
            reason = "a number is allowed"
        raise ConfigError(f"{key}: {value!r} came from {source}; {reason}") from None
