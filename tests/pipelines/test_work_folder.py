"""A work folder is its process's alone, and goes with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from pipelines.work_folder import work_folder
from warehouse.settings import Settings

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.work_folder import work_folder
from warehouse.settings import Settings
with work_folder(Settings(home=Path(sys.argv[1]))) as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_what_the_next_run_removes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(settings.home)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        with work_folder(settings) as own:
            assert (held / "half").exists(), "its process is alive"
            assert own.is_dir()
        assert not own.exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert held.exists()
    with work_folder(settings) as own:
        assert list((settings.home / "work").iterdir()) == [own]


def test_a_file_of_somebody_else_stays(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    (settings.home / "work").mkdir(parents=True)
    notes = settings.home / "work" / "notes.txt"
    notes.write_text("mine")
    with work_folder(settings) as own:
        assert own.is_dir()
    assert notes.read_text() == "mine"
