"""Environments as data: a recipe that holds every choice, and the toolchain that turns it into an image.

Most languages need nothing else: Debian packages, commands that fetch what the project depends on, commands
that compile ahead, and a test command that reports in its runner's own format. A language module says which
recipes are worth trying; everything after that (resolution, Dockerfile, smoke run, runner) is here, so that
whoever mends an environment, a rule or a model, only has to return another recipe.

The test command itself compiles what it tests, offline, as another user than the one who built the image:
what has to be writable then lies in `/app`, which is handed over, or below `CACHE`, which anybody may write.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from pydantic import Field

from envs import formats
from envs.languages import Broken, Healthy, Recipe, Resolved, Runner, Upstream, layers
from envs.languages.tree import EXECUTABLE, Tree, pack
from envs.reports import TestStatus
from envs.sandbox import ContentRefused, ExecResult, Outcome, Sandbox, SandboxError

CACHE = "/opt/cache"
PACKAGES = (*layers.PACKAGES, "python3")
LOG = 40_000
LOG_BYTES = 64 << 20
SMOKE_SECONDS = 60  # of one test

SUITES: tuple[tuple[str, date], ...] = (
    ("bullseye", date(2021, 8, 14)),
    ("bookworm", date(2023, 6, 10)),
    ("trixie", date(2025, 8, 9)),
)
"""Debian suites and the day each came out."""


class NativeRecipe(Recipe):
    """Everything that decides an environment, in the order in which it is used."""

    packages: tuple[str, ...] = Field((), description="Debian packages beyond the language's own.")
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables of installation, build and tests."
    )
    install: tuple[str, ...] = Field(
        (), description="Shell commands in /app, as `agent`, that reach package registries."
    )
    build: tuple[str, ...] = Field(
        (),
        description="Shell commands in /app after them, which would also work offline: they compile ahead.",
    )
    compile: tuple[str, ...] = Field(
        (),
        description="Command before every run of the tests, offline and as `tester`. When it fails, no test "
        "ran.",
    )
    framework: str = Field(description="Name of the test runner.")
    test: tuple[str, ...] = Field(
        description="The test command. `{out}` is a private folder for reports, `{test_seconds}` and "
        "`{suite_seconds}` are limits; an argument or variable with `{seed}` is there in shuffled runs only."
    )
    paths: tuple[str, ...] = Field((), description="Test files and folders to put behind the test command.")
    test_env: dict[str, str] = Field(default_factory=dict, description="Variables of the tests alone.")
    report: str = Field(description="Parser of `envs.formats`.")
    report_files: tuple[str, ...] = Field(
        (), description="Globs of report files, below /app or with `{out}/` below that folder."
    )
    log_report: str = Field("", description="Parser of the log, where report files are parsed.")


class NativeToolchain:
    """See `envs.languages.Toolchain`. A language says what it claims, its tests, its base packages, its plan
    and its repairs.
    """

    language: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    steering: ClassVar[str] = ""
    compiled: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    """Debian packages of every environment of the language, the same in every suite."""

    def claims(self, tree: Tree) -> bool:
        raise NotImplementedError

    def is_test(self, path: str) -> bool:
        raise NotImplementedError

    def plan(self, upstream: Upstream) -> list[NativeRecipe] | Broken:
        raise NotImplementedError

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Nothing: the test command knows where the tests are."""
        return ()

    def repair(self, recipe: NativeRecipe, broken: Broken) -> NativeRecipe | None:
        """What is true of all languages: a package that the suite lacks is left out."""
        missing = re.findall(
            r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation", broken.log
        )
        gone = {name for pair in missing for name in pair if name} & set(recipe.packages)
        if not gone:
            return None
        kept = tuple(name for name in recipe.packages if name not in gone)
        note = f"left out {', '.join(sorted(gone))}: not in {recipe.suite}"
        return recipe.model_copy(update={"packages": kept, "notes": (*recipe.notes, note)})

    def toolchain(self, recipe: NativeRecipe) -> str:
        more = f"RUN {layers.apt(self.packages)}\n" if self.packages else ""
        return f"""\
ARG BASE=debian:{recipe.suite}-slim
FROM ${{BASE}}
ENV LC_ALL=C.UTF-8
RUN {layers.steps(layers.apt(PACKAGES), *layers.ACCOUNTS)}
{more}"""

    def context(self, resolved: Resolved) -> dict[str, bytes]:
        lock = "".join(f"{line}\n" for line in resolved.manifest)
        return {"Dockerfile": self.dockerfile(resolved.recipe).encode(), "requirements.lock": lock.encode()}

    def dockerfile(self, recipe: NativeRecipe) -> str:
        """The whole image."""
        packages = f"RUN {layers.apt(recipe.packages)}\n" if recipe.packages else ""
        commands = [_as_agent(command, recipe.env) for command in (*recipe.install, *recipe.build)]
        tree = layers.steps(
            *layers.COMMIT,
            f"install -d -o agent -g agent {CACHE}",
            *commands,
            layers.NO_PROCESS_LEFT,
            *layers.SETTLE,
            f"chmod -R a+rwX {CACHE}",
        )
        return f"{self.toolchain(recipe)}{packages}ADD app.tar /app/\nWORKDIR /app\nRUN {tree}\n"

    async def resolve(
        self, recipe: NativeRecipe, tree: Tree, sandbox: Sandbox, *, timeout: float
    ) -> Resolved | Broken:
        """Versions of the Debian packages that the image will hold: those named, and what they bring."""
        told = await sandbox.exec(
            ["dpkg-query", "-W", "-f=${Package}=${Version}\\n", *PACKAGES, *self.packages],
            timeout=timeout, user="root",
        )  # fmt: skip
        lines = told.stdout.decode().split()
        while recipe.packages:
            command = 'apt-get update -qq && exec apt-get install -s --no-install-recommends "$@"'
            simulated = await sandbox.exec(
                ["sh", "-c", command, "sh", *recipe.packages], timeout=timeout, user="root"
            )
            if simulated.ok:
                lines += [
                    f"{name}={version}"
                    for name, version in re.findall(r"^Inst (\S+) \((\S+)", simulated.stdout.decode(), re.M)
                ]
                break
            # Names made by rule: those that there are not are left out here, in the same sandbox.
            broken = Broken("resolve", simulated.text(LOG), reason=_ended(simulated))
            mended = NativeToolchain.repair(self, recipe, broken)
            if mended is None:
                return broken
            recipe = mended
        return Resolved(recipe, tuple(sorted(set(lines))))

    async def smoke(
        self, resolved: Resolved, upstream: Upstream, sandbox: Sandbox, *, timeout: float
    ) -> Healthy | Broken:
        """Run the gold tree's suite once, offline, as grading will; at least one test must be reported."""
        return await _Smoke(self.runner(resolved), upstream, sandbox, timeout).run(
            self.arguments(upstream.gold)
        )

    def runner(self, resolved: Resolved) -> Runner:
        recipe: NativeRecipe = resolved.recipe
        return Runner(
            framework=recipe.framework,
            command=(*recipe.test, *recipe.paths),
            env=recipe.env | recipe.test_env,
            build=recipe.compile,
            report=recipe.report,
            report_files=recipe.report_files,
            log_report=recipe.log_report,
        )


def suites(when: datetime) -> tuple[str, ...]:
    """Debian suites in the order in which they suit sources of that day: the newest that was out, older ones
    after it as long as there are any, then newer ones.
    """
    out = [name for name, released in SUITES if released <= when.date()]
    later = [name for name, _ in SUITES if name not in out]
    return (*reversed(out), *later)


def _as_agent(command: str, env: dict[str, str]) -> str:
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(env.items()))
    return f"{layers.AS_AGENT} {variables} sh -c {shlex.quote(command)}".replace("  ", " ")


def _ended(result: ExecResult) -> str:
    return {Outcome.TIMEOUT: "timeout", Outcome.OOM: "out_of_memory"}.get(result.outcome, "")


# Run by root in the sandbox when nothing of the project runs any more: plain report files into one folder.
COLLECT = """
import os, re, shutil, sys
for glob in sys.argv[1:]:
    private = glob.startswith("{out}/")
    root = "/smoke/out" if private else "/app"
    parts = re.split(r"([*][*]/|[*]|[?])", glob[6:] if private else glob)
    signs = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    pattern = re.compile("".join(signs.get(p, re.escape(p)) for p in parts))
    for folder, folders, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if pattern.fullmatch(relative) and os.path.isfile(path) and not os.path.islink(path):
                target = os.path.join("/smoke/reports", relative)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(path, target)
"""


@dataclass
class _Smoke:
    """One run of the suite in a sandbox of the finished image."""

    runner: Runner
    upstream: Upstream
    sandbox: Sandbox
    timeout: float

    async def run(self, arguments: tuple[str, ...]) -> Healthy | Broken:
        await self.put()
        if self.runner.build:
            built = await self.step(self.runner.build, ())
            if not built.ok:
                return Broken("build", await self.log(), reason=_ended(built) or "compiler_failed")
        ran = await self.step(self.runner.command, arguments)
        await self.sandbox.exec(
            ["python3", "-I", "-c", COLLECT, *self.runner.report_files], timeout=self.timeout, user="root"
        )
        log = await self.log()
        try:
            parsed = await self.read()
        except ContentRefused as refused:
            return Broken("collect", f"{log}\n{refused}", reason=_ended(ran) or "collection_failed")
        except ValueError as error:
            return Broken("collect", f"{log}\n{error}", reason=_ended(ran) or "collection_failed")
        found, failed = len(parsed.results), len(parsed.collection_errors)
        # A suite of which nothing passes, upstream's own and unbroken, has no working environment.
        works = any(result.status in (TestStatus.PASSED, TestStatus.XFAILED) for result in parsed.results)
        if not works:
            found = 0
        if works and not failed:
            return Healthy(found, log)
        reason = _ended(ran) or ("collection_failed" if failed or not ran.ok else "nothing_collected")
        return Broken(
            "collect", log, reason=reason, collected=found, share=found / (found + failed) if found else 0.0
        )

    async def put(self) -> None:
        """Lay what differs in the gold tree over /app, newer than all that was built, and hand it to
        `tester`.
        """
        base, gold = self.upstream.base, self.upstream.gold
        differing = {
            p for p in gold if p not in base or base[p] != gold[p] or _mode(base, p) != _mode(gold, p)
        }
        changed = Tree(
            files={path: gold[path] for path in differing},
            modes={path: gold.modes[path] for path in differing if path in gold.modes},
        )
        gone = "\0".join(f"/app/{path}" for path in {*differing, *(set(base) - set(gold))})
        await self.sandbox.upload({"/tmp/gold.tar": pack(changed)})
        script = (
            "xargs -0r rm -rf -- && tar -xmf /tmp/gold.tar -C /app && rm /tmp/gold.tar && "
            "mkdir -p /smoke/out /smoke/home /smoke/reports && "
            "chown tester:tester /smoke /smoke/out /smoke/home && "
            "find /app -path /app/.git -prune -o -exec chown -h tester:tester {} +"
        )
        done = await self.sandbox.exec(
            ["sh", "-c", script], timeout=self.timeout, user="root",
            stdin=gone.encode("utf-8", "surrogateescape"),
        )  # fmt: skip
        if not done.ok:
            raise SandboxError(f"The gold tree could not be laid over /app: {done.text(500)}")

    async def step(self, command: tuple[str, ...], arguments: tuple[str, ...]) -> ExecResult:
        argv = [text for part in command if (text := self.filled(part)) is not None]
        env = {"HOME": "/smoke/home", "LANG": "C.UTF-8", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        env |= {k: text for k, v in self.runner.env.items() if (text := self.filled(v)) is not None}
        return await self.sandbox.exec(
            ["sh", "-c", 'exec "$@" > /smoke/log 2>&1', "sh", *argv, *arguments],
            timeout=self.timeout, user="tester", workdir="/app", env=env,
        )  # fmt: skip

    def filled(self, text: str) -> str | None:
        """With the placeholders of a run in natural order."""
        if "{seed}" in text:
            return None
        for name, value in (("{out}", "/smoke/out"), ("{test_seconds}", SMOKE_SECONDS)):
            text = text.replace(name, str(value))
        return text.replace("{suite_seconds}", str(int(self.timeout)))

    async def log(self) -> str:
        """The end of what the last step said."""
        said = await self.sandbox.exec(
            ["tail", "-c", str(LOG), "/smoke/log"], timeout=self.timeout, user="root"
        )
        return said.stdout.decode("utf-8", "replace")

    async def read(self) -> formats.Parsed:
        """The report, as the supervisor will read it."""
        logs = await self.sandbox.download("/smoke/log", max_bytes=LOG_BYTES)
        files = await self.sandbox.download("/smoke/reports", max_bytes=LOG_BYTES)
        log = next(iter(logs.values()), b"")
        if self.runner.report_files and not files and self.runner.log_report:
            return formats.read(self.runner.log_report, log, {})
        return formats.read(self.runner.report, log, files)


def _mode(tree: Tree, path: str) -> int:
    mode = tree.modes.get(path, 0)
    return mode if mode == EXECUTABLE or mode == 0o120000 else 0
