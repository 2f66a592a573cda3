"""Errors as a person reads them: which exceptions are the user's to mend, and their one sentence each."""

from __future__ import annotations

import asyncio
import errno
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from warehouse.errors import FactoryError, storage_error
from warehouse.settings import Settings


def stopped_by(error: BaseException) -> bool:
    """Whether `error` is Ctrl-C or SIGTERM as it comes out of a Prefect flow or a task group."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(stopped_by, error.exceptions))
    return isinstance(error, (KeyboardInterrupt, asyncio.CancelledError))


def user_sentences(error: BaseException) -> Iterator[str]:
    """The sentences of the user's errors in `error`, groups unwrapped; none if it is a bug of ours."""
    match error:
        case FactoryError():
            yield str(error)
        case ValidationError():
            for fault in error.errors():
                yield _setting_sentence(fault, error.title)
        case tomllib.TOMLDecodeError():
            yield f"verifactory.toml is not valid TOML: {error}."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            yield str(storage_error(error, Path(error.filename or Settings().home)))
        case BaseExceptionGroup(exceptions=parts):
            yield from dict.fromkeys(sentence for part in parts for sentence in user_sentences(part))


def _setting_sentence(fault: Any, model: str) -> str:
    """A setting or option that does not fit; what a validator of ours says is a sentence already."""
    said = str(fault["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in fault["loc"])
    if not where:
        return f"{said}."
    name = f"The setting {where!r}" if model == "Settings" else f"The option {where!r}"
    return f"{name} is not valid: {said[:1].lower()}{said[1:]} (got {fault.get('input')!r:.80})."
