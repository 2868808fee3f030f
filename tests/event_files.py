"""Reads the event files that TensorBoard reads."""

import struct

from tensorboardX.proto import event_pb2


def events_of(file):
    """A record is a length, a checksum, an Event, a checksum."""
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]


def read_scalars(folder):
    """`{tag: [(step, value), ...]}`."""
    found = {}
    for file in sorted(folder.iterdir()):
        for event in events_of(file):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
