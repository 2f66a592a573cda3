"""Which functions of a parent its tests call, for Python: one run with a tracer beside the suite.

The tracer runs in the process of the code under test, so what it writes is only a hint about where mutants
are worth their run: it is read as data, within bounds, and a mutant's fate is decided by tests alone. Where
nothing was written, or for another language, every function counts as called.
"""

from __future__ import annotations

import ast
import json
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from envs.sandbox import ContentRefused, Network, SandboxSpec
from pipelines.family import Context
from pipelines.swe.compose import limits
from pipelines.swe.image import bundle_image
from pipelines.transform.mutation import Mutation
from pipelines.transform.parent import Parent
from verifiers.tests.bundle import write_tests
from warehouse.records import content_id

FOLDER = "/verifactory-trace"
MAX_BYTES = 8 << 20
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)

TRACER = """\
import atexit, json, os, sys, threading
_seen = set()
_root = {root!r} + "/"
def _trace(frame, event, argument):
    code = frame.f_code
    if code.co_filename.startswith(_root):
        _seen.add((code.co_filename[len(_root):], code.co_firstlineno))
def _write():
    sys.settrace(None)
    with open(os.path.join({out!r}, "%d.json" % os.getpid()), "w") as file:
        json.dump(sorted(_seen), file)
atexit.register(_write)
threading.settrace(_trace)
sys.settrace(_trace)
"""


@dataclass(frozen=True)
class Covered:
    """Functions that were called, by path and first line; None when nothing is known."""

    parent: Parent
    called: frozenset[tuple[str, int]] | None
    _functions: dict[str, list[tuple[int, int]]] = field(default_factory=dict, repr=False)

    def may_run(self, mutation: Mutation) -> bool:
        """Whether the function that holds the mutation was called, as far as is known."""
        if self.called is None or mutation.language != "python":
            return True
        around = [f for f in self._of(mutation.path) if f[0] <= mutation.first <= f[1]]
        return not around or (mutation.path, max(around)[0]) in self.called

    def _of(self, path: str) -> list[tuple[int, int]]:
        if path not in self._functions:
            self._functions[path] = functions(self.parent.solved[path])
        return self._functions[path]

    @cached_property
    def files(self) -> frozenset[str]:
        return frozenset(path for path, _ in self.called or ())


def functions(source: bytes) -> list[tuple[int, int]]:
    """First and last line of every function, decorators included, as code objects count them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the mined code, not of ours
            module = ast.parse(source)
    except UNREADABLE:
        return []
    return [
        (min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


async def covered(parent: Parent, context: Context) -> Covered:
    """Run the parent's gold state once with the tracer. Raises SandboxError."""
    spec = parent.bundle.spec
    if parent.task.language != "python" or spec.runner == "command":
        return Covered(parent, None)
    image = await bundle_image(parent.bundle, context.sandboxes, context.settings)
    path = ":".join(filter(None, (FOLDER, spec.env.get("PYTHONPATH", ""))))
    traced = spec.model_copy(update={"env": {**spec.env, "PYTHONPATH": path}})
    tests = context.workdir / "screening" / content_id(parent.task.task_id, "traced")
    write_tests(tests, traced, parent.hidden())
    out = f"{FOLDER}/out"
    sandbox = await context.sandboxes.start(
        SandboxSpec(
            image=image.tag, network=Network.NONE, limits=limits(context.settings), workdir="/", user="root",
            runtime=context.settings.runtime,
        )
    )  # fmt: skip
    try:
        tracer = TRACER.format(root=spec.workdir, out=out).encode()
        await sandbox.upload(
            {
                "/tests": tests,
                "/gold.patch": parent.bundle.gold_patch,
                f"{FOLDER}/sitecustomize.py": tracer,
            }
        )
        await sandbox.exec(["install", "-d", "-m", "1777", out], timeout=60)
        command = ["/usr/bin/python3", "-I", "/tests/supervisor.py", "observe", "--state", "after"]
        command += ["--patch", "/gold.patch", "--output", "/logs/verifier/report.json"]
        await sandbox.exec(command, timeout=spec.limit_seconds)
        files = await sandbox.download(out, max_bytes=MAX_BYTES)
    except (ContentRefused, FileNotFoundError):
        files = {}
    finally:
        await sandbox.stop()
    called = {place for data in files.values() for place in _places(data)}
    return Covered(parent, frozenset(called) or None)


def _places(data: bytes) -> list[tuple[str, int]]:
    """What one process wrote; nothing of it when it is not what the tracer writes."""
    try:
        read: Any = json.loads(data)
        return [(PurePosixPath(str(path)).as_posix(), int(line)) for path, line in read]
    except (ValueError, TypeError, RecursionError):
        return []
