#!/usr/bin/env python3
"""Converts a checkpoint's pytorch_model.bin to safetensors. Python's standard library alone.

    convert_checkpoint.py DIR [--out DIR]

DIR holds pytorch_model.bin, or pytorch_model.bin.index.json and the shards that it names. Each
becomes one model*.safetensors, in DIR or in --out (which also gets the small files: config,
tokenizer). Memory stays at a few blocks, and at one tensor where a tensor is not contiguous. A run
that was broken off can be started again: finished files are compared with their source, byte by
byte, and kept.

The pickle inside a .bin is a program. It is not trusted: only the instructions and names that make
tensors are let through, and nothing of it is executed but the makers in this file. What is refused is
named. The format of PyTorch before 1.6 (no zip) is not read.
"""
import argparse
import collections
import io
import json
import math
import os
import pathlib
import pickle
import pickletools
import shutil
import struct
import sys
import tempfile
import time
import zipfile
import zlib

BLOCK = 16 << 20
PICKLE_MAX = 64 << 20
DIMENSIONS_MAX = 16
NUMBER_MAX = 1 << 48  # sizes, strides, offsets
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.bpe")

# torch's storage class -> safetensors' name, bytes, and the array code of that width
DTYPES = {
    "DoubleStorage": ("F64", 8, "Q"), "FloatStorage": ("F32", 4, "I"), "HalfStorage": ("F16", 2, "H"),
    "BFloat16Storage": ("BF16", 2, "H"), "LongStorage": ("I64", 8, "Q"), "IntStorage": ("I32", 4, "I"),
    "ShortStorage": ("I16", 2, "H"), "CharStorage": ("I8", 1, "B"), "ByteStorage": ("U8", 1, "B"),
    "BoolStorage": ("BOOL", 1, "B"),
}
# What torch.save writes with its pickle protocol 2, and no more.
OPCODES = {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST",
    "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD", "BINPERSID",
}


class Refused(Exception):
    """What the file holds is not what a checkpoint may hold."""


# ---- the pickle ---------------------------------------------------------------------------------


class Plain:
    """What a pickle cannot change once it is made."""

    def __setstate__(self, state):
        raise Refused("an instruction that changes a made object")


class Storage(Plain):
    def __init__(self, dtype, key, count):
        self.dtype, self.bytes_each, self.code = DTYPES[dtype]
        self.key, self.count = key, count


class Tensor(Plain):
    """A view of a storage; every number is checked here."""

    def __init__(self, storage, offset, shape, stride):
        numbers = (offset, *shape, *stride) if isinstance(shape, tuple) and isinstance(stride, tuple) else ()
        if (not isinstance(storage, Storage) or len(numbers) != 1 + 2 * len(shape)
                or len(shape) > DIMENSIONS_MAX
                or any(type(n) is not int or not 0 <= n < NUMBER_MAX for n in numbers)):
            raise Refused("a tensor with odd arguments")
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.count = math.prod(shape)
        self.end = offset + sum((n - 1) * step for n, step in zip(shape, stride)) + 1 if self.count else offset
        if self.end > storage.count or self.count > storage.count:
            raise Refused(f"a tensor of {self.count} elements up to number {self.end} in a storage of "
                          f"{storage.count}")

    @property
    def size(self):
        return self.count * self.storage.bytes_each

    @property
    def is_contiguous(self):
        step = 1
        for n, actual in zip(reversed(self.shape), reversed(self.stride)):
            if n != 1 and actual != step:
                return False
            step *= n
        return True


class Maker(Plain):
    def __init__(self, make):
        self.make = make

    def __call__(self, *arguments):
        return self.make(*arguments)


def rebuild_tensor(storage, offset, shape, stride, *_):
    return Tensor(storage, offset, shape, stride)


def rebuild_parameter(data, *_):
    if not isinstance(data, Tensor):
        raise Refused("a parameter that is no tensor")
    return data


NAMES = {
    ("torch._utils", "_rebuild_tensor"): Maker(rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Maker(rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): Maker(rebuild_parameter),
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{("torch", name): name for name in DTYPES},
}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in NAMES:
            raise Refused(f"the name {module}.{name}")
        return NAMES[module, name]

    def persistent_load(self, saved):
        if (not isinstance(saved, tuple) or len(saved) != 5 or saved[0] != "storage"
                or not isinstance(saved[1], str) or saved[1] not in DTYPES or not isinstance(saved[2], str)
                or type(saved[4]) is not int or saved[4] < 0):
            raise Refused("a storage with odd arguments")
        return Storage(saved[1], saved[2], saved[4])


def check_opcodes(data):
    """Reads the instructions without running any."""
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if opcode.name not in OPCODES:
                raise Refused(f"the pickle instruction {opcode.name}")
            if opcode.name.endswith("PUT") and argument > number:  # would only ask for memory
                raise Refused(f"a memo entry number {argument}")
            if opcode.name == "PROTO" and argument != 2:
                raise Refused(f"pickle protocol {argument}")
    except (ValueError, UnicodeDecodeError) as error:
        raise Refused(f"a broken pickle ({error})") from error


def load_pickle(data):
    """name -> Tensor."""
    check_opcodes(data)
    try:
        found = Unpickler(io.BytesIO(data)).load()
    except Refused:
        raise
    except Exception as error:  # whatever a hostile pickle makes of our makers
        raise Refused(f"a broken pickle ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise Refused(f"{type(found).__name__} where the tensors should be")
    tensors = {}
    for name, value in dict.items(found):
        if not isinstance(name, str):
            raise Refused("a tensor whose name is no text")
        if not isinstance(value, Tensor):
            raise Refused(f"{name!r}, which is no tensor but {type(value).__name__}")
        tensors[name] = value
    return tensors


# ---- the zip ------------------------------------------------------------------------------------


class Archive:
    """A .bin: its tensors, and the bytes of its storages where they lie."""

    def __init__(self, path):
        self.path, self.file = path, open(path, "rb")
        if self.file.read(4) != b"PK\x03\x04":
            raise Refused("no zip: it was saved in the format of PyTorch before 1.6; load it and save "
                          "it again with a newer torch.save")
        try:
            self.zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise Refused(f"a broken zip ({error})") from error
        pickles = [i for i in self.zip.infolist() if i.filename.count("/") == 1
                   and i.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("no zip that torch.save has written: it has no data.pkl")
        self.folder = pickles[0].filename.removesuffix("data.pkl")
        self.places = {}
        if self.member("byteorder", 64) not in (None, b"little"):
            raise Refused("another byte order")
        self.tensors = load_pickle(self.member("data.pkl", PICKLE_MAX))
        for name, tensor in self.tensors.items():
            place, size, _ = self.place(tensor.storage.key)
            if size != tensor.storage.count * tensor.storage.bytes_each:
                raise Refused(f"{name!r}, whose storage has {size} bytes, not "
                              f"{tensor.storage.count * tensor.storage.bytes_each}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def place(self, key):
        """Where the bytes of data/<key> begin, how many there are, and their CRC."""
        return self.locate(f"data/{key}")

    def locate(self, name):
        if name in self.places:
            return self.places[name]
        try:
            info = self.zip.getinfo(self.folder + name)
        except KeyError:
            raise Refused(f"no {name} in the zip") from None
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Refused(f"{name}, which is compressed or encrypted")
        self.file.seek(info.header_offset)
        header = self.file.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise Refused(f"{name}, whose header is broken")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + info.file_size > os.fstat(self.file.fileno()).st_size:
            raise Refused(f"{name}, which ends behind the file")
        self.places[name] = start, info.file_size, info.CRC
        return self.places[name]

    def member(self, name, size_max):
        """A small member's bytes; None when it is not there."""
        if self.folder + name not in self.zip.NameToInfo:
            return None
        start, size, _ = self.locate(name)
        if size > size_max:
            raise Refused(f"{name} of {size} bytes; the limit is {size_max}")
        return b"".join(self.span(start, size))

    def span(self, start, size):
        self.file.seek(start)
        while size > 0:
            block = self.file.read(min(size, BLOCK))
            if not block:
                raise Refused("an early end of the file")
            size -= len(block)
            yield block

    def blocks(self, name):
        """The bytes of a tensor in row-major order."""
        tensor = self.tensors[name]
        start, size, crc = self.place(tensor.storage.key)
        each = tensor.storage.bytes_each
        if not tensor.is_contiguous:
            yield from rows(tensor, b"".join(self.span(start + tensor.offset * each,
                                                       (tensor.end - tensor.offset) * each)))
            return
        seen = 0
        for block in self.span(start + tensor.offset * each, tensor.size):
            seen = zlib.crc32(block, seen)
            yield block
        if tensor.size == size and seen != crc:
            raise Refused(f"{name!r}, whose bytes do not have the checksum of the zip")


def rows(tensor, data):
    """The last dimension of a strided tensor, one run at a time. `data` begins at its first element."""
    values = memoryview(data).cast(tensor.storage.code)
    count, step = tensor.shape[-1], tensor.stride[-1]
    if tensor.count == 0:
        return
    index, at = [0] * (len(tensor.shape) - 1), 0
    while True:
        if step:
            yield values[at:at + (count - 1) * step + 1:step].tobytes()
        else:
            yield values[at:at + 1].tobytes() * count
        for d in reversed(range(len(index))):
            index[d] += 1
            at += tensor.stride[d]
            if index[d] < tensor.shape[d]:
                break
            at -= index[d] * tensor.stride[d]
            index[d] = 0
        else:
            return


# ---- safetensors --------------------------------------------------------------------------------


def plan(tensors):
    """The header's bytes and the names in the order of their data: widest elements first, so that
    all are aligned."""
    names = sorted(tensors, key=lambda name: (-tensors[name].storage.bytes_each, name))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        tensor = tensors[name]
        header[name] = {"dtype": tensor.storage.dtype, "shape": list(tensor.shape),
                        "data_offsets": [at, at + tensor.size]}
        at += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, names, at


class Progress:
    """One line that is rewritten on a terminal, a line every tenth elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.done, self.shown = what, max(total, 1), 0, -1
        self.terminal, self.start = sys.stderr.isatty(), time.monotonic()

    def add(self, count):
        self.done += count
        share = self.done * 100 // self.total
        if share == self.shown or not self.terminal and share // 10 == self.shown // 10:
            return
        self.shown = share
        rate = self.done / 1e6 / max(time.monotonic() - self.start, 1e-3)
        sys.stderr.write(f"{chr(13) if self.terminal else ''}{self.what}: {share} % of "
                         f"{self.total / 1e6:.0f} MB, {rate:.0f} MB/s{'' if self.terminal else chr(10)}")
        sys.stderr.flush()

    def end(self, word):
        print(f"{chr(13) if self.terminal else ''}{self.what}: {word}          ", file=sys.stderr)


def content(archive, header, names):
    yield header
    for name in names:
        yield from archive.blocks(name)


def is_finished(path, archive, header, names, size):
    """True if the file is there and is, byte by byte, what would be written."""
    if not path.is_file() or path.stat().st_size != len(header) + size:
        return False
    progress = Progress(f"{path.name} is there: comparing", len(header) + size)
    with open(path, "rb") as file:
        for block in content(archive, header, names):
            if file.read(len(block)) != block:
                progress.end("it differs")
                return False
            progress.add(len(block))
    progress.end("kept")
    return True


def replace(path, blocks):
    """Writes beside and renames: a file under its own name is whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as out:
        try:
            for block in blocks:
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
            os.chmod(out.name, 0o644)
            os.replace(out.name, path)
        except BaseException:
            os.unlink(out.name)
            raise


def convert(source, target):
    """One .bin to one safetensors file; its tensor names and bytes of data."""
    with Archive(source) as archive:
        header, names, size = plan(archive.tensors)
        for name, other in shared(archive.tensors):
            print(f"{source.name}: {name} shares its storage with {other}; written for itself",
                  file=sys.stderr)
        if not is_finished(target, archive, header, names, size):
            free = shutil.disk_usage(target.parent).free
            if free < size + len(header):
                raise Refused(f"{size + len(header)} bytes, more than the {free} that are free in "
                              f"{target.parent}")
            progress = Progress(target.name, len(header) + size)

            def counted():
                for block in content(archive, header, names):
                    yield block
                    progress.add(len(block))

            replace(target, counted())
            progress.end("written")
        return names, size


def shared(tensors):
    """(name, the first name with the same storage)."""
    first = {}
    for name, tensor in tensors.items():
        other = first.setdefault(tensor.storage.key, name)
        if other != name:
            yield name, other


# ---- the directory ------------------------------------------------------------------------------


def shard_names(index):
    """The files that an index names, in order; each must lie beside it."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise Refused("no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or pathlib.PurePath(name).name != name or not name.endswith(".bin"):
            raise Refused(f"the file name {name!r}")
    return sorted(set(weight_map.values())), weight_map


def target_name(source):
    stem = source.removesuffix(".bin")
    return stem.replace("pytorch_model", "model", 1) + ".safetensors"


def convert_shards(directory, out, index_path):
    try:
        names, weight_map = shard_names(json.loads(index_path.read_text("utf-8")))
    except (ValueError, Refused) as error:
        raise Refused(f"{index_path}: {error}") from error
    total, where = 0, {}
    for name in names:
        found, size = convert_named(directory / name, out / target_name(name))
        missing = [t for t, file in weight_map.items() if file == name and t not in found]
        if missing:
            raise Refused(f"{directory / name}: it lacks {missing[0]}, which the index has there")
        total += size
        where.update({tensor: target_name(name) for tensor in found})
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))},
                      indent=2)
    replace(out / "model.safetensors.index.json", [text.encode() + b"\n"])


def convert_named(source, target):
    try:
        return convert(source, target)
    except Refused as error:
        raise Refused(f"{source}: refused: {error}") from error


def copy_small_files(directory, out):
    for pattern in SMALL_FILES:
        for path in directory.glob(pattern):
            if not path.name.endswith(".bin.index.json") and path.is_file():
                shutil.copyfile(path, out / path.name)


def run(directory, out):
    index, single = directory / "pytorch_model.bin.index.json", directory / "pytorch_model.bin"
    out.mkdir(parents=True, exist_ok=True)
    if index.is_file():
        convert_shards(directory, out, index)
    elif single.is_file():
        convert_named(single, out / "model.safetensors")
    else:
        raise Refused(f"{directory}: it has neither pytorch_model.bin nor pytorch_model.bin.index.json")
    if out.resolve() != directory.resolve():
        copy_small_files(directory, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--out", type=pathlib.Path, help="directory for the result; default: DIR")
    options = parser.parse_args()
    try:
        run(options.directory, options.out or options.directory)
    except (Refused, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
