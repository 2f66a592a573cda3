"""`verifactory rollout`: an agent attempts tasks; each attempt is graded and kept as a trajectory."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.terminal import err, out, show_json, show_table
from warehouse.errors import FactoryError
from warehouse.settings import Settings

COLUMNS = ("task_id", "sample", "ending", "verdict", "reward", "turns", "tokens", "seconds")


def rollout(
    task: Annotated[list[str] | None, typer.Argument(help="Task ids, or their first characters.")] = None,
    where: Annotated[str, typer.Option(help="SQL predicate over task_overview.")] = "",
    agent: Annotated[
        str,
        typer.Option(
            help="tools, shell, plan, one that is installed; or mini-swe-agent, or a recipe *.toml."
        ),
    ] = "tools",
    agent_command: Annotated[
        str,
        typer.Option(help="Instead: a command that is an agent, run in the container; docs/rollouts.md."),
    ] = "",
    context: Annotated[
        str, typer.Option(help="whole, sliding-window, discard-tool-results or summary.")
    ] = "whole",
    samples: Annotated[int, typer.Option(min=1, help="Attempts at each task.")] = 1,
    turns: Annotated[int, typer.Option(min=1, help="Most answers of the model in an attempt.")] = 60,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an attempt.")] = 2_000_000,
    minutes: Annotated[float, typer.Option(min=0.01, help="Time limit of an attempt.")] = 30,
    again: Annotated[
        str, typer.Option(help="A label that makes this a new run instead of resuming the last.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """Let an agent attempt tasks with the configured model; grade and keep what it does.

    Trajectories are in the table `trajectories` of the warehouse (ATIF), by task and model in the view
    `attempts`. What is there already is not made again, so a stopped run goes on where it was.

    Example: verifactory rollout --where "status = 'published'" --agent tools --samples 4
    """
    from envs.agents.attempt import Budget
    from pipelines.cli.stopping import run_stoppable
    from pipelines.rollout import Job, RolloutOptions
    from pipelines.rollout import rollout as make
    from pipelines.selection import find_task, select_tasks

    settings = Settings()
    if bool(task) == bool(where):
        raise FactoryError("Name tasks or give --where, one of the two.")
    chosen = [find_task(settings, prefix) for prefix in task or ()] or select_tasks(settings, where)
    budget = Budget(turns=turns, tokens=tokens, minutes=minutes)
    options = RolloutOptions(
        agent=agent, agent_command=agent_command, context=context, samples=samples, budget=budget, again=again
    )
    broken: list[str] = []

    def told(job: Job, made: Any, error: str) -> None:
        if made is None:
            broken.append(job.task.task_id)
        word = error if made is None else f"{made.ending}  reward {made.reward}  {made.turns} turns"
        err.print(f"{job.task.task_id}  {job.sample}  {word}", soft_wrap=True)

    made = run_stoppable(make(settings, chosen, options, told))
    if as_json:
        show_json([row.model_dump(mode="json", exclude={"trajectory", "patch"}) for row in made])
    else:
        show_table(COLUMNS, [_row(row) for row in made])
        solved = sum(row.reward == 1 for row in made)
        out.print(f"{solved} of {len(made)} attempts at {len(chosen)} tasks were worth 1.")
    if broken:
        tasks = ", ".join(sorted(set(broken)))
        raise FactoryError(f"{len(broken)} attempts could not be made, at {tasks}: run the command again.")


def _row(made: Any) -> list[Any]:
    values = made.model_dump() | {"tokens": made.tokens_read + made.tokens_written}
    return [values[name] for name in COLUMNS]
