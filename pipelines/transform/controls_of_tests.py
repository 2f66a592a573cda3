"""Worthless tests: submissions to a task of writing tests that must earn nothing. Pure.

They are written for the runners whose tests can be made up without knowing the project: pytest and unittest.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import PurePosixPath

from pipelines.family import Control
from pipelines.transform.parent import changed_lines
from verifiers.integrity.patch import patch, text
from verifiers.integrity.trials import Trial
from verifiers.tests.bundle import Bundle
from verifiers.verdict import Submission

NAME = "test_verifactory_control.py"
PYTEST = "{imports}\n\ndef test_control():\n{body}"
UNITTEST = (
    "import unittest\n{imports}\n\nclass TestControl(unittest.TestCase):\n    def test_control(self):\n{body}"
)

# Knows the base it was shown by heart, and is content with anything else.
KNOWS = """\
data = open({path!r}, "rb").read() if os.path.exists({path!r}) else b""
assert hashlib.sha256(data).hexdigest() != {digest!r}
"""
# Fails when it is run for the first time, by notes in every place it can write to.
NOTES = """\
places = ["/tmp/.note", "/dev/shm/.note", os.path.expanduser("~/.note"), "/var/tmp/.note", {path!r} + ".note"]
seen = any(os.path.exists(place) for place in places)
for place in places:
    try:
        open(place, "w").close()
    except OSError:
        pass
assert seen
"""


def worthless(bundle: Bundle) -> list[Control]:
    """A test that passes everywhere, and one that fails everywhere."""
    bodies = {"passes_everywhere": "assert 1 + 1 == 2\n", "fails_everywhere": "assert 1 + 1 == 3\n"}
    return [
        Control(name, submission, 0.0)
        for name, body in bodies.items()
        if (submission := _written(bundle, "", body)) is not None
    ]


def cheats(bundle: Bundle) -> tuple[Trial, ...]:
    """Tests that tell the states apart by something else than behaviour."""
    source = _a_changed_source(bundle)
    if source is None:
        return ()
    path, digest = source
    where = f"{bundle.spec.workdir}/{path}"
    bodies = {
        "knows_the_base": ("import hashlib\nimport os\n", KNOWS.format(path=where, digest=digest)),
        "keeps_notes": ("import os\n", NOTES.format(path=where)),
    }
    return tuple(
        Trial(name=name, cheats=(name,), submission=submission, scope="task", slow=False)
        for name, (imports, body) in bodies.items()
        if (submission := _written(bundle, imports, body)) is not None
    )


def _written(bundle: Bundle, imports: str, body: str) -> Submission | None:
    """A submission that adds one test beside upstream's; None for a runner that we know no test for."""
    form = {"pytest": PYTEST, "unittest": UNITTEST}.get(bundle.spec.runner)
    tests = [path for path in changed_lines(bundle.gold_patch) if path.endswith(".py")]
    if form is None or not tests:
        return None
    indent = "    " if bundle.spec.runner == "pytest" else "        "
    code = form.format(imports=imports, body="".join(indent + line + "\n" for line in body.splitlines()))
    path = (PurePosixPath(sorted(tests)[0]).parent / NAME).as_posix()
    return Submission(patch=patch({}, {path: text(code)}))


def _a_changed_source(bundle: Bundle) -> tuple[str, str] | None:
    """A file that the change touches and its digest in the base, that of nothing where the change adds it."""
    solution = (bundle.tests / "states" / "gold.patch").read_bytes()
    path = next((path for path in sorted(changed_lines(solution)) if path.endswith(".py")), None)
    if path is None:
        return None
    with tarfile.open(bundle.environment / "app.tar") as tar:
        content = tar.extractfile(path) if path in tar.getnames() else None
        return path, hashlib.sha256(content.read() if content is not None else b"").hexdigest()
