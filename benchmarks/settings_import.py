"""What importing the training side's settings costs, and that torch is not imported with them.

CPU time of a new interpreter that imports them, less that of one that imports nothing: the least of twenty of
each, taken in turns. Beside it the same of pydantic with a model of one field, the floor under such settings.

    python benchmarks/settings_import.py --json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

RUNS = 20
PROGRAMS = {
    "bare": "pass",
    "pydantic": "import pydantic\nclass A(pydantic.BaseModel): a: int = 1",
    "settings": "import sys, training.settings\nassert 'torch' not in sys.modules, 'torch was imported'",
}


def cpu_seconds(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    least = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(RUNS):
        for name, program in PROGRAMS.items():
            least[name] = min(least[name], cpu_seconds(program))
    figures = {f"{name}_ms": 1000 * (least[name] - least["bare"]) for name in ("settings", "pydantic")}
    if asked.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name}: {figure:.1f}")


if __name__ == "__main__":
    main()
