"""Looks, as the agent would, for what its container must not hold: hidden tests, the solution, later history,
rewards, the grader, the Docker socket.

It runs in a sandbox of the task's environment image, as root, so that nothing is out of its sight. The image
is what validation graded in; an agent gets the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from envs.sandbox import Network, SandboxBackend, SandboxError, SandboxSpec
from verifiers.problems import Problem, Severity

SECONDS = 120.0
TELLING_BYTES = 120  # files shorter than this are alike by chance

PROBE = r"""
import hashlib, json, os, stat, subprocess, sys
workdir, wanted = sys.argv[1], json.load(open("/wanted.json"))
found = []
for path in ("/tests", "/solution", "/logs/verifier", "/hidden", "/submission.patch"):
    if os.path.lexists(path):
        found.append(["grader_files", path, "exists in the agent's image"])
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
    if os.path.lexists(path):
        found.append(["docker_socket", path, "can be reached in the agent's container"])
git = ["git", "-c", "safe.directory=*", "-C", workdir]
def lines(*arguments):
    done = subprocess.run([*git, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace").split("\n")[:-1]
commits = lines("rev-list", "--all", "--reflog")
if len(commits) != 1:
    found.append(["future_history", workdir + "/.git", "%d commits, not one" % len(commits)])
loose = [line for line in lines("fsck", "--unreachable", "--no-reflogs") if line.startswith("unreachable")]
if loose:
    found.append(["future_history", workdir + "/.git", "%d objects that no branch reaches" % len(loose)])
if lines("remote"):
    found.append(["future_history", workdir + "/.git", "a remote is configured"])
sizes = {size for size, _ in wanted.values()}
names = {digest: name for name, (_, digest) in wanted.items()}
skip = ("/proc", "/sys", "/dev", "/wanted.json", "/probe.py")
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in skip]
    for file in files:
        path = os.path.join(folder, file)
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size not in sizes or path in skip:
                continue
            with open(path, "rb") as stream:
                name = names.get(hashlib.sha256(stream.read()).hexdigest())
        except OSError:
            continue
        if name:
            found.append(["answer_in_image", path, "is " + name])
print(json.dumps(found[:50]))
"""


async def leaks(
    backend: SandboxBackend,
    image: str,
    *,
    workdir: str,
    answers: Mapping[str, bytes],
    runtime: str | None = None,
) -> tuple[Problem, ...]:
    """What of `answers` (by a name for people) or of the factory's own files lies in the image.

    Raises SandboxError when the image cannot be looked at.
    """
    wanted = {
        name: (len(data), hashlib.sha256(data).hexdigest())
        for name, data in answers.items()
        if len(data) >= TELLING_BYTES
    }
    spec = SandboxSpec(image=image, network=Network.NONE, workdir="/", user="root", runtime=runtime)
    sandbox = await backend.start(spec)
    try:
        await sandbox.upload({"/wanted.json": json.dumps(wanted).encode(), "/probe.py": PROBE.encode()})
        result = await sandbox.exec(
            ["/usr/bin/python3", "-I", "/probe.py", workdir], timeout=SECONDS, user="root"
        )
    finally:
        await sandbox.stop()
    if not result.ok:
        raise SandboxError(f"The image {image} cannot be searched for leaks: {result.text(500)}")
    found = json.loads(result.stdout)
    return tuple(
        Problem(code=code, where=where, message=message, severity=Severity.ERROR)
        for code, where, message in found
    )
