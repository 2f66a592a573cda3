"""Under which licence a tree may be used, as of its own revision, and whom to credit.

What the tree itself says decides: an SPDX expression in its metadata, or else the licence field, the
classifiers and the licence file's text, recognised by phrases that no other licence has; these must agree.
Two sources that contradict each other make the licence unknown, and unknown is never permitted.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from pipelines.swe.change import Refused
from pipelines.swe.trees import ObjectStore, Tree, decode
from warehouse.spdx import permits

LICENSE_FILE = re.compile(
    r"^(([\w.]+[-_])?licen[cs]es?([-._][^/]*)?"  # MIT-LICENSE, LICENSE.txt
    r"|(copying|unlicense|copyright|notice|authors|patents)([-._][^/]*)?|licenses/[^/]+)$",
    re.I,
)
# No part of a line's pattern can reach into the next line, or blank lines would cost their number squared.
_COPYRIGHT = re.compile(r"^[^\w\n©]*((?:copyright|©)[^\n]{0,5}(?:\(c\)|©|\d{4})[^\n]{0,200})$", re.M | re.I)
_SETUP_LICENSE = re.compile(r"^[ \t]*license[ \t]*=\s*[\"']?([^\"'\n,]+)", re.M)
_SETUP_AUTHOR = re.compile(r"^[ \t]*author[ \t]*=\s*[\"']?([^\"'\n,]+)", re.M)
_MAX_TEXT = 200_000

# classifier, below "License :: [OSI Approved :: ]" → SPDX id; '' where only the text can tell
CLASSIFIERS: Mapping[str, str] = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License (GPL)": "GPL-1.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "University of Illinois/NCSA Open Source License": "NCSA",
    "Zope Public License": "ZPL-2.1",
    "zlib/libpng License": "Zlib",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "Public Domain": "",
}

# how people write it → SPDX id; compared without punctuation, case or the words "the", "license", "version"
SPELLINGS: Mapping[str, str] = {
    "mit": "MIT", "expat": "MIT", "mit expat": "MIT", "mit x11": "MIT", "mit0": "MIT-0", "isc": "ISC",
    "iscl": "ISC", "bsd 3 clause": "BSD-3-Clause", "3 clause bsd": "BSD-3-Clause",
    "bsd 3": "BSD-3-Clause", "bsd3": "BSD-3-Clause", "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause", "revised bsd": "BSD-3-Clause",
    "bsd 3 clause new or revised": "BSD-3-Clause", "bsd 2 clause": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause", "simplified bsd": "BSD-2-Clause", "apache 20": "Apache-2.0",
    "apache 2": "Apache-2.0", "apache software 20": "Apache-2.0", "apache2": "Apache-2.0",
    "asl 20": "Apache-2.0", "asl 2": "Apache-2.0", "al2": "Apache-2.0", "psf": "PSF-2.0",
    "python software foundation": "PSF-2.0", "unlicense": "Unlicense", "zlib": "Zlib",
    "zpl 21": "ZPL-2.1", "cc0": "CC0-1.0", "cc0 10": "CC0-1.0", "0bsd": "0BSD",
    "boost software 10": "BSL-1.0", "mpl 20": "MPL-2.0", "mozilla public 20": "MPL-2.0",
    "gplv2": "GPL-2.0-only", "gplv3": "GPL-3.0-only", "gplv2+": "GPL-2.0-or-later",
    "gplv3+": "GPL-3.0-or-later", "lgplv3": "LGPL-3.0-only", "lgplv3+": "LGPL-3.0-or-later",
    "agplv3": "AGPL-3.0-only", "gnu gplv3": "GPL-3.0-only", "gpl 3": "GPL-3.0-only",
}  # fmt: skip

# SPDX id → phrases that must all be there, phrases that must not. In order; the first hit wins.
_GRANT = "permission to use, copy, modify, and"
_BSD = "redistribution and use in source and binary forms"
_PSF = "python software foundation license version 2"
FINGERPRINTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("AGPL-3.0-only", ("gnu affero general public license",), ()),
    ("LGPL-3.0-only", ("gnu lesser general public license", "version 3"), ("this library is free software",)),
    ("LGPL-2.1-only", ("gnu lesser general public license",), ()),
    ("LGPL-2.0-only", ("gnu library general public license",), ()),
    ("GPL-3.0-only", ("gnu general public license", "version 3"), ("mozilla public license",)),
    ("GPL-2.0-only", ("gnu general public license",), ("mozilla public license", "gpl-compatible")),
    ("MPL-2.0", ("mozilla public license", "2.0"), ()),
    ("Apache-2.0", ("apache license", "version 2.0"), ()),
    ("Artistic-2.0", ("the artistic license 2.0",), ("gnu general public license",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",), ()),
    ("CC0-1.0", ("cc0 1.0 universal",), ()),
    ("BSL-1.0", ("boost software license - version 1.0",), ()),
    ("ZPL-2.1", ("zope public license (zpl) version 2.1",), ()),
    ("NCSA", ("permission is hereby granted, free of charge", "redistributions in binary form must"), ()),
    ("PostgreSQL", ("without a written agreement is hereby granted", "in no event shall the university"), ()),
    ("Zlib", ("provided 'as-is'", "altered source versions must be plainly marked"), ()),
    ("PSF-2.0", (_PSF,), ("cnri",)),
    ("Python-2.0", (_PSF, "cnri"), ()),
    ("BSD-4-Clause", (_BSD, "all advertising materials"), ()),
    ("BSD-3-Clause", (_BSD, "endorse or promote products"), ()),
    ("BSD-2-Clause", (_BSD,), ("endorse or promote", "the user documentation")),
    ("ISC", (f"{_GRANT}/or distribute this software", "provided that the above copyright"), ()),
    ("ISC", (f"{_GRANT} distribute this software", "provided that the above copyright"), ()),
    ("0BSD", (f"{_GRANT}/or distribute this software",), ("provided that the above copyright",)),
    ("MIT", ("permission is hereby granted, free of charge", "shall be included in all copies"), ()),
    ("MIT-0", ("permission is hereby granted, free of charge", "without warranty"), ("shall be included",)),
)


@dataclass(frozen=True)
class License:
    """`spdx` is '' when it could not be told, and `evidence` says from where it was, or why not."""

    spdx: str
    evidence: str
    attribution: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class _Metadata:
    expression: str = ""
    written: str = ""
    classifiers: list[str] = field(default_factory=list)
    authors: list[str] = field(default_factory=list)


def identify(tree: Tree) -> License:
    """The licence of a tree, its licence files, and its authors as the tree names them."""
    files = {path: tree[path] for path in tree if LICENSE_FILE.match(path) and tree.size(path) <= _MAX_TEXT}
    metadata = _metadata(tree)
    texts = {path: found for path in sorted(files) if (found := fingerprint(decode(files[path])))}
    spdx, evidence = _decide(metadata, texts)
    return License(spdx, evidence, _attribution(metadata, files), files)


def permitted(store: ObjectStore, trees: Sequence[str], allowed: Collection[str]) -> License:
    """The licence of the last of `trees`; all of them must be permitted, since a task holds code of each.

    Raises Refused: `license_unknown`, `license_not_permitted`.
    """
    found = [identify(store.tree(tree)) for tree in trees]
    for license in found:
        check(license, allowed)
    return found[-1]


def check(license: License, allowed: Collection[str]) -> None:
    """Raises Refused: `license_unknown`, `license_not_permitted`."""
    if not license.spdx:
        raise Refused("license_unknown", license.evidence)
    if not permits(license.spdx, allowed):
        raise Refused("license_not_permitted", license.spdx)


def fingerprint(text: str) -> str:
    """The SPDX id of a licence text, '' when no fingerprint fits; several licences in one text are an AND."""
    flat = re.sub(r"\s+", " ", text.lower().replace("*", " "))
    hits: list[str] = []
    for spdx, needed, excluded in FINGERPRINTS:
        if all(phrase in flat for phrase in needed) and not any(phrase in flat for phrase in excluded):
            hits.append(spdx)
            if spdx.startswith(("GPL", "LGPL", "AGPL", "MPL")):
                break  # these texts quote each other
            for phrase in needed:
                flat = flat.replace(phrase, " ")
    return " AND ".join(dict.fromkeys(hits))


def spelled(text: str) -> str:
    """The SPDX id of a licence as people write it; '' when it is not known."""
    text = text.strip()
    if not text or "\n" in text or len(text) > 120:
        return fingerprint(text)
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        flat = re.sub(r"[\"'().,]", "", text.lower()).replace("-", " ").replace("/", " ")
        flat = re.sub(r"\b(the|licen[cs]ed?|version|v(?=\d)|under)\b", " ", flat)
        return SPELLINGS.get(re.sub(r"\bv(?=\d)", "", " ".join(flat.split())), "")


def _decide(metadata: _Metadata, texts: Mapping[str, str]) -> tuple[str, str]:
    from_text = " AND ".join(dict.fromkeys(texts.values()))
    if metadata.expression and (spdx := spelled(metadata.expression)):
        return spdx, f"License-Expression: {metadata.expression}"
    declared = {found for found in [spelled(metadata.written)] if found}
    declared |= {CLASSIFIERS[name] for name in metadata.classifiers if CLASSIFIERS.get(name)}
    unknown = [name for name in metadata.classifiers if name not in CLASSIFIERS]
    if unknown:
        return "", f"classifier {unknown[0]!r} is not in the table"
    choice = next(iter(declared)) if len(declared) == 1 else ""
    if " OR " in choice and _parts(choice) == _parts(from_text):
        return choice, f"metadata, with the text of {', '.join(texts)}"
    if from_text and (not declared or _agree(declared, from_text)):
        return from_text, f"text of {', '.join(texts)}"
    if from_text:
        return "", f"metadata says {' and '.join(sorted(declared))}, {', '.join(texts)} says {from_text}"
    if len(declared) == 1:
        return declared.pop(), "metadata"
    if declared:
        return "", f"metadata names {' and '.join(sorted(declared))} without saying how they combine"
    return "", f"no licence that is known here (field: {metadata.written[:80]!r})"


def _agree(declared: set[str], from_text: str) -> bool:
    """Every declared licence is among the texts. GNU licences agree by version: no text says 'or later'."""
    return all(_parts(item) <= _parts(from_text) for item in declared)


def _parts(expression: str) -> set[str]:
    """The licences of a flat expression, without GNU's "only" and "or later"."""
    parts = re.split(r" (?:AND|OR) ", expression.strip("()"))
    return {part.removesuffix("-only").removesuffix("-or-later") for part in parts}


def _metadata(tree: Tree) -> _Metadata:
    found = _Metadata()
    for path, read in (
        ("PKG-INFO", _from_pkg_info),
        ("pyproject.toml", _from_pyproject),
        ("Cargo.toml", _from_cargo),
        ("package.json", _from_package_json),
        ("setup.cfg", _from_setup_text),
        ("setup.py", _from_setup_text),
    ):
        if path in tree and not tree.is_link(path) and tree.size(path) < _MAX_TEXT * 5:
            read(tree[path], found)
        if found.expression or found.written or found.classifiers:
            break
    return found


def _from_pkg_info(data: bytes, found: _Metadata) -> None:
    headers = BytesHeaderParser().parsebytes(data)
    found.expression = str(headers.get("License-Expression", ""))
    found.written = _known(str(headers.get("License", "")))
    found.classifiers = _license_classifiers(map(str, headers.get_all("Classifier", [])))
    for key in ("Author", "Author-email", "Maintainer", "Maintainer-email"):
        found.authors.append(_known(str(headers.get(key, ""))))


def _from_pyproject(data: bytes, found: _Metadata) -> None:
    whole = _toml(data)
    project = _table(whole.get("project")) or _table(_table(whole.get("tool")).get("poetry"))
    license = project.get("license", "")
    found.written = str(license.get("text", "") if isinstance(license, dict) else license)
    found.classifiers = _license_classifiers(map(str, _list(project.get("classifiers"))))
    for author in _list(project.get("authors")):
        found.authors.append(str(author.get("name", "") if isinstance(author, dict) else author))


def _from_cargo(data: bytes, found: _Metadata) -> None:
    package = _table(_toml(data).get("package"))
    found.written = str(package.get("license", "")).replace("/", " OR ")
    found.authors += map(str, _list(package.get("authors")))


def _from_package_json(data: bytes, found: _Metadata) -> None:
    try:
        package = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(package, dict):
        license, author = package.get("license", ""), package.get("author", "")
        found.written = license if isinstance(license, str) else ""
        found.authors.append(str(author.get("name", "")) if isinstance(author, dict) else str(author))


def _from_setup_text(data: bytes, found: _Metadata) -> None:
    """Literal `license = …`, `author = …` and classifiers of setup.py and setup.cfg, which are never run."""
    text = decode(data)
    if written := _SETUP_LICENSE.search(text):
        found.written = written[1].strip()
    found.classifiers = _license_classifiers(re.findall(r"License :: [^\"'\n]+", text))
    if author := _SETUP_AUTHOR.search(text):
        found.authors.append(author[1])


def _toml(data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(decode(data))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(value: Any) -> dict[str, Any]:
    """A table of somebody else's file, which may have anything in its place."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _license_classifiers(classifiers: Iterable[str]) -> list[str]:
    names = [name.strip() for name in classifiers]
    names = [name.removeprefix("License :: ") for name in names if name.startswith("License :: ")]
    names = [name.removeprefix("OSI Approved :: ") for name in names]
    return [name for name in names if name != "OSI Approved"]


def _known(text: str) -> str:
    return "" if text.strip().upper() == "UNKNOWN" else text.strip()


def _attribution(metadata: _Metadata, files: Mapping[str, bytes]) -> str:
    """Authors of the metadata, then the copyright lines of the licence files."""
    lines = list(metadata.authors)
    for path in sorted(files):
        lines += _COPYRIGHT.findall(decode(files[path]))
    cleaned = (" ".join(line.split()) for line in lines)
    return "; ".join(dict.fromkeys(line for line in cleaned if line))[:1000]
