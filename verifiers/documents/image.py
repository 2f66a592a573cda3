"""The image for decks and texts: the office image, with the libraries that make them and what shows them."""

from __future__ import annotations

from envs.languages import layers
from verifiers.spreadsheet.image import PACKAGES, TOOLS

LIBRARIES = ("python-docx==1.2.0", "python-pptx==1.0.2")
"""As in pyproject.toml: what reads a submission here and there is the same."""
MORE = ("libreoffice-impress-nogui", "libreoffice-writer-nogui", "poppler-utils")
DOCUMENT_PACKAGES = (*PACKAGES, *MORE)
DOCUMENT_TOOLS = f"""\
{TOOLS}RUN {layers.apt(MORE)}
RUN python3 -m venv /tmp/pip && /tmp/pip/bin/pip install --no-cache-dir \\
    --target /usr/local/lib/python3.13/dist-packages {" ".join(LIBRARIES)} && rm -rf /tmp/pip
"""
