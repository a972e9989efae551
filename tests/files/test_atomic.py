import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from vqkit.errors import TokenFileError
from vqkit.files import atomic
from vqkit.files.atomic import write_atomically

NEW, OLD = b"new content", b"old"


def accept(path: Path) -> None:
    assert path.read_bytes() == NEW


def test_writes_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".vqt")  # as long as a name may be
    write_atomically(target, NEW, overwrite=False, check=accept)
    assert target.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [target]


def test_overwrites_only_when_told(tmp_path: Path) -> None:
    target = tmp_path / "a.vqt"
    target.write_bytes(OLD)
    with pytest.raises(TokenFileError, match=r"a.vqt: the file exists.*overwrite=True \(-f on"):
        write_atomically(target, NEW, overwrite=False, check=accept)
    assert target.read_bytes() == OLD
    write_atomically(target, NEW, overwrite=True, check=accept)
    assert target.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [target]


def test_honours_the_umask(tmp_path: Path) -> None:
    plain, target = tmp_path / "plain", tmp_path / "a.vqt"
    plain.write_bytes(NEW)
    write_atomically(target, NEW, overwrite=False, check=accept)
    assert target.stat().st_mode == plain.stat().st_mode


def test_follows_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.vqt", tmp_path / "link.vqt"
    real.write_bytes(OLD)
    link.symlink_to(real)
    write_atomically(link, NEW, overwrite=True, check=accept)
    assert link.is_symlink()
    assert real.read_bytes() == NEW
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["real.vqt"]


def test_never_replaces_what_is_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="not a regular file"):
        write_atomically(tmp_path, NEW, overwrite=True, check=accept)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(TokenFileError, match=r"not a regular file. Open it and pass the str"):
            write_atomically(tmp_path / "pipe", NEW, overwrite=True, check=accept)


def test_what_fails_its_check_never_gets_its_name(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise KeyboardInterrupt

    for overwrite in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / "a.vqt", NEW, overwrite=overwrite, check=refuse)
        assert list(tmp_path.iterdir()) == []


STAGES = ["fsync", "link", "replace", "open_folder"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", STAGES)
def test_errors_at_every_stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overwrite: bool,
    error: BaseException,
    stage: str,
) -> None:
    """No half file, no temporary file; an existing file stays until the new one replaces it."""
    target = tmp_path / "a.vqt"
    if overwrite:
        target.write_bytes(OLD)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    where = {
        "fsync": (atomic.os, "fsync"),
        "link": (Path, "hardlink_to"),
        "replace": (Path, "replace"),
        "open_folder": (atomic, "_sync_folder"),
    }
    monkeypatch.setattr(*where[stage], fail)
    is_reached = stage in ("fsync", "open_folder") or (stage == "replace") == overwrite
    falls_back = stage == "link" and isinstance(error, OSError)
    if is_reached and not falls_back:
        expected = TokenFileError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            write_atomically(target, NEW, overwrite=overwrite, check=accept)
    else:
        write_atomically(target, NEW, overwrite=overwrite, check=accept)
    monkeypatch.undo()
    assert all(path == target for path in tmp_path.iterdir())
    before = OLD if overwrite else None
    content = target.read_bytes() if target.exists() else None
    complete = not is_reached or falls_back or stage == "open_folder"
    assert content == (NEW if complete else before)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_folders_that_cannot_be_synchronised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    target = tmp_path / "a.vqt"
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "open", fail)
        if code == errno.EIO:
            with pytest.raises(TokenFileError, match=os.strerror(code)):
                write_atomically(target, NEW, overwrite=False, check=accept)
        else:
            write_atomically(target, NEW, overwrite=False, check=accept)
    assert target.read_bytes() == NEW


def test_an_error_names_the_file_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"Cannot write .*a.vqt: No such file.*has space"):
        write_atomically(tmp_path / "absent" / "a.vqt", NEW, overwrite=False, check=accept)


def test_without_hard_links_it_still_does_not_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.vqt"

    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    write_atomically(target, NEW, overwrite=False, check=accept)
    assert target.read_bytes() == NEW

    def somebody_is_faster(path: Path) -> None:
        (tmp_path / "b.vqt").write_bytes(OLD)

    with pytest.raises(TokenFileError, match=r"b.vqt: the file exists"):
        write_atomically(tmp_path / "b.vqt", NEW, overwrite=False, check=somebody_is_faster)
    assert (tmp_path / "b.vqt").read_bytes() == OLD


def test_of_several_writers_one_wins(tmp_path: Path) -> None:
    """Also of those that all saw the name free: here they meet at the check."""
    target, meeting = tmp_path / "a.vqt", threading.Barrier(8)
    outcomes: list[str] = []

    def write(number: int) -> None:
        try:
            write_atomically(
                target, b"%d" % number * 1000, overwrite=False, check=lambda _: meeting.wait(10)
            )
            outcomes.append(f"{number}")
        except TokenFileError as error:
            outcomes.append("refused" if "the file exists" in str(error) else str(error))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (winner,) = [outcome for outcome in outcomes if outcome != "refused"]
    assert outcomes.count("refused") == 7
    assert target.read_bytes() == winner.encode() * 1000
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_process_killed_at_any_call_leaves_no_half_file(tmp_path: Path, overwrite: bool) -> None:
    """A child counts the calls to the system that one write makes, and dies at each in turn."""
    program = f"""
import importlib.util, os, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("atomic", {atomic.__file__!r})
atomic = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atomic)

def write(folder, die_at):
    calls = 0
    def on_event(event, arguments):
        nonlocal calls
        if event in ("open", "os.link", "os.rename", "os.remove", "vqkit.sync", "vqkit.write"):
            calls += 1
            if calls == die_at:
                os._exit(9)
    fsync = os.fsync
    def audited_fsync(descriptor):
        sys.audit("vqkit.sync")
        fsync(descriptor)
        sys.audit("vqkit.sync")
    os.fsync = audited_fsync
    sys.addaudithook(on_event)
    target = folder / "a.vqt"
    data = {NEW!r} * 100_000
    atomic.write_atomically(
        target, data, overwrite={overwrite}, check=lambda path: sys.audit("vqkit.write")
    )
    os._exit(0)

die_at = 0
while True:
    die_at += 1
    folder = Path({str(tmp_path)!r}) / str(die_at)
    folder.mkdir()
    if {overwrite}:
        (folder / "a.vqt").write_bytes({OLD!r})
    child = os.fork()
    if child == 0:
        write(folder, die_at)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
print(die_at)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert done.stderr == ""
    num_deaths = int(done.stdout) - 1
    assert num_deaths >= 8
    contents = []
    for die_at in range(1, num_deaths + 2):
        target = tmp_path / str(die_at) / "a.vqt"
        content = target.read_bytes() if target.exists() else None
        assert content in (OLD if overwrite else None, NEW * 100_000)
        contents.append(content)
        others = [p.name for p in target.parent.iterdir() if p != target]
        assert all(name.startswith(".vqkit-") and name.endswith(".tmp") for name in others)
    assert contents[0] == (OLD if overwrite else None)
    assert contents[-1] == NEW * 100_000
