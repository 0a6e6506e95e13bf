"""Recordings of event cameras: their contract, their files, and random changes of their events.

A file becomes a `Recording`: events (x, y, t in microseconds, p) and the (height, width) of their sensor.

array: the contract of an event array, checked and repaired     recording: `Recording`
files: `read_events`, `write_events`                            from_bytes: the same from memory
formats/: readers, a file a format                              decoding: what all readers return and may take
augmentation: events are lost, shaken, cut off
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
