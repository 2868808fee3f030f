"""The lease of a working directory on a bucket, which has no locks: an object that its holder renews.

The objects are `<workdir>/.lease/000001.json`, `000002.json`, ...: the highest number is the lease, and each run that
takes it writes the next number. A holder rewrites its own object every RENEW_SECONDS, with another `beat`, and marks it
`released` at its end. A lease that has not changed for STALE_PERIODS such periods has no holder any more. This is
measured by the watcher's own clock, or from the times that the store itself gave to the lease and to an object written
just now; clocks of two machines are never compared. A holder that has not renewed for that long (a suspended machine,
an unreachable bucket) asks the bucket again before it writes anything, and ends if another run has the directory.
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
MOST_SECONDS = 600.0  # Between renewals; a lease with a larger number is damaged.
STALE_PERIODS = 9
# Without a renewal for this many periods, the holder checks the lease before it writes.
_LATE_PERIODS = 6
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
        """Returns whether the lease has not been marked as released."""
        return not self.record.get("released")

    def period(self) -> float:
        """Returns the seconds between its renewals; RENEW_SECONDS for a record that this program did not write."""
        found = self.record.get("renew_seconds")
        plain = isinstance(found, int | float) and 0 < found <= MOST_SECONDS
        return float(found) if plain else RENEW_SECONDS


def check_held() -> None:
    """Checks the leases that this process holds; called before anything is written to a bucket.

    Raises:
      LeaseError: the run's lease was taken over; nothing may be written any more.
      Exception: an error of the bucket's library, if the lease is overdue and the bucket cannot be reached.
    """
    for lease in list(_held):
        lease.check()


class Lease:
    """A lease that is held from `take` until `release`.

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
        """Waits until nobody else holds the lease, then takes it.

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
            # Of two runs that create the same number at once, one is refused and starts again. The time is taken before
            # the write: a slow write must not make the lease look younger than it is.
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
        """Asks the bucket, if the lease has not been renewed for long.

        Raises:
          LeaseError: another run has it.
        """
        if not self._reason and _now() - self._confirmed > _LATE_PERIODS * RENEW_SECONDS:
            self._renew()
        if self._reason:
            raise LeaseError(self._reason)

    def release(self) -> None:
        """Releases the lease; a lease that was lost is left unchanged."""
        self._ended.set()
        self._thread.join()
        _held.remove(self)
        if not self._reason:
            self._record["released"] = True
            try:
                self._renew()
            except Exception as error:  # The run's own end matters more; the next run waits until the lease is stale.
                _LOG.warning("%s: the lease cannot be given back (%r).", self._workdir, error)

    def _beat(self) -> None:
        said = False
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
                said = False
            except Exception as error:  # Libraries of buckets have their own classes of errors.
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
    """Returns when nobody holds the lease any more, or when there is a newer one.

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
    """Returns the seconds since a lease was renewed, by the store's clock alone; 0 if the store tells no times."""
    probe = workdir / FOLDER / f"clock-{uuid.uuid4().hex}"
    try:
        written = time_in_store(_path(workdir, holder.number))
        if written is None:
            return 0.0
        probe.write_bytes(b"")
        now = time_in_store(probe)
        probe.unlink(missing_ok=True)
    except FileNotFoundError:  # Removed by the holder of the next one.
        return 0.0
    return 0.0 if now is None else now - written


def read_newest(workdir: epath.Path) -> Holder | None:
    """Returns the lease with the highest number, also if it is released or damaged; None if there is none."""
    numbers = list_numbers(workdir)
    if not numbers:
        return None
    try:
        record = json.loads(_path(workdir, numbers[-1]).read_bytes())
    except FileNotFoundError:  # Removed by the holder of the next one.
        return read_newest(workdir)
    except ValueError:  # Not a lease that this program wrote, so nobody renews it.
        record = {}
    return Holder(numbers[-1], record if isinstance(record, dict) else {})


def list_numbers(workdir: epath.Path) -> list[int]:
    """Returns the numbers of the existing lease objects, in order."""
    try:
        found = [_NAME.fullmatch(path.name) for path in (workdir / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):  # On a bucket there are no empty folders.
        return []
    return sorted(int(match[1]) for match in found if match)


def _path(workdir: epath.Path, number: int) -> epath.Path:
    return workdir / FOLDER / f"{number:06d}.json"


def _now() -> float:
    """Returns seconds on a clock that also runs while the machine is suspended, if there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
