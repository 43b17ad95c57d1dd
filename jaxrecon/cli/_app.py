"""The command line itself: options, and one line for anything that goes wrong."""

import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from jaxrecon import __version__
from jaxrecon.cli import _terminal

app = typer.Typer(
    name="jaxrecon",
    help="Image reconstruction from raw sensor data.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

# Typer carries its own copy of click in newer versions: the class has no one import path.
_UsageError: Any = typer.BadParameter.__bases__[0]


def run_app() -> None:
    """Runs the command; bad input ends with exit status 2 and one line on standard error."""
    try:
        status = app(standalone_mode=False)
        if status == 130:  # typer has caught the interruption
            _terminal.fail("interrupted")
        sys.exit(status if isinstance(status, int) else 0)
    except _UsageError as error:
        _terminal.fail(f"{error.format_message() or 'No command given.'} (see --help)")
        sys.exit(2)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        _terminal.fail(str(error))
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or ["no more could be had"])[0].rstrip(".")
        _terminal.fail(
            f"memory ran out ({reason}): pass a smaller `--size` or fewer `--slices` at a time; "
            "design and train: fewer coils, views, modes or a smaller batch"
        )
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _terminal.fail("interrupted")
        sys.exit(130)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on the host or (as JAX says it, in words only) on a device."""
    if isinstance(error, MemoryError):
        return True
    import jax

    words = ("RESOURCE_EXHAUSTED", "Out of memory")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(w in str(error) for w in words)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"jaxrecon {__version__}")
        raise typer.Exit


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder for pictures and results.json.")] = (
        "jaxrecon-demo"
    ),
    quick: Annotated[bool, typer.Option(help="Small images: a smoke test in seconds.")] = False,
) -> None:
    """Simulates raw CT and MRI data from real anatomy and compares all methods."""
    from jaxrecon.cli._demo import run_demo

    run_demo(out, quick=quick)


@app.command()
def recon(
    source: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="The raw-data file.", show_default=False)
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", "-m", help="Method by name.", show_default=False)
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="The image: .npz, .cfl, .png, .nii.gz, .tif or .dcm.",
            show_default=False,
        ),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="Slices to reconstruct: 3, or 2:8, or 0,4,9; default all.")
    ] = None,
    maps: Annotated[str | None, typer.Option(help="MRI: coil maps, .npz or .cfl.")] = None,
    map_sets: Annotated[int | None, typer.Option(help="MRI: 1 or 2 sets of ESPIRiT maps.")] = None,
    center: Annotated[float | None, typer.Option(help="CT: rotation centre, a bin index.")] = None,
    stripes: Annotated[
        bool, typer.Option("--remove-stripes", help="CT: remove the stripes that become rings.")
    ] = False,
    size: Annotated[
        int | None, typer.Option(help="CT and non-Cartesian MRI: image size in pixels, square.")
    ] = None,
    n_iter: Annotated[int | None, typer.Option("--iterations", help="Iterations at most.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="Regularisation, relative to the data's scale.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="learned, pnp, posterior: the network; see jaxrecon models.", show_default=False
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            help="posterior: how many; 19 or more for 90 % intervals.", show_default=False
        ),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", help="Show the methods and exit.")
    ] = False,
) -> None:
    """Reconstructs an image from a raw-data file."""
    if list_methods:
        _show_methods()
        return
    named = {"INPUT": source, "--method": method, "--out": out}
    missing = [name for name, value in named.items() if value is None]
    if missing or source is None or method is None or out is None:
        raise ValueError(f"recon needs {', '.join(missing)}: see jaxrecon recon --help")
    from jaxrecon.cli._recon import Request, reconstruct

    reconstruct(
        Request(
            source=source,
            method=method,
            out=out,
            slices=_parse_slices(slices),
            maps=maps,
            map_sets=map_sets,
            center=center,
            size=size,
            remove_stripes=stripes,
            n_iter=n_iter,
            strength=strength,
            model=model,
            samples=samples,
            command=["jaxrecon", *sys.argv[1:]],
        )
    )


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Shows its card.", show_default=False)
    ] = None,
) -> None:
    """Lists the networks that ship with jaxrecon, or shows what is known of one."""
    from jaxrecon.cli import _models

    if name is None:
        _models.show_models()
    else:
        _models.show_card(name)


@app.command()
def train(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="table.field=value, as model.width=64.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's newest checkpoint.")] = True,
    list_models: Annotated[
        bool, typer.Option("--list-models", help="Show networks and losses and exit.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Print a CONFIG with every field and exit.")
    ] = False,
) -> None:
    """Trains a reconstruction network on images, measured anew at every visit."""
    from jaxrecon.cli import learn

    if list_models:
        for label, names in learn.names().items():
            _terminal.say(label, ", ".join(names))
        return
    if example:
        typer.echo(learn.example())
        return
    if config is None:
        raise ValueError("train needs CONFIG: jaxrecon train --example prints one")
    learn.train(config, overrides or [], resume=resume)


@app.command()
def evaluate(
    folder: Annotated[str, typer.Argument(help="Of a training.")],
    data: Annotated[
        str | None, typer.Option(help="Images; the validation's if absent.", show_default=False)
    ] = None,
) -> None:
    """Judges a trained network on images it has not seen."""
    from jaxrecon.cli import learn

    learn.evaluate(folder, data)


@app.command()
def export(
    folder: Annotated[str, typer.Argument(help="Of a training.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The file to write.")],
    batch: Annotated[bool, typer.Option(help="For any number of examples at once.")] = False,
) -> None:
    """Writes a trained network, its operator inside, as StableHLO for JAX alone."""
    from jaxrecon.cli import learn

    learn.export(folder, out, batch=batch)


@app.command()
def design(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="table.field=value, as mask.budget=64.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from where the folder's run stopped.")] = True,
    example: Annotated[
        bool, typer.Option("--example", help="Print a CONFIG with every field and exit.")
    ] = False,
) -> None:
    """Designs a sampling pattern by gradient: masks, trajectories, views and their dose."""
    from jaxrecon.cli import design as designing

    if example:
        typer.echo(designing.example())
        return
    if config is None:
        raise ValueError("design needs CONFIG: jaxrecon design --example prints one")
    designing.design(config, overrides or [], resume=resume)


def _show_methods() -> None:
    from jaxrecon.cli.methods import METHODS

    table = Table("method", "for", "what it does", box=None, padding=(0, 2, 0, 0))
    for row in METHODS.values():
        table.add_row(row.name, row.scope, row.summary)
    _terminal.OUT.print(table)


def _parse_slices(text: str | None) -> int | slice | list[int] | None:
    if text is None:
        return None
    try:
        if ":" in text:
            start, stop = text.split(":")
            return slice(int(start) if start else None, int(stop) if stop else None)
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"`--slices` is {text!r}, expected 3, or 2:8, or 0,4,9") from None
    return numbers[0] if len(numbers) == 1 else numbers
