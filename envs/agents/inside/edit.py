"""Replaces text in a file, once. Runs in the sandbox: JSON in {path, old, new}, a sentence out."""

import json
import sys
from pathlib import Path

asked = json.load(sys.stdin)
path, old, new = Path(asked["path"]), asked["old"].encode(), asked["new"].encode()
if not old:
    if path.exists():
        sys.exit(f"{path} exists: give the text to replace in `old`.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(new)
    print(f"{path} was made.")
    sys.exit()
if not path.is_file():
    sys.exit(f"{path} is not a file; leave `old` empty to make it.")
content = path.read_bytes()
found = content.count(old)
if found != 1:
    sys.exit(f"`old` is in {path} {found} times; it has to be there once: give more of the text around it.")
path.write_bytes(content.replace(old, new))
print(f"{path} was changed.")
