"""Files that no grader should have to read, and a word of the sentence that refuses each."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

from openpyxl import Workbook
from openpyxl.worksheet.formula import ArrayFormula
from small_task import saved, solved

ENTITY = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
IMAGE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"


def parts(change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    """A right workbook with its parts changed and others added."""
    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(solved()))) as source,
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
        for name, data in more.items():
            target.writestr(name.replace("__", "/"), data)
    return found.getvalue()


def same(name: str, data: bytes) -> bytes:
    return data


def sheet(change: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda name, data: change(data) if name == "xl/worksheets/sheet2.xml" else data


def after_head(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: (
        b'<?xml version="1.0" encoding="UTF-8"?>' + text + re.sub(rb"^<\?xml[^>]*>", b"", data)
    )


def bomb() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        target.writestr("xl/workbook.xml", b"<a>")
        for n in range(4):
            target.writestr(f"xl/worksheets/sheet{n}.xml", b" " * (60 << 20))
    return found.getvalue()


def million_rows() -> bytes:
    rows = b"".join(b'<row r="%d"><c r="A%d"><v>1</v></c></row>' % (n, n) for n in range(1, 300_001))
    return parts(
        sheet(
            lambda data: re.sub(
                rb"<sheetData>.*</sheetData>", b"<sheetData>" + rows + b"</sheetData>", data, flags=re.S
            )
        )
    )


def formula(text: str) -> bytes:
    return saved(solved(B2=text))


def array_of_everything() -> bytes:
    book = solved()
    book["Result"]["D1"] = ArrayFormula("D1:ZZ90000", "=1")
    return saved(book)


def linked_image() -> bytes:
    relation = (
        b'<Relationship Id="rId9" Type="%s" Target="http://192.0.2.1/x.png" TargetMode="External"/>' % IMAGE
    )
    rels = b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">' + relation
    return parts(same, **{"xl__worksheets___rels__sheet2.xml.rels": rels + b"</Relationships>"})


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "zip bomb": ("stock.xlsx", bomb, "unpacks to"),
    "many parts": ("stock.xlsx", lambda: parts(same, **{f"p{n}.bin": b"" for n in range(2100)}), "parts"),
    "entity": ("stock.xlsx", lambda: parts(sheet(after_head(ENTITY))), "entities"),
    "billion laughs": ("stock.xlsx", lambda: parts(sheet(after_head(b'<!ENTITY a "aaaa">'))), "entities"),
    "UTF-16": ("stock.xlsx", lambda: parts(sheet(lambda data: data.decode().encode("utf-16"))), "encoding"),
    "password": ("stock.xlsx", lambda: OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
    "old binary": ("stock.xlsx", lambda: OLE + bytes(600), "before 2007"),
    "corrupt": ("stock.xlsx", lambda: saved(solved())[:900], "corrupt"),
    "no workbook": ("stock.xlsx", lambda: b"hello", "corrupt"),
    "broken XML": ("stock.xlsx", lambda: parts(sheet(lambda data: data[: len(data) // 2])), "corrupt"),
    "a million rows": ("stock.xlsx", million_rows, "cells and rows"),
    "external workbook": (
        "stock.xlsx",
        lambda: parts(same, **{"xl__externalLinks__externalLink1.xml": b"<a/>"}),
        "links to another",
    ),
    "linked image": ("stock.xlsx", linked_image, "outside itself"),
    "data connection": (
        "stock.xlsx",
        lambda: parts(same, **{"xl__connections.xml": b"<a/>"}),
        "data connection",
    ),
    "macro sheet": (
        "stock.xlsx",
        lambda: parts(same, **{"xl__macrosheets__sheet1.xml": b"<a/>"}),
        "macro sheets",
    ),
    "DDE": ("stock.xlsx", lambda: formula("=cmd|'/c calc'!A1"), "outside itself"),
    "another workbook": ("stock.xlsx", lambda: formula("='[x.xlsx]A'!A1"), "outside itself"),
    "WEBSERVICE": ("stock.xlsx", lambda: formula('=_xlfn.WEBSERVICE("http://192.0.2.1")'), "WEBSERVICE"),
    "endless array": ("stock.xlsx", array_of_everything, "array formula"),
    "a table as text": ("stock.csv", lambda: b"a,b\n" * 200_000, "cells"),
    "no text": ("stock.csv", lambda: b"\xff\xfe\x00a", "UTF-8"),
}


def heavy() -> bytes:
    """A workbook within the limits on size that needs a lot of memory."""
    book = Workbook(write_only=True)
    made = book.create_sheet("Stock")
    for row in range(2_000):
        made.append([f"text {row} {n} " + "x" * 200 for n in range(100)])
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()
