"""Make files of every format from events, written from the published formats and apart from the readers under test.

And what the tests of the formats share: sample events, and reading them back.
"""

import io
import itertools
import struct

import numpy as np

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import read_events
from eclip_lib.events.formats.numpy_files import write_compact

AEDAT4_MAGIC = b"#!AER-DAT4.0\r\n"


def header(*lines):
    """Return a text header as Prophesee's files have it."""
    return b"".join(b"% " + line.encode() + b"\n" for line in lines)


def evt2(events, first_lines=("evt 2.0", "geometry 1280x720", "end")):
    """Return a `.raw` of 32-bit words: one for the upper 28 bits of the time when they change, one for each event."""
    words, high = [], None
    for x, y, t, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high & 0xFFFFFFF)
        words.append(int(p) << 28 | (t & 0x3F) << 22 | x << 11 | y)
    return header(*first_lines) + np.array(words, "<u4").tobytes()


def evt21(events, first_lines=("format EVT21;endianness=little;height=720;width=1280", "end"), legacy=False):
    """Return a `.raw` of 64-bit words, an event each but with neighbors of one row, time and polarity joined."""
    words, high, rows = [], None, events.tolist()
    at = 0
    while at < len(rows):
        x, y, t, p = rows[at]
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 60 | (high & 0xFFFFFFF) << 32)
        mask, stop = 1, at + 1
        while stop < len(rows) and rows[stop][1:] == (y, t, p) and 0 < rows[stop][0] - x < 32:
            if mask >> (rows[stop][0] - x):
                break  # not to the right of all before: the order would be lost
            mask |= 1 << (rows[stop][0] - x)
            stop += 1
        words.append(int(p) << 60 | (t & 0x3F) << 54 | x << 43 | y << 32 | mask)
        at = stop
    halves = np.array(words, "<u8").view("<u4").reshape(-1, 2)
    return header(*first_lines) + (halves[:, ::-1] if legacy else halves).tobytes()


def evt3(events, first_lines=("evt 3.0", "format EVT3;height=720;width=1280", "end"), vectors=True):
    """Return a `.raw` of 16-bit words; neighbors of one row, time and polarity become vectors of 12 and 8 pixels."""
    words, state, rows = [], {}, events.tolist()

    def put(kind, payload, always=False):
        new = always or state.get(kind) != payload
        state[kind] = payload
        words.extend([kind << 12 | payload] * new)
        return new

    at = 0
    while at < len(rows):
        x, y, t, p = rows[at]
        put(0x6, t & 0xFFF, always=put(0x8, t >> 12 & 0xFFF))
        put(0x0, y)
        stop = at + 1
        while stop < len(rows) and rows[stop][1:] == (y, t, p) and rows[stop - 1][0] < rows[stop][0] < x + 32:
            stop += 1
        if vectors and stop - at > 1:
            mask = sum(1 << (row[0] - x) for row in rows[at:stop])
            put(0x3, int(p) << 11 | x, always=True)
            words += [0x4 << 12 | mask & 0xFFF, 0x4 << 12 | mask >> 12 & 0xFFF, 0x5 << 12 | mask >> 24]
        else:
            stop = at + 1
            put(0x2, int(p) << 11 | x, always=True)
        at = stop
    return header(*first_lines) + np.array(words, "<u2").tobytes()


def words16(*words):
    """Return a `.raw` of EVT 3.0 words."""
    return header("evt 3.0", "geometry 1280x720", "end") + np.array(words, "<u2").tobytes()


def dat(events, version=2, first_lines=("Data file containing CD events", "Version 2", "Width 1280", "Height 720")):
    """Return a `.dat` file of version 1 (9 bits of x, 8 of y) or 2 (14 of each)."""
    x_bits, y_bits = (9, 8) if version == 1 else (14, 14)
    data = np.zeros(len(events), [("t", "<u4"), ("address", "<u4")])
    data["t"] = events["t"] & 0xFFFFFFFF
    x, y, p = (events[name].astype(np.uint32) for name in "xyp")
    data["address"] = x | y << np.uint32(x_bits) | p << np.uint32(x_bits + y_bits)
    return header(*first_lines) + bytes([0x0C, 8]) + data.tobytes()


def atis(events):
    """Return a `.bin` file."""
    rows = ((x, y, int(p) << 23 | t & 0x7FFFFF) for x, y, t, p in events.tolist())
    return b"".join(bytes([x, y]) + word.to_bytes(3, "big") for x, y, word in rows)


def est(events):
    """Return a `.npy` file of the EST release."""
    file = io.BytesIO()
    p = np.where(events["p"], 1.0, -1.0)
    np.save(file, np.stack([events["x"], events["y"], events["t"] / 1e6, p], axis=1))
    return file.getvalue()


def n_imagenet(events, save=np.savez_compressed):
    """Return a `.npz` file as N-ImageNet has it."""
    file = io.BytesIO()
    save(file, event_data=events.astype([("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "?")]))
    return file.getvalue()


def compact(events, sensor_size):
    """Return our own `.npz`."""
    file = io.BytesIO()
    write_compact(file, events, sensor_size)
    return file.getvalue()


def _table(fields, size):
    """Return a FlatBuffers table after its index; `fields` are (offset in the table, bytes)."""
    index = struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), size, *(at for at, _ in fields))
    body = bytearray(size)
    body[:4] = struct.pack("<i", len(index))
    for at, content in fields:
        body[at : at + len(content)] = content
    return index, bytes(body)


def _prefixed(name, fields, size, tail):
    """Return a size-prefixed FlatBuffers buffer whose last field points to `tail`."""
    index, body = _table(fields, size)
    pad = -(8 + len(index)) % 4
    content = struct.pack("<I4s", 8 + pad + len(index), name) + bytes(pad) + index + body + tail
    return struct.pack("<I", len(content)) + content


def streams_xml(size=(720, 1280), streams=1):
    """Return the description of an AEDAT4 file with event streams and one other."""
    sides = (
        ""
        if size is None
        else (f'<attr key="sizeX" type="int">{size[1]}</attr><attr key="sizeY" type="int">{size[0]}</attr>')
    )
    nodes = "".join(
        f'<node name="{i}" path="/{i}/"><attr key="typeIdentifier" type="string">EVTS</attr>'
        f'<node name="info" path="/{i}/info/">{sides}</node></node>'
        for i in range(streams)
    )
    other = '<node name="7" path="/7/"><attr key="typeIdentifier" type="string">IMUS</attr></node>'
    return f'<dv version="2.0"><node name="outInfo" path="/">{nodes}{other}</node></dv>'


def aedat4(events, codec=1, per_packet=300, xml=None, ended=True):
    """Return an AEDAT4 file; codec 0 is none, 1 LZ4, 3 Zstandard."""
    import pyarrow as pa

    def pack(content):
        if not codec:
            return content
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, {1: "lz4", 3: "zstd"}[codec]) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    kind = np.dtype(
        {"names": "txyp", "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
    )
    body = b""
    for start in range(0, len(events), per_packet):
        rows = np.zeros(len(events[start : start + per_packet]), kind)
        for name in "xytp":
            rows[name] = events[name][start : start + per_packet]
        tail = struct.pack("<I", len(rows)) + rows.tobytes()
        content = pack(_prefixed(b"EVTS", [(4, struct.pack("<I", 4))], 8, tail))
        other = pack(b"\0" * 40)
        body += struct.pack("<ii", 7, len(other)) + other + struct.pack("<ii", 0, len(content)) + content
    text = (xml or streams_xml()).encode()
    tail = struct.pack("<I", len(text)) + text + b"\0"

    def head(end):
        fields = [(4, struct.pack("<i", codec)), (8, struct.pack("<q", end)), (16, struct.pack("<I", 4))]
        return AEDAT4_MAGIC + _prefixed(b"IOHE", fields, 20, tail)

    end = len(head(0)) + len(body)
    return head(end if ended else -1) + body + (b"a table of the packets" if ended else b"")


def hdf5(events, layout="prophesee", size=(720, 1280), **options):
    """Return an HDF5 file; layouts: prophesee, fields, dsec, flat, seconds (event_utils).

    `options` go to create_dataset.
    """
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        for name, content in _HDF5_LAYOUTS[layout](events).items():
            h5.create_dataset(name, data=content, **(options if np.ndim(content) else {}))
        if size and layout in ("prophesee", "fields"):
            h5.attrs["geometry"] = f"{size[1]}x{size[0]}"
        elif size and layout == "flat":
            h5.attrs["height"], h5.attrs["width"] = size
        elif size and layout == "seconds":
            h5.attrs["sensor_resolution"] = size
    return file.getvalue()


def _compound(events):
    rows = np.zeros(len(events), [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    for name in "xytp":
        rows[name] = events[name]
    return {"CD/events": rows}


def _dsec(events):
    start = events["t"][:1].sum()
    t = (events["t"] - start).astype("u4")
    x, y, p = events["x"].astype("u2"), events["y"].astype("u2"), events["p"].astype("u1")
    return {"events/x": x, "events/y": y, "events/t": t, "events/p": p, "t_offset": start}


_HDF5_LAYOUTS = {
    "prophesee": _compound,
    "fields": lambda events: {"CD/events": events},
    "dsec": _dsec,
    "flat": lambda events: {name: events[name] for name in "xytp"},
    "seconds": lambda events: {f"events/{name}s": events[name] / (1e6 if name == "t" else 1) for name in "xytp"},
}


def ecf(events, layout="runs"):
    """Return a chunk in Prophesee's compression; layouts: runs, x_p, all (what is packed by four events)."""
    flag = {"runs": 0, "x_p": 1, "all": 2}[layout]
    t = np.maximum.accumulate(events["t"]).tolist()  # the format has no step back in time, and 11 bits for x and y
    out = [struct.pack("<Iq", len(events) << 2 | flag, t[0]), _ecf_times(t)]
    x, y, p = ((events[name] & 0x7FF).tolist() for name in "xyp")
    if layout == "all":
        return b"".join([*out, _quads([b << 12 | a << 1 | c for a, b, c in zip(x, y, p, strict=True)], 24)])
    out += [struct.pack("<H", v << 5 | n) if n < 31 else struct.pack("<HH", v << 5 | 31, n) for v, n in _runs(y)]
    if layout == "x_p":
        return b"".join([*out, _quads([a << 1 | c for a, c in zip(x, p, strict=True)], 12)])
    at = 0
    while at < len(x):
        base, mask = x[at], 0
        at += 1
        for step in range(1, 6):
            if at < len(x) and x[at] == base + step:
                mask, at = mask | 1 << (5 - step), at + 1
        out.append(struct.pack("<H", base << 5 | mask))
    out += [struct.pack("<B", v << 7 | n) if n < 127 else struct.pack("<BH", v << 7 | 127, n) for v, n in _runs(p)]
    return b"".join(out)


def _ecf_times(times):
    """Return the times as steps and counts."""
    out, now = [], times[0]
    for t, n in _runs(times):
        step, now = t - now, t
        if step >= 15:
            while step:
                out.append(struct.pack("<B", 0xF0 | step & 15))
                step >>= 4
        out.append(struct.pack("<B", step << 4 | n) if n < 15 else struct.pack("<BH", step << 4 | 15, n))
    return b"".join(out)


def _runs(values):
    """Return (value, how often) of neighbors that are equal."""
    return [(int(value), len(list(group))) for value, group in itertools.groupby(values)]


def _quads(values, bits):
    """Return numbers of so many bits, four in three words of 16 or 32 bits."""
    word = bits * 4 // 3
    out = []
    for start in range(0, len(values), 4):
        four = [*values[start : start + 4], 0, 0, 0][:4]
        whole = sum(value << bits * (3 - place) for place, value in enumerate(four))  # most significant first
        out += [_quad_word(whole, bits, word, place) for place in range(3)]
    return np.array(out, "<u2" if word == 16 else "<u4").tobytes()


def _quad_word(whole, bits, word, place):
    """Return one of the three words: what is left of one number, above, then the lowest bits of the next."""
    numbers = [whole >> bits * (3 - i) & ((1 << bits) - 1) for i in range(4)]
    low = (place + 1) * (word - bits)  # bits of the next number that fit in
    return (numbers[place] >> place * (word - bits)) << low | numbers[place + 1] & ((1 << low) - 1)


def hdf5_ecf(events, layout="runs", chunk=300, size=(720, 1280)):
    """Return an HDF5 file as Metavision writes it: CD/events, packed by ECF; the last chunk is filled up."""
    import h5py

    file = io.BytesIO()
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((chunk,))
    plist.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(file, "w") as h5:
        h5.attrs["geometry"] = f"{size[1]}x{size[0]}"
        kind = h5py.h5t.py_create(_compound(events[:0])["CD/events"].dtype)
        space = h5py.h5s.create_simple((len(events),), (h5py.h5s.UNLIMITED,))
        dataset = h5py.h5d.create(h5.create_group("CD").id, b"events", kind, space, plist)
        for start in range(0, len(events), chunk):
            part = events[start : start + chunk]
            part = np.concatenate([part, part[-1:].repeat(chunk - len(part))])
            dataset.write_direct_chunk((start,), ecf(part, layout))
    return file.getvalue()


# What the tests of the formats share


HD = (720, 1280)


def events_of(*rows):
    """Return events from (x, y, t, p)."""
    return np.array(list(rows), EVENT_DTYPE)


def hd_events():
    """Return 2,000 seeded events over 40 s on 1280x720, a third of them runs of neighbors at one time."""
    rng = np.random.default_rng(11)
    events = np.zeros(2000, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 1280, 2000), rng.integers(0, 720, 2000)
    events["t"], events["p"] = np.sort(rng.integers(0, 40_000_000, 2000)), rng.random(2000) < 0.5
    for start in range(0, 700, 7):
        run = slice(start, start + 7)
        events["x"][run] = rng.integers(0, 1248) + np.sort(rng.choice(32, 7, replace=False))
        for name in "ytp":
            events[name][run] = events[name][start]
    return events


def read_bytes(folder, name, content, *args, **kwargs):
    """Read a recording from a file with these bytes."""
    (folder / name).write_bytes(content)
    return read_events(folder / name, *args, **kwargs)


def assert_same(recording, events, size=HD):
    """Check size and every column, so that a failure names the column."""
    assert recording.sensor_size == size
    for name in "xytp":
        assert np.array_equal(recording.events[name], events[name]), name


VENDOR = {
    "evt2.raw": evt2,
    "evt21.raw": evt21,
    "evt21-legacy.raw": lambda e: evt21(e, ("evt 2.1", "endianness legacy", "geometry 1280x720"), True),
    "evt3.raw": evt3,
    "evt3-single.raw": lambda e: evt3(e, vectors=False),
    "cd.dat": dat,
    "none.aedat4": lambda e: aedat4(e, 0),
    "lz4.aedat4": lambda e: aedat4(e, 1),
    "zstd.aedat4": lambda e: aedat4(e, 3, ended=False),
    "prophesee.h5": hdf5,
    "flat.hdf5": lambda e: hdf5(e, "flat", compression="gzip"),
    "seconds.h5": lambda e: hdf5(e, "seconds", chunks=(100,)),
}
