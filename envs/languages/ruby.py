"""Ruby: Minitest, test-unit and RSpec, gems from Debian or, where this machine has a gem client, Bundler.

A gem's Debian package is `ruby-` and its name. Tests then run without Bundler: what they ask of it is
answered by a stand-in that does nothing, since every gem is on the load path already. Test files are loaded
into one process; one that cannot be loaded is told and costs no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from envs import registries
from envs.languages import Broken, Upstream
from envs.languages.drivers import driver
from envs.languages.native import CACHE, NativeRecipe, NativeToolchain, suites
from envs.languages.tree import Tree

VERSIONS = {"bullseye": (2, 7), "bookworm": (3, 1), "trixie": (3, 3)}
COMPILER = ("gcc", "g++", "libc6-dev", "make", "ruby-dev")

_TEST = re.compile(r"(^|/)(test|tests|spec|specs|features)/|(_test|_spec)\.rb$|^test_?[^/]*\.rb$")
_LIBRARY = re.compile(r"(^|/)lib/")
_UNIT = re.compile(
    r"(^|/)((test|tests|spec)/(.*/)?(test_|spec_|tc_)[^/]*\.rb|[^/]*_(test|spec)\.rb|test_[^/]*\.rb)$"
)
_HELPER = re.compile(r"(^|/)(test|spec)_helpers?\.rb$|(^|/)(fixtures?|data|support|templates?)/")
_GEM = re.compile(
    r"""^\s*(?:gem|\w+\.add_(?:runtime_|development_)?dependency)\s*\(?\s*["'](\w[\w.-]*)["']""", re.M
)
_NEEDS = re.compile(r"""required_ruby_version\s*=.*?["'](?:>=|~>)\s*(\d+)\.(\d+)""")
_NOT_FOUND = re.compile(r"cannot load such file -- (\w[\w./-]*)")

# Gems that check, document or release a project, or that come with Ruby.
NOT_NEEDED = re.compile(
    r"^(rubocop.*|standard.*|yard.*|rdoc|simplecov.*|coveralls.*|codecov.*|codeclimate.*|pry.*|byebug|debug"
    r"|guard.*|bundler.*|rake-compiler.*|gem-release|github.*|danger.*|steep|rbs|sorbet.*|tapioca|overcommit"
    r"|benchmark.*|ruby-prof|stackprof|memory_profiler|kramdown|redcarpet|irb|bump|ruby|rails_best_practices"
    r"|reek|fasterer)$"
)
PACKAGES = {"rake": "rake", "minitest": "ruby-minitest", "test-unit": "ruby-test-unit", "rspec": "ruby-rspec"}

# Loads files one by one, so that a broken one is told and the others run. Registered before the runner's own,
# the exit handler runs after it.
_LOAD = driver("load.rb")

# What tests ask of Bundler when the gems are Debian's.
_STAND_IN = (
    "module Bundler; def self.setup(*); self; end; def self.require(*); []; end; "
    "def self.with_unbundled_env; yield; end; def self.with_original_env; yield; end; "
    "class GemfileNotFound < StandardError; end; class GemNotFound < StandardError; end; end"
)


class RubyToolchain(NativeToolchain):
    """See `envs.languages.Toolchain`."""

    language: ClassVar[str] = "ruby"
    suffixes: ClassVar[tuple[str, ...]] = (".rb",)
    steering: ClassVar[str] = r"(^|/)(\.rspec|\.rspec-local|Rakefile|Gemfile|Gemfile\.lock|\.minitest\.rb)$"
    compiled: ClassVar[str] = r"^ext/.*\.(c|cc|cpp|h|rl)$"
    packages: ClassVar[tuple[str, ...]] = ("ruby", "rake", "ruby-minitest", "ruby-rspec", "ruby-test-unit")

    def claims(self, tree: Tree) -> bool:
        if any(path.endswith(".gemspec") for path in tree) or "Gemfile" in tree:
            return True
        return "Rakefile" in tree and any(path.endswith(".rb") for path in tree)

    def is_test(self, path: str) -> bool:
        return bool(_TEST.search(path)) and not _LIBRARY.match(path)

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """RSpec's files where `spec/` holds any, else those that Minitest and test-unit would take."""
        tests = sorted(path for path in paths if self.is_test(path) and not _HELPER.search(path))
        specs = tuple(p for p in tests if re.match(r"(.*/)?spec/.*_spec\.rb$", p))
        return specs or tuple(p for p in tests if _UNIT.search(p))

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        tree = upstream.gold
        tests = self.arguments(tree)
        if not tests:
            return Broken("plan", "No Ruby file looks like a test.", reason="no_tests")
        needed = _needed(tree)
        able = [suite for suite in suites(upstream.date) if VERSIONS[suite] >= needed]
        if not able:
            asked = ".".join(map(str, needed))
            return Broken("plan", f"No suite has Ruby {asked}.", reason="interpreter_unavailable")
        recipes = [_debian(tree, tests, suite) for suite in able[:2]]
        return [_bundled(recipes[0]), *recipes] if registries.gem_sources() and "Gemfile" in tree else recipes

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        """Files that could not be loaded are of gems: those Debian may package."""
        if mended := super().repair(recipe, broken):
            return mended
        tried = " ".join((*recipe.packages, *recipe.notes)).split()
        added = set()
        for feature in _NOT_FOUND.findall(broken.log):
            whole, first = feature.replace("/", "-"), feature.split("/")[0]
            added |= {p for name in (whole, first) if (p := debian_package(name)) not in tried}
        if broken.stage == "resolve" or not added:
            return None
        notes = (*recipe.notes, f"added {' '.join(sorted(added))} : files that could not be loaded")
        return recipe.model_copy(update={"packages": (*recipe.packages, *sorted(added)), "notes": notes})


def debian_package(gem: str) -> str:
    name = gem.lower().replace("_", "-")
    return PACKAGES.get(name, name if name.startswith("ruby-") else f"ruby-{name}")


def _needed(tree: Tree) -> tuple[int, int]:
    """The oldest Ruby that the gemspecs allow."""
    found = [(0, 0)]
    for path in tree:
        if path.endswith(".gemspec"):
            found += [(int(major), int(minor)) for major, minor in _NEEDS.findall(tree.text(path))]
    return max(found)


def _gems(tree: Tree) -> Iterator[str]:
    """Gems that the project names, and that a run of its tests may need."""
    for path in tree:
        if path.endswith(".gemspec") or path in ("Gemfile", "gems.rb"):
            yield from (gem for gem in _GEM.findall(tree.text(path)) if not NOT_NEEDED.match(gem))


def _framework(tree: Tree, tests: tuple[str, ...]) -> str:
    """minitest | test-unit | rspec, by what tests and their helpers say."""
    if re.match(r"(.*/)?spec/", tests[0]) and not any(
        "minitest" in tree.text(path) for path in _helpers(tree)
    ):
        texts = [tree.text(path) for path in tests[:50]]
        if not any("minitest" in text or "Minitest" in text for text in texts):
            return "rspec"
    texts = [tree.text(path) for path in (*_helpers(tree), *tests)]
    if any(re.search(r"minitest|Minitest", text) for text in texts):
        return "minitest"
    return "test-unit" if any("test/unit" in text or "Test::Unit" in text for text in texts) else "minitest"


def _helpers(tree: Tree) -> list[str]:
    return [path for path in tree if re.match(r"(test|spec)/[^/]*\.rb$", path) and not _UNIT.search(path)]


def _debian(tree: Tree, tests: tuple[str, ...], suite: str) -> NativeRecipe:
    own = {path.removesuffix(".gemspec").rpartition("/")[2] for path in tree if path.endswith(".gemspec")}
    packages = {debian_package(gem) for gem in _gems(tree) if gem not in own} - set(RubyToolchain.packages)
    framework = _framework(tree, tests)
    return NativeRecipe(
        language="ruby",
        suite=suite,
        packages=(*sorted(packages), *(COMPILER if _extension(tree) else ())),
        env={"RUBYLIB": f"{CACHE}/ruby"},
        build=(
            f"mkdir -p {CACHE}/ruby/bundler",
            f"echo '{_STAND_IN}' > {CACHE}/ruby/bundler.rb",
            f"""echo 'require "bundler"' > {CACHE}/ruby/bundler/setup.rb""",
        ),
        compile=_extension(tree),
        test_env={"RUBYOPT": "-W0", "N": "1", "MT_CPU": "1", "VERIFACTORY_RUNNER": _runner(framework)},
        **_run(framework),
    )


def _extension(tree: Tree) -> tuple[str, ...]:
    """How compiled parts are made and put where the tests load them from."""
    configured = sorted(path for path in tree if re.match(r"ext/(.*/)?extconf\.rb$", path))
    if not configured:
        return ()
    one = 'cd "$1" && ruby extconf.rb > /dev/null && make > /dev/null && find . -name "*.so"'
    script = (
        f"for e do d=$(dirname $e); for so in $({one.replace('$1', '$d')}); do cp $d/$so lib/; done; done"
    )
    return ("sh", "-ec", script, "sh", *configured)


def _runner(framework: str) -> str:
    return "test/unit" if framework == "test-unit" else "minitest/autorun"


def _run(framework: str) -> dict[str, Any]:
    """Test command and report of a framework."""
    if framework == "rspec":
        options = ("--no-color", "--order", "defined", "--order=rand:{seed}")
        reports = ("--format", "progress", "--format", "json", "--out", "{out}/rspec.json")
        return {
            "framework": "rspec",
            "test": ("ruby", "-S", "rspec", "-I", "lib", "-I", "spec", *options, *reports),
            "report": "rspec_json",
            "report_files": ("{out}/rspec.json",),
        }
    loads = ("-I", "lib", "-I", "test", "-I", "spec", "-I", ".", "-e", _LOAD, "--", "-v")
    order = ("--seed=0", "--seed={seed}") if framework == "minitest" else ()
    return {
        "framework": framework,
        "test": ("ruby", *loads, *order),
        "report": "minitest" if framework == "minitest" else "test_unit",
    }


def _bundled(recipe: NativeRecipe) -> NativeRecipe:
    """The same with the gems that Bundler resolves, by the project's lock file where it has one."""
    folder = {"BUNDLE_PATH": f"{CACHE}/bundle", "BUNDLE_APP_CONFIG": f"{CACHE}/bundle"}
    return recipe.model_copy(
        update={
            "packages": ("bundler", "git", *COMPILER),
            "env": folder,
            "install": ("bundle install --quiet",),
            "build": (),
            "test": ("bundle", "exec", *recipe.test),
        }
    )
