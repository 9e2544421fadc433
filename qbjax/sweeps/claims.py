"""Which chunks of a store somebody is at work on, so that each is computed once.

A claim is a file beside the store that one process alone can make. Its owner touches it while it
computes, and removes it when the chunk is written. A claim that has not been touched for a lease
is that of a process that was killed: one of those that see it takes it away, and the chunk is free
again. Nothing but time hangs on claims: chunks are written whole, and with the same numbers by
whoever computes them.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Seconds that a claim holds without being touched, by the clock of the file system.
LEASE = 60.0
# Seconds between two looks at what other processes are at work on.
PATIENCE = 0.1


class Claims:
    """The claims of all processes on what there is to do for one store.

    Attributes
    ----------
    path
        A directory beside the store, there while anything is claimed.
    """

    def __init__(self, store: Path):
        """Take the path of the store."""
        self.path = store.with_name(f"{store.name}.claims")

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Claim something for as long as the context lasts; tell whether it was free."""
        claim, owner = self.path / name, _this_process()
        if not self._made(claim, owner):
            yield False
            return
        done = threading.Event()
        touching = threading.Thread(target=_touch, args=(claim, done), daemon=True)
        touching.start()
        try:
            yield True
        finally:
            done.set()
            touching.join()
            with suppress(FileNotFoundError):
                # It may have been taken for that of a dead process, and be another one's by now.
                if claim.read_text() == owner:
                    claim.unlink()
            # The last one to leave clears up.
            with suppress(OSError):
                self.path.rmdir()

    @contextmanager
    def awaited(self, name: str) -> Iterator[None]:
        """Claim something as soon as it is free, for as long as the context lasts."""
        while True:
            with self.claimed(name) as ours:
                if ours:
                    yield
                    return
            self.held()
            time.sleep(PATIENCE)

    def held(self) -> set[str]:
        """Return what is claimed; claims of processes that are gone are taken away."""
        with suppress(FileNotFoundError):
            now, held = self._clock(), set()
            for file in self.path.iterdir():
                if _is_claim(file):
                    if not _taken_away(file, now):
                        held.add(file.name)
                elif now - file.stat().st_mtime > LEASE:
                    # Litter of a process that was killed.
                    file.unlink(missing_ok=True)
            return held
        return set()

    def _made(self, claim: Path, owner: str) -> bool:
        """Make a claim, unless it is there; tell whether it was made."""
        while True:
            self.path.mkdir(exist_ok=True)
            # Whoever was the last one to leave may have removed the directory again.
            with suppress(FileNotFoundError):
                try:
                    with open(claim, "x") as file:
                        file.write(owner)
                except FileExistsError:
                    return False
                return True

    def _clock(self) -> float:
        """Return the time by the clock of the file system."""
        clock = self.path / f"{uuid.uuid4().hex}.clock"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        return now


def _touch(claim: Path, done: threading.Event) -> None:
    """Touch a claim again and again."""
    while not done.wait(LEASE / 4):
        # Whoever has taken it away computes the same.
        with suppress(FileNotFoundError):
            os.utime(claim)


def _taken_away(claim: Path, now: float) -> bool:
    """Take a claim away if nobody is behind it; tell whether it is gone."""
    try:
        owner, touched = claim.read_text(), claim.stat().st_mtime
        if now - touched < LEASE and not _is_gone(owner):
            return False
        litter = claim.with_suffix(f".{uuid.uuid4().hex}")
        claim.rename(litter)
    except FileNotFoundError:
        return True
    if litter.read_text() != owner:
        # Another process was quicker, and it is a new claim that was taken away: put it back.
        with suppress(FileExistsError):
            os.link(litter, claim)
    litter.unlink()
    return not claim.exists()


def _is_claim(file: Path) -> bool:
    """Tell a claim, of a chunk or of the attributes, from whatever else there may be."""
    return file.name.isdigit() or file.name == "attributes"


def _this_process() -> str:
    return f"{_this_machine()} {os.getpid()} {uuid.uuid4().hex}"


def _this_machine() -> str:
    """Return where the numbers of processes count: a host, or a container on one."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}"


def _is_gone(owner: str) -> bool:
    """Tell whether a process of this machine has ended; of others the lease alone can tell."""
    # A claim that is just being made is empty.
    where, number, *_ = [*owner.split(), "", ""]
    if where != _this_machine() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It is somebody else's.
    return False
