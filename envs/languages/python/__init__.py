"""The Python toolchain: packages and interpreter as of the source's date, in place at `/app`, on
`/opt/venv`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from envs.languages import Broken, Healthy, Resolved, Runner, Upstream
from envs.languages.python import image, metadata, recipe, repair, resolve, smoke
from envs.languages.python import paths as test_paths
from envs.languages.python.recipe import PythonRecipe
from envs.languages.tree import Tree
from envs.sandbox import Sandbox

__all__ = ["PythonRecipe", "PythonToolchain"]


class PythonToolchain:
    """See `envs.languages.Toolchain`; the parts are modules of this package."""

    language: ClassVar[str] = "python"
    suffixes: ClassVar[tuple[str, ...]] = (".py",)
    steering: ClassVar[str] = ""
    compiled: ClassVar[str] = r"\.(c|cc|cpp|cxx|h|hpp|pyx|pxd|pxi|rs|f|f90)$"

    def claims(self, tree: Tree) -> bool:
        return any(name in tree for name in metadata.PROJECT_FILES)

    def is_test(self, path: str) -> bool:
        return test_paths.is_test(path)

    def arguments(self, paths: Iterable[str]) -> tuple[str, ...]:
        return test_paths.arguments(paths)

    def plan(self, upstream: Upstream) -> list[PythonRecipe] | Broken:
        return recipe.plan(upstream)

    def toolchain(self, recipe: PythonRecipe) -> str:
        return image.toolchain(recipe)

    async def resolve(
        self, recipe: PythonRecipe, tree: Tree, sandbox: Sandbox, *, timeout: float
    ) -> Resolved | Broken:
        return await resolve.resolve(recipe, tree, sandbox, timeout=timeout)

    def context(self, resolved: Resolved) -> dict[str, bytes]:
        lock = "".join(f"{line}\n" for line in resolved.manifest)
        return {"Dockerfile": image.dockerfile(resolved.recipe).encode(), "requirements.lock": lock.encode()}

    async def smoke(
        self, resolved: Resolved, upstream: Upstream, sandbox: Sandbox, *, timeout: float
    ) -> Healthy | Broken:
        return await smoke.smoke(resolved.recipe, self.runner(resolved), upstream, sandbox, timeout=timeout)

    def repair(self, recipe: PythonRecipe, broken: Broken) -> PythonRecipe | None:
        return repair.repair(recipe, broken)

    def runner(self, resolved: Resolved) -> Runner:
        return smoke.runner(resolved)
