"""Mining a package's releases: each final source release and the one it was made after.

The index is the one that pip and uv are set up for; it is spoken to by pypi-simple, with urllib3's
retries. An archive is kept under the sha256 that the index names and is checked against it each time it is
read. A release's predecessor is the highest lower version that was already published when it came out, so
that a backport (1.9.5 after 2.0.0) is compared with its own series and 2.0.0 is not compared with a later
backport.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pypi_simple
import requests
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from envs.registries import index_url
from pipelines.family import Mined
from pipelines.swe import licenses
from pipelines.swe.archive import SUFFIXES, ArchiveLimits, read_archive
from pipelines.swe.change import Change, Refused, SourceError, candidate
from pipelines.swe.filters import Facts, IsTest, disqualified, kind_of, sort_paths
from pipelines.swe.trees import Admitted, ObjectStore, admit
from warehouse.records import Source, content_id, to_json
from warehouse.settings import Settings

TIMEOUT_SECONDS = 30.0
RETRIES = Retry(
    total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=True
)


@dataclass(frozen=True)
class Release:
    """One final source release. `sha256` is '' when the index names none."""

    version: Version
    uploaded: datetime
    filename: str
    sha256: str
    package: pypi_simple.DistributionPackage


@dataclass(frozen=True)
class Pair:
    """A release and its predecessor."""

    base: Release
    gold: Release


def mine(
    package: str,
    settings: Settings,
    *,
    is_test: IsTest,
    since: datetime | None = None,
    until: datetime | None = None,
    versions: Collection[str] = (),
) -> Iterator[Mined]:
    """Candidates of `package`, newest release first.

    Raises SourceError for an unknown package or version, an index that does not answer, and a package that
    has no source releases to compare.
    """
    name = canonicalize_name(package)
    with _client() as client:
        pairs = select(
            consecutive(_releases(client, name)), name, since=since, until=until, versions=versions
        )
        store = ObjectStore.create(settings.cache / "objects" / "releases" / f"{name}.git")
        trees: dict[str, Admitted | Refused] = {}
        for pair in pairs:
            yield _mined(client, name, package, pair, store, trees, settings, is_test)


def consecutive(releases: Collection[Release]) -> list[Pair]:
    """Every release with its predecessor, newest upload first."""
    pairs = []
    for gold in releases:
        earlier = [r for r in releases if r.version < gold.version and r.uploaded < gold.uploaded]
        if earlier:
            pairs.append(Pair(max(earlier, key=lambda r: r.version), gold))
    return sorted(pairs, key=lambda pair: (pair.gold.uploaded, pair.gold.version), reverse=True)


def select(
    pairs: list[Pair],
    package: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    versions: Collection[str] = (),
) -> list[Pair]:
    """The pairs whose newer release is one of `versions` (all when empty) and uploaded in [since, until)."""
    if versions:
        wanted = {_version(text, package) for text in versions}
        if missing := wanted - {pair.gold.version for pair in pairs}:
            names = ", ".join(map(str, sorted(missing)))
            known = ", ".join(str(pair.gold.version) for pair in pairs[:20]) or "none"
            raise SourceError(
                f"{package} has no final source release {names} with one before it; it has: {known}."
            )
        pairs = [pair for pair in pairs if pair.gold.version in wanted]
    return [
        pair
        for pair in pairs
        if (since is None or pair.gold.uploaded >= since) and (until is None or pair.gold.uploaded < until)
    ]


def _version(text: str, package: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise SourceError(
            f"{text!r} is no version of {package}: write it as the index does, e.g. 2.1.0."
        ) from error


def index_session() -> requests.Session:
    """How the package index is spoken to: with retries, and the certificates that pip is given."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    session.headers["User-Agent"] = "verifactory"
    if certificates := os.environ.get("PIP_CERT"):
        session.verify = certificates
    return session


def _client() -> pypi_simple.PyPISimple:
    return pypi_simple.PyPISimple(endpoint=index_url(), session=index_session())


def _releases(client: pypi_simple.PyPISimple, name: str) -> list[Release]:
    """Final source releases that are not yanked, one per version."""
    try:
        page = client.get_project_page(name, timeout=TIMEOUT_SECONDS)
    except pypi_simple.NoSuchProjectError as error:
        raise SourceError(f"The package index has no package called {name!r}: check the spelling.") from error
    except (requests.RequestException, pypi_simple.UnsupportedRepoVersionError, ValueError) as error:
        raise SourceError(_no_answer(name, error)) from error
    found: dict[Version, Release] = {}
    for package in page.packages:
        release = _release(package)
        if release and (release.version not in found or release.filename.endswith(".tar.gz")):
            found[release.version] = release
    if not found:
        raise SourceError(
            f"{name} has no final source release on the package index: nothing can be mined from it."
        )
    return list(found.values())


def _release(package: pypi_simple.DistributionPackage) -> Release | None:
    if (
        package.package_type != "sdist"
        or package.is_yanked
        or not package.filename.lower().endswith(SUFFIXES)
    ):
        return None
    try:
        version = Version(package.version or "")
    except InvalidVersion:
        return None
    if version.is_prerelease or package.upload_time is None:
        return None
    return Release(version, package.upload_time, package.filename, package.digests.get("sha256", ""), package)


def _no_answer(name: str, error: Exception) -> str:
    kind = "did not answer in time" if isinstance(error, requests.Timeout) else "could not be asked"
    return (
        f"The package index {kind} for {name} ({type(error).__name__}): check the network and the index that "
        "pip or uv is set up for (PIP_INDEX_URL, UV_DEFAULT_INDEX, `pip config`), then run the command again."
    )


def _mined(
    client: pypi_simple.PyPISimple,
    name: str,
    package: str,
    pair: Pair,
    store: ObjectStore,
    trees: dict[str, Admitted | Refused],
    settings: Settings,
    is_test: IsTest,
) -> Mined:
    """One candidate; what is wrong with it becomes its reason."""
    license, facts = licenses.License("", "not read", ""), Facts()
    outcome: Change | Refused
    try:
        gold = _tree(client, pair.gold, store, trees, settings)  # its own faults before its predecessor's
        base = _tree(client, pair.base, store, trees, settings)
        facts = _facts(store, base, gold, is_test)
        if reason := disqualified(facts):
            raise Refused(reason)
        license = licenses.permitted(store, (base.tree, gold.tree), settings.licenses)
        outcome = Change(
            store=store.path,
            base_tree=base.tree,
            gold_tree=gold.tree,
            repo=name,
            base_ref=str(pair.base.version),
            gold_ref=str(pair.gold.version),
            source_date=pair.gold.uploaded,
            kind="releases",
            license=license.spdx,
            attribution=license.attribution,
            notes=tuple(dict.fromkeys((*base.notes, *gold.notes))),
        )
    except Refused as refused:
        outcome = refused
    return candidate(
        _source(name, package, pair, license),
        repo=name,
        base_ref=str(pair.base.version),
        gold_ref=str(pair.gold.version),
        title=f"{name} {pair.gold.version}",
        source_date=pair.gold.uploaded,
        facts=facts,
        outcome=outcome,
    )


def _source(name: str, package: str, pair: Pair, license: licenses.License) -> Source:
    version = str(pair.gold.version)
    raw = {
        "purl": f"pkg:pypi/{name}@{version}",
        "archives": {release.filename: release.sha256 for release in (pair.base, pair.gold)},
        "license_evidence": license.evidence,
    }
    return Source(
        source_id=content_id("releases", name, version),
        kind="releases",
        url=package,
        revision=version,
        license=license.spdx,
        attribution=license.attribution,
        raw=to_json(raw),
    )


def _facts(store: ObjectStore, base: Admitted, gold: Admitted, is_test: IsTest) -> Facts:
    if not any(kind_of(path, is_test) == "test" for path, _ in store.walk(gold.tree)):
        raise Refused("no_tests", "the source archive holds no tests")
    differing = (path for _, old, new in store.deltas(base.tree, gold.tree) for path in (old, new) if path)
    return Facts(
        paths=sort_paths(differing, is_test), changed_bytes=store.changed_bytes(base.tree, gold.tree)
    )


def _tree(
    client: pypi_simple.PyPISimple,
    release: Release,
    store: ObjectStore,
    trees: dict[str, Admitted | Refused],
    settings: Settings,
) -> Admitted:
    """The release's tree; each archive is read once per mining, refused ones too."""
    key = release.sha256 or release.filename
    if key not in trees:
        try:
            archive = download(client, release, settings.cache / "sdists")
            trees[key] = admit(store, read_archive(archive, store))
        except Refused as refusal:
            trees[key] = Refused(refusal.reason, f"{release.filename}: {refusal.detail}")
    found = trees[key]
    if isinstance(found, Refused):
        raise found
    return found


def download(client: pypi_simple.PyPISimple, release: Release, cache: Path) -> Path:
    """The archive in the cache, fetched if it is not there or no longer what its name says.

    Raises Refused (`no_digest`, `archive_corrupt`, `archive_hostile`), or SourceError without an answer.
    """
    if not release.sha256:
        raise Refused("no_digest", "the index names no sha256")
    suffix = next(suffix for suffix in SUFFIXES if release.filename.lower().endswith(suffix))
    path = cache / release.sha256[:2] / f"{release.sha256}{suffix}"
    if path.is_file() and _sha256(path) == release.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / "archive"
        try:
            client.download_package(
                release.package,
                partial,
                timeout=TIMEOUT_SECONDS,
                progress=_Bounded,
            )
        except pypi_simple.DigestMismatchError as error:
            raise Refused("archive_corrupt", "its sha256 is not what the index says") from error
        except requests.RequestException as error:
            raise SourceError(_no_answer(release.filename, error)) from error
        partial.rename(path)
    return path


class _Bounded:
    """A progress tracker that shows nothing and ends a download that is too large."""

    def __init__(self, expected: int | None = None) -> None:
        self._left = ArchiveLimits().archive_bytes
        self.update(0 if expected is None or expected <= self._left else expected)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        return None

    def update(self, increment: int) -> None:
        self._left -= increment
        if self._left < 0:
            raise Refused("archive_hostile", "larger than the limit of one archive")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
