"""Which paths of a JavaScript or TypeScript project are tests, and which steer them. By path alone."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

SUFFIXES = (".js", ".ts", ".mjs", ".cjs", ".jsx", ".tsx", ".mts", ".cts")

FOLDERS = re.compile(
    r"__(tests?|mocks|snapshots|fixtures)__|tests?|specs?|e2e|tap-snapshots"
    r"|(unit|integration|functional)[-_]?tests?|test[-_]?(data|fixtures|utils?|helpers?)"
)
NAMES = re.compile(
    r".+[._-](test|tests|spec|specs|unit|e2e)(-d)?\.[cm]?[jt]sx?|tests?\.[cm]?[jt]sx?|test-.+\.[cm]?[jt]s"
    r"|.+\.(test|spec)\.[cm]?[jt]sx?\.(snap|md)|.+\.snap"
)
# Folders that may ship a `test` or `spec` of their own as source.
SOURCES = frozenset({"src", "lib"})

STEERING = (
    r"(^|/)(package(-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-(lock|workspace)\.yaml|\.npmrc"
    r"|\.yarnrc(\.yml)?|(jest|vitest|vite|ava|babel|swc|karma|nyc|tap|tsup|rollup|webpack)\.config\.[\w.]+"
    r"|(jest|vitest)\.(setup|workspace|preset)\.[\w.]+|\.mocharc(\.\w+)?|mocha\.opts|\.taprc|tsconfig[\w.-]*\.json"
    r"|jsconfig\.json|\.babelrc(\.\w+)?|\.swcrc|\.nycrc(\.\w+)?|\.c8rc(\.\w+)?|\.node-version|\.nvmrc)$"
)


def is_test(path: str) -> bool:
    """Does the path hold tests, or what only tests use (snapshots, fixtures)?"""
    pure = PurePosixPath(path)
    folders = pure.parts[:-1]
    for depth, folder in enumerate(folders):
        inside_source = depth > 1 and folders[0] in SOURCES and not folder.startswith("__")
        if FOLDERS.fullmatch(folder) and not (inside_source and folder in ("test", "spec")):
            return True
    return bool(NAMES.fullmatch(pure.name))
