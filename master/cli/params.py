"""`rts params`: the scheduling parameters in use, their versions, a check of a file, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect, reaches_master
from master.cli.failure import CommandError, Exit
from master.cli.sections import Sections

if TYPE_CHECKING:
    from rtscore import GAParams
    from rtscore.client import ParamsVersion

_EPILOG = """\b
Examples:
  rts params show
  rts params show --version 3 --json | jq .params > params.json
  rts params validate params.json
  rts params history
  rts params rollback 3
"""

app = typer.Typer(
    cls=Sections,
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="See the scheduling parameters, where they came from, and go back to earlier ones.",
)


VersionArgument = Annotated[
    int, typer.Argument(metavar="VERSION", min=1, help="As `rts params history` has it.")
]


@app.command(epilog=_EPILOG)
@reaches_master
def show(
    version: Annotated[
        int, typer.Option(min=0, metavar="VERSION", help="One of `rts params history`; 0 is the one in use.")
    ] = 0,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Show the parameters in use, or those of a version.

    The weights, and for every worker its penalty and its affinity for each task type.
    """
    with connect(master) as client:
        found = client.params(version)
    if as_json:
        output.print_json(found)
        return
    from rtscore.params import params_from_dict

    output.print_fields(
        [
            ("version", str(found.version)),
            ("since", output.instant(found.created_at)),
            ("came by", came_by(found)),
        ]
    )
    print_params(params_from_dict(found.params))


@app.command(epilog=_EPILOG)
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A parameter file.")],
    as_json: JsonOption = False,
) -> None:
    """Check a parameter file; exit code 1 and the reason when it cannot be used."""
    from rtscore import load_ga_params
    from rtscore.errors import ParamsError

    try:
        params = load_ga_params(file)
    except FileNotFoundError:
        raise CommandError(
            f"There is no {file}; name a parameter file, as `rts train --out FILE` writes."
        ) from None
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except ParamsError as error:
        if as_json:
            output.print_json({"valid": False, "error": str(error)})
            raise typer.Exit(Exit.NO) from None
        raise CommandError(f"{error}.", Exit.NO) from None
    workers = {worker for row in params.affinity.values() for worker in row} | set(params.penalty)
    if as_json:
        output.print_json({"valid": True, "types": len(params.affinity), "workers": len(workers)})
    else:
        print(f"{file} is valid: affinities of {len(params.affinity)} types, {len(workers)} workers")


@app.command(epilog=_EPILOG)
@reaches_master
def history(
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many, the newest.")] = 50,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """List the versions of the parameters, newest first; the first is in use."""
    with connect(master) as client:
        found = client.params_versions(limit)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("VERSION", "SINCE", "REPLACED", "BY", "FITNESS", "SLA PROMISED", "RECORDS"),
        [
            (
                str(each.version),
                output.instant(each.created_at),
                str(each.replaced) if each.replaced else "",
                came_by(each),
                *judgement(each.evidence),
            )
            for each in found
        ],
        right=("VERSION", "REPLACED", "FITNESS", "SLA PROMISED", "RECORDS"),
        spare=("RECORDS", "REPLACED", "FITNESS"),
    )


@app.command(epilog=_EPILOG)
@reaches_master
def rollback(
    version: VersionArgument, master: MasterOption = DEFAULT_MASTER, as_json: JsonOption = False
) -> None:
    """Put the parameters of an earlier version to use again.

    They become a new version, and for ten epochs nothing that is learned takes their place.
    """
    with connect(master) as client:
        found = client.roll_back(version)
    if as_json:
        output.print_json(found)
    else:
        print(f"version {found.version} is in use, with the parameters of version {version}")


def came_by(version: ParamsVersion) -> str:
    """How a version came into use, in a word or three."""
    restored = version.evidence.get("restored")
    return f"{version.reason} to {restored}" if restored else version.reason


def judgement(evidence: Mapping[str, Any]) -> tuple[str, str, str]:
    """Fitness with its gain, promised share of deadlines, and records of an accepted version."""
    candidate, current, promised = (evidence.get(name) for name in ("candidate", "current", "promised"))
    if not candidate or not current or not promised:
        return "", "", ""
    return (
        f"{candidate['fitness']:.4f} ({candidate['fitness'] - current['fitness']:+.4f})",
        f"{promised['sla']:.1%}",
        str(evidence.get("usable", "")),
    )


def print_params(params: GAParams) -> None:
    """Print a parameter set for people."""
    from rtscore import TASK_TYPES

    theta, risk = params.theta, params.risk
    affinity, penalty = params.affinity_weights, params.penalty_weights
    output.print_fields(
        [
            (
                "theta",
                f"cpu {theta.theta1:.4g}, memory {theta.theta2:.4g}, gpu {theta.theta3:.4g}, "
                f"load {theta.theta4:.4g}",
            ),
            ("risk", f"lateness {risk.alpha:.4g}, load {risk.beta:.4g}"),
            (
                "affinity",
                f"speed {affinity.a1:.4g}, reliability {affinity.a2:.4g}, overload {affinity.a3:.4g}",
            ),
            ("penalty", f"misses {penalty.g1:.4g}, overload {penalty.g2:.4g}, energy {penalty.g3:.4g}"),
        ]
    )
    workers = sorted({worker for row in params.affinity.values() for worker in row} | set(params.penalty))
    if not workers:
        return
    print()
    types = [str(name) for name in TASK_TYPES]
    output.print_table(
        ("WORKER", "PENALTY", *(name.upper() for name in types)),
        [
            (
                worker,
                f"{params.penalty.get(worker, 0.0):.3f}",
                *(f"{params.affinity.get(name, {}).get(worker, 0.0):+.2f}" for name in types),
            )
            for worker in workers
        ],
        right=("PENALTY", *(name.upper() for name in types)),
    )
