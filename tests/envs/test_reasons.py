"""What a failed build's log is cut down to for the table of reasons."""

from __future__ import annotations

import pytest

from envs.languages import Broken
from envs.reasons import classify, last_word

BUILDER = "Removing intermediate container 7b6a\nThe command '/bin/sh -c make' returned a non-zero code: 2"


@pytest.mark.parametrize(
    ("log", "word"),
    [
        (
            "[INFO] 51 files\n[ERROR] COMPILATION ERROR :\n[ERROR] /app/T.java:[22,1] cannot find symbol\n"
            "[ERROR] /app/T.java:[30,1] cannot find symbol\n[ERROR] -> [Help 1]",
            "[ERROR] /app/T.java:[22,1] cannot find symbol",
        ),
        (
            "x.c:3:10: fatal error: foo.h: No such file\nmake: *** [x] Error 1",
            "x.c:3:10: fatal error: foo.h: No such file",
        ),
        (
            "Traceback\nKeyError: 1\nModuleNotFoundError: No module named 'x'\nbye",
            "ModuleNotFoundError: No module named 'x'",
        ),
        ("npm ERR! code E404\nnpm ERR! 404 Not Found", "npm ERR! code E404"),
        ("one\n\x1b[31mtwo\x1b[0m", "two"),
        ("", ""),
    ],
    ids=["maven", "c", "python", "npm", "plain", "nothing"],
)  # fmt: skip
def test_the_line_that_says_it(log: str, word: str) -> None:
    assert last_word(log) == word
    assert last_word(f" ---> Running in 3\n{log}\n{BUILDER}") == word


def test_a_registry_that_does_not_answer_is_not_the_project_s_fault() -> None:
    assert classify(Broken("build", "npm ERR! code ETIMEOUT\nnpm ERR! network")) == "network_failed"
    assert classify(Broken("build", "npm ERR! code E404")) == "build_failed"
