"""The database of an annotation: SQLite or PostgreSQL, opened, brought up to date, and used in transactions.

A SQLite file is written by any number of threads and processes, one transaction after the other. On PostgreSQL the
transactions of annotators run side by side and lock the rows they decide on; all others wait for one another.
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from goldeye.annotate.schema import meta, tables
from goldeye.errors import InvalidInput

SCHEMA_VERSION = "2"
_LOCK = 0x676F6C64  # PostgreSQL's advisory lock of writers that must be alone
_NETWORK = {
    "9p",
    "afpfs",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "gpfs",
    "lustre",
    "ncpfs",
}
_NETWORK |= {"nfs", "nfs3", "nfs4", "osxfuse", "smb2", "smb3", "smbfs", "sshfs", "vboxsf", "webdav"}


class Database:
    """A SQLite file `url_or_path` (made when missing), or a `sqlite:///…` or `postgresql+psycopg://…` URL.

    `read_only` never makes or changes a file beside the database, so that it may lie where nothing can be written.
    Raises InvalidInput when the database cannot be opened, is not Goldeye's, has an unknown version, or is a SQLite
    file on a network's file system, whose locks cannot be trusted.
    """

    def __init__(self, url_or_path: str | Path, *, read_only: bool = False) -> None:
        self.place = text = str(url_or_path)  # as given, with the password there may be: never for a message
        try:
            self.url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=text)
        except (SQLAlchemyError, ValueError) as error:
            raise InvalidInput("The annotation database's URL cannot be read.") from error
        self._copy: TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self.is_sqlite = self.url.drivername in ("sqlite", "sqlite+pysqlite")
        if self.is_sqlite:
            self._engine = self._sqlite(read_only)
        elif self.url.drivername in ("postgresql", "postgresql+psycopg"):
            self.url = self.url.set(drivername="postgresql+psycopg")
            self._engine = sa.create_engine(self.url, pool_size=30, max_overflow=20, pool_pre_ping=True)
            if read_only:
                self._engine = self._engine.execution_options(postgresql_readonly=True)
        else:
            raise InvalidInput(
                f"The annotation database '{self.name}' is not a SQLite file.",
                hint="Or a PostgreSQL one: postgresql+psycopg://USER@HOST/NAME.",
            )
        self._writer = self._engine.execution_options(write=True)
        # On PostgreSQL each statement of a reader sees the newest state anyway: without BEGIN and COMMIT it is quicker.
        alone = self.is_sqlite or read_only
        self._reader = self._engine if alone else self._engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            self._open(read_only)
        except InvalidInput:
            self.close()
            raise
        except (SQLAlchemyError, sqlite3.Error) as error:
            self.close()
            reason = str(getattr(error, "orig", error)).strip().rstrip(".").splitlines()[0]
            raise InvalidInput(f"The annotation database '{self.name}' cannot be opened: {reason}.") from error
        with self.read() as connection:
            secret = connection.execute(sa.select(meta.c.value).where(meta.c.key == "secret")).scalar_one()
        self._secret = bytes.fromhex(secret)

    @property
    def name(self) -> str:
        """What the database is called in messages: the file's path, or the URL without password."""
        return str(self.url.database) if self.is_sqlite else self.url.render_as_string()

    def _sqlite(self, read_only: bool) -> sa.Engine:
        if self.url.database in (None, "", ":memory:"):
            raise InvalidInput(f"The annotation database '{self.url.render_as_string()}' is not a SQLite file.")
        self.path = Path(str(self.url.database))
        if not self.path.parent.is_dir():
            raise InvalidInput(f"The folder '{self.path.parent}' of the annotation database does not exist.")
        if read_only:
            engine = self._open_to_read()
        else:
            refuse_network(self.path)
            engine = sa.create_engine(self.url, connect_args={"timeout": 30}, pool_size=40)
        sa.event.listen(engine, "connect", _set_up_reading if read_only else _set_up_connection)
        sa.event.listen(engine, "begin", _begin)
        return engine

    def _open_to_read(self) -> sa.Engine:
        """An engine on the file itself while a server has it open, else on a copy in a temporary folder.

        SQLite's write-ahead log wants two files beside the database even to read. With a server they are there, and
        its locks keep both sides consistent; without, nobody writes and a copy is the same.
        """
        beside = [self.path.with_name(self.path.name + ending) for ending in ("-wal", "-shm")]
        source = self.path
        if not all(path.exists() for path in beside):
            self._copy = TemporaryDirectory(prefix="goldeye-")
            source = Path(self._copy.name) / "annotations.sqlite"
            for path, ending in ((self.path, ""), (beside[0], "-wal")):
                if path.exists():
                    shutil.copyfile(path, f"{source}{ending}")
            if all(path.exists() for path in beside):  # a server began meanwhile
                source = self.path
        # A copy is ours: an older one is brought up to date there.
        mode = "rw" if self._copy is not None and source != self.path else "ro"
        address = f"{source.absolute().as_uri()}?mode={mode}"
        return sa.create_engine(
            self.url, creator=lambda: sqlite3.connect(address, uri=True, timeout=30, check_same_thread=False)
        )

    def _open(self, read_only: bool) -> None:
        with self.read() as connection:
            version = self._version(connection)
        if version == SCHEMA_VERSION:
            return
        if version is None and read_only:
            raise InvalidInput(f"'{self.name}' is a database, but not one of Goldeye's annotations.")
        if version not in (None, "1"):
            raise InvalidInput(
                f"The annotation database '{self.name}' has version {version}; this Goldeye reads versions 1 to "
                f"{SCHEMA_VERSION}."
            )
        if read_only and self._copy is None:
            raise InvalidInput(
                f"The annotation database '{self.name}' has version {version}, and this command only reads.",
                hint="Open it once with `goldeye annotate`, which brings it up to date.",
            )
        with self.write() as connection:
            version = self._version(connection)  # another process may have been first
            if version is None:
                tables.create_all(connection)
                connection.execute(sa.insert(meta).values(key="secret", value=secrets.token_hex(32)))
                _alembic(connection, "stamp", SCHEMA_VERSION)
            elif version != SCHEMA_VERSION:
                if sa.inspect(connection).get_table_names().count("alembic_version") == 0:
                    _alembic(connection, "stamp", version)  # the first version did not know alembic
                _alembic(connection, "upgrade", SCHEMA_VERSION)

    def _version(self, connection: sa.Connection) -> str | None:
        """The version of the tables; None for an empty database."""
        names = set(sa.inspect(connection).get_table_names())
        if not names:
            return None
        if not {"meta", "person", "assignment", "vote"} <= names:
            raise InvalidInput(f"'{self.name}' is a database, but not one of Goldeye's annotations.")
        if "alembic_version" in names:
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        else:
            found = connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar_one_or_none()
        return str(found)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; on SQLite one consistent view."""
        with self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes. `alone`: no other such writer overlaps, so what it reads is still true at its end.

        Not `alone`, PostgreSQL runs it beside others, and it must lock the rows it decides on (`FOR UPDATE`).
        """
        # SQLite has one writer at a time; in one process a lock is fairer and quicker than its waiting and retrying.
        with self._lock if self.is_sqlite else nullcontext(), self._writer.begin() as connection:
            if alone and not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection

    def empty_log_file(self) -> None:
        """Move what SQLite's write-ahead log holds into the database, and empty it."""
        if self.is_sqlite:
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                raw.close()

    def close(self) -> None:
        """Close all connections; a store that is not read-only can be used again afterwards."""
        self._engine.dispose()
        if self._copy is not None:
            self._copy.cleanup()

    def keyed_hash(self, *parts: object) -> bytes:
        """HMAC-SHA-256 of the parts under this store's secret: repeatable here, unpredictable elsewhere."""
        return hmac.digest(self._secret, "\0".join(str(part) for part in parts).encode(), "sha256")

    @property
    def instance(self) -> str:
        """A short public name of this store, so that two servers on one host keep cookies and queues apart."""
        return self.keyed_hash("instance").hex()[:12]


def refuse_network(path: Path) -> None:
    """InvalidInput when `path` lies on a network's file system: SQLite's locks do not hold there."""
    import psutil

    if path.absolute().drive.startswith("\\\\"):  # \\\\server\\share on Windows
        raise _on_network(path, "a network share")
    places = {Path(disk.mountpoint): disk for disk in psutil.disk_partitions(all=True)}
    mounted = next((places[folder] for folder in path.absolute().resolve().parents if folder in places), None)
    if mounted is not None and (mounted.fstype.lower() in _NETWORK or "remote" in mounted.opts.split(",")):
        raise _on_network(path, mounted.fstype)


def _on_network(path: Path, kind: str) -> InvalidInput:
    return InvalidInput(
        f"'{path}' would lie on a network file system ({kind}), where SQLite can lose votes; use --database with a "
        "PostgreSQL URL, or a file on a local disk."
    )


def _alembic(connection: sa.Connection, command: str, revision: str) -> None:
    from alembic import command as commands
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("goldeye.annotate") / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    getattr(commands, command)(config, revision)


def _set_up_connection(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin in `_begin`, not where the driver guesses
    # secure_delete: what was deleted or overwritten, such as a forgotten name, is not left in free space.
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reading(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    # A writer takes the lock before it reads: two of them can then never decide on the same old state.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
