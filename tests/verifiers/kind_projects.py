"""A small project with something to make faster and something to tidy up, its image, and bundles of both."""

from __future__ import annotations

import asyncio
import fcntl
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import project_image
import pytest
from verifier_projects import diff

from envs.sandbox import BuiltImage
from verifiers.tests.bundle import render
from verifiers.tests.spec import TestSpec

WITHOUT_PYTEST = project_image.DOCKERFILE.replace(project_image.INSTALL, "")

SLOW = '''\
"""Lists without repetitions."""


def unique(items):
    found = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def first(items):
    return items[0] if items else None
'''
FAST = SLOW.replace(
    """    found = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
""",
    "    return list(dict.fromkeys(items))\n",
)
TEST_SLOW = """\
import unittest

from slow import first, unique


class Unique(unittest.TestCase):
    def test_keeps_the_order(self):
        self.assertEqual(unique([2, 1, 2, 3, 1]), [2, 1, 3])

    def test_of_many(self):
        self.assertEqual(unique(list(range(7000)) + list(range(50)))[-1], 6999)

    def test_first(self):
        self.assertEqual(first([3, 4]), 3)
"""

TANGLED = '''\
"""Prices with discounts."""


def price(amount, kind, count):
    if kind == "child":
        if count > 10:
            total = amount * count * 0.5 * 0.9
        elif count > 5:
            total = amount * count * 0.5 * 0.95
        else:
            total = amount * count * 0.5
    elif kind == "senior":
        if count > 10:
            total = amount * count * 0.7 * 0.9
        elif count > 5:
            total = amount * count * 0.7 * 0.95
        else:
            total = amount * count * 0.7
    else:
        if count > 10:
            total = amount * count * 0.9
        elif count > 5:
            total = amount * count * 0.95
        else:
            total = amount * count
    return round(total, 2)
'''
TIDY = '''\
"""Prices with discounts."""

SHARES = {"child": 0.5, "senior": 0.7}


def discount(count):
    if count > 10:
        return 0.9
    return 0.95 if count > 5 else 1.0


def price(amount, kind, count):
    return round(amount * count * SHARES.get(kind, 1.0) * discount(count), 2)
'''
TEST_TANGLED = """\
import unittest

from tangled import price


class Price(unittest.TestCase):
    def test_adult(self):
        self.assertEqual(price(10, "adult", 1), 10)
        self.assertEqual(price(10, "adult", 20), 180)

    def test_child(self):
        self.assertEqual(price(10, "child", 6), 28.5)

    def test_senior(self):
        self.assertEqual(price(10, "senior", 2), 14)
"""
FILES = {
    "slow.py": SLOW, "tangled.py": TANGLED, "tests/__init__.py": "",
    "tests/test_slow.py": TEST_SLOW, "tests/test_tangled.py": TEST_TANGLED,
}  # fmt: skip
UNIQUE = "tests.test_slow.Unique"
PRICE = "tests.test_tangled.Price"
TESTS = (
    f"{UNIQUE}.test_keeps_the_order", f"{UNIQUE}.test_of_many", f"{UNIQUE}.test_first",
    f"{PRICE}.test_adult", f"{PRICE}.test_child", f"{PRICE}.test_senior",
)  # fmt: skip


def patch(path: str, text: str) -> bytes:
    return diff(path, FILES[path], text)


def app_tar() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in sorted(FILES.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(scope="session")
def kinds_image(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """Built once for all workers."""
    with (tmp_path_factory.getbasetemp().parent / "kind-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return asyncio.run(project_image.build(FILES, app_tar(), WITHOUT_PYTEST))


def bundle(
    folder: Path, *, kind: str, about: str, gold: bytes, more: Mapping[str, bytes], **spec: Any,
) -> Path:  # fmt: skip
    """A bundle whose tests are those of `about`, which all hold before and after."""
    environment = folder / "environment"
    environment.mkdir(exist_ok=True)
    (environment / "app.tar").write_bytes(app_tar())
    (environment / "Dockerfile").write_text("FROM scratch\nADD app.tar /app/\n")
    path = f"tests/test_{about}.py"
    hidden = {path: ("100644", b"# As upstream has it.\n" + FILES[path].encode())}
    values: dict[str, Any] = {
        "runner": "unittest", "args": ("tests",), "pass_to_pass": TESTS,
        "protected": ("tests/",), "test_seconds": 60, "suite_seconds": 300, **spec,
    }  # fmt: skip
    render(
        folder / "bundle", task_id=f"t-{kind}", kind=kind, repo="kinds", instruction=f"Do a {kind} task.\n",
        environment_dir=environment, hidden=hidden,
        gold_patch=gold, spec=TestSpec(**values), licenses={"MIT.txt": b"MIT"},
        metadata={"language": "python"}, more=more,
    )  # fmt: skip
    return folder / "bundle"
