"""Settings: which source wins, what may be said, and what an error names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from master.config import ConfigError, MasterConfig, duration, load_config


def test_without_any_source_the_defaults_hold() -> None:
    assert load_config({}, {}) == MasterConfig()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rts.toml"
    file.write_text('listen = "127.0.0.1:1"\nsla_multiplier = 1.5\nmax_attempts = 7\n')
    environ = {"RTS_LISTEN": "127.0.0.1:2", "SCHED_SLA_MULTIPLIER": "2.5"}
    config = load_config({"listen": "127.0.0.1:3", "max_attempts": None}, environ, file)
    assert (config.listen, config.sla_multiplier, config.max_attempts) == ("127.0.0.1:3", 2.5, 7)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("30", 30.0), (30, 30.0), ("500ms", 0.5), ("2m", 120.0), ("1h", 3600.0)],
)
def test_a_duration_is_a_number_with_or_without_a_unit(text: Any, seconds: float) -> None:
    assert duration(text) == seconds
    assert load_config({}, {"RTS_PARAMS_RELOAD_INTERVAL": str(text)}).params_reload_interval_s == seconds


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("RTS_PARAMS_RELOAD_INTERVAL", "soon", "params_reload_interval_s"),
        ("RTS_PARAMS_RELOAD_INTERVAL", "0", "params_reload_interval_s"),
        ("RTS_PARAMS_RELOAD_INTERVAL", "1.2.3s", "params_reload_interval_s"),
        ("SCHED_SLA_MULTIPLIER", "-1", "sla_multiplier"),
        ("SCHED_SLA_MULTIPLIER", "nan", "sla_multiplier"),
        ("SCHED_SLA_MULTIPLIER", "two", "sla_multiplier"),
        ("RTS_SCHEDULER", "best", "scheduler"),
        ("RTS_MAX_ATTEMPTS", "0", "max_attempts"),
        ("RTS_MAX_ATTEMPTS", "1.5", "max_attempts"),
        ("RTS_MAX_QUEUED", "-1", "max_queued"),
        ("RTS_MAX_QUEUED_PER_USER", "1.5", "max_queued_per_user"),
        ("RTS_MAX_QUEUED_PER_USER", "many", "max_queued_per_user"),
        ("RTS_LISTEN", "7070", "listen"),
        ("RTS_LISTEN", "127.0.0.1:70700", "listen"),
        ("RTS_INSECURE", "maybe", "insecure"),
        ("RTS_METRICS_LISTEN", "9470", "metrics_listen"),
        ("RTS_METRICS_WORKERS", "0", "metrics_workers"),
        ("RTS_LOG_LEVEL", "loud", "log_level"),
        ("GA_EPOCH_INTERVAL", "-1", "ga_epoch_interval_s"),
        ("GA_POPULATION_SIZE", "3", "ga_population_size"),
        ("GA_POPULATION_SIZE", "20.5", "ga_population_size"),
        ("GA_GENERATIONS", "-1", "ga_generations"),
        ("GA_MUTATION_RATE", "1.1", "ga_mutation_rate"),
        ("GA_CROSSOVER_RATE", "nan", "ga_crossover_rate"),
        ("RTS_TRAIN_WINDOW", "0", "train_window_s"),
    ],
)
def test_an_error_names_the_key_the_value_and_its_source(variable: str, value: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({}, {variable: value})
    message = str(caught.value)
    assert message.startswith(f"{key}: {value!r}")
    assert variable in message
    assert "allowed" in message


def test_an_error_in_a_flag_or_the_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flag --sla-multiplier"):
        load_config({"sla_multiplier": "x"}, {})
    file = tmp_path / "rts.toml"
    file.write_text("store = 5\n")
    with pytest.raises(ConfigError, match=r"store: 5 came from file .*rts\.toml"):
        load_config({}, {}, file)
    file.write_text("stoer = 'x'\n")
    with pytest.raises(ConfigError, match=r"stoer .*rts\.toml.*store"):
        load_config({}, {}, file)
    file.write_text("store =\n")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config({}, {}, file)
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        load_config({}, {}, tmp_path / "absent.toml")


@pytest.mark.parametrize("address", ["0.0.0.0:7070", "192.168.1.5:7070", "[::]:7070", "cluster.example:7070"])
def test_an_address_that_others_can_reach_needs_to_be_said(address: str) -> None:
    with pytest.raises(ConfigError, match="insecure"):
        load_config({"listen": address}, {})
    assert load_config({"listen": address, "insecure": True}, {}).listen == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.0.1:7070", "[::1]:7070", "localhost:7070"])
def test_a_loopback_address_needs_nothing(address: str) -> None:
    assert load_config({"listen": address}, {}).listen == address


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60.0), ("60", 60.0), (0, 0.0), ("0s", 0.0)])
def test_an_epoch_interval_may_be_zero_for_never(text: Any, seconds: float) -> None:
    assert load_config({}, {"GA_EPOCH_INTERVAL": str(text)}).ga_epoch_interval_s == seconds


def test_the_master_and_the_genetic_algorithm_agree_on_defaults_and_bounds() -> None:
    from aod.genetic import GAConfig, GAConfigError

    names = ("population_size", "generations", "mutation_rate", "crossover_rate")
    assert {n: getattr(MasterConfig(), f"ga_{n}") for n in names} == {
        n: getattr(GAConfig(), n) for n in names
    }
    for name, low, high in (("population_size", 4, 10_000), ("generations", 0, 10_000)):
        for value, allowed in ((low, True), (low - 1, False), (high, True), (high + 1, False)):
            if allowed:
                load_config({f"ga_{name}": value}, {})
                GAConfig(**{name: value})
            else:
                with pytest.raises(ConfigError):
                    load_config({f"ga_{name}": value}, {})
                with pytest.raises(GAConfigError):
                    GAConfig(**{name: value})
