"""Which hosts the package registries are: asked of the clients' own configuration, never written down here.

A build may talk to the registries and to nothing else. Which those are is the user's choice, made where
pip, uv, npm and apt already read it: so a company mirror works without a setting of ours, and no host name
stands in this code. Credentials in an index address stay on this machine: containers run code that nobody
has read.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from warehouse.errors import FactoryError

APT = Path("/etc/apt")
CLIENT_SECONDS = 20
ANSWER_SECONDS = 8
_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def _run(*argv: str) -> str:
    """Output of a client's own configuration command; '' when there is no such client, or it has no answer.

    One that hangs is an error: taken for no answer, it would send builds past a company's own index.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False)
    except OSError:
        return ""
    except subprocess.TimeoutExpired as error:
        raise FactoryError(
            f"{Path(argv[0]).name}, asked which package registry it uses, was silent for {CLIENT_SECONDS} s; "
            "see that it answers, and run again."
        ) from error
    return done.stdout.strip() if done.returncode == 0 else ""


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def host_of(url: str) -> str:
    parts = urlsplit(url)
    return (parts.hostname or "") if parts.scheme in ("http", "https") else ""


_ASK_PIP = (
    "import sys; sys.path[:0] = sys.argv[1:]; from pip._internal.models.index import PyPI as p; "
    "print(p.simple_url, p.file_storage_domain)"
)


def _bundled_pips() -> list[str]:
    """The pip wheels that Python carries for `ensurepip`: an environment made by uv has no other."""
    spec = importlib.util.find_spec("ensurepip")
    folder = Path(spec.origin).parent / "_bundled" if spec and spec.origin else Path()
    return [str(wheel) for wheel in sorted(folder.glob("pip-*.whl"))]


@lru_cache(maxsize=1)
def _builtin_index() -> tuple[str, str]:
    """pip's default: the simple index's address and the host that serves its files."""
    for pip in ("", *_bundled_pips()):
        simple, _, files = _run(sys.executable, "-c", _ASK_PIP, pip).partition(" ")
        if files:
            return simple, files
    raise FactoryError(
        "No pip was found to ask for the package index: run `python -m ensurepip`, or name the index "
        "in PIP_INDEX_URL."
    )


@lru_cache(maxsize=1)
def _configured_index() -> str:
    """The index that variables or pip's files name; '' for the default."""
    for variable in _INDEX_VARIABLES:
        if host_of(os.environ.get(variable, "")):
            return os.environ[variable]
    for key in ("global.index-url", "install.index-url"):
        url = _run(sys.executable, "-m", "pip", "config", "get", key)
        if host_of(url):
            return url
    return ""


def index_url() -> str:
    """The Python package index to hand to containers, without credentials."""
    return without_credentials(_configured_index() or _builtin_index()[0])


@lru_cache(maxsize=1)
def index_is_default() -> bool:
    return not _configured_index()


@lru_cache(maxsize=1)
def _extra_indexes() -> tuple[str, ...]:
    named = [os.environ.get("PIP_EXTRA_INDEX_URL", ""), os.environ.get("UV_INDEX", "")]
    named.append(_run(sys.executable, "-m", "pip", "config", "get", "global.extra-index-url"))
    return tuple(url.rpartition("=")[2] if "=http" in url else url for text in named for url in text.split())


def python_hosts() -> tuple[str, ...]:
    """Hosts that pip and uv need: the index, and where the default index keeps its files."""
    index, files = _builtin_index()
    hosts = [host_of(index), files] if index_is_default() else [host_of(index_url())]
    return _distinct(hosts + [host_of(url) for url in _extra_indexes()])


@lru_cache(maxsize=1)
def npm_registry() -> str:
    """npm's registry; '' when there is no npm."""
    if shutil.which("npm") is None:
        return ""
    url = _run("npm", "config", "get", "registry")
    return without_credentials(url) if host_of(url) else ""


@lru_cache(maxsize=1)
def npm_is_default() -> bool:
    """Whether npm uses the registry that it comes with; also where there is no npm."""
    if not npm_registry():
        return True
    nothing = ("--userconfig", os.devnull, "--globalconfig", f"{os.devnull}.none")
    told = _run_anyway("npm", "config", "get", "registry", *nothing, env={"npm_config_registry": ""})
    return npm_registry() in told.split()


@lru_cache(maxsize=1)
def go_proxy() -> str:
    """The module proxy that Go is set up with; '' where there is neither a client nor its variable."""
    told = os.environ.get("GOPROXY", "")
    if not told and shutil.which("go") is not None:
        told = _run("go", "env", "GOPROXY")
    named = [without_credentials(url) for url in re.split(r"[,|]", told) if host_of(url)]
    return named[0] if named else ""


@lru_cache(maxsize=1)
def gem_sources() -> tuple[str, ...]:
    """Hosts of the gem sources this machine is set up with; empty where there is no gem client."""
    if shutil.which("gem") is None:
        return ()
    told = _run("gem", "environment", "remotesources")
    return _distinct(host_of(url) for url in re.findall(r"https?://[^\s:]+(?::\d+)?", told))


@lru_cache(maxsize=1)
def composer_hosts() -> tuple[str, ...]:
    """Hosts of the repositories Composer is set up with; empty where there is no Composer."""
    if shutil.which("composer") is None:
        return ()
    told = _run("composer", "config", "--global", "repositories")
    return _distinct(host_of(url.replace("\\/", "/")) for url in re.findall(r'"url":\s*"([^"]+)"', told))


@lru_cache(maxsize=1)
def cran_mirror() -> str:
    """The mirror that R installs packages from on this machine; '' where there is no R."""
    if shutil.which("Rscript") is None:
        return ""
    url = _run("Rscript", "--no-init-file", "-e", 'cat(getOption("repos")[["CRAN"]])')
    return without_credentials(url) if host_of(url) else ""


@lru_cache(maxsize=1)
def cargo_hosts() -> tuple[str, ...]:
    """Hosts of the crate registry that Cargo is set up with; empty where there is no Cargo or no answer.

    Cargo names its index only when it cannot be reached, so it is asked through a proxy that is none; the
    index itself says where the files lie.
    """
    if shutil.which("cargo") is None:
        return ()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Cargo.toml").write_text(
            '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2018"\n[dependencies]\nlibc = "*"\n'
        )
        Path(folder, "src").mkdir()
        Path(folder, "src", "lib.rs").write_text("")
        nowhere = {"CARGO_HTTP_PROXY": "http://127.0.0.1:9", "CARGO_NET_RETRY": "0"}
        told = _run_anyway("cargo", "fetch", "--manifest-path", f"{folder}/Cargo.toml", env=nowhere)
    found = re.search(r"`(https?://\S+/config\.json)`", told)
    configuration = _fetched(found[1]) if found else ""
    files = re.search(r'"dl"\s*:\s*"(https?://[^"{]+)', configuration)
    return _distinct((host_of(found[1]), host_of(files[1]))) if found and files else ()


@lru_cache(maxsize=1)
def maven_hosts() -> tuple[str, ...]:
    """Hosts of the repository that Maven is set up with; empty where there is no Maven or no answer.

    A mirror in the user's settings comes first, else what Maven's own root of all projects names.
    """
    if shutil.which("mvn") is None:
        return ()
    settings = Path.home() / ".m2" / "settings.xml"
    text = settings.read_text(errors="replace") if settings.is_file() else ""
    urls = re.findall(r"<mirror>.*?<url>\s*(https?://[^<\s]+)", text, re.S)
    home = re.search(r"^Maven home: (.+)$", re.sub(r"\x1b\[[0-9;]*m", "", _run("mvn", "-v")), re.M)
    for jar in sorted(Path(home[1]).glob("lib/maven-model-builder-*.jar")) if home and not urls else []:
        with zipfile.ZipFile(jar) as archive:
            root = next((n for n in archive.namelist() if n.endswith("model/pom-4.0.0.xml")), "")
            urls += re.findall(r"<url>\s*(https?://[^<\s]+)", archive.read(root).decode()) if root else []
    answering = [
        url for url in dict.fromkeys(urls) if _fetched(f"{url.rstrip('/')}/junit/junit/maven-metadata.xml")
    ]
    return _distinct(map(host_of, answering))


def _run_anyway(*argv: str, env: dict[str, str]) -> str:
    """All that a client says, whether it succeeds or not; '' when it cannot be started or is silent."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False, env=os.environ | env
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _fetched(url: str) -> str:
    """What an address answers, at most a megabyte; '' when it does not."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            return answer.read(1 << 20).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def apt_uris(texts: Iterable[str]) -> tuple[str, ...]:
    """Addresses in apt source files, one-line or deb822 format."""
    uris: list[str] = []
    for text in texts:
        for line in text.splitlines():
            if line.lower().startswith("uris:"):
                uris += line.partition(":")[2].split()
            elif one := re.match(r"\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)", line):
                uris.append(one[1])
    return _distinct(uris)


def apt_hosts() -> tuple[str, ...]:
    """Hosts of this machine's own apt sources; empty where there is no apt."""
    files = [
        APT / "sources.list",
        *sorted(APT.glob("sources.list.d/*.list")),
        *sorted(APT.glob("sources.list.d/*.sources")),
    ]
    return _distinct(
        host_of(uri) for uri in apt_uris(f.read_text(errors="replace") for f in files if f.is_file())
    )


def hosts() -> tuple[str, ...]:
    """Every package registry's host, as this machine's clients are set up."""
    urls = (npm_registry(), go_proxy(), cran_mirror())
    named = (*gem_sources(), *composer_hosts(), *cargo_hosts(), *maven_hosts())
    return _distinct((*python_hosts(), *map(host_of, urls), *named, *apt_hosts()))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
