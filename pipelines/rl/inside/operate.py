"""Carries out commands on files, each in a fresh folder, and tells what became of the folder.

Runs in a sandbox: JSON lines in, {"command": "rm f03", "files": {name: text}}; one JSON line out for each,
{name: text}, after the command. A command that is none changes nothing, and nothing outside is touched.
"""

import json
import os
import shutil
import sys
import tempfile

COMMANDS = {
    "rm": lambda path: os.remove(path),
    "cp": lambda path: shutil.copy(path, path + ".copy"),
    "mv": lambda path: os.rename(path, path + ".old"),
    "up": lambda path: rewrite(path, str.upper),
    "rv": lambda path: rewrite(path, lambda text: text[::-1]),
    "x2": lambda path: rewrite(path, lambda text: text + text),
    "mt": lambda path: rewrite(path, lambda text: ""),
    "ln": lambda path: rewrite(path, lambda text: str(len(text))),
}


def rewrite(path, change):
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(change(text))


def carried_out(command, files):
    folder = tempfile.mkdtemp()
    try:
        for name, text in files.items():
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        words = command.split()
        if len(words) == 2 and words[0] in COMMANDS and words[1] in files:
            COMMANDS[words[0]](os.path.join(folder, words[1]))
        found = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name)) as file:
                found[name] = file.read()
        return found
    finally:
        shutil.rmtree(folder)


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(carried_out(asked["command"], asked["files"])))
