"""Files that threads and processes share, through forks: what a child writes is there, whatever its parent did."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from awsllm.policy import write_behind
from awsllm.policy.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS t (who TEXT)"

forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def in_a_child(database: Database) -> int:
    """Fork, and write in the child; its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            write(database, "child")
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write(database: Database, who: str) -> None:
    with database.transaction() as base:
        base.execute("INSERT INTO t VALUES (?)", (who,))


def written(database: Database) -> list[str]:
    with database.reading() as base:
        return sorted(who for (who,) in base.execute("SELECT who FROM t"))


class TestForks:
    pytestmark = forks

    def test_a_fork_amid_another_threads_transaction(self, tmp_path: Path) -> None:
        """A child that inherits SQLite's idea of who holds the file would wait for a thread that is not in it."""
        database = Database(tmp_path / "t.db", SCHEMA)
        begun = threading.Event()

        def slowly() -> None:
            with database.transaction() as base:
                begun.set()
                time.sleep(0.2)
                base.execute("INSERT INTO t VALUES ('thread')")

        thread = threading.Thread(target=slowly)
        thread.start()
        begun.wait(10)
        assert in_a_child(database) == 0
        thread.join()
        write(database, "parent")
        assert written(database) == ["child", "parent", "thread"]

    def test_a_child_inherits_no_connection(self, tmp_path: Path) -> None:
        """Locks are a process's: through an inherited connection a child believes that it has its parent's."""
        database, other = Database(tmp_path / "t.db", SCHEMA), Database(tmp_path / "t.db", SCHEMA)
        write(database, "parent")
        write(other, "parent")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(writer, str(len(open_files(tmp_path / "t.db"))).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 9) == b"0"
        os.close(reader)
        os.close(writer)
        assert written(database) == written(other) == ["parent", "parent"]

    def test_a_fork_amid_a_thread_that_reads_on_and_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It waits for a while and no longer; and it does not wait for itself."""
        monkeypatch.setattr("awsllm.policy.database._PATIENCE", 0.05)
        database = Database(tmp_path / "t.db", SCHEMA)
        with database.reading():
            assert in_a_child(database) == 0
        assert written(database) == ["child"]


def open_files(path: Path) -> list[str]:
    """The files of a database that this process has open, where the system tells."""
    if not (names := Path("/proc/self/fd")).exists():
        return []
    opened = []
    for each in names.iterdir():
        with suppress(FileNotFoundError):  # that of the look itself
            opened.append(os.readlink(each))
    return [name for name in opened if name.startswith(str(path))]


class Slow:
    """Takes its time to write."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.is_written = threading.Event(), threading.Event(), False
        self._turn = threading.Lock()

    def flush(self) -> None:
        with self._turn:
            self.begun.set()
            self.may_end.wait(10)
            self.is_written = True

    def forget(self) -> None: ...


def test_the_end_of_a_process_waits_for_what_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes ends with the process: what it had begun would be lost."""
    monkeypatch.setattr(write_behind, "DELAY", 0.0)
    slow = Slow()
    write_behind.soon(slow)
    assert slow.begun.wait(10)
    threading.Timer(0.1, slow.may_end.set).start()
    write_behind.now()
    assert slow.is_written


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_second_connection_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """A process that closes a file gives up its locks on it, whoever has them: then another one that leaves takes the
    file's log of changes away, as the last who used it."""
    first, path = Database(tmp_path / "t.db", SCHEMA), str(tmp_path / "t.db")
    write(first, "first")
    Database(path, SCHEMA).check()
    tried = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM t').fetchall()"
    subprocess.run([sys.executable, "-c", tried, path], check=True)
    assert Path(f"{path}-wal").exists()
    write(first, "first")
    assert written(Database(path, SCHEMA)) == ["first", "first"]
