"""The command line as a whole: its commands, and what a failure looks like.

Exit codes: 0 done, 1 budget not met, 2 bad input or usage, 3 internal error,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

import reticule
from reticule.cli import (
    analyzing,
    compressing,
    demonstrating,
    evaluating,
    exporting,
    inspecting,
    listing,
)
from reticule.errors import ReticuleError

DONE, BAD_INPUT, INTERNAL, INTERRUPTED = 0, 2, 3, 130

# typer's usage errors, wherever this version of typer keeps the classes
_ClickException: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="reticule",
    help="Pack a trained convolutional network into one small file that runs as it is.",
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"reticule {reticule.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("demo")(demonstrating.demo)
app.command("compress")(compressing.compress)
app.command("eval")(evaluating.evaluate)
app.command("run")(evaluating.run)
app.command("inspect")(inspecting.inspect)
app.command("analyze")(analyzing.analyze)
app.command("export")(exporting.export)
app.command("recipes")(listing.recipes)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit the process with the code of the contract."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Threads of PyTorch that wait by spinning slow each other down fivefold on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(_exit_code(given))


def _exit_code(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="reticule", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of an interrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else DONE
    except ReticuleError as problem:
        return _fail(str(problem), problem.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        again = "; the same command with --resume continues" if "compress" in arguments[:1] else ""
        return _fail(f"interrupted{again}", INTERRUPTED)
    except MemoryError:
        return _fail("out of memory; use a smaller network or data set, or a larger machine")
    except OSError as problem:
        reason = problem.strerror or str(problem)
        name = f"{problem.filename}: " if problem.filename else ""
        return _fail(f"{name}{reason}; check that the place exists, is writable and has room")
    except _ClickException as problem:
        message = problem.format_message()  # type: ignore[attr-defined]
        return _fail(f"{message.rstrip('.')}; see 'reticule --help'")
    except Exception as problem:  # a bug: every expected failure has been named above
        traceback.print_exc(limit=-4)
        return _fail(
            f"internal error ({type(problem).__name__}); "
            "please report it at the project's issue tracker",
            INTERNAL,
        )


def _fail(message: str, code: int = BAD_INPUT) -> int:
    print("reticule:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code
