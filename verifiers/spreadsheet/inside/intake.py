"""What a submitted file may be. Everything else is refused with one sentence, before anything parses it.

The file is looked at as bytes: sizes before contents, marks of entities, passwords, links and programs before
any XML parser sees it. Nothing is fetched and nothing is run; what is refused is the submission's own fault.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass

FILE_BYTES = 32 << 20
UNPACKED_BYTES = 192 << 20
PARTS = 2000
CELLS = 250_000
CSV_CELLS = 250_000

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = b"".join(bytes((letter, 0)) for letter in b"EncryptedPackage")  # UTF-16, without its codec
CELL = re.compile(rb"<(?:\w+:)?c[\s/>]")
ROW = re.compile(rb"<(?:\w+:)?row[\s/>]")
ODS_TAG = re.compile(rb"<(?:\w+:)?table-(row|cell)\b([^>]*)>")
ODS_REPEAT = re.compile(rb'number-(?:rows|columns)-repeated\s*=\s*"(\d+)"')
ODS_FILLED = re.compile(rb"value-type|formula")
ENTITY = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.I)
ENCODING = re.compile(rb"^\s*<\?xml[^>]*encoding\s*=\s*[\"']([^\"']+)", re.I)
RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
ODS_FETCHED = re.compile(
    rb"<(?:\w+:)?(?:dde-source|table-source|cell-range-source|database-source-\w+|dde-link)\b"
)
ODS_LINK = re.compile(
    rb"<draw:(?:image|object|object-ole)\b[^>]*xlink:href\s*=\s*[\"'](?![\"'.#]|Pictures|Object)"
)


class Refused(Exception):
    """The submission cannot be graded: one sentence that says why."""


@dataclass(frozen=True)
class Admitted:
    """A file that may be parsed."""

    kind: str
    """xlsx (also of .xlsm), ods or csv."""
    data: bytes
    notes: tuple[str, ...] = ()


def admit(name: str, data: bytes) -> Admitted:
    """Look at a file. Raises Refused."""
    if name.endswith(".csv"):
        return _csv(name, data)
    parts = opened(name, data, ".xlsx", "workbook")
    return _ods(name, parts, data) if name.endswith(".ods") else _xlsx(name, parts, data)


def opened(name: str, data: bytes, suffix: str, what: str) -> dict[str, bytes]:
    """The parts of an office file, those that are XML read; `suffix` is how a plain `what` ends. Raises
    Refused.
    """
    _size(name, data)
    if data.startswith(OLE):
        locked = ENCRYPTED in data
        found = "is protected with a password" if locked else f"is a binary {what} of before 2007"
        raise Refused(f"{name} {found}; save it as a plain {suffix}.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = _parts(name, archive)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        ValueError,
        zlib.error,
    ) as e:
        raise Refused(f"{name} is corrupt: it is no readable zip archive ({type(e).__name__}).") from e
    except RuntimeError as e:  # what zipfile says of encrypted members
        raise Refused(f"{name} is protected with a password; save it as a plain {what}.") from e
    for part, content in parts.items():
        _text(name, part, content, what)
        if part.lower().endswith(".rels"):
            _relations(name, content, what)
    return parts


def _size(name: str, data: bytes) -> None:
    if len(data) > FILE_BYTES:
        raise Refused(f"{name} has {len(data) >> 20} MiB; at most {FILE_BYTES >> 20} MiB are read.")


def _parts(name: str, archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The members that are text, read whole; sizes are the archive's word, which zipfile holds it to."""
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > PARTS:
        raise Refused(f"{name} has {len(entries)} parts; at most {PARTS} are read.")
    if total > UNPACKED_BYTES:
        raise Refused(f"{name} unpacks to {total >> 20} MiB; at most {UNPACKED_BYTES >> 20} MiB are read.")
    if len({entry.filename for entry in entries}) != len(entries):
        raise Refused(f"{name} is corrupt: it names a part twice.")
    wanted = (".xml", ".rels", ".vml")
    found = {e.filename: archive.read(e) for e in entries if e.filename.lower().endswith(wanted)}
    return found | {e.filename: b"" for e in entries if e.filename not in found}


def _text(name: str, part: str, content: bytes, what: str) -> None:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:64]:
        raise Refused(f"{name} holds {part} in another encoding than UTF-8.")
    declared = ENCODING.search(content[:200])
    if declared and declared[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"):
        raise Refused(f"{name} holds {part} in another encoding than UTF-8.")
    if ENTITY.search(content):
        raise Refused(f"{name} declares XML entities in {part}; a {what} needs none.")


def _xlsx(name: str, parts: dict[str, bytes], data: bytes) -> Admitted:
    if not any(part.lower().endswith("workbook.xml") for part in parts):
        raise Refused(f"{name} is corrupt: it holds no workbook.")
    lowered = {part.lower(): part for part in parts}
    for folder, what in (
        ("xl/externallinks/", "links to another file or program (DDE, OLE or an external workbook)"),
        ("xl/macrosheets/", "has Excel 4 macro sheets"),
        ("xl/connections.xml", "has a data connection"),
        ("xl/querytables/", "has a query of external data"),
    ):
        if any(part.startswith(folder) for part in lowered):
            raise Refused(f"{name} {what}; a graded workbook stands alone.")
    cells = sum(
        len(CELL.findall(content)) + len(ROW.findall(content))
        for part, content in parts.items()
        if "worksheets/" in part.lower()
    )
    if cells > CELLS:
        raise Refused(f"{name} has {cells} cells and rows; at most {CELLS} are read.")
    macros = any(part.endswith("vbaproject.bin") for part in lowered)
    return Admitted("xlsx", data, ("its macros were left out and never run",) if macros else ())


def _relations(name: str, content: bytes, what: str) -> None:
    """Hyperlinks are text to us; any other outside target would be fetched by somebody."""
    for relation in RELATION.findall(content):
        if re.search(rb'TargetMode\s*=\s*["\']External', relation, re.I) and not re.search(
            rb'Type\s*=\s*["\'][^"\']*/hyperlink["\']', relation, re.I
        ):
            raise Refused(f"{name} refers to something outside itself; a graded {what} stands alone.")


def _ods(name: str, parts: dict[str, bytes], data: bytes) -> Admitted:
    if b"encryption-data" in parts.get("META-INF/manifest.xml", b""):
        raise Refused(f"{name} is protected with a password; save it as a plain workbook.")
    content = parts.get("content.xml", b"")
    if not content:
        raise Refused(f"{name} is corrupt: it holds no workbook.")
    if ODS_FETCHED.search(content) or ODS_LINK.search(content):
        raise Refused(f"{name} refers to something outside itself; a graded workbook stands alone.")
    cells = _ods_cells(content)
    if cells > CELLS:
        raise Refused(f"{name} has {cells} cells and rows; at most {CELLS} are read.")
    macros = any(part.startswith(("Basic/", "Scripts/")) for part in parts)
    return Admitted("ods", data, ("its macros were never run",) if macros else ())


def _ods_cells(content: bytes) -> int:
    """How many cells and rows there are, stretches of filled ones counted out."""
    found, rows = 0, 1
    for tag in ODS_TAG.finditer(content):
        repeated = ODS_REPEAT.search(tag[2])
        times = int(repeated[1]) if repeated else 1
        if tag[1] == b"row":
            rows, found = times, found + 1
        else:
            found += rows * times if ODS_FILLED.search(tag[2]) else 1
    return found


def _csv(name: str, data: bytes) -> Admitted:
    _size(name, data)
    if b"\0" in data:
        raise Refused(f"{name} is no text in UTF-8.")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is no text in UTF-8.") from error
    if (cells := data.count(b"\n") + data.count(b",") + data.count(b";") + data.count(b"\t")) > CSV_CELLS:
        raise Refused(f"{name} has about {cells} cells; at most {CSV_CELLS} are read.")
    return Admitted("csv", data)
