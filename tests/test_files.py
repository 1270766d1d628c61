"""Files that are whole or absent, and folders that one command at a time writes into."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from goldeye.errors import InvalidInput
from goldeye.files import atomic_path, sole_user


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "page.html"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from goldeye.files import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_free_again_when_its_process_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "out"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InvalidInput, match="Another goldeye command is writing into"), sole_user(folder):
        pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    for _ in range(2):
        with sole_user(folder):
            assert not list(folder.iterdir())
