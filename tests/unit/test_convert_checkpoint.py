"""scripts/convert_checkpoint.py on files written here byte for byte as torch.save writes them: a zip
without compression that holds a pickle of protocol 2 and one member for each storage."""
import collections
import hashlib
import json
import pathlib
import resource
import struct
import subprocess
import sys
import zipfile

import numpy
import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "convert_checkpoint.py"
# numpy has no bf16; its bits are kept as uint16
KINDS = {"F64": ("DoubleStorage", "<f8"), "F32": ("FloatStorage", "<f4"), "F16": ("HalfStorage", "<f2"),
         "BF16": ("BFloat16Storage", "<u2"), "I64": ("LongStorage", "<i8"), "I32": ("IntStorage", "<i4"),
         "I16": ("ShortStorage", "<i2"), "I8": ("CharStorage", "<i1"), "U8": ("ByteStorage", "<u1"),
         "BOOL": ("BoolStorage", "|b1")}


# ---- torch.save ---------------------------------------------------------------------------------


Named = collections.namedtuple("Named", "module name")
# a call's result, which then gets `state`
Call = collections.namedtuple("Call", "function arguments state", defaults=[None])
Stored = collections.namedtuple("Stored", "kind key count")


class Pickler:
    """Protocol 2 as torch.save writes it: everything that can be memoised is."""

    def __init__(self):
        self.out, self.memo = bytearray(b"\x80\x02"), 0

    def put(self):
        self.out += b"q" + bytes([self.memo]) if self.memo < 256 else b"r" + struct.pack("<I", self.memo)
        self.memo += 1

    def number(self, value):
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif -1 << 31 <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            size = value.bit_length() // 8 + 1
            self.out += b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)

    def items(self, mapping):
        self.out += b"("
        for key, value in mapping.items():
            self.save(key)
            self.save(value)
        self.out += b"u"

    def call(self, function, arguments, state=None):
        self.save(function)
        self.save(arguments)
        self.out += b"R"
        self.put()
        if state is not None:
            self.save(state)
            self.out += b"b"

    def save(self, value):
        if value is None or value is True or value is False:
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            self.number(value)
        elif isinstance(value, str):
            self.out += b"X" + struct.pack("<I", len(value.encode())) + value.encode()
            self.put()
        elif isinstance(value, Named):
            self.out += f"c{value.module}\n{value.name}\n".encode()
            self.put()
        elif isinstance(value, Stored):
            self.save(("storage", Named("torch", value.kind), value.key, "cpu", value.count))
            self.out += b"Q"
        elif isinstance(value, Call):
            self.call(*value)
        elif isinstance(value, (tuple, list)):
            self.out += b"(" if isinstance(value, tuple) else b"]("
            for item in value:
                self.save(item)
            self.out += b"t" if isinstance(value, tuple) else b"e"
            self.put()
        elif isinstance(value, collections.OrderedDict):
            self.call(Named("collections", "OrderedDict"), ())
            self.items(value)
        else:
            self.out += b"}"
            self.put()
            self.items(value)


REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def tensor(stored, shape, stride, offset=0):
    return Call(REBUILD, (stored, offset, shape, stride, False, collections.OrderedDict()))


class Checkpoint:
    """Storages and what is pickled; the parts can be spoilt one by one."""

    def __init__(self, folder="archive"):
        self.folder, self.storages, self.root = folder, {}, collections.OrderedDict()
        self.members = {"byteorder": b"little", "version": b"3\n"}
        self.compression = zipfile.ZIP_STORED

    def store(self, array, kind):
        key = str(len(self.storages))
        self.storages[key] = array.tobytes()
        return Stored(KINDS[kind][0], key, array.size)

    def add(self, name, array, kind):
        """A contiguous tensor with a storage of its own."""
        stride = tuple(numpy.array(array.strides, int) // array.itemsize)
        self.root[name] = tensor(self.store(array, kind), array.shape, tuple(map(int, stride)))

    def pickled(self):
        pickler = Pickler()
        pickler.save(self.root)
        return bytes(pickler.out) + b"."

    def write(self, path, pickled=None):
        with zipfile.ZipFile(path, "w", self.compression) as file:
            file.writestr(f"{self.folder}/data.pkl", self.pickled() if pickled is None else pickled)
            for name, content in self.members.items():
                file.writestr(f"{self.folder}/{name}", content)
            for key, content in self.storages.items():
                file.writestr(f"{self.folder}/data/{key}", content)
        return path


def run(*arguments, **how):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, **how)


def read(path):
    """name -> (dtype, array), by the definition of safetensors; every byte of data has one owner."""
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header, at, found = json.loads(data[8:8 + size]), 0, {}
    assert size % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == at
        at, kind = end, numpy.dtype(KINDS[entry["dtype"]][1])
        assert begin % kind.itemsize == 0
        found[name] = entry["dtype"], numpy.frombuffer(data[8 + size + begin:8 + size + end], kind).reshape(
            entry["shape"])
    assert 8 + size + at == len(data)
    return found


def random(shape, kind="F32"):
    seed = int.from_bytes(hashlib.sha256(repr((shape, kind)).encode()).digest()[:4], "little")
    generator, code = numpy.random.default_rng(seed), numpy.dtype(KINDS[kind][1])
    if code.kind == "f":
        return generator.standard_normal(shape).astype(code)
    return generator.integers(0, 2 if code.kind == "b" else 100, shape).astype(code)


# ---- good ones ----------------------------------------------------------------------------------


def test_every_type_and_shape_arrives_bit_for_bit(tmp_path):
    made, expected = Checkpoint("pytorch_model"), {}
    for kind in KINDS:
        for shape in ((), (5,), (3, 4), (2, 3, 4), (0, 4), (1, 1)):
            expected[f"{kind}{shape}"] = kind, random(shape, kind)
            made.add(f"{kind}{shape}", random(shape, kind), kind)
    made.write(tmp_path / "pytorch_model.bin")
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, (kind, array) in expected.items():
        assert found[name][0] == kind and found[name][1].shape == array.shape
        assert found[name][1].tobytes() == array.tobytes(), name


def test_views_parameters_and_shared_storages(tmp_path):
    made, base = Checkpoint(), random((6, 8))
    stored = made.store(base, "F32")
    flat, expected = base.reshape(-1), {"whole": base}
    views = {"transposed": ((8, 6), (1, 8), 0, base.T), "row": ((8,), (1,), 16, base[2]),
             "column": ((6,), (8,), 3, base[:, 3]), "every third": ((5,), (3,), 1, flat[1:16:3]),
             "repeated": ((3, 4), (0, 1), 2, numpy.broadcast_to(flat[2:6], (3, 4))),
             "one value": ((7,), (0,), 5, numpy.broadcast_to(flat[5], (7,))),
             "three dimensions": ((4, 2, 3), (1, 24, 8), 0,
                                  numpy.lib.stride_tricks.as_strided(flat, (4, 2, 3), (4, 96, 32))),
             "expanded": ((1, 6), (48, 8), 0, base[:, :1].T)}
    made.root["whole"] = Call(Named("torch._utils", "_rebuild_parameter"),
                              (tensor(stored, (6, 8), (8, 1)), True, collections.OrderedDict()))
    for name, (shape, stride, offset, array) in views.items():
        made.root[name] = tensor(stored, shape, stride, offset)
        expected[name] = array
    # a module's state_dict carries this beside its items
    made.root = Call(Named("collections", "OrderedDict"), ([list(item) for item in made.root.items()],),
                     {"_metadata": collections.OrderedDict({"": {"version": 1}})})
    made.write(tmp_path / "pytorch_model.bin")
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("shares its storage with whole") == len(views)
    found = read(tmp_path / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert numpy.array_equal(found[name][1], array), name


def sharded(directory):
    """Two shards and an index; returns the tensors."""
    directory.mkdir(exist_ok=True)
    tensors = {f"layer.{i}.weight": random((4, 5 + i)) for i in range(6)}
    where = {name: f"pytorch_model-{1 + i % 2:05}-of-00002.bin" for i, name in enumerate(tensors)}
    for file in set(where.values()):
        made = Checkpoint()
        for name, array in tensors.items():
            if where[name] == file:
                made.add(name, array, "F32")
        made.write(directory / file)
    (directory / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    (directory / "config.json").write_text("{}")
    return tensors


def test_shards_get_an_index_and_the_small_files(tmp_path):
    tensors = sharded(tmp_path / "in")
    out = tmp_path / "out"
    done = run(tmp_path / "in", "--out", out)
    assert done.returncode == 0, done.stderr
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()
    for name, file in index["weight_map"].items():
        assert numpy.array_equal(read(out / file)[name][1], tensors[name])
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json"]


def test_a_second_run_keeps_what_is_finished_and_mends_what_is_not(tmp_path):
    sharded(tmp_path)
    assert run(tmp_path).returncode == 0
    first, second = (tmp_path / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    good, kept = second.read_bytes(), first.stat().st_ino
    damaged = bytearray(good)
    damaged[-3] ^= 1
    second.write_bytes(damaged)
    (tmp_path / "model.safetensors.index.json").unlink()
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert first.stat().st_ino == kept and "model-00001-of-00002.safetensors is there: comparing: kept" in (
        done.stderr)
    assert second.read_bytes() == good and "it differs" in done.stderr
    assert (tmp_path / "model.safetensors.index.json").exists()
    second.write_bytes(good[:100])
    assert run(tmp_path).returncode == 0 and second.read_bytes() == good


def test_memory_stays_below_the_size_of_a_tensor(tmp_path):
    """A contiguous tensor of 160 MB in an address space of 128 MB."""
    made = Checkpoint()
    made.add("large", numpy.zeros((40, 1000, 1000), "<f4"), "F32")
    made.write(tmp_path / "pytorch_model.bin")
    limit = 128 << 20
    done = run(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").stat().st_size > 160e6
    assert "100 % of 160 MB" in done.stderr


# ---- hostile ones -------------------------------------------------------------------------------


def refused(directory, *words):
    before = {path.name for path in directory.iterdir()}
    done = run(directory)
    assert done.returncode == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in directory.iterdir()} == before  # nothing half-written
    return done.stderr


def small():
    made = Checkpoint()
    made.add("x", random((2, 3)), "F32")
    return made


@pytest.mark.parametrize("module, name", [
    ("posix", "system"), ("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("subprocess", "Popen"),
    ("torch", "load"), ("torch._utils", "_rebuild_sparse_tensor"), ("torch.storage", "_load_from_bytes"),
    ("__main__", "run"), ("pickle", "loads"), ("collections", "namedtuple"), ("numpy", "load"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__")])
def test_other_names_are_refused_and_nothing_runs(tmp_path, module, name):
    made, mark = small(), tmp_path / "mark"
    made.root["y"] = Call(Named(module, name), (f"touch {mark}",))
    made.write(tmp_path / "pytorch_model.bin")
    refused(tmp_path, f"{module}.{name}")
    assert not mark.exists()


STACK_GLOBAL = (b"\x80\x02\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
PICKLES = {
    "a later protocol": (b"\x80\x04N.", "protocol 4"),
    "names from the stack": (STACK_GLOBAL, "SHORT_BINUNICODE"),
    "the old way to make an object": (b"\x80\x02(iposix\nsystem\n.", "INST"),
    "an object of a class": (b"\x80\x02(cposix\nsystem\no.", "OBJ"),
    "a new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "a persistent id in text": (b"\x80\x02P0\n.", "PERSID"),
    "a memo that asks for memory": (b"\x80\x02Nr\xff\xff\xff\xff.", "memo entry"),
    "no end": (b"\x80\x02}", "broken pickle"),
    "nothing on the stack": (b"\x80\x02.", "broken pickle"),
    "a get of nothing": (b"\x80\x02h\x05.", "broken pickle"),
    "a text longer than the file": (b"\x80\x02X\xff\xff\xff\x7fabc.", "broken pickle"),
    "a list": (b"\x80\x02].", "list"),
    "a number": (b"\x80\x02K\x01.", "int"),
    "a call of a name": (b"\x80\x02ctorch\nFloatStorage\n)R.", "broken pickle"),
    "a storage without its tuple": (b"\x80\x02K\x01Q.", "storage"),
    "empty": (b"", "broken pickle"),
}


@pytest.mark.parametrize("what", PICKLES)
def test_other_instructions_are_refused(tmp_path, what):
    pickled, word = PICKLES[what]
    small().write(tmp_path / "pytorch_model.bin", pickled)
    refused(tmp_path, word, str(tmp_path / "pytorch_model.bin"))


def spoil_state(made):
    made.root["x"] = made.root["x"]._replace(state={"offset": 1 << 40})


def spoil_slots(made):
    made.root["x"] = made.root["x"]._replace(state=(None, {"offset": 1 << 40}))


SPOILT = {
    "a changed tensor": (spoil_state, "changes a made object"),
    "another changed tensor": (spoil_slots, "changes a made object"),
    "too long": (lambda c: c.root.update(y=tensor(c.store(random((2,)), "F32"), (3,), (1,))), "storage of 2"),
    "behind the end": (lambda c: c.root.update(y=tensor(c.store(random((2,)), "F32"), (1,), (1,), 2)),
                       "storage of 2"),
    "a long stride": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (2,), (4,))), "storage of 4"),
    "more than it has": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (1 << 40,), (0,))),
                         "storage of 4"),
    "a negative size": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (-1,), (1,))), "odd"),
    "a negative stride": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (2,), (-1,))), "odd"),
    "a negative offset": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (2,), (1,), -1)), "odd"),
    "a huge size": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (0, 1 << 60), (1, 1))), "odd"),
    "a size that is a truth": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (True,), (1,))), "odd"),
    "a list for a shape": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), [2], (1,))), "odd"),
    "a missing stride": (lambda c: c.root.update(y=tensor(c.store(random((4,)), "F32"), (2, 2), (1,))), "odd"),
    "a number for a storage": (lambda c: c.root.update(y=tensor(3, (1,), (1,))), "odd"),
    "a parameter of nothing": (lambda c: c.root.update(
        y=Call(Named("torch._utils", "_rebuild_parameter"), (1, 2, 3))), "no tensor"),
    "an unknown storage": (lambda c: c.root.update(y=tensor(Stored("FileStorage", "0", 4), (1,), (1,))),
                           "FileStorage"),
    "a value that is no tensor": (lambda c: c.root.update(step=7), "'step'"),
    "a name that is no text": (lambda c: c.root.update({7: c.root["x"]}), "no text"),
    "a nested model": (lambda c: c.root.update(model=collections.OrderedDict()), "'model'"),
    "a storage that is not there": (lambda c: c.storages.pop("0"), "data/0"),
    "a storage of another length": (lambda c: c.storages.update({"0": b"123"}), "3 bytes, not 24"),
    "a path for a key": (lambda c: c.root.update(y=tensor(Stored("FloatStorage", "../../data.pkl", 4), (1,), (1,))),
                         "data/../../data.pkl"),
    "compressed": (lambda c: setattr(c, "compression", zipfile.ZIP_DEFLATED), "compressed"),
    "big endian": (lambda c: c.members.update(byteorder=b"big"), "byte order"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_spoilt_files_are_refused(tmp_path, what):
    change, word = SPOILT[what]
    made = small()
    change(made)
    made.write(tmp_path / "pytorch_model.bin")
    refused(tmp_path, word, str(tmp_path / "pytorch_model.bin"))


def test_a_bit_that_has_flipped_is_found(tmp_path):
    path = small().write(tmp_path / "pytorch_model.bin")
    data, part = bytearray(path.read_bytes()), random((2, 3)).tobytes()
    data[data.index(part) + 5] ^= 4
    path.write_bytes(data)
    refused(tmp_path, "checksum", "'x'")


def test_files_that_are_no_zip_of_torch(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")  # torch 1.5 and before
    refused(tmp_path, "before 1.6", str(path))
    path.write_bytes(b"")
    refused(tmp_path, str(path))
    whole = small().write(path).read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    refused(tmp_path, "broken zip")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "x")
    refused(tmp_path, "data.pkl")
    path.unlink()
    refused(tmp_path, "neither")


@pytest.mark.parametrize("weight_map, word", [
    ({"x": "../pytorch_model.bin"}, "../pytorch_model.bin"), ({"x": "/etc/passwd.bin"}, "/etc/passwd.bin"),
    ({"x": 7}, "7"), ({"x": "model.safetensors"}, "model.safetensors"), ({}, "weight_map"), ([], "weight_map"),
    ({"y": "pytorch_model.bin"}, "lacks y"), ({"x": "other.bin"}, "other.bin")])
def test_an_index_names_files_of_its_directory_alone(tmp_path, weight_map, word):
    small().write(tmp_path / "pytorch_model.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    done = run(tmp_path)
    assert done.returncode == 1 and word in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "model.safetensors.index.json").exists()
