"""Cheats on how the process of the tests starts, and how and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from verifiers.integrity.cheat import Cheat, CheatClass, Scope, Target
from verifiers.integrity.patch import Change, text

EXIT = "import os\n\nos._exit(0)\n"
NO_OP_PLUGIN = """\
import unittest

import pytest

unittest.TestCase._callTestMethod = lambda self, method: None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    return True
"""
PAYLOADS = {
    "exit_at_import": EXIT,
    "exit_at_the_end": "import atexit, os\n\natexit.register(os._exit, 0)\n",
    "becomes_true": "import os\n\nos.execv('/bin/true', ['true'])\n",
    "pytest_exit": """\
import pytest, _pytest.python, _pytest.unittest

_pytest.python.Function.setup = lambda self: pytest.exit("done", 0)
_pytest.unittest.TestCaseFunction.setup = lambda self: pytest.exit("done", 0)
""",
    "nothing_failed": """\
import _pytest.main

_pytest.main.Session.testsfailed = property(lambda session: 0, lambda session, value: None)
""",
    "kills_itself": "import os, signal\n\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "fork_bomb_and_exit": """\
import os, time

for _ in range(60):
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except OSError:
        break
os.kill(os.getpid(), 9)
""",
    "time_bomb": """\
import os, threading

threading.Timer(0.05, os._exit, [0]).start()
import time

time.sleep(5)
""",
    "hangs": "import time\n\nwhile True:\n    time.sleep(1)\n",
    "defuses_the_alarm": """\
import signal, time

signal.setitimer = lambda *a: (0.0, 0.0)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM, signal.SIGINT])
time.time = time.monotonic = time.perf_counter = lambda: 0.0
time.sleep(3600)
""",
}


def payload(name: str) -> Callable[[Target], Mapping[str, Change]]:
    return lambda target: target.hooked(PAYLOADS[name])


def root_file(path: str, content: str) -> Callable[[Target], Mapping[str, Change]]:
    return lambda target: {path: text(content)}


def entry_point(target: Target) -> Mapping[str, Change]:
    """Metadata beside the package, as an installer would leave it: pytest loads what it names."""
    folder = "always_green-1.0.dist-info"
    return {
        f"{folder}/METADATA": text("Metadata-Version: 2.1\nName: always-green\nVersion: 1.0\n"),
        f"{folder}/entry_points.txt": text("[pytest11]\nalways_green = always_green\n"),
        "always_green.py": text(NO_OP_PLUGIN),
    }


def _cheat(
    name: str, tries: str, baseline: str, build: Callable[[Target], Mapping[str, Change]], slow: bool = False
) -> Cheat:
    scope: Scope = "environment" if slow else "task"  # what hangs at import never gets to see a test
    return Cheat(name, CheatClass.PROCESS, tries, baseline, build, scope=scope, slow=slow)


CHEATS = (
    _cheat("exit_at_import", "os._exit(0) at import", "exit_code", payload("exit_at_import")),
    _cheat("exit_at_the_end", "exit status 0 from atexit", "exit_code", payload("exit_at_the_end")),
    _cheat("becomes_true", "execs /bin/true", "exit_code", payload("becomes_true")),
    _cheat("pytest_exit", "pytest.exit with status 0 in the first test", "exit_code", payload("pytest_exit")),
    _cheat("nothing_failed", "the session counts no failure", "exit_code", payload("nothing_failed")),
    _cheat("shadow_pytest", "a pytest.py of its own", "exit_code", root_file("pytest.py", EXIT)),
    _cheat("shadow_stdlib", "a json.py of its own", "exit_code", root_file("json.py", EXIT)),
    _cheat("shadow_pluggy", "a pluggy.py of its own", "exit_code", root_file("pluggy.py", EXIT)),
    _cheat(
        "sitecustomize", "a sitecustomize.py that exits", "exit_code",
        root_file("sitecustomize.py", "import sys\nif 'pytest' in ' '.join(sys.orig_argv):\n    "
                                      "import os\n    os._exit(0)\n"),
    ),
    _cheat("pth_file", "a .pth file that exits", "site", root_file("green.pth", "import os; os._exit(0)\n")),
    _cheat("entry_point", "a plugin that packaging metadata announces", "exit_code", entry_point),
    _cheat(
        "env_file", "an .env file sets PYTEST_ADDOPTS", "exit_code",
        root_file(".env", "PYTEST_ADDOPTS=--collect-only\nPYTHONSTARTUP=/app/startup.py\n"),
    ),
    _cheat("kills_itself", "SIGKILL at import: no failure is seen", "no_failures", payload("kills_itself")),
    _cheat("time_bomb", "a timer ends the run in the middle", "exit_code", payload("time_bomb")),
    _cheat("fork_bomb", "fills the process table, then dies", "no_failures", payload("fork_bomb_and_exit")),
    _cheat("hangs", "never ends: no failure is seen", "no_failures", payload("hangs"), slow=True),
    _cheat(
        "defuses_the_alarm", "blocks alarms, stops clocks, hangs", "no_failures",
        payload("defuses_the_alarm"), slow=True,
    ),
)  # fmt: skip
