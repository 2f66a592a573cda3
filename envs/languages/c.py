"""The toolchains of C and C++: CMake with CTest, autotools, Meson, or a plain Makefile.

The test command configures (again: globs and copied inputs are looked at then), compiles what changed, as far
as it goes, and runs the tests. Objects are kept between runs; programs and libraries are removed before every
build, so that what no longer compiles is missing instead of old. Projects that switch their tests off by
default have their own options for it, which are found by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import ClassVar

from envs.languages import Broken, Upstream
from envs.languages.native import NativeRecipe, NativeToolchain
from envs.languages.tree import Tree

# Debian suite, the day its GCC came out, and whether its CTest writes JUnit.
GCC: tuple[tuple[str, date, bool], ...] = (
    ("bullseye", date(2020, 5, 7), False),
    ("bookworm", date(2022, 5, 6), True),
    ("trixie", date(2024, 5, 7), True),
)
BUILD = "/app/.build"  # in the tree, which is handed to whoever runs the tests; git ignores it
JOBS = "-j2"
FRAMEWORKS = {
    "GTEST_SHUFFLE": "{seed}",
    "GTEST_RANDOM_SEED": "{seed}",
    "GTEST_COLOR": "no",
    "CK_VERBOSITY": "verbose",
    "BOOST_TEST_LOG_LEVEL": "test_suite",
    "NO_FAKE_STAT": "1",  # at another date, files keep their times: make compares them
}

TEST_FOLDER = re.compile(
    r"tests?|t|testing|testsuite|unit[-_]?tests?|.*[-_]tests?|tests?[-_].*|testdata|test_data|spec"
)
TEST_FILE = re.compile(
    r"(test|tests|unittests?|test[-_].*|.*[-_](test|tests|unittest|spec)|.*Tests?)\.(c|cc|cpp|cxx|h|hh|hpp)"
)
C_FILES = (".c", ".h")
CPP_FILES = (".cc", ".cpp", ".cxx", ".c++", ".hpp", ".hh")
TESTED = re.compile(r"\b(enable_testing|add_test|\w*discover_tests)\s*\(|include\s*\(\s*CTest\s*\)", re.I)
OFF = re.compile(
    r"\b(?:cmake_dependent_)?option\s*\(\s*(\w+)\s+(?:\"[^\"]*\"\s+)?(?:OFF|FALSE|NO|0)?\s*\)", re.I
)
TEST_OPTION = re.compile(r"(^|_)(BUILD|ENABLE|WITH|UNIT)?_?(UNIT_?)?TEST(S|ING|SUITE)?($|_)", re.I)
NO_TEST_OPTION = re.compile(
    r"FUZZ|PERF|BENCH|CUDA|INSTALL|COVER|VALGRIND|PYTHON|SANIT|EXTERNAL|SYSTEM|SLOW|LONG|NETWORK|CPACK|MODULE|QT",
    re.I,
)

# What build files look for → Debian packages. The pattern is a name as CMake, pkg-config or a header has it.
LIBRARIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"gtest|googletest|gmock", ("libgtest-dev", "libgmock-dev")),
    (r"catch2?", ("catch2",)),
    (r"doctest", ("doctest-dev",)),
    (r"cmocka", ("libcmocka-dev",)),
    (r"check", ("check",)),
    (r"cunit|CUnit", ("libcunit1-dev",)),
    (r"criterion", ("libcriterion-dev",)),
    (r"cpputest", ("cpputest",)),
    (r"boost(?!.*test)", ("libboost-dev",)),
    (r"boost.*test", ("libboost-test-dev",)),
    (r"openssl|libssl|libcrypto", ("libssl-dev",)),
    (r"zlib", ("zlib1g-dev",)),
    (r"bzip2|bzlib", ("libbz2-dev",)),
    (r"liblzma|lzma", ("liblzma-dev",)),
    (r"zstd|libzstd", ("libzstd-dev",)),
    (r"lz4|liblz4", ("liblz4-dev",)),
    (r"curl|libcurl", ("libcurl4-openssl-dev",)),
    (r"libevent|event2", ("libevent-dev",)),
    (r"libuv|uv", ("libuv1-dev",)),
    (r"libxml2?|libxml-2\.0", ("libxml2-dev",)),
    (r"expat", ("libexpat1-dev",)),
    (r"sqlite3?", ("libsqlite3-dev",)),
    (r"readline", ("libreadline-dev",)),
    (r"n?curses\w*", ("libncurses-dev",)),
    (r"pcre2.*", ("libpcre2-dev",)),
    (r"pcre", ("libpcre3-dev",)),
    (r"glib(-2\.0)?", ("libglib2.0-dev",)),
    (r"jansson", ("libjansson-dev",)),
    (r"yaml(-0\.1)?", ("libyaml-dev",)),
    (r"gmp", ("libgmp-dev",)),
    (r"ffi|libffi", ("libffi-dev",)),
    (r"png|libpng\d*", ("libpng-dev",)),
    (r"jpeg|libjpeg", ("libjpeg-dev",)),
    (r"benchmark", ("libbenchmark-dev",)),
    (r"eigen3?", ("libeigen3-dev",)),
    (r"fmt", ("libfmt-dev",)),
    (r"nlohmann_json", ("nlohmann-json3-dev",)),
    (r"protobuf", ("libprotobuf-dev", "protobuf-compiler")),
    (r"uuid", ("uuid-dev",)),
    (r"numa", ("libnuma-dev",)),
    (r"systemd|libsystemd", ("libsystemd-dev",)),
)
# Programs that a build names when they are missing → Debian packages.
PROGRAMS = {
    "bison": "bison", "yacc": "bison", "flex": "flex", "lex": "flex", "gperf": "gperf", "perl": "perl",
    "tclsh": "tcl", "tclsh8.6": "tcl", "xxd": "xxd", "gettext": "gettext", "msgfmt": "gettext",
    "autopoint": "autopoint", "help2man": "help2man", "makeinfo": "texinfo", "valgrind": "valgrind",
    "bc": "bc", "file": "file", "unzip": "unzip", "zip": "zip", "wget": "wget", "curl": "curl",
    "python": "python-is-python3", "gawk": "gawk", "rsync": "rsync", "nasm": "nasm", "yasm": "yasm",
    "clang": "clang", "ninja": "ninja-build", "meson": "meson", "cmake": "cmake", "re2c": "re2c",
}  # fmt: skip


class CToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "c"
    suffixes: ClassVar[tuple[str, ...]] = (".c",)  # a header may be of either
    steering: ClassVar[str] = (
        r"(^|/)(CMakeLists\.txt|CMakePresets\.json|CTest\w+\.cmake|CTestCustom\.cmake|(GNU)?[Mm]akefile(\.\w+)?"
        r"|[^/]+\.(cmake|mk|m4)|configure(\.ac|\.in)?|meson\.build|meson_options\.txt)$"
    )
    packages: ClassVar[tuple[str, ...]] = (
        "gcc", "g++", "libc6-dev", "make", "cmake", "pkg-config", "autoconf", "automake", "libtool",
    )  # fmt: skip

    def claims(self, tree: Tree) -> bool:
        builds = any(name in tree for name in (*MAKEFILES, "CMakeLists.txt", "configure.ac", "meson.build"))
        return builds and any(path.endswith(self.suffixes) for path in tree)

    def is_test(self, path: str) -> bool:
        *folders, name = path.split("/")
        return any(map(TEST_FOLDER.fullmatch, folders)) or bool(TEST_FILE.fullmatch(name))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        gold = upstream.gold
        if not any(self.is_test(path) and path.endswith((*C_FILES, *CPP_FILES)) for path in gold):
            return Broken("plan", "No source file lies where tests do.", reason="no_tests")
        out = [entry for entry in GCC if entry[1] <= upstream.date.date()]
        order = (*reversed(out), *(entry for entry in GCC if entry not in out))
        kinds = list(_kinds(gold))
        if not kinds:
            return Broken("plan", "No CMake, autotools, Meson or make target runs tests.", reason="no_tests")
        return [self._recipe(gold, kind, suite, junit) for kind in kinds for suite, _, junit in order[:2]]

    def _recipe(self, tree: Tree, kind: str, suite: str, junit: bool) -> NativeRecipe:
        plain = NativeRecipe(
            language=self.language, suite=suite, framework=kind, report="c", test=("true",),
            packages=_packages(tree), test_env=FRAMEWORKS, notes=(f"build system: {kind}",),
        )  # fmt: skip
        return {"ctest": _cmake, "automake": _autotools, "meson": _meson}.get(kind, _make)(plain, tree, junit)

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        """A missing header, library or program has a Debian package; a new warning is no error."""
        if mended := super().repair(recipe, broken):
            return mended
        if more := tuple(sorted(set(_missing(broken.log)) - {*recipe.packages, *self.packages})):
            note = f"added {', '.join(more)}: the build looked for it"
            return recipe.model_copy(
                update={"packages": (*recipe.packages, *more), "notes": (*recipe.notes, note)}
            )
        flags = {f"-Wno-error={name}" for name in re.findall(r"\[-Werror=([\w+-]+)=?\]", broken.log)}
        had = recipe.env.get("CFLAGS", "")
        if not flags or flags <= set(had.split()):
            return None
        text = " ".join(sorted({*had.split(), *flags}))
        env = recipe.env | {"CFLAGS": text, "CXXFLAGS": text}
        note = f"warnings newer than the source are no errors: {', '.join(sorted(flags))}"
        return recipe.model_copy(update={"env": env, "notes": (*recipe.notes, note)})


class CppToolchain(CToolchain):
    """As C: what differs is which tests there are more of."""

    language: ClassVar[str] = "cpp"
    suffixes: ClassVar[tuple[str, ...]] = (".cc", ".cpp", ".cxx", ".c++")


MAKEFILES = ("Makefile", "makefile", "GNUmakefile")
TARGET = re.compile(r"^(check|test|tests)\s*:(?!=)", re.M)


def _kinds(tree: Tree) -> Iterator[str]:
    """Build systems that can run tests, best reported first."""
    if "CMakeLists.txt" in tree and TESTED.search(_cmake_text(tree)):
        yield "ctest"
    if "meson.build" in tree and any(
        re.search(r"^\s*test\s*\(", tree.text(p), re.M) for p in tree if p.endswith("meson.build")
    ):
        yield "meson"
    if "configure.ac" in tree or "configure.in" in tree or "configure" in tree:
        yield "automake"
    for name in MAKEFILES:
        if match := TARGET.search(tree.text(name)):
            yield f"make {match[1]}"
            return


def _cmake_text(tree: Tree) -> str:
    paths = [p for p in tree if p.endswith(("CMakeLists.txt", ".cmake"))]
    return "\n".join(re.sub(r"#[^\n]*", "", tree.text(path)) for path in sorted(paths))


def _script(*lines: str) -> tuple[str, ...]:
    return ("sh", "-c", "\n".join(lines))


# Programs and libraries that an earlier build left, by their first bytes; objects stay.
def _without_products(listing: str) -> str:
    return f"{listing} | LC_ALL=C xargs -0r grep -lsaZE -m1 '^(.ELF|!<arch>)' | xargs -0r rm -f"


PRODUCTS = _without_products(rf"find {BUILD} -type f ! -name '*.o' ! -name '*.gch' ! -name '*.pch' -print0")
UNTRACKED_PRODUCTS = _without_products(r"git ls-files -o -z | grep -zvE '\.(o|lo|gch)$'")


def _cmake(plain: NativeRecipe, tree: Tree, junit: bool) -> NativeRecipe:
    text = _cmake_text(tree)
    options = sorted(
        {name for name in OFF.findall(text) if TEST_OPTION.search(name) and not NO_TEST_OPTION.search(name)}
    )
    fetched = set(re.findall(r"FetchContent_Declare\s*\(\s*(gtest|googletest)\b", text, re.I))
    arguments = [
        "-DBUILD_TESTING=ON",
        *(f"-D{name}=ON" for name in options),
        "-DFETCHCONTENT_FULLY_DISCONNECTED=ON",
        *(f"-DFETCHCONTENT_SOURCE_DIR_{name.upper()}=/usr/src/googletest" for name in sorted(fetched)),
    ]
    configure = f"cmake -S /app -B {BUILD} -G 'Unix Makefiles' -Wno-dev {' '.join(arguments)}"
    report = " --output-junit {out}/ctest.xml" if junit else ""
    sizes = " ".join(f"--test-output-size-{kind} 1048576" for kind in ("passed", "failed"))
    run = f"ctest -V --timeout {{test_seconds}} {sizes}{report}"
    return plain.model_copy(
        update={
            "build": (f"{configure} && cmake --build {BUILD} {JOBS}",),
            "test": _script(
                PRODUCTS,
                f"{configure} || exit 2",
                f"cmake --build {BUILD} {JOBS} -- -k",
                f"cd {BUILD} && exec {run}",
            ),
            "report_files": ("{out}/ctest.xml",) if junit else (),
            "log_report": "c" if junit else "",
        }
    )


def _autotools(plain: NativeRecipe, tree: Tree, junit: bool) -> NativeRecipe:
    configure = "./configure" if "configure" in tree else "autoreconf -fi && ./configure"
    return plain.model_copy(
        update={
            "build": (configure, f"make {JOBS}"),
            "test": _script(UNTRACKED_PRODUCTS, f"make -k {JOBS} all", "exec make -k check VERBOSE=1"),
        }
    )


def _meson(plain: NativeRecipe, tree: Tree, junit: bool) -> NativeRecipe:
    return plain.model_copy(
        update={
            "packages": (*plain.packages, "meson", "ninja-build"),
            "build": (f"meson setup {BUILD} /app --wrap-mode=nodownload && ninja -C {BUILD} {JOBS}",),
            "test": _script(
                PRODUCTS,
                f"ninja -C {BUILD} {JOBS} -k 0",
                f"meson test -C {BUILD} --no-rebuild --num-processes 1",
                "status=$?",
                f"cp {BUILD}/meson-logs/testlog.junit.xml {{out}}/meson.xml",
                "exit $status",
            ),
            "report_files": ("{out}/meson.xml",),
        }
    )


def _make(plain: NativeRecipe, tree: Tree, junit: bool) -> NativeRecipe:
    return plain.model_copy(
        update={
            "build": (f"make {JOBS}",),
            "test": _script(
                UNTRACKED_PRODUCTS,
                f"{plain.framework}",
                "status=$?",
                f'echo "[{plain.framework}] exit status $status"',
                "exit $status",
            ),
        }
    )


def _packages(tree: Tree) -> tuple[str, ...]:
    """Debian packages of what the build files name."""
    text = _cmake_text(tree)
    names = re.findall(r"(?:find_package|FetchContent_Declare|pkg_check_modules)\s*\(\s*(\w+)", text, re.I)
    for path in tree:
        if path.endswith(("meson.build", "configure.ac")):
            asked = r"(?:dependency\s*\(\s*'|PKG_CHECK_MODULES\(\[?\w+\]?,\s*\[?)([\w.+-]+)"
            names += re.findall(asked, tree.text(path))
    return tuple(sorted({package for name in names for package in _debian(name)}))


def _debian(name: str) -> tuple[str, ...]:
    return next((found for pattern, found in LIBRARIES if re.fullmatch(pattern, name, re.I)), ())


def _missing(log: str) -> Iterator[str]:
    """Packages of what a build says that it lacks."""
    told = []
    for header in re.findall(r"fatal error: ([\w./+-]+): No such file", log):
        told += re.sub(r"\.h\w*$", "", header).split("/")  # openssl/ssl.h: its folder or itself
    told += re.findall(r"Could (?:NOT|not) find (?:a package configuration file provided by \")?(\w+)", log)
    told += re.findall(r"(?:Package|package) '?([\w.+-]+)'?,? (?:required by|was not found|not found)", log)
    told += re.findall(r"No package '([\w.+-]+)' found", log) + re.findall(r"cannot find -l([\w+-]+)", log)
    for name in told:
        yield from _debian(name)
    for name in re.findall(r"(?:^|[:\s/])([\w.+-]+): (?:command )?not found", log, re.M):
        if name in PROGRAMS:
            yield PROGRAMS[name]
