"""A whole run of a suite: one process after another until every collected test has an outcome.

A test that hangs or ends its process gets its outcome here, and the rest is run again without it. What the
report stream, JUnit, the canary and the exit status say is compared; where they cannot all be true, that is a
disagreement.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import stat
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from account import Account, Broken
from segment import CRASHED, ERROR, LOG_BYTES, PASSED, TIMEOUT, XFAILED, XPASSED, Process, Segment, readable
from tree import Tree

HERE = Path(__file__).resolve().parent
RESTARTS = 20
MESSAGE_CHARS = 2000
JUNIT_BYTES = 64 << 20


class Suite:
    """A whole run: one process after another until every collected test has an outcome or the limit is
    reached.
    """

    def __init__(self, spec: dict[str, Any], account: Account, tree: Tree, private: Path) -> None:
        self.spec = spec
        self.account = account
        self.tree = tree
        self.private = private
        self.results: dict[str, dict[str, Any]] = {}
        self.collection_errors: dict[str, dict[str, Any]] = {}
        self.ignored: list[str] = []
        self.disagreements: list[str] = []
        self.outcome = "no_tests"
        self.exit_code: int | None = None
        self.log = b""
        self.enough: Callable[[], bool] = lambda: False
        """Whether what has become of the tests so far is all that is asked."""
        self.decisive: Callable[[dict[str, Any]], bool] = lambda _: False
        """Whether one result is."""
        self.begin = time.monotonic()
        self.deadline = self.begin + spec["suite_seconds"]
        self._prepare()
        self.home = self._folder("home")
        self.out = self._folder("out")
        # The project belongs to more than one user, which git refuses to work in otherwise.
        (self.home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")

    def _prepare(self) -> None:
        """What the runner needs besides the project."""
        if not os.access(self.spec["python"], os.X_OK):
            raise Broken(f"The image has no interpreter {self.spec['python']}.")
        for name in ("reporter_channel.py", f"reporter_{self.spec['runner']}.py"):
            shutil.copyfile(HERE / name, self.private / name)
            os.chmod(self.private / name, 0o644)

    def _folder(self, name: str) -> Path:
        path = self.private / name
        path.mkdir()
        os.chown(path, self.account.uid, self.account.gid)
        return path

    def environment(self, seed: int | None, faketime: str) -> dict[str, str]:
        """A clean environment, the same on every host. Hash order is fixed, and shuffled with the tests."""
        first = f"{os.path.dirname(self.spec['python'])}:" if self.spec["python"] else ""
        values = {
            "PATH": f"{first}/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home), "USER": self.account.name, "LOGNAME": self.account.name,
            "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": str((seed or 0) % 2**32),
        }  # fmt: skip
        if faketime:
            found = sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))
            if not found:
                raise Broken("The image has no libfaketime.")
            values |= {
                "LD_PRELOAD": found[0], "FAKETIME": faketime,
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        return values | self.spec["env"]

    def rebuild(self) -> bool:
        """What has to be made again after a patch (extension modules, generated code), as the account under
        test.
        """
        if not self.spec["rebuild"]:
            return True
        segment = Segment(collection_finished=True)
        spec = self.spec | {"collect_seconds": self.spec["suite_seconds"]}
        Process(
            spec, self.account, list(self.spec["rebuild"]), self.environment(None, ""), self.deadline
        ).run(segment)
        self.log = segment.log
        self.exit_code = segment.exit_code
        if segment.exit_code:
            self.outcome = "rebuild_failed"
        return not segment.exit_code

    def run(self, seed: int | None = None, faketime: str = "") -> None:
        environment = self.environment(seed, faketime)
        for number in range(RESTARTS + 1):
            self.tree.restore()
            arguments = [argument for argument in self.spec["args"] if self._present(argument)]
            if not arguments:
                break
            segment = self._segment(number, arguments, seed, environment)
            self._blame(segment)
            self.disagreements.extend(self._contradictions(segment, number))
            if not self._go_on(segment) or self._cut_short():
                break
        if self.outcome == "finished" and not self.results:
            self.outcome = "no_tests"

    def _present(self, argument: str) -> bool:
        path = self.tree.root / argument.split("::", 1)[0]
        return path.exists() and str(path) not in self.ignored

    def _segment(
        self, number: int, arguments: list[str], seed: int | None, environment: dict[str, str]
    ) -> Segment:
        stream = os.pipe()
        settings = self.private / f"settings-{number}.json"
        settings.write_text(json.dumps({
            "fd": stream[1], "seed": seed, "done": list(self.results), "ignore": self.ignored,
            "test_seconds": self.spec["test_seconds"],
        }))  # fmt: skip
        os.chmod(settings, 0o644)
        argv = [
            self.spec["python"],
            str(self.private / f"reporter_{self.spec['runner']}.py"),
            *self.spec["options"],
            *arguments,
        ]
        if self.spec["runner"] == "pytest":
            argv.append(f"--junitxml={self.out}/junit-{number}.xml")
        segment = Segment(decisive=self.decisive)
        environment = environment | {"VERIFACTORY_REPORTER": str(settings)}
        Process(self.spec, self.account, argv, environment, self.deadline).run(segment, stream)
        return segment

    def _blame(self, segment: Segment) -> None:
        """Give an outcome to the test, or the file, that was running when the process ended."""
        waited = time.monotonic() - segment.since
        timed_out = segment.killed in ("test", "idle", "collection", "suite")
        status = TIMEOUT if timed_out else CRASHED
        message = self._last_words(segment)
        if segment.running:
            segment.settle(segment.running, status, waited, message)
        elif segment.collection_finished and segment.ended is None and segment.killed != "suite":
            left = [name for name in segment.collected if name not in segment.results]
            if left:  # between two tests: the next one's class or module set-up was under way
                segment.settle(left[0], status, waited, message)
        for name, text in segment.collection_errors.items():
            self.collection_errors[name] = {
                "id": name,
                "status": ERROR,
                "seconds": 0.0,
                "message": text[:MESSAGE_CHARS],
            }
        if segment.stuck_file():
            self.collection_errors[segment.collecting] = {
                "id": segment.collecting, "status": status, "seconds": round(waited, 3), "message": message,
            }  # fmt: skip
        for result in segment.results.values():
            result["message"] = result["message"][:MESSAGE_CHARS]
        self.results.update(segment.results)
        self.log = (self.log + segment.log)[-LOG_BYTES:]
        self.exit_code = segment.ended if segment.killed else segment.exit_code

    @staticmethod
    def _last_words(segment: Segment) -> str:
        if segment.out_of_memory:
            return "the process was ended for memory"
        if segment.killed:
            return f"ended by the limit: {segment.killed}"
        return f"the process ended with status {segment.exit_code}"

    def _cut_short(self) -> bool:
        """Whether another process is needed, but nobody asks what it would show."""
        if enough := self.enough():
            self.outcome = "cut short"
        return enough

    def _go_on(self, segment: Segment) -> bool:
        """Whether another process is needed; sets the outcome as things stand."""
        if segment.killed == "suite":
            self.outcome = "timeout"
            return False
        if not segment.collection_finished:
            self.outcome = (
                "oom" if segment.out_of_memory else "no_tests" if segment.ended is not None else "crashed"
            )
            stuck = segment.stuck_file()
            if not stuck or stuck in self.ignored:
                return False
            self.ignored.append(stuck)
            return True
        left = [name for name in segment.collected if name not in self.results]
        self.outcome = "finished" if not left else "oom" if segment.out_of_memory else "crashed"
        return bool(left and segment.results)

    def _contradictions(self, segment: Segment, number: int) -> list[str]:
        """Where stream, JUnit, canary and exit status cannot all be true."""
        found = list(segment.violations[:20])
        if segment.canary in (PASSED, XFAILED, XPASSED):
            found.append(f"canary: a test that must fail was reported as {segment.canary}")
        if segment.killed or not segment.collection_finished:
            return found
        found.extend(_exit_contradictions(segment))
        if self.spec["runner"] == "pytest" and segment.ended in (0, 1, 5) and not segment.running:
            found.extend(self._junit(segment, self.out / f"junit-{number}.xml"))
        return found

    def _junit(self, segment: Segment, path: Path) -> list[str]:
        """Both channels must name the same failing tests (compared by name: JUnit has no ids)."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            return [f"junit: no report: {error.strerror}"]
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > JUNIT_BYTES:
                return ["junit: not a report"]
            data = file.read()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            return ["junit: a report that declares entities"]
        try:
            cases = list(ElementTree.fromstring(data).iter("testcase"))
        except ElementTree.ParseError as error:
            return [f"junit: unreadable: {error}"]
        reported = {
            _plain(c.get("name", ""))
            for c in cases
            if c.find("failure") is not None or c.find("error") is not None
        }
        failing = {_plain(_junit_name(name)) for name in segment.failing()}
        excused = {
            _plain(_junit_name(n)) for n, r in segment.results.items() if r["status"] in (TIMEOUT, CRASHED)
        }
        excused |= {_plain(_junit_name(name)) for name in segment.collection_errors}
        found = [f"junit: failed there, not in the stream: {n}" for n in sorted(reported - failing - excused)]
        if not segment.collection_errors:
            found += [f"junit: failed in the stream, not there: {n}" for n in sorted(failing - reported)]
        return found[:20]

    def report(self) -> dict[str, Any]:
        return {
            "results": list(self.results.values()),
            "collection_errors": list(self.collection_errors.values()),
            "exit_code": self.exit_code,
            "outcome": self.outcome,
            "disagreements": self.disagreements[:100],
            "seconds": round(time.monotonic() - self.begin, 3),
            "log": readable(self.log.decode("utf-8", "replace")),
        }


def _exit_contradictions(segment: Segment) -> list[str]:
    """What the exit status says against the stream, of a process that ended by itself after collecting."""
    code, ended = segment.exit_code, segment.ended
    failing = segment.failing()
    excused = any(result["status"] in (TIMEOUT, CRASHED) for result in segment.results.values())
    if segment.running or excused:
        return []
    if ended is None:
        return [f"exit: the process ended with status {code} before its runner had"]
    if ended != code:
        return [f"exit: the runner ended with {ended}, its process with {code}"]
    if code == 0 and (failing or segment.collection_errors):
        return [
            f"exit: status 0, but {len(failing)} tests failed"
            f" and {len(segment.collection_errors)} files were not collected"
        ]
    nothing_ran = code == 5 and not segment.results
    if code != 0 and not failing and not segment.collection_errors and not nothing_ran:
        return [f"exit: status {code}, but no test failed"]
    return []


def _junit_name(nodeid: str) -> str:
    """What JUnit calls a test, or a file that was not collected."""
    address, bracket, parameters = nodeid.partition("[")
    if "::" not in address:
        return address.removesuffix(".py")
    return address.rpartition("::")[2] + bracket + parameters


def _plain(name: str) -> str:
    """A test name as both channels can spell it: JUnit replaces characters that XML has not."""
    return re.sub(r"#x[0-9A-Fa-f]{2,4}|[^0-9A-Za-z_]", "", name)
