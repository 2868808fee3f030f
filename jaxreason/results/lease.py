"""The lease of a working directory on a bucket, which has no locks: an object that its holder renews.

`<workdir>/.lease/000001.json`, `000002.json`, ...: the highest number is the lease, and each run that takes it writes
the next one. A holder writes its own anew every RENEW_SECONDS, with another `beat`, and marks it `released` at its
end. One that has not changed for STALE_PERIODS such periods is nobody's any more. That is watched by the watcher's own
clock, or read off the times that the store itself gave the lease and an object written just now; clocks of two
machines are never compared. A holder that was late for so long (a suspended machine, a bucket out of reach) asks the
bucket again before it writes anything, and ends if another run has the directory.
"""

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.buckets import create_object, time_in_store

_LOG = logging.getLogger(__name__)
FOLDER = ".lease"
RENEW_SECONDS = 10.0
MOST_SECONDS = 600.0  # between renewals; a lease that says more is damaged
STALE_PERIODS = 9
_LATE_PERIODS = 6  # without a renewal for so long, the holder looks before it writes
_NAME = re.compile(r"(\d{6,})\.json")
_held: list["Lease"] = []


class LeaseError(UserError):
    """Another run has the working directory."""


class Holder(NamedTuple):
    """The content of a lease object: its number and its record."""

    number: int
    record: dict[str, Any]

    def __str__(self) -> str:
        host, process = self.record.get("host", "?"), self.record.get("process", "?")
        return f"process {process} on {host}, begun {self.record.get('started', '?')}"

    def is_open(self) -> bool:
        """Whether nobody has marked it as given back."""
        return not self.record.get("released")

    def period(self) -> float:
        """Seconds between its renewals; what no version of ours wrote is taken for RENEW_SECONDS."""
        found = self.record.get("renew_seconds")
        plain = isinstance(found, int | float) and 0 < found <= MOST_SECONDS
        return float(found) if plain else RENEW_SECONDS


def check_held() -> None:
    """Called before anything is written to a bucket.

    Raises:
      LeaseError: the run's lease was taken over; nothing may be written any more.
      Exception: as the bucket's library raises, if the lease is overdue and the bucket cannot be reached.
    """
    for lease in list(_held):
        lease.check()


class Lease:
    """Held from `take` until `release`.

    Args:
      workdir: on a bucket.
      lost: called in a thread of its own, with the reason, when another run has taken over. It should end the program.
    """

    def __init__(self, workdir: epath.Path, lost: Callable[[str], None]):
        self._workdir, self._lost = workdir, lost
        self._record = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "token": uuid.uuid4().hex,
            "renew_seconds": RENEW_SECONDS,
            "beat": 0,
            "released": False,
        }
        self._number, self._confirmed, self._reason = 0, 0.0, ""
        self._writing, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def take(self) -> None:
        """Waits until nobody else holds it, and holds it.

        Raises:
          LeaseError: another run renews it.
        """
        while True:
            newest = read_newest(self._workdir)
            if newest is not None and newest.is_open():
                wait_until_stale(self._workdir, newest)
                _LOG.warning(
                    "%s: the run that held it (%s) has ended without a word; taking over.",
                    self._workdir,
                    newest,
                )
            self._number = newest.number + 1 if newest else 1
            self._confirmed = _now()
            if create_object(_path(self._workdir, self._number), self._bytes()):
                break
        for number in list_numbers(self._workdir):
            if number < self._number:
                _path(self._workdir, number).unlink(missing_ok=True)
        _held.append(self)
        self._thread.start()

    def check(self) -> None:
        """Asks the bucket, if the lease was not renewed for long.

        Raises:
          LeaseError: another run has it.
        """
        if not self._reason and _now() - self._confirmed > _LATE_PERIODS * RENEW_SECONDS:
            self._renew()
        if self._reason:
            raise LeaseError(self._reason)

    def release(self) -> None:
        """Gives it back; a lease that was lost stays as it is."""
        self._ended.set()
        self._thread.join()
        _held.remove(self)
        if not self._reason:
            self._record["released"] = True
            try:
                self._renew()
            except (
                Exception
            ) as error:  # the run's own end counts; the next one waits until this is stale
                _LOG.warning("%s: the lease cannot be given back (%r).", self._workdir, error)

    def _beat(self) -> None:
        said = False
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
                said = False
            except Exception as error:  # libraries of buckets have errors of their own
                if not said:
                    _LOG.warning("%s: the lease cannot be renewed (%r).", self._workdir, error)
                said = True
            if self._reason:
                self._lost(self._reason)
                return

    def _renew(self) -> None:
        with self._writing:
            begun = _now()
            newest = read_newest(self._workdir)
            if newest is None or newest.record.get("token") != self._record["token"]:
                by = f"taken over by {newest}" if newest else "removed"
                self._reason = (
                    f"{self._workdir}: the lease of this working directory was {by}; this run ends."
                )
                return
            self._record["beat"] += 1
            _path(self._workdir, self._number).write_bytes(self._bytes())
            self._confirmed = begun

    def _bytes(self) -> bytes:
        return json.dumps(self._record).encode()


def wait_until_stale(workdir: epath.Path, holder: Holder) -> None:
    """Returns when a lease is nobody's, or another one is there.

    Raises:
      LeaseError: it was renewed meanwhile, so its holder lives.
    """
    period = holder.period()
    long = period * STALE_PERIODS
    if _age(workdir, holder) > long:
        return
    _LOG.warning(
        "%s: in use by %s, or it was until lately; watching its lease for up to %d s.",
        workdir,
        holder,
        round(long),
    )
    end = _now() + long
    while _now() < end:
        time.sleep(min(period / 2, 2.0))
        found = read_newest(workdir)
        if found is None or found.number != holder.number or not found.is_open():
            return
        if found.record != holder.record:
            raise LeaseError(f"{workdir}: another run is using this working directory ({found}).")


def _age(workdir: epath.Path, holder: Holder) -> float:
    """Seconds since a lease was renewed, by the store's clock alone; 0 where the store tells no times."""
    probe = workdir / FOLDER / f"clock-{uuid.uuid4().hex}"
    try:
        written = time_in_store(_path(workdir, holder.number))
        if written is None:
            return 0.0
        probe.write_bytes(b"")
        now = time_in_store(probe)
        probe.unlink(missing_ok=True)
    except FileNotFoundError:  # removed by who holds the next one
        return 0.0
    return 0.0 if now is None else now - written


def read_newest(workdir: epath.Path) -> Holder | None:
    """The lease with the highest number, whoever holds it; None without any."""
    numbers = list_numbers(workdir)
    if not numbers:
        return None
    try:
        record = json.loads(_path(workdir, numbers[-1]).read_bytes())
    except FileNotFoundError:  # removed by who holds the next one
        return read_newest(workdir)
    except ValueError:  # no lease of ours, so nobody renews it
        record = {}
    return Holder(numbers[-1], record if isinstance(record, dict) else {})


def list_numbers(workdir: epath.Path) -> list[int]:
    """Numbers of the lease objects that are there, in order."""
    try:
        found = [_NAME.fullmatch(path.name) for path in (workdir / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # a bucket has no empty folders
        return []
    return sorted(int(match[1]) for match in found if match)


def _path(workdir: epath.Path, number: int) -> epath.Path:
    return workdir / FOLDER / f"{number:06d}.json"


def _now() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
