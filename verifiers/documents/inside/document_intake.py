"""What a submitted deck or text may be; all else is refused with one sentence, before anything parses it."""

from __future__ import annotations

from intake import Refused, opened  # ty: ignore[import-not-found]

KINDS = {
    ".pptx": ("ppt/presentation.xml", "presentation"),
    ".docx": ("word/document.xml", "text document"),
}
"""Ending → the part that makes it one, and what it is called."""
SLIDES, ELEMENTS = 200, 300_000
REFUSED = (
    ("vbaproject.bin", "holds macros; save it as a plain {suffix}"),
    ("/activex/", "holds a control that runs; a graded document stands alone"),
    ("/externallinks/", "links to another file; a graded document stands alone"),
    ("/afchunk", "holds a part in another format; a graded document stands alone"),
)
"""Parts of names → why not."""


def admit(name: str, data: bytes) -> None:
    """Look at a file. Raises Refused."""
    suffix = "." + name.rpartition(".")[2].lower()
    part, told = KINDS[suffix]
    parts = opened(name, data, suffix, told)
    if part not in parts:
        raise Refused(f"{name} is corrupt: it holds no {told}.")
    for found in parts:
        for marked, why in REFUSED:
            if marked in "/" + found.lower():
                raise Refused(f"{name} {why.format(suffix=suffix)}.")
    if b"macroEnabled" in parts.get("[Content_Types].xml", b""):
        raise Refused(f"{name} holds macros; save it as a plain {suffix}.")
    if (slides := sum(p.startswith("ppt/slides/slide") for p in parts)) > SLIDES:
        raise Refused(f"{name} has {slides} slides; at most {SLIDES} are read.")
    if (elements := sum(content.count(b"<") for content in parts.values())) > 2 * ELEMENTS:
        raise Refused(f"{name} has about {elements // 2} elements; at most {ELEMENTS} are read.")
