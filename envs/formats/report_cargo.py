"""What `cargo test` prints: libtest's lines, below the name of each test binary.

A test's id is `binary source::path`, as in `mini src/lib.rs::tests::adds`: the binary without the hash of its
build, and the source that Cargo names beside it. The examples of one documented item are one test, since
libtest tells them apart by line numbers, which change with every edit; the worse counts. A target that does
not compile is a collection error.
"""

from __future__ import annotations

import re
from typing import Any

MESSAGE_CHARS = 2000
LINE_CHARS = 8192
STATUSES = {"ok": "passed", "FAILED": "failed", "ignored": "skipped", "bench": "passed"}

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RUNNING = re.compile(r"^ +Running (?:unittests )?(?:(\S+) \()?(\S+?)-[0-9a-f]{16}\)?$")
_DOCUMENTS = re.compile(r"^ +Doc-tests (\S+)$")
_TEST = re.compile(r"^test (\S.*?) \.\.\. (ok|FAILED|ignored|bench)(?:,.*|:.*| <[\d.]+s>)?$")
_PANICS = " - should panic"
_EXAMPLE = re.compile(r" \(line \d+\)(?: - compile(?: fail)?)?$")
_OUTPUT = re.compile(r"^---- (\S.*?) stdout ----$")
_UNCOMPILED = re.compile(r"^error: could not compile `([^`]+)`(?: \(([^)]*)\))?")


def parse(log: bytes, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Tests of the log; report files are not read."""
    results: dict[str, dict[str, Any]] = {}
    uncompiled: list[str] = []
    binary, explained = "", ""
    for line in _COLOUR.sub("", log.decode("utf-8", "replace")).split("\n"):
        line = line.rstrip()[:LINE_CHARS]
        if match := _RUNNING.match(line):
            binary = " ".join(filter(None, (match[2].rpartition("/")[2], match[1])))
        elif match := _DOCUMENTS.match(line):
            binary = f"{match[1]} documentation"
        elif match := _TEST.match(line):
            name = _id(binary, match[1])
            if name not in results or match[2] == "FAILED":
                status = STATUSES[match[2]]
                results[name] = {"id": name, "status": status, "seconds": 0.0, "message": ""}
        elif match := _OUTPUT.match(line):
            explained = _id(binary, match[1])
        elif line.startswith(("failures:", "test result:")):
            explained = ""
        elif match := _UNCOMPILED.match(line):
            uncompiled.append(" ".join(filter(None, match.groups())))
        elif explained in results and len(results[explained]["message"]) < MESSAGE_CHARS:
            results[explained]["message"] += f"{line}\n"
    for result in results.values():
        result["message"] = result["message"].strip()[:MESSAGE_CHARS]
    return [*results.values(), *map(_collection_error, dict.fromkeys(uncompiled))]


def _id(binary: str, name: str) -> str:
    name = name[: -len(_PANICS)] if name.endswith(_PANICS) else name
    name = _EXAMPLE.sub("", name)
    return f"{binary}::{name}" if binary else name


def _collection_error(target: str) -> dict[str, Any]:
    return {
        "id": target,
        "status": "error",
        "seconds": 0.0,
        "message": "does not compile",
        "collection": True,
    }
