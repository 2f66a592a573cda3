"""Test scripts without a framework: one process each, with a line before and after it in the log.

`envs/formats/report_scripts.py` reads what this prints. The driver's own exit status says whether any script
failed, by its status or by its words: hand-made tests often end with status 0 whatever they found.
"""

from __future__ import annotations

from envs.languages.drivers import driver

# grep's words for the failing forms of report_scripts.FORMS.
FAILING = (
    r"^[[:space:]]*\[[[:space:]]*(fail|failed|failure|not ok|error)[[:space:]]*\]"
    r"|^[[:space:]]*(not ok[[:space:]]|FAIL(ED)?:|✗|✘|✖)"
    r"|(\.\.+|[[:space:]]\[)[[:space:]]*(fail|failed|failure|error)\]?$"
)

_DRIVER = driver("scripts.sh")


def command(run: str, *, beside: bool = False) -> tuple[str, ...]:
    """Runs each script named after it with `run`, from its own folder if `beside`, else from the project's.

    Words of the variable VERIFACTORY_SHUFFLE, which a recipe sets for shuffled runs, go before the script.
    """
    return ("bash", "-c", _DRIVER, "scripts", run, "beside" if beside else "root", FAILING)
