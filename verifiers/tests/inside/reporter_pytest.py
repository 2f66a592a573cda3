"""Runs pytest and tells the supervisor, test by test, what happens.

Started by absolute path as `python reporter_pytest.py [pytest arguments]`, so that nothing in the tree under
test can shadow it; only then does it take the shape of `python -m pytest`. Each event is one JSON line on an
inherited pipe. This process also runs the code under test, so what it says is evidence, not proof: the
supervisor compares it with JUnit and the exit status, and with the canary below.

Works with pytest 3 to 9 and Python 3.6 on, which is why it has no `__future__` import and no newer syntax.
"""

import importlib.util
import sys

import pytest
from reporter_channel import MESSAGE_CHARS, Alarm, Channel, mend_sleep, pose_as, settings, shuffled

OPTIONS = ("--continue-on-collection-errors", "--maxfail=0", "--color=no", "-o", "junit_family=xunit1")

# Options that keep one process, one order and every result, given only where the plugin that knows them is
# installed.
PLUGIN_OPTIONS = (
    ("xdist", ("-n0",)),
    ("pytest_cov", ("--no-cov",)),
    ("pytest_randomly", ("-p", "no:randomly")),
    ("random_order", ("-p", "no:random_order")),
)

# Worst first: what a test is when its phases, reruns or subtests say different things.
SEVERITY = ("failed", "error", "xfailed", "xpassed", "skipped", "passed")


class Canary(pytest.Item):
    """A test that must fail; reported as passed, it shows that reports are being rewritten."""

    def runtest(self):
        raise AssertionError("the canary must fail")

    def reportinfo(self):
        return "canary", 0, "canary"


class Reporter:
    """The plugin."""

    def __init__(self, channel, config):
        self.channel = channel
        self.seed = config["seed"]
        self.done = set(config["done"])
        self.alarm = Alarm(channel, config["test_seconds"])
        self.statuses = []
        self.message = ""
        self.ran = False
        self.complete = False

    def pytest_collectstart(self, collector):
        if isinstance(collector, pytest.File):
            path = getattr(collector, "path", None) or collector.fspath
            self.channel.send("collect", id=collector.nodeid, file=str(path))

    def pytest_collectreport(self, report):
        if report.failed:
            self.channel.collection_error(report.nodeid, _message(report))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if self.seed is not None:
            items[:] = shuffled(items, self.seed, _module, _group)
        items[:] = [item for item in items if item.nodeid not in self.done]
        self.complete = True

    def pytest_collection_finish(self, session):
        if self.complete:  # this hook is also called when an exception ends the collection
            self.channel.collected([item.nodeid for item in session.items])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self.ran = True
        self.statuses, self.message = [], ""
        self.channel.send("start", id=item.nodeid)
        begin = self.channel.clock()
        self.alarm.set()
        outcome = yield
        self.alarm.clear()
        if (
            outcome.excinfo is None
        ):  # otherwise the session is ending, and the supervisor holds this test responsible
            seconds = round(self.channel.clock() - begin, 4)
            self.channel.send(
                "finish", id=item.nodeid, status=self._status(), seconds=seconds, message=self.message
            )

    def pytest_runtest_logreport(self, report):
        if (
            report.outcome == "rerun"
        ):  # a retry plugin starts the test again: what was seen so far does not count
            self.statuses, self.message = [], ""
            return
        status = phase_status(report)
        if status is None or (hasattr(report, "context") and status != "failed"):
            return  # of a subtest only its failure says something about the test
        self.statuses.append(status)
        if report.longrepr is not None and not self.message:
            self.message = _message(report)

    def _status(self):
        if self.alarm.fired:
            return "timeout"
        return min(self.statuses, key=SEVERITY.index) if self.statuses else "error"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if self.ran and self.channel.mine():
            self.channel.send("canary", status=_run_canary(session))


def phase_status(report):
    """What one phase of a test says about it; None where it says nothing."""
    expected = hasattr(report, "wasxfail")
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "xfailed" if expected else "skipped"
    if report.when != "call":
        return None
    return "xpassed" if expected else "passed"


def _run_canary(session):
    """The status of a failing test that takes the way of every test, but is neither logged nor counted."""
    from _pytest.runner import runtestprotocol

    try:
        if hasattr(Canary, "from_parent"):
            item = Canary.from_parent(session, name="canary")
        else:
            item = Canary("canary", session)
        statuses = [phase_status(report) for report in runtestprotocol(item, log=False, nextitem=None)]
    except Exception as error:  # a project's own hooks may not cope with a plain Item: no evidence either way
        return f"unusable: {error!r}"
    return min((status for status in statuses if status), key=SEVERITY.index, default="none")


def _message(report):
    shown = report.longrepr
    if isinstance(shown, tuple):  # of a skip: file, line, reason
        shown = shown[-1]
    crash = getattr(shown, "reprcrash", None)
    return str(shown if crash is None else crash.message)[:MESSAGE_CHARS]


def _module(item):
    return item.nodeid.split("::", 1)[0]


def _group(item):
    return item.nodeid.partition("[")[0].rpartition("::")[0]


def main():
    config = settings()
    arguments = sys.argv[1:] + list(OPTIONS)
    for module, options in PLUGIN_OPTIONS:
        if importlib.util.find_spec(module) is not None:
            arguments.extend(options)
    arguments.extend("--ignore=" + path for path in config["ignore"])
    pose_as("pytest")
    mend_sleep()
    channel = Channel(config["fd"])
    channel.send("hello", runner="pytest " + pytest.__version__, python=sys.version.split()[0])
    status = int(pytest.main(arguments, plugins=[Reporter(channel, config)]))
    channel.send("end", status=status)
    sys.exit(status)


if __name__ == "__main__":
    main()
