"""The project as the gold patch leaves it, put together by libgit2 in an empty store."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import pygit2
from pygit2.enums import ApplyLocation, FileMode

from verifiers.integrity.patch import Change
from warehouse.errors import FactoryError

# Line ends and filters as they are, whatever this machine's configuration says.
PLAIN = {"core.autocrlf": "false", "core.safecrlf": "false"}


def gold_changes(base: Mapping[str, bytes], patch: bytes) -> dict[str, Change]:
    """What the patch makes of the base files it touches. Raises FactoryError where it does not apply."""
    with tempfile.TemporaryDirectory(prefix="verifactory-gold-") as folder:
        repository = pygit2.init_repository(folder, bare=True)
        for name, value in PLAIN.items():
            repository.config[name] = value
        index = repository.index
        for path, data in base.items():
            index.add(pygit2.IndexEntry(path, repository.create_blob(data), FileMode.BLOB))
        before = {entry.path: entry.id for entry in index}
        index.write()
        try:
            repository.apply(pygit2.Diff.parse_diff(patch), ApplyLocation.INDEX)
        except (pygit2.GitError, ValueError, KeyError) as error:
            raise FactoryError(
                f"The gold patch does not apply to the bundle's own files: {error}."
            ) from error
        index.read(True)
        after = {entry.path: entry for entry in index}
        changes = {path: Change(None) for path in before.keys() - after.keys()}
        for path, entry in after.items():
            if before.get(path) != entry.id:
                blob = repository[entry.id]
                if not isinstance(blob, pygit2.Blob):
                    raise FactoryError(f"The gold patch makes of {path} what is no file.")
                changes[path] = Change(blob.data, f"{int(entry.mode):o}")
        return changes
