"""What people who set up projects of a language know: a page of Markdown each, which the model is given."""

from __future__ import annotations

from importlib.resources import files

# Languages that share another's file.
SHARED = {"cpp": "c"}


def skill(language: str) -> str:
    """The page of a language; '' where there is none."""
    page = files(__name__) / f"{SHARED.get(language, language)}.md"
    return page.read_text(encoding="utf-8") if page.is_file() else ""
