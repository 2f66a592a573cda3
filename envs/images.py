"""Base images: Debian by suite, pulled where an image registry answers and made here where none does.

Two images stand below every environment. `verifactory/debian:<suite>` (or the pulled `debian:<suite>-slim`)
is what a public base image is: nothing but Debian. `verifactory/base:<suite>-<hash>` adds what only this
machine needs, its certificate authorities and its choice of package index, and is never part of a recipe or
an export: an exported Dockerfile starts from the public tag and gets ours through `--build-arg BASE=…` when
it is built here. The layer copies files and sets variables; it installs nothing, so a Dockerfile cannot
come to lean on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from docker import DockerClient
from docker.errors import APIError, ImageNotFound

from envs import debian, registries
from envs.debian import PYTHON_OF, Progress
from envs.docker.daemon import Daemon, daemon_errors
from envs.docker.owner import KIND, LABEL, image_labels
from warehouse.errors import FactoryError
from warehouse.settings import Settings

REGISTRY_SECONDS = 10  # until the registry's first word; decided once per process
APT_HOSTS = "org.verifactory.apt-hosts"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_CERTIFICATE_VARIABLES = (
    "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)  # fmt: skip

_lock = threading.Lock()
_registry_answers: bool | None = None


async def ensure_base(
    suite: str, settings: Settings, *, daemon: Daemon | None = None, progress: Progress | None = None
) -> str:
    """The tag of this machine's base image of Debian `suite`, made when it is missing.

    Seconds when the file system is cached under `settings.cache`, about a minute when it is not. Safe to
    call from many processes at once. Raises FactoryError when it can be neither pulled nor made.
    """
    cancelled = threading.Event()

    def tell(what: str) -> None:
        if cancelled.is_set():
            raise FactoryError(f"The base image of {suite} was not made: cancelled.")
        if progress is not None:
            progress(what)

    making = asyncio.ensure_future(asyncio.to_thread(_ensure, suite, settings, daemon or Daemon(), tell))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([making])
        raise


def _ensure(suite: str, settings: Settings, daemon: Daemon, progress: Progress) -> str:
    if suite not in PYTHON_OF:
        raise FactoryError(
            f"There is no base image for Debian suite {suite!r}: use one of {', '.join(PYTHON_OF)}."
        )
    client = daemon.client
    with _lock, _one_process(settings.cache / "base" / f"{suite}.lock"):
        debian_tag = _debian_image(client, suite, settings, progress)
        with daemon_errors(f"the base image of {suite}"):
            return _local_layer(client, suite, debian_tag, settings.ca_dir)


@contextmanager
def _one_process(path: Path) -> Generator[None]:
    """At most one process of this machine is inside; the lock goes with the process that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise FactoryError(
            f"The cache {path.parent} cannot be written ({error.strerror}): set VERIFACTORY_CACHE."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _debian_image(client: DockerClient, suite: str, settings: Settings, progress: Progress) -> str:
    """The tag of plain Debian: here already, pulled, or imported."""
    public, own = f"debian:{suite}-slim", f"verifactory/debian:{suite}"
    with daemon_errors(f"looking for {public}"):
        labels = _labels(client, public)
        if (
            labels is not None and LABEL not in labels
        ):  # with our label it is an alias of ours, made by somebody's test
            return public
        if _labels(client, own) is not None:
            return own
    if _pulled(client, public, progress):
        return public
    tarball = settings.cache / "base" / f"debian-{suite}-{debian.architecture()}.tar.gz"
    if not tarball.exists():
        debian.make_rootfs(suite, tarball, progress=progress)
    progress(f"debian {suite}: importing")
    labels_text = " ".join(f"{key}={json.dumps(value)}" for key, value in image_labels("debian", own).items())
    with daemon_errors(f"the import of Debian {suite}"):
        answer = client.api.import_image(
            src=str(tarball),
            repository=own.partition(":")[0],
            tag=suite,
            changes=[f"ENV PATH={_PATH}", 'CMD ["bash"]', f"LABEL {labels_text}"],
        )
        _raise_import_error(answer, tarball)
    return own


def _raise_import_error(answer: str, tarball: Path) -> None:
    for line in answer.splitlines():
        if "error" in (said := json.loads(line)):
            raise FactoryError(
                f"Docker could not import {tarball} ({said['error']}): delete that file and run again."
            )


def _labels(client: DockerClient, tag: str) -> dict[str, str] | None:
    """Labels of an image; None when there is no such image."""
    try:
        return client.api.inspect_image(tag)["Config"].get("Labels") or {}
    except ImageNotFound:
        return None


def _pulled(client: DockerClient, tag: str, progress: Progress) -> bool:
    """Pull `tag`.

    A registry that is silent for REGISTRY_SECONDS, or errs, counts as absent for this process.
    """
    global _registry_answers
    if _registry_answers is False:
        return False
    spoken, done, failure = threading.Event(), threading.Event(), list[Exception]()

    def pull() -> None:
        repository, _, version = tag.partition(":")
        try:
            for line in client.api.pull(repository, version, stream=True, decode=True):
                spoken.set()
                progress(f"{tag}: {line.get('status', '')} {line.get('progress', '')}".rstrip())
                if "error" in line:
                    failure.append(APIError(line["error"]))
        except (FactoryError, APIError, OSError) as error:
            failure.append(error)
        finally:
            done.set()
            spoken.set()

    threading.Thread(target=pull, name="pull", daemon=True).start()
    answered = spoken.wait(REGISTRY_SECONDS)
    if answered:
        done.wait()
    for error in failure:
        if isinstance(error, FactoryError):  # cancelled, which says nothing about the registry
            raise error
    _registry_answers = answered and not failure
    return _registry_answers


def _local_layer(client: DockerClient, suite: str, debian_tag: str, ca_dir: Path) -> str:
    """`debian_tag` with this machine's certificates and package index; found again by the hash of what went
    in.
    """
    certificates = {path.name: path.read_bytes() for path in sorted(ca_dir.glob("*.crt")) if path.is_file()}
    hosts = " ".join(_apt_hosts_in(client, debian_tag))
    dockerfile = "\n".join(_local_dockerfile(debian_tag, bool(certificates), hosts)) + "\n"
    files = {"Dockerfile": dockerfile.encode()} | {f"ca/{name}": data for name, data in certificates.items()}
    return _build_once(
        client, f"verifactory/base:{suite}", "base", files, client.api.inspect_image(debian_tag)["Id"]
    )


def build_own(client: DockerClient, kind: str, files: dict[str, bytes], settings: Settings) -> str:
    """Build an image of the factory's own from a trusted recipe, on the daemon's default network; once per
    content.
    """
    with _one_process(settings.cache / "base" / f"{kind}.lock"):
        return _build_once(client, f"verifactory/{kind}:v1", kind, files)


def _build_once(client: DockerClient, prefix: str, kind: str, files: dict[str, bytes], base: str = "") -> str:
    digest = hashlib.sha256(base.encode())
    for name, data in files.items():
        digest.update(name.encode() + b"\0" + data + b"\0")
    tag = f"{prefix}-{digest.hexdigest()[:12]}"
    if _labels(client, tag) is None:
        client.images.build(
            fileobj=context_tar(files),
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            labels=image_labels(kind, tag),
        )
    return tag


def _local_dockerfile(debian_tag: str, certificates: bool, apt_hosts: str) -> Iterator[str]:
    yield f"FROM {debian_tag}"
    yield f'LABEL {APT_HOSTS}="{apt_hosts}"'
    if certificates:
        yield "COPY ca/ /usr/local/share/ca-certificates/"
        yield "ENV " + " ".join(f"{name}={_BUNDLE}" for name in _CERTIFICATE_VARIABLES)
    if not registries.index_is_default():
        yield f"ENV PIP_INDEX_URL={registries.index_url()} UV_DEFAULT_INDEX={registries.index_url()}"
    if not registries.npm_is_default():
        npm = registries.npm_registry()
        yield f"ENV npm_config_registry={npm} YARN_NPM_REGISTRY_SERVER={npm.rstrip('/')}"
    if proxy := registries.go_proxy():
        yield f"ENV GOPROXY={proxy}"


def context_tar(files: dict[str, bytes]) -> io.BytesIO:
    """A build context in memory. Times are fixed, so that equal files hit the builder's cache."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    packed.seek(0)
    return packed


def _apt_hosts_in(client: DockerClient, tag: str) -> tuple[str, ...]:
    """Hosts of the apt sources that lie in an image, read without running anything of it."""
    container = client.api.create_container(tag, command=["true"])
    texts: list[str] = []
    try:
        chunks, _ = client.api.get_archive(container["Id"], "/etc/apt")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            for entry in tar:
                if (
                    entry.isfile()
                    and entry.name.endswith((".list", ".sources"))
                    and (file := tar.extractfile(entry))
                ):
                    texts.append(file.read().decode("utf-8", "replace"))
    finally:
        client.api.remove_container(container["Id"], force=True)
    return tuple(sorted({host for uri in registries.apt_uris(texts) if (host := registries.host_of(uri))}))


def apt_hosts(client: DockerClient) -> tuple[str, ...]:
    """Hosts of the apt sources in all base images here: what `apt-get` in a build has to reach."""
    images = client.api.images(filters={"label": [f"{LABEL}=1", f"{KIND}=base"]})
    return tuple(sorted({host for image in images for host in image["Labels"].get(APT_HOSTS, "").split()}))
