"""`verifactory model show`: how large a model is, part by part. Takes no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import heading, out, show_json, show_table

app = typer.Typer(help="Look at a model's sizes.", no_args_is_help=True)


@app.callback()
def _model() -> None:
    """Look at models."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A preset (tiny, small, m2), or a checkpoint's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Sizes and counts as an object.")] = False,
) -> None:
    """Count a model's parameters, part by part.

    Example: verifactory model show m2
    """
    from training.model.config import preset
    from training.model.hf_config import from_hf, read_config

    path = Path(name) / "config.json"
    config = from_hf(read_config(path), str(path)) if path.exists() else preset(name)
    counts = config.counts()
    if as_json:
        show_json({"config": config.model_dump(), "parts": counts.parts(), "active": counts.active_parts()})
        return
    heading("Sizes")
    out.print(", ".join(f"{key} {value}" for key, value in config), soft_wrap=True)
    heading("Parameters")
    active = counts.active_parts()
    show_table(
        ("part", "parameters", "active for a token", "share %"),
        [
            (part, f"{size:,}", f"{active[part]:,}", f"{100 * size / counts.total:.1f}")
            for part, size in counts.parts().items()
        ],
    )
