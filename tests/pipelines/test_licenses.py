"""Licences: told from what real packages write, unknown where they contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.swe.change import Refused
from pipelines.swe.licenses import check, fingerprint, identify, spelled
from pipelines.swe.trees import FILE, Entry, ObjectStore
from warehouse.settings import PERMISSIVE
from warehouse.spdx import permits

MIT = b"""The MIT License (MIT)

Copyright (c) 2014 Ann Author

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software ... The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.
THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND
"""
BSD2 = b"""Copyright 2012-2020 Bea Author.
Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:
"""
BSD3 = BSD2 + b"Neither the name of the copyright holder may be used to endorse or promote products derived\n"
APACHE = b"Apache License\nVersion 2.0, January 2004\n"
GPL3 = b"GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007\n ... use the GNU Affero GPL instead ..."


BSD_CLASSIFIER = b"Classifier: License :: OSI Approved :: BSD License\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("licenses") / "objects.git")


def pkg_info(**fields: str) -> bytes:
    return "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in fields.items()).encode()


@pytest.mark.parametrize(
    ("files", "spdx"),
    [
        ({"PKG-INFO": pkg_info(License_Expression="mit OR apache-2.0")}, "MIT OR Apache-2.0"),
        ({"PKG-INFO": pkg_info(License="MIT")}, "MIT"),
        ({"PKG-INFO": pkg_info(License="Apache License, Version 2.0")}, "Apache-2.0"),
        ({"PKG-INFO": pkg_info(License="BSD 3-Clause License")}, "BSD-3-Clause"),
        ({"PKG-INFO": pkg_info(Classifier="License :: OSI Approved :: MIT License")}, "MIT"),
        ({"PKG-INFO": BSD_CLASSIFIER, "LICENSE": BSD3}, "BSD-3-Clause"),
        ({"PKG-INFO": BSD_CLASSIFIER, "LICENSE.rst": BSD2}, "BSD-2-Clause"),
        ({"PKG-INFO": BSD_CLASSIFIER}, ""),
        ({"PKG-INFO": pkg_info(License="MIT"), "LICENSE": GPL3}, ""),
        ({"PKG-INFO": pkg_info(License="UNKNOWN"), "LICENSE.txt": MIT}, "MIT"),
        ({"PKG-INFO": pkg_info(License="Proprietary, ask us")}, ""),
        ({"PKG-INFO": pkg_info(Classifier="License :: Other/Proprietary License"), "LICENSE": MIT}, ""),
        ({"PKG-INFO": pkg_info(License="GPLv3+"), "COPYING": GPL3}, "GPL-3.0-only"),
        ({"pyproject.toml": b'[project]\nlicense = "MIT"\n'}, "MIT"),
        ({"pyproject.toml": b'[project]\nlicense = {text = "BSD-3-Clause"}\n'}, "BSD-3-Clause"),
        ({"pyproject.toml": b'[tool.poetry]\nlicense = "Apache-2.0"\n'}, "Apache-2.0"),
        ({"setup.py": b"setup(\n  license='ISC',\n)"}, "ISC"),
        ({"package.json": b'{"license": "ISC"}'}, "ISC"),
        ({"Cargo.toml": b'[package]\nlicense = "MIT/Apache-2.0"\n'}, "MIT OR Apache-2.0"),
        (
            {"Cargo.toml": b'[package]\nlicense = "MIT/Apache-2.0"', "LICENSE-MIT": MIT, "LICENSE-A": APACHE},
            "MIT OR Apache-2.0",
        ),
        ({"LICENSE.MIT": MIT, "LICENSE.BSD": BSD3}, "BSD-3-Clause AND MIT"),
        ({"MIT-LICENSE": MIT}, "MIT"),
        ({"my_LICENSE.txt": MIT, "sublicensed.c": b"GNU GENERAL PUBLIC LICENSE"}, "MIT"),
        ({"LICENSE": b"The Artistic License 2.0\n\nCopyright (c) 2000-2006, The Perl"}, "Artistic-2.0"),
        ({"README": b"hello"}, ""),
        ({"pyproject.toml": b"not = [toml"}, ""),
    ],
)  # fmt: skip
def test_identify(store: ObjectStore, files: dict[str, bytes], spdx: str) -> None:
    tree = store.tree(store.write_tree({path: Entry(FILE, data) for path, data in files.items()}))
    found = identify(tree)
    assert found.spdx == spdx, found.evidence


def test_attribution_and_files(store: ObjectStore) -> None:
    files = {
        "PKG-INFO": pkg_info(Author="Cy", License="MIT"),
        "LICENSE": MIT,
        "NOTICE": b"note",
        "src/LICENSE": b"x",
    }
    found = identify(store.tree(store.write_tree({path: Entry(FILE, data) for path, data in files.items()})))
    assert found.attribution == "Cy; Copyright (c) 2014 Ann Author"
    assert sorted(found.files) == ["LICENSE", "NOTICE"]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT AND (Apache-2.0 OR GPL-2.0-only)", True),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("MPL-2.0 OR (MIT AND GPL-2.0-only)", False),
    ],
)
def test_permits(expression: str, allowed: bool) -> None:
    assert permits(expression, PERMISSIVE) is allowed


def test_check_names_its_reason(store: ObjectStore) -> None:
    def reason(files: dict[str, bytes]) -> str:
        tree = store.tree(store.write_tree({path: Entry(FILE, data) for path, data in files.items()}))
        with pytest.raises(Refused) as refused:
            check(identify(tree), PERMISSIVE)
        return refused.value.reason

    assert reason({"a": b""}) == "license_unknown"
    assert reason({"LICENSE": GPL3}) == "license_not_permitted"


def test_spellings_of_the_field() -> None:
    assert spelled("The MIT License") == "MIT"
    assert spelled("Apache 2.0") == "Apache-2.0"
    assert spelled("New BSD License") == "BSD-3-Clause"
    assert spelled(MIT.decode()) == "MIT"
    assert spelled("see LICENSE") == ""


def test_this_interpreters_own_packages() -> None:
    """Licence files of installed packages, which others wrote: none is taken for a licence it is not."""
    import importlib.metadata as metadata

    checked = 0
    for name, spdx in {
        "pytest": "MIT",
        "requests": "Apache-2.0",
        "idna": "BSD-3-Clause",
        "packaging": "BSD-2-Clause",
    }.items():
        for file in metadata.files(name) or ():
            if Path(str(file)).name in ("LICENSE", "LICENSE.md", "LICENSE.BSD")[name == "packaging" and 2 :]:
                assert fingerprint(Path(str(file.locate())).read_text()) == spdx, file
                checked += 1
    assert checked >= 2
