"""`verifactory train`: training on exported shards or the warehouse. Torch is imported only for a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.terminal import err, out
from warehouse.settings import Settings

app = typer.Typer()


@app.callback()
def _train() -> None:
    """Train a model."""


@app.command()
def sft(
    config: Annotated[Path, typer.Argument(help="TOML file; examples/sft_tiny/sft.toml shows every key.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve and print every setting, then stop.")
    ] = False,
    verify_merge: Annotated[
        int | None,
        typer.Option(
            min=0, help="Check the first N steps' merged gradients against those of examples run alone."
        ),
    ] = None,
) -> None:
    """Fine-tune a mixture-of-experts model on `sft` shards or on the warehouse, over stages.

    Example: verifactory train sft examples/sft_tiny/sft.toml
    """
    from training.settings import SftConfig

    settings = SftConfig.read(config)
    if verify_merge is not None:
        settings = settings.model_copy(update={"verify_merge": verify_merge})
    if dry_run:
        out.print(settings.to_toml(), soft_wrap=True)
        return
    from training.trainer.sft import run_sft

    def progress(step: int, loss: float) -> None:
        err.print(f"step {step:4d}  loss {loss:.4f}")

    report = run_sft(settings, Settings(), progress)
    if report.resumed_at:
        err.print(f"Went on at step {report.resumed_at} of an earlier run.")
    if report.left_out:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.left_out.items()))
        out.print(f"Rows left out by cleaning: {reasons}.")
    out.print(
        f"{report.examples} examples, {report.truncated} of them cut; {report.dropped} too long, left out."
    )
    out.print(
        f"{report.steps} steps, {report.tokens} tokens: loss {report.first_loss:.4f} → {report.last_loss:.4f}"
    )
    out.print(f"Checkpoint, metrics and plots: {report.folder}", soft_wrap=True)


@app.command()
def rl(
    config: Annotated[Path, typer.Argument(help="TOML file; examples/rl_tiny/rl.toml is one.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Resolve and print every setting, then stop.")
    ] = False,
) -> None:
    """Train a model on rewards: rollouts through the gateway, CISPO on their prefix trees, weights back.

    Ctrl-C ends after the step at hand; the same command goes on from there, and after any kill.

    Example: verifactory train rl examples/rl_tiny/rl.toml
    """
    from training.config_file import read_config
    from training.forge.rl.settings import RlConfig

    settings = read_config(RlConfig, config)
    if dry_run:
        out.print(settings.to_toml(), soft_wrap=True)
        return
    from pipelines.cli.rl_table import told_live
    from training.forge.rl.run import run_rl
    from training.trainer.interruption import interruption

    with told_live(settings.steps) as told, interruption() as stop:
        report = asyncio.run(run_rl(settings, Settings(), told, stop))
    if report.resumed_at:
        err.print(f"Went on at step {report.resumed_at} of an earlier run.")
    first, last = report.score(0.2), report.score(-0.2)
    out.print(
        f"{len(report.metrics)} steps: mean outcome of the first fifth {first:.3f}, of the last {last:.3f}"
    )
    out.print(f"Model, metrics and plot: {report.folder}", soft_wrap=True)
