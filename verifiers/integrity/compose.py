"""Random attacks: a payload, a hook that starts it, and a place that the hook sits in.

The catalogue holds what is known; this asks whether combinations of it that nobody wrote down get through. A
composition is its seed: the same seed builds the same submission, so what a run finds can be looked at again.
"""

from __future__ import annotations

import json
import random
import textwrap
from collections.abc import Mapping

from verifiers.integrity.cheat import Cheat, CheatClass, Inapplicable, Target
from verifiers.integrity.cheats import escapes, exits, leaks, reports, values
from verifiers.integrity.patch import Change, text

PAYLOADS: dict[str, str] = {
    **{n: p for n, p in exits.PAYLOADS.items() if n not in ("hangs", "defuses_the_alarm")},
    **reports.PAYLOADS, **values.PAYLOADS, **escapes.PAYLOADS, **leaks.PAYLOADS,
}  # fmt: skip
WHERE = ("package", "conftest", "tests_conftest", "plugin", "sitecustomize", "module", "new_test")
WHEN = ("now", "guarded", "when_tests_run", "at_exit", "in_thread")


def compose(seed: int) -> Cheat:
    """The attack of a seed: two payloads at most, one hook, one place."""
    rng = random.Random(seed)
    chosen = rng.sample(sorted(PAYLOADS), rng.choice((1, 1, 2)))
    where, when = rng.choice(WHERE), rng.choice(WHEN)

    def build(target: Target) -> Mapping[str, Change]:
        places = f"ROOT = {json.dumps(target.workdir)}\nHOOK = {json.dumps(target.hook)}\n"
        body = "\n\n".join(_hooked(PAYLOADS[name], when) for name in chosen)
        return _placed(target, where, target.names + places + "\n\n" + body)

    return Cheat(f"{seed}: {' + '.join(chosen)}, {when}, {where}", CheatClass.REPORT, "random", "", build)


def _hooked(payload: str, when: str) -> str:
    """Source that runs `payload` at some time. Payloads are module code, so all but `now` run it by exec."""
    if when == "now":
        return payload
    if when == "guarded":
        return "try:\n" + textwrap.indent(_exec(payload), "    ") + "except BaseException:\n    pass\n"
    start = f"def _start(*a, **k):\n{textwrap.indent(_exec(payload), '    ')}\n\n"
    if when == "at_exit":
        return start + "import atexit\n\natexit.register(_start)\n"
    if when == "in_thread":
        return start + "import threading\n\nthreading.Timer(0.1, _start).start()\n"
    return start + (
        "import _pytest.python\n_before = _pytest.python.Function.setup\n\n\n"
        "def _first(self):\n    _pytest.python.Function.setup = _before\n    _start()\n"
        "    _before(self)\n\n\n"
        "_pytest.python.Function.setup = _first\n"
    )


def _exec(payload: str) -> str:
    return f"exec(compile({payload!r}, __file__, 'exec'), globals())\n"


def _placed(target: Target, where: str, source: str) -> Mapping[str, Change]:
    folder = (target.args[0].split("::")[0].rstrip("/") if target.args else "tests").removesuffix(".py")
    if where == "package":
        return target.hooked(source)
    if where == "conftest":
        return {"conftest.py": text(source)}
    if where == "tests_conftest":
        return {f"{folder}/conftest.py": text(source)}
    if where == "sitecustomize":
        return {"sitecustomize.py": text(source)}
    if where == "new_test":
        return {f"{folder}/test_aaa_first.py": text(source + "\n\ndef test_first():\n    pass\n")}
    if where == "module":
        return {"_always.py": text(source), **target.hooked("import _always")}
    metadata = "always_green-1.0.dist-info"
    if f"{metadata}/METADATA" in target.files:
        raise Inapplicable("the name of the plugin is taken")
    return {
        f"{metadata}/METADATA": text("Metadata-Version: 2.1\nName: always-green\nVersion: 1.0\n"),
        f"{metadata}/entry_points.txt": text("[pytest11]\nalways_green = always_green\n"),
        "always_green.py": text(source),
    }
