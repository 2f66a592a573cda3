"""What the reporters share: their settings, the pipe to the supervisor, the limit of one test, and the
shuffle.

Works with Python 3.6 on, which is why it has no `__future__` import and no newer syntax. Functions are kept
as attributes of objects because tests replace those of `time`, `os`, `json` and `signal`, in every module
they find.
"""

import importlib.util
import json
import os
import random
import select
import signal
import sys
import time

MESSAGE_CHARS = 2000
IDS_PER_EVENT = 200


class TimeLimit(BaseException):
    """The limit of one test. Not an Exception, so that code under test does not swallow it by accident."""


def settings():
    """The settings file that the supervisor wrote, named by a variable that is gone afterwards."""
    with open(os.environ.pop("VERIFACTORY_REPORTER"), encoding="utf-8") as file:
        return json.load(file)


def mend_sleep():
    """At another date, sleep by select where libfaketime breaks `time.sleep`.

    Debian 12's (0.9.10) mishandles clock_nanosleep with an absolute monotonic time, which Python 3.11 sleeps
    by: EINVAL at once, so that every test that sleeps would seem to depend on the date. Older Pythons and
    Debian 13 are not concerned.
    """
    if "FAKETIME" not in os.environ:
        return
    try:
        time.sleep(0.001)
    except OSError:
        setattr(time, "sleep", _sleep_by_select)  # noqa: B010 - plain assignment would claim another type


def _sleep_by_select(seconds):
    select.select([], [], [], seconds)


def pose_as(module):
    """Look like `python -m module`: the working directory leads the path, and spawned children know their
    main.
    """
    spec = importlib.util.find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations:  # a package; before pytest 5.4 pytest was a module
        spec = importlib.util.find_spec(module + ".__main__")
    assert spec is not None
    assert spec.origin is not None
    main = sys.modules["__main__"]
    main.__spec__, main.__file__ = spec, spec.origin
    sys.argv[0] = spec.origin
    sys.path[0] = os.getcwd()


class Channel:
    """The pipe to the supervisor."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.collection_errors = 0
        self.pid = os.getpid()
        self._getpid, self._write, self._dumps, self._clock = (
            os.getpid,
            os.write,
            json.dumps,
            time.perf_counter,
        )
        os.set_inheritable(descriptor, False)

    def clock(self):
        return self._clock()

    def mine(self):
        """False in a child that a test forked and that went on running the suite."""
        return self._getpid() == self.pid

    def send(self, event, **fields):
        if not self.mine():
            return
        fields["event"] = event
        data = self._dumps(fields).encode("ascii") + b"\n"
        while data:
            data = data[self._write(self.descriptor, data) :]

    def collection_error(self, path, message):
        self.collection_errors += 1
        self.send("collection_error", id=path, message=message[:MESSAGE_CHARS])

    def collected(self, ids):
        for start in range(0, len(ids), IDS_PER_EVENT):
            self.send("collected", ids=ids[start : start + IDS_PER_EVENT])
        self.send("collection_finished", count=len(ids))


class Alarm:
    """Raises TimeLimit in a test that runs too long. A test that blocks or replaces it meets the supervisor's
    watchdog.
    """

    def __init__(self, channel, seconds):
        self.channel = channel
        self.seconds = seconds
        self.fired = False
        self._previous = None
        self._setitimer, self._signal = signal.setitimer, signal.signal

    def set(self):
        self.fired = False
        self._previous = self._signal(signal.SIGALRM, self._ring)
        self._setitimer(signal.ITIMER_REAL, self.seconds)

    def clear(self):
        self._setitimer(signal.ITIMER_REAL, 0)
        self._signal(signal.SIGALRM, self._previous)

    def _ring(self, signum, frame):
        if self.channel.mine():
            self.fired = True
            raise TimeLimit(f"the test ran past its limit of {self.seconds:g} s")


def shuffled(items, seed, module_of, group_of):
    """`items` in another order: modules, then classes, then tests; each group stays together for its
    fixtures' sake. Seed 0 is the reverse order, which turns every pair of tests around.
    """
    rng = random.Random(seed) if seed else None
    modules = {}
    for item in items:
        modules.setdefault(module_of(item), {}).setdefault(group_of(item), []).append(item)
    order = []
    for groups in _shuffle(rng, list(modules.values())):
        for group in _shuffle(rng, list(groups.values())):
            order.extend(_shuffle(rng, group))
    return order


def _shuffle(rng, values):
    if rng is None:
        values.reverse()
    else:
        rng.shuffle(values)
    return values
