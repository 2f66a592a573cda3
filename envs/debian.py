"""A Debian root file system made without an image registry: debootstrap, trimmed as the public slim images
are.

The mirror is the one this machine's apt uses, else debootstrap's own default. The result has no package
beyond the minimal variant, so that a Dockerfile which works on it names everything it needs, as it must on
the public image.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from envs.registries import APT, apt_uris
from warehouse.errors import FactoryError

Progress = Callable[[str], None]

PYTHON_OF = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
"""Supported Debian suites and the Python each one packages."""

MIRROR_SECONDS = 20
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What the public slim images set, and why: no services start in a build, and no layer keeps package caches.
_CONFIGURATION = {
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "etc/apt/apt.conf.d/docker-clean": (
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
    ),
    "etc/apt/apt.conf.d/docker-gzip-indexes": 'Acquire::GzipIndexes "true";\n',
    "etc/apt/apt.conf.d/docker-no-languages": 'Acquire::Languages "none";\n',
    "etc/apt/apt.conf.d/docker-autoremove-suggests": 'Apt::AutoRemove::SuggestsImportant "false";\n',
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup": "force-unsafe-io\n",
    "etc/dpkg/dpkg.cfg.d/docker": "".join(
        f"path-exclude /usr/share/{folder}/*\n"
        for folder in ("doc", "groff", "info", "linda", "lintian", "locale", "man")
    )
    + "path-include /usr/share/doc/*/copyright\n",
}
_EMPTIED = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/log",
    "tmp",
    "usr/share/man",
    "usr/share/locale",
)


def host_mirror() -> str:
    """The first archive in this machine's apt sources that is not for security updates; '' where it is no
    Debian.
    """
    release = Path("/etc/os-release")
    if not release.is_file() or "\nID=debian\n" not in f"\n{release.read_text()}\n":
        return ""
    files = [APT / "sources.list", *sorted(APT.glob("sources.list.d/*"))]
    uris = apt_uris(
        f.read_text(errors="replace") for f in files if f.suffix in (".list", ".sources") and f.is_file()
    )
    return next((uri for uri in uris if urlsplit(uri).path.rstrip("/").endswith("/debian")), "")


def _exists(url: str) -> bool:
    """Whether the mirror has it. A mirror that does not say is an error: silence must not cost a base image
    its security updates.
    """
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=MIRROR_SECONDS):
            return True
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410):
            return False
        raise FactoryError(f"The Debian mirror does not answer for {url} ({error}); run again.") from error


def apt_sources(suite: str, mirror: str) -> str:
    """sources.list of a suite: the archive, with updates and security updates where the mirror has them."""
    archive = mirror.rstrip("/")
    lines = [f"deb {archive} {suite} main"]
    for uri, extra in ((archive, f"{suite}-updates"), (f"{archive}-security", f"{suite}-security")):
        if _exists(f"{uri}/dists/{extra}/InRelease"):
            lines.append(f"deb {uri} {extra} main")
    return "\n".join(lines) + "\n"


def architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _check_tools(suite: str) -> None:
    if suite not in PYTHON_OF:
        raise FactoryError(
            f"There is no base image for Debian suite {suite!r}: use one of {', '.join(PYTHON_OF)}."
        )
    why = f"No image registry answers, so the base image debian:{suite}-slim has to be made here"
    if shutil.which("debootstrap") is None:
        raise FactoryError(
            f"{why}, and debootstrap is missing: `apt-get install debootstrap`, or give Docker a registry."
        )
    if not KEYRING.exists():
        raise FactoryError(f"{why}, and Debian's keys are missing: `apt-get install debian-archive-keyring`.")
    if os.geteuid() != 0:
        raise FactoryError(
            f"{why}, which needs root: run once as root, or give Docker a registry to pull from."
        )


def make_rootfs(suite: str, tarball: Path, *, progress: Progress) -> None:
    """Write `suite` as a gzipped tar to `tarball`, all or nothing. Takes about a minute."""
    _check_tools(suite)
    tarball.parent.mkdir(parents=True, exist_ok=True)
    for left in tarball.parent.glob(f"{suite}-*/"):  # of a killed run: the caller holds the suite's lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=f"{suite}-", dir=tarball.parent) as folder:
        root = Path(folder) / "rootfs"
        _debootstrap(suite, root, progress)
        progress(f"debian {suite}: packing")
        _trim(suite, root)
        packed = Path(folder) / "rootfs.tar.gz"
        command = ["tar", "--numeric-owner", "-C", str(root), "-czf", str(packed), "."]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-200:]
            raise FactoryError(
                f"Debian {suite} could not be packed into {tarball.parent} ({said}): free some space."
            )
        packed.rename(tarball)


def _debootstrap(suite: str, root: Path, progress: Progress) -> None:
    """Run debootstrap, telling what it does. Its output goes through `progress` line by line."""
    # What it mounts goes with its own mount namespace, however it ends; without one, with its exit handler.
    command = ["unshare", "--mount"] if shutil.which("unshare") else []
    command += ["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", suite, str(root)]
    if mirror := host_mirror():
        command.append(mirror)
    said: list[str] = []
    run = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, to end as one
        env=_clean_environment(),
    )
    assert run.stdout is not None
    try:
        for line in run.stdout:
            said.append(line.rstrip())
            progress(f"debian {suite}: {line.strip().removeprefix('I: ')}")
        code = run.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        raise
    if code != 0:
        last = " / ".join(line for line in said[-3:] if line)
        raise FactoryError(
            f"debootstrap could not make Debian {suite} ({last}): see that the Debian mirror answers."
        )


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {
        **kept,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _trim(suite: str, root: Path) -> None:
    used = apt_uris([(root / "etc/apt/sources.list").read_text()])[0]
    (root / "etc/apt/sources.list").write_text(apt_sources(suite, used))
    for name, text in _CONFIGURATION.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "usr/sbin/policy-rc.d").chmod(0o755)
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/machine-id").write_text("")
    for name in _EMPTIED:
        for entry in (root / name).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    (root / "var/log/apt").mkdir(parents=True, exist_ok=True)
