"""Which distribution provides an import name, and which third-party names the tests import. By syntax tree
only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

from packaging.utils import canonicalize_name

from envs.languages.python.paths import SOURCE_ROOTS, is_test
from envs.languages.tree import Tree

# Import name → distribution, where normalising the name does not tell. None: nothing on the index provides
# it.
DISTRIBUTIONS: dict[str, str | None] = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cairo": "pycairo", "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless", "dateutil": "python-dateutil", "dns": "dnspython",
    "docx": "python-docx", "dotenv": "python-dotenv", "fitz": "pymupdf", "git": "GitPython",
    "github": "PyGithub", "google": None, "jose": "python-jose", "jwt": "PyJWT", "kafka": "kafka-python",
    "ldap": "python-ldap", "magic": "python-magic", "markdown": "Markdown", "mpl_toolkits": "matplotlib",
    "MySQLdb": "mysqlclient", "nacl": "PyNaCl", "OpenSSL": "pyOpenSSL", "PIL": "Pillow",
    "pkg_resources": "setuptools", "pptx": "python-pptx", "psycopg2": "psycopg2-binary",
    "pylab": "matplotlib", "pytest_asyncio": "pytest-asyncio", "pytest_cov": "pytest-cov",
    "pytest_mock": "pytest-mock", "pythoncom": None, "Cython": "cython", "pyximport": "cython",
    "ruamel": "ruamel.yaml", "sklearn": "scikit-learn", "skimage": "scikit-image", "serial": "pyserial",
    "slugify": "python-slugify", "socks": "PySocks", "telegram": "python-telegram-bot", "usb": "pyusb",
    "win32api": None, "win32con": None, "wx": None, "yaml": "PyYAML", "zmq": "pyzmq",
    "zope": "zope.interface", "flask_login": "Flask-Login", "rest_framework": "djangorestframework",
    "corsheaders": "django-cors-headers", "_pytest": "pytest", "tests": None, "test": None, "conftest": None,
    "setup": None, "docs": None, "hypothesis_trio": "hypothesis-trio", "faker": "Faker",
    "sqlalchemy": "SQLAlchemy", "werkzeug": "Werkzeug", "gi": None, "apt": None, "Xlib": "python-xlib",
    "multipart": "python-multipart", "barcode": "python-barcode", "editorconfig": "EditorConfig",
    "levenshtein": "python-Levenshtein", "Levenshtein": "python-Levenshtein", "unidecode": "Unidecode",
    "text_unidecode": "text-unidecode", "markupsafe": "MarkupSafe", "backports": None,
    "importlib_metadata": "importlib-metadata", "importlib_resources": "importlib-resources",
}  # fmt: skip

# Names that were the standard library's on the interpreters of our suites, and are not on every one that runs
# this program.
FORMER_STDLIB = frozenset({
    "asynchat", "asyncore", "distutils", "imp", "smtpd", "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt",
    "imghdr", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau",
    "telnetlib", "uu", "xdrlib", "formatter", "parser", "symbol", "binhex", "lib2to3", "macpath",
    "dummy_threading", "_dummy_thread",
    # Python 2 names, imported by old tests behind a condition that cannot always be seen
    "StringIO", "cStringIO", "urllib2", "urlparse", "ConfigParser", "Queue", "cPickle", "__builtin__",
    "httplib",
})  # fmt: skip


def distribution(module: str) -> str | None:
    """The distribution to try for an import name; None when there is none to try."""
    top = module.split(".")[0]
    if top in DISTRIBUTIONS:
        return DISTRIBUTIONS[top]
    return canonicalize_name(top) if re.fullmatch(r"[A-Za-z]\w*", top) else None


def third_party(tree: Tree, own: tuple[str, ...]) -> tuple[str, ...]:
    """Top-level names that the tests import unconditionally and that neither the tree nor the standard
    library has.
    """
    local = _local_names(tree) | set(own)
    found: set[str] = set()
    for path in tree:
        if path.endswith(".py") and is_test(path):
            found |= {name for name in _imports(tree.text(path)) if name not in local}
    known = sys.stdlib_module_names | FORMER_STDLIB
    return tuple(sorted(name for name in found if name not in known and not name.startswith("__")))


def _local_names(tree: Tree) -> set[str]:
    """Every folder and module name below the root: tests import their neighbours by bare name."""
    names: set[str] = set()
    for path in tree:
        if path.endswith((".py", ".pyx", ".so")):
            parts = PurePosixPath(path).parts
            names.update(part for part in parts[:-1] if part not in SOURCE_ROOTS)
            names.add(parts[-1].split(".")[0])
    return names


def _imports(source: str) -> Iterator[str]:
    """Names imported at the module's top level, outside of `try` and `if`."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def framework(tree: Tree) -> str:
    """`unittest` when the suite is plainly that, else `pytest`, which runs both."""
    modules = [p for p in tree if p.endswith(".py") and is_test(p) and PurePosixPath(p).name != "__init__.py"]
    if not modules or any(PurePosixPath(p).name == "conftest.py" for p in tree):
        return "pytest"
    texts = {p: tree.text(p) for p in modules}
    if any(re.search(r"^\s*(import|from)\s+_?pytest\b|\bpytest\.", text, re.M) for text in texts.values()):
        return "pytest"
    configured = "".join(tree.text(p) for p in ("pyproject.toml", "setup.cfg", "tox.ini", "pytest.ini"))
    if "pytest" in configured or "pytest" in tree.text("setup.py"):
        return "pytest"
    tests = {p: text for p, text in texts.items() if PurePosixPath(p).name.startswith("test")}
    cases = [p for p, text in tests.items() if "TestCase" in text]
    loose = [p for p, text in tests.items() if re.search(r"^(async )?def test", text, re.M)]
    return "unittest" if cases and not loose and _discoverable(tree, cases) else "pytest"


def _discoverable(tree: Tree, cases: list[str]) -> bool:
    """Can `unittest discover` from the root reach them: is every folder on the way a package?"""
    for path in cases:
        for folder in PurePosixPath(path).parents:
            if str(folder) != "." and f"{folder}/__init__.py" not in tree.files:
                return False
    return True
