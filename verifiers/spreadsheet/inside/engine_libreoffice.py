"""Recalculation by LibreOffice, the authority: one server, spoken to over UNO, any number of workbooks.

The server's profile forces recalculation on loading; its default would keep the cached values of a file,
forged ones too. Macros are never run, links never updated, and documents go in as streams, so the server
needs to read no file of ours.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from references import Area
from values import BLANK, Value

NAME = "LibreOffice"
START_SECONDS = 90.0
ERRORS = {
    502: "#NUM!", 503: "#NUM!", 504: "#REF!", 508: "#NAME?", 509: "#NAME?", 510: "#NAME?", 511: "#NAME?",
    519: "#VALUE!", 522: "#CIRC!", 523: "#NUM!", 524: "#REF!", 525: "#NAME?", 526: "#NAME?", 532: "#DIV/0!",
    533: "#VALUE!", 32767: "#N/A",
}  # fmt: skip
FORMULA_ERROR = 4  # com.sun.star.sheet.FormulaResult.ERROR
PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load"><prop oor:name="OOXMLRecalcMode"
 oor:op="fuse"><value>0</value></prop></item>
<item oor:path="/org.openoffice.Office.Calc/Formula/Load"><prop oor:name="ODFRecalcMode"
 oor:op="fuse"><value>0</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="MacroSecurityLevel"
 oor:op="fuse"><value>3</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop oor:name="DisableMacrosExecution"
 oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting"><prop
 oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooSetupSystemLocale"
 oor:op="fuse"><value>en-US</value></prop></item>
</oor:items>
"""


class ServerLost(Exception):
    """The server is gone, or never came."""


class Unreadable(Exception):
    """The server does not take this workbook."""


class Server:
    """A LibreOffice process of its own, in a session of its own, with a profile of its own."""

    def __init__(self, enter: Callable[[], None] | None = None, owner: tuple[int, int] | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="office-"))
        (self.home / "user").mkdir()
        (self.home / "user" / "registrymodifications.xcu").write_text(PROFILE)
        if owner is not None and os.getuid() == 0:
            for path in (self.home, self.home / "user", self.home / "user" / "registrymodifications.xcu"):
                os.chown(path, *owner)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = shutil.which("soffice")
        if program is None:
            raise ServerLost("LibreOffice is not installed here.")
        self.process = subprocess.Popen(
            [program, "--headless", "--invisible", "--norestore", "--nologo", "--nodefault",
             "--nofirststartwizard", f"-env:UserInstallation=file://{self.home}",
             f"--accept=socket,host=127.0.0.1,port={self.port},tcpNoDelay=1;urp;"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LC_ALL": "C.UTF-8", "TZ": "UTC",
                 "SAL_USE_VCLPLUGIN": "svp"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True, preexec_fn=enter,
        )  # fmt: skip

    def wait(self) -> None:
        """Until it listens. Raises ServerLost."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerLost(f"LibreOffice ended with status {self.process.returncode}.")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise ServerLost(f"LibreOffice did not start within {START_SECONDS:.0f} s.")

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


class Office:
    """A connection to a server."""

    def __init__(self, port: int) -> None:
        import uno  # ty: ignore[import-not-found]

        self.uno = uno
        local = uno.getComponentContext()
        resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
        address = f"uno:socket,host=127.0.0.1,port={port},tcpNoDelay=1;urp;StarOffice.ComponentContext"
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.context = resolver.resolve(address)
                break
            except Exception as error:  # UNO's exceptions are made at run time and share no base but this
                if time.monotonic() > deadline:
                    raise ServerLost(f"LibreOffice does not answer: {error}") from error
                time.sleep(0.05)
        self.services = self.context.ServiceManager
        self.desktop = self._service("com.sun.star.frame.Desktop")

    def _service(self, name: str) -> Any:
        return self.services.createInstanceWithContext(name, self.context)

    def version(self) -> str:
        access = self._service("com.sun.star.configuration.ConfigurationProvider")
        node = self._property("nodepath", "/org.openoffice.Setup/Product")
        name = "com.sun.star.configuration.ConfigurationAccess"
        return str(access.createInstanceWithArguments(name, (node,)).getByName("ooSetupVersionAboutBox"))

    def _property(self, name: str, value: Any) -> Any:
        made = self.uno.createUnoStruct("com.sun.star.beans.PropertyValue")
        made.Name, made.Value = name, value
        return made

    def load(self, data: bytes, kind: str) -> Any:
        stream = self._service("com.sun.star.io.SequenceInputStream")
        stream.initialize((self.uno.ByteSequence(data),))
        filters = {"xlsx": "Calc MS Excel 2007 XML", "ods": "calc8"}
        settings = {
            "Hidden": True, "InputStream": stream, "FilterName": filters[kind], "MacroExecutionMode": 0,
            "UpdateDocMode": 0, "Silent": True,
        }  # fmt: skip
        arguments = tuple(self._property(name, value) for name, value in settings.items())
        document = self.desktop.loadComponentFromURL("private:stream", "_blank", 0, arguments)
        if document is None or not hasattr(document, "Sheets"):
            raise Unreadable("LibreOffice does not read it as a workbook.")
        return document

    def to_xlsx(self, data: bytes) -> bytes:
        """An .ods workbook as .xlsx, recalculated on the way in."""
        document = self.load(data, "ods")
        try:
            stream = self._service("com.sun.star.io.SequenceOutputStream")
            arguments = (
                self._property("OutputStream", stream),
                self._property("FilterName", "Calc MS Excel 2007 XML"),
            )
            document.storeToURL("private:stream", arguments)
            return bytes(stream.getWrittenBytes().value)
        finally:
            document.close(True)


class Session:
    """One workbook in the server."""

    name = NAME

    def __init__(self, office: Office, copy: bytes, sheets: list[str]) -> None:
        self.version = office.version()
        self.document = office.load(copy, "xlsx")
        names = self.document.Sheets.getElementNames()
        self.sheets = {name.casefold(): self.document.Sheets.getByName(name) for name in names}

    def edit(self, sheet: str, row: int, column: int, content: Value) -> None:
        cell = self.sheets[sheet.casefold()].getCellByPosition(column - 1, row - 1)
        kind, value = content
        if kind in ("number", "boolean"):
            cell.setValue(float(value))
        elif kind == "blank":
            cell.setFormula("")
        else:
            cell.setString(str(value))

    def calculate(self) -> None:
        self.document.calculateAll()

    def read(self, wanted: Area) -> dict[tuple[int, int], Value]:
        block = self.sheets[wanted.sheet.casefold()].getCellRangeByPosition(
            wanted.left - 1, wanted.top - 1, wanted.right - 1, wanted.bottom - 1
        )
        found = {
            (wanted.top + down, wanted.left + across): self._value(block, content, across, down)
            for down, line in enumerate(block.getDataArray())
            for across, content in enumerate(line)
        }
        for address in block.queryFormulaCells(FORMULA_ERROR).getRangeAddresses():
            for row in range(address.StartRow, address.EndRow + 1):
                for column in range(address.StartColumn, address.EndColumn + 1):
                    cell = self.sheets[wanted.sheet.casefold()].getCellByPosition(column, row)
                    code = cell.getError()
                    found[(row + 1, column + 1)] = ("error", ERRORS.get(code, f"#ERR{code}!"))
        return found

    def _value(self, block: Any, content: Any, across: int, down: int) -> Value:
        if isinstance(content, str):
            return ("text", content) if content else BLANK
        if not isinstance(content, (int, float)):
            return BLANK
        # A truth value is 0 or 1 that is shown as a word.
        if content in (0.0, 1.0) and block.getCellByPosition(across, down).getString() in ("TRUE", "FALSE"):
            return ("boolean", bool(content))
        return ("number", float(content))

    def close(self) -> None:
        self.document.close(True)
