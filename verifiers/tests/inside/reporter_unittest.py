"""Runs unittest suites and tells the supervisor, test by test, what happens.

Started like `reporter_pytest.py`, with test files or folders as arguments, and sends the same events. Ids are
unittest's own (`package.module.Class.test`); subtests belong to their test. Works with Python 3.6 on, which
is why it has no `__future__` import and no newer syntax.
"""

import os
import re
import sys
import traceback
import unittest

from reporter_channel import MESSAGE_CHARS, Alarm, Channel, mend_sleep, pose_as, settings, shuffled

FIXTURE = re.compile(r"^(setUpClass|setUpModule|tearDownClass|tearDownModule) \((.+)\)$")
SEVERITY = ("failed", "error", "xfailed", "skipped", "passed")


class Canary(unittest.TestCase):
    """A test that must fail; reported as passed, it shows that results are being rewritten."""

    def runTest(self):
        self.fail("the canary must fail")


class Result(unittest.TestResult):
    """Sends an event when a test starts and when it ends; a test is what the worst of its parts was."""

    def __init__(self, channel, test_seconds, ids):
        super().__init__()
        self.channel = channel
        self.alarm = Alarm(channel, test_seconds)
        self.ids = ids
        self.seen = set()
        self.statuses, self.message, self.begin = [], "", 0.0

    def startTest(self, test):
        super().startTest(test)
        self.statuses, self.message = [], ""
        self.channel.send("start", id=test.id())
        self.begin = self.channel.clock()
        self.alarm.set()

    def stopTest(self, test):
        self.alarm.clear()
        status = min(self.statuses, key=SEVERITY.index) if self.statuses else "passed"
        self._finish(
            test.id(),
            "timeout" if self.alarm.fired else status,
            self.channel.clock() - self.begin,
            self.message,
        )
        super().stopTest(test)

    def _finish(self, test_id, status, seconds, message):
        self.seen.add(test_id)
        self.channel.send("finish", id=test_id, status=status, seconds=round(seconds, 4), message=message)

    def _note(self, status, error=None, text=""):
        self.statuses.append(status)
        if error is not None:
            text = "".join(traceback.format_exception_only(error[0], error[1]))
        self.message = self.message or text[:MESSAGE_CHARS]

    def addSuccess(self, test):
        self._note("passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note("failed", err)

    def addError(self, test, err):
        super().addError(test, err)
        fixture = FIXTURE.match(test.id())
        if fixture is None:
            self._note("error", err)
        else:
            self._fixture_failed(fixture.group(1), fixture.group(2), err)

    def _fixture_failed(self, stage, owner, err):
        """A class or module whose set-up failed has an error for each of its tests, as pytest reports it."""
        message = stage + ": " + "".join(traceback.format_exception_only(err[0], err[1])).strip()
        for test_id in self.ids if stage.startswith("setUp") else ():
            if test_id.startswith(owner + ".") and test_id not in self.seen:
                self.channel.send("start", id=test_id)
                self._finish(test_id, "error", 0.0, message[:MESSAGE_CHARS])
        if stage.startswith("tearDown"):
            self.channel.collection_error(stage + " " + owner, message)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        fixture = FIXTURE.match(test.id())
        if fixture is None:
            self._note("skipped", text=str(reason))
            return
        for test_id in self.ids:
            if test_id.startswith(fixture.group(2) + ".") and test_id not in self.seen:
                self.channel.send("start", id=test_id)
                self._finish(test_id, "skipped", 0.0, str(reason)[:MESSAGE_CHARS])

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._note("xfailed", err)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note("failed", text="unexpected success")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note("failed" if issubclass(err[0], test.failureException) else "error", err)


def module_of(path):
    """(folder to import from, dotted name) of a file: it belongs to the packages around it."""
    folder, name = os.path.split(os.path.abspath(path))
    parts = [] if name == "__init__.py" else [os.path.splitext(name)[0]]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    return folder, ".".join(parts)


def test_files(arguments, ignored):
    """Every test file at or below the arguments, sorted, as unittest's discovery would find them."""
    for argument in arguments:
        found = [argument] if os.path.isfile(argument) else list(_discover(argument))
        for path in found:
            if os.path.abspath(path) not in ignored:
                yield path


def _discover(folder):
    init = os.path.join(folder, "__init__.py")
    if os.path.isfile(init):
        with open(init, encoding="utf-8", errors="replace") as file:
            if re.search(
                r"^def load_tests\(", file.read(), re.M
            ):  # the package says itself what its tests are
                yield init
                return
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and name.isidentifier():
            yield from _discover(path)
        elif re.match(r"test.*\.py$", name):
            yield path


def load(path, channel):
    """The tests of one file; a file that does not import is a collection error."""
    folder, name = module_of(path)
    channel.send("collect", id=name, file=os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    loader = unittest.TestLoader()
    setattr(loader, "_top_level_dir", folder)  # noqa: B010 - private, but a package's load_tests may call discover()
    try:
        __import__(name)
        suite = loader.loadTestsFromModule(sys.modules[name])
    except unittest.SkipTest:
        return
    except Exception as error:
        message = "".join(traceback.format_exception_only(type(error), error))
        channel.collection_error(name, message)
        return
    for text in loader.errors:
        channel.collection_error(name, str(text)[-MESSAGE_CHARS:])
    for test in flatten(suite):
        if not test.id().startswith("unittest.loader."):
            yield test


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        elif test is not None:
            yield test


def run_canary():
    """The status of a failing test in a result of its own."""
    result = unittest.TestResult()
    Canary().run(result)
    return "failed" if result.failures else "error" if result.errors else "passed"


def main():
    config = settings()
    arguments = sys.argv[1:]
    pose_as("unittest")
    mend_sleep()
    channel = Channel(config["fd"])
    channel.send("hello", runner="unittest", python=sys.version.split()[0])
    ignored = {os.path.abspath(path) for path in config["ignore"]}
    tests = [test for path in test_files(arguments, ignored) for test in load(path, channel)]
    if config["seed"] is not None:
        tests = shuffled(tests, config["seed"], lambda test: type(test).__module__, type)
    done = set(config["done"])
    tests = [test for test in tests if test.id() not in done]
    ids = [test.id() for test in tests]
    channel.collected(ids)
    result = Result(channel, config["test_seconds"], ids)
    unittest.TestSuite(tests).run(result)
    if ids:
        channel.send("canary", status=run_canary())
    status = 1 if not result.wasSuccessful() or channel.collection_errors else 0 if ids else 5
    channel.send("end", status=status)
    sys.exit(status)


if __name__ == "__main__":
    main()
