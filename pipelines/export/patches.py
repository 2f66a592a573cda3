"""Patches for layouts that are text.

A task's record has its patches as text, in which U+FFFD stands for bytes that are no UTF-8: such a patch does
not apply. The exact gold patch is in the task's bundle. A layout that promises a patch therefore reads it
there, and leaves out, with a count, the tasks whose patch is not text.
"""

from __future__ import annotations

from pipelines.bundles import verified_bundle
from pipelines.export.selection import LeftOut
from warehouse.records import Task
from warehouse.settings import Settings

NOT_UTF8 = "{} patch is not UTF-8, and this layout is text"


def with_exact_patch(settings: Settings, task: Task) -> Task:
    """`task` with the gold patch of its bundle."""
    try:
        patch = verified_bundle(settings, task).gold_patch.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LeftOut(NOT_UTF8.format("gold")) from error
    return task.model_copy(update={"gold_patch": patch})


def with_exact_patches(settings: Settings, task: Task) -> Task:
    """The same, and the test patch is exact too.

    A bundle has hidden tests, not their patch; where the record has U+FFFD, it cannot be told whether
    upstream wrote it.
    """
    if "\ufffd" in task.test_patch:
        raise LeftOut(NOT_UTF8.format("test"))
    return with_exact_patch(settings, task)
