"""Every image is a row, a reject, or counted as not an image; where that cannot be known, the source is refused in one line.

For archives cut at every block and damaged in every header, for names that clash, and for folders and tables with each oddity:
rows + rejects + counted others = members, or a refusal.
"""

import errno
import io
import json
import os
import shutil
import socket
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL")
from PIL import Image  # noqa: E402

from attrood.data import Preprocessing, Source, open_source  # noqa: E402
from attrood.data.pictures import ImageError, decode_pixels, white_level  # noqa: E402
from attrood.data.specs import check_sources  # noqa: E402
from attrood.inference.folder import Batch  # noqa: E402
from attrood.inference.loader import prepare  # noqa: E402
from attrood.inference.prompts import class_list  # noqa: E402

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def encoded(i: int, fmt: str = "PNG", size: tuple[int, int] = (5, 4)) -> bytes:
    f = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(f, fmt)
    return f.getvalue()


PICTURES = [encoded(i) for i in range(12)]


def account(source: Source) -> tuple[int, int, int]:
    "Rows, rejects and counted others of a source, by what the workers do with it."
    samples = source.read(0, len(source))
    ready = prepare(Batch(0, 0, 0, 0, len(source)), samples, Preprocessing(size=(8, 8)))
    assert len(ready.ids) == len(ready.pixels) and len({*ready.ids, *(i for i, _ in ready.rejects)}) == len(source)
    return len(ready.ids), len(ready.rejects), sum(source.others.values())


def opened(where: Path | str) -> Source | str:
    "A source, or its refusal, which is one line."
    try:
        source = open_source(str(where))
        assert source.describe()["others"] == dict(source.others)
        return source
    except ValueError as e:
        assert "\n" not in str(e) and len(str(e)) > 20, str(e)
        return str(e)


# archives

Entry = tuple[str, bytes, bytes, str]  # name, type, data, link


def tar(entries: list[Entry], format: int = tarfile.PAX_FORMAT) -> bytes:
    f = io.BytesIO()
    with tarfile.open(fileobj=f, mode="w", format=format) as archive:
        for name, kind, data, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), link
            archive.addfile(info, io.BytesIO(data))
    return f.getvalue()


def plain(*names: str) -> list[Entry]:
    "Regular members: pictures, and labels that are not."
    return [
        (n, tarfile.REGTYPE, b"ramen" if n.endswith(("cls", "txt", "json")) else PICTURES[i % len(PICTURES)], "")
        for i, n in enumerate(names)
    ]


def odd_entries(long: bool) -> list[Entry]:
    "Every kind of member: folders, links, devices, long names, labels, names that clash."
    deep = "d" * 90 + "/" + "e" * (40 if not long else 180) + "/猫.png"
    return [
        ("d", tarfile.DIRTYPE, b"", ""),
        *plain("1.png", "1.cls", "img.v0.png", "img.v1.png", "1.png", deep),
        ("hard.png", tarfile.LNKTYPE, b"", "1.png"),
        ("soft.png", tarfile.SYMTYPE, b"", "1.png"),
        ("gone.png", tarfile.SYMTYPE, b"", "nowhere.png"),
        ("pipe", tarfile.FIFOTYPE, b"", ""),
        ("dev", tarfile.CHRTYPE, b"", ""),
        *plain("raw.nef", "phone.heic", ".hidden.png", "README", "z.json"),
    ]


def headers(data: bytes) -> list[int]:
    "Where headers lie: blocks that carry the mark of a tar header."
    return [i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]


def test_dotted_doubled_paired_and_concatenated_names(tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(tar(plain(*(f"img.v{i}.png" for i in range(10)))))
    source = open_source(str(file))
    assert account(source) == (10, 0, 0) and [s.id for s in source] == [f"a/img.v{i}.png" for i in range(10)]
    assert [s.data for s in source] == PICTURES[:10]
    file.write_bytes(tar(plain("1.png", "1.jpg", "1.cls", "2.png", "2.png", "./2.png")))
    source = open_source(str(file))
    assert account(source) == (5, 0, 1) and [s.id for s in source] == [
        "a/1.png",
        "a/1.jpg",
        "a/2.png",
        "a/2.png#2",
        "a/2.png#3",
    ]
    assert [s.label for s in source] == ["ramen", "ramen", None, None, None]
    one, two = tar(plain("1.png", "2.png")), tar(plain("1.png", "3.png"))
    file.write_bytes(one + two)
    assert [s.id for s in open_source(str(file))] == ["a/1.png", "a/2", "a/1.png#2", "a/3"]
    assert account(open_source(str(file))) == (4, 0, 0)
    file.write_bytes(tar(plain("1.png", "2.png")))
    assert [s.id for s in open_source(str(file))] == ["a/1", "a/2"]  # ids of plain shards stay what they were


@pytest.mark.parametrize("format", FORMATS)
def test_archives_with_every_kind_of_member(tmp_path, format):
    file = tmp_path / "a.tar"
    entries = odd_entries(format != tarfile.USTAR_FORMAT)
    file.write_bytes(tar(entries, format))
    source = open_source(str(file))
    assert account(source) == (9, 2, 6) and 9 + 2 + 6 == len(
        entries
    )  # gone.png and raw.nef are rejects; the .heic and the README hold a PNG and are read
    assert dict(source.others) == {"folder": 1, ".cls": 1, "named pipe": 1, "device": 1, "hidden": 1, ".json": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_archives_cut_at_every_block(tmp_path, format):
    file, whole, refused = tmp_path / "a.tar", tar(odd_entries(format != tarfile.USTAR_FORMAT), format), 0
    file.write_bytes(whole)
    members = len(open_source(str(file))) + sum(open_source(str(file)).others.values())
    for cut in range(0, len(whole), 512):
        file.write_bytes(whole[:cut])
        source = opened(file)
        refused += isinstance(source, str)
        assert isinstance(source, str) or len(source) + sum(source.others.values()) == members, cut
        assert not isinstance(source, str) or "a.tar is" in source and ("cut off" in source or "damaged" in source), (
            source
        )
    assert refused > len(whole) // 512 // 2


@pytest.mark.parametrize("format", FORMATS)
def test_archives_with_each_header_damaged_once(tmp_path, format):
    file, whole = tmp_path / "a.tar", tar(odd_entries(format != tarfile.USTAR_FORMAT), format)
    rng = np.random.default_rng(format)
    for at in headers(whole):
        block = bytearray(whole[at : at + 512])
        block[int(rng.integers(148))] ^= 1 << int(rng.integers(8))
        for wound in (bytes(512), b"\xff" * 512, bytes(block), rng.bytes(512)):
            file.write_bytes(whole[:at] + wound + whole[at + 512 :])
            assert isinstance(opened(file), str), (at, wound[:9])
    file.write_bytes(whole + b"signature" + bytes(503))
    assert "damaged" in str(opened(file))


@quick
@given(cut=st.integers(0, 60_000), format=st.sampled_from(FORMATS))
def test_archives_cut_anywhere(tmp_path, cut, format):
    whole = tar(odd_entries(format != tarfile.USTAR_FORMAT), format)
    (tmp_path / "a.tar").write_bytes(whole[:cut])
    source = opened(tmp_path / "a.tar")
    assert isinstance(source, str) or len(source) + sum(source.others.values()) == len(odd_entries(True))


@quick
@given(at=st.integers(0, 10**6), value=st.integers(1, 255), format=st.sampled_from(FORMATS))
def test_archives_with_one_byte_changed(tmp_path, at, value, format):
    "A byte of a header: refused. A byte of the data: a row, or a reject, or another kind, but still a member."
    whole = bytearray(tar(odd_entries(format != tarfile.USTAR_FORMAT), format))
    at %= len(whole)
    whole[at] ^= value
    (tmp_path / "a.tar").write_bytes(whole)
    source = opened(tmp_path / "a.tar")
    assert isinstance(source, str) or len(source) + sum(source.others.values()) == len(odd_entries(True)), at


parts = st.sampled_from(["a", "b", "a.b", ".a", "a#2", "猫", "e\u0301", "x" * 120, "a b"])
names = st.builds(
    lambda folders, stem, ending: "/".join([*folders, stem]) + ending,
    st.lists(parts, max_size=2),
    parts,
    st.sampled_from([".png", ".PNG", ".v1.png", ".cls", ".json", ".txt", ".xyz", "", ".heic", ".tar"]),
)
members = st.lists(
    st.tuples(
        names,
        st.sampled_from([tarfile.REGTYPE] * 5 + [tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE]),
        st.integers(0, 11),
        names,
    ),
    min_size=1,
    max_size=12,
)


@quick
@given(halves=st.lists(st.tuples(members, st.sampled_from(FORMATS[1:])), min_size=1, max_size=3))
def test_archives_of_any_names_and_kinds(tmp_path, halves):
    whole, total, written = b"", 0, Counter()
    for chosen, format in halves:
        entries = [
            (
                name,
                kind,
                (b'{"label": 1}' if name.endswith((".cls", ".json", ".txt")) else PICTURES[i])
                if kind == tarfile.REGTYPE
                else b"",
                link,
            )
            for name, kind, i, link in chosen
        ]
        whole, total = whole + tar(entries, format), total + len(entries)
        written.update(
            data
            for name, kind, data, _ in entries
            if kind == tarfile.REGTYPE
            and name.lower().endswith((".png", ".heic"))
            and not name.rpartition("/")[2].startswith(".")
        )
    (tmp_path / "a.tar").write_bytes(whole)
    source = opened(tmp_path / "a.tar")
    if isinstance(source, str):
        assert "holds no image member" in source and not written, source
    else:
        rows, rejects, others = account(source)
        assert rows + rejects + others == total
        assert not written - Counter(
            s.data for s in source if isinstance(s.data, bytes)
        )  # every picture that was put in comes out


def test_labels_of_archives(tmp_path):
    def first(label: bytes, ending: str) -> str | None:
        (tmp_path / "a.tar").write_bytes(
            tar([("1.png", tarfile.REGTYPE, PICTURES[0], ""), (f"1.{ending}", tarfile.REGTYPE, label, "")])
        )
        return open_source(str(tmp_path / "a.tar")).read(0, 1)[0].label

    assert [
        first(*x)
        for x in (
            (b"[1, 2]", "json"),
            (b'{"label": 3.0}', "json"),
            (b'{"class": "cre\\u0300me"}', "json"),
            ("cre\u0300me".encode("utf-8-sig"), "cls"),
            ("猫".encode("utf-16"), "txt"),
        )
    ] == [None, "3", "crème", "crème", "猫"]
    for label, ending in (
        (b"{", "json"),
        (b"[" * 99_999, "json"),
        (b'{"label": {"a": 1}}', "json"),
        (b"\xff\xfe\xff", "cls"),
    ):
        with pytest.raises(ValueError, match=r"label 1\.(json|cls) in .*a\.tar (is no JSON|must be)"):
            first(label, ending)


# folders


@pytest.fixture
def folder(tmp_path) -> Path:
    "Two classes of three pictures each."
    for i, name in enumerate(["cat/0.png", "cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", "dog/5.png"]):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(PICTURES[i])
    return tmp_path / "set"


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "cat/pipe.jpg")


def unix_socket(folder: Path) -> None:
    s, here = socket.socket(socket.AF_UNIX), os.getcwd()
    os.chdir(folder)  # names of sockets are short
    s.bind("s.png")
    s.close()
    os.chdir(here)


ODDITIES = {  # what is added: rows, rejects, others
    "named pipe": (pipe, 0, 0, 1),
    "socket": (unix_socket, 0, 0, 1),
    "device": (lambda f: os.symlink("/dev/zero", f / "zero.png"), 0, 0, 1),
    "link to a file": (lambda f: os.symlink(f / "cat/0.png", f / "dog/too.png"), 1, 0, 0),
    "dangling link": (lambda f: os.symlink("nowhere.png", f / "dog/gone.png"), 0, 1, 0),
    "dangling link to something": (lambda f: os.symlink("nowhere", f / "dog/gone"), 0, 0, 1),
    "link to itself": (lambda f: os.symlink("self.png", f / "self.png"), 0, 1, 0),
    "link up": (lambda f: os.symlink(f, f / "dog/loop"), 0, 0, 1),
    "link above": (lambda f: os.symlink("/", f / "root"), 0, 0, 1),
    "link across": (lambda f: os.symlink(f / "cat", f / "kitty"), 0, 0, 1),
    "stray tar": (lambda f: (f / "all.tar").write_bytes(tar(plain("1.png"))), 0, 0, 1),
    "stray parquet": (lambda f: pq.write_table(pa.table({"file_name": ["a"]}), f / "metadata.parquet"), 0, 0, 1),
    "heic": (lambda f: (f / "cat/phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)), 0, 1, 0),
    "jxl": (lambda f: (f / "cat/a.jxl").write_bytes(b"\xff\x0a" + bytes(99)), 0, 1, 0),
    "dng": (lambda f: (f / "cat/a.dng").write_bytes(encoded(1, "TIFF")), 0, 1, 0),
    "nef": (lambda f: (f / "cat/a.nef").write_bytes(encoded(1, "TIFF")), 0, 1, 0),
    "picture without ending": (lambda f: (f / "cat/scan").write_bytes(PICTURES[7]), 1, 0, 0),
    "picture with an odd ending": (lambda f: (f / "cat/a.jpg_large").write_bytes(encoded(1, "JPEG")), 1, 0, 0),
    "text without ending": (lambda f: (f / "README").write_text("x"), 0, 0, 1),
    "text": (lambda f: (f / "cat/notes.txt").write_text("x"), 0, 0, 1),
    "hidden": (lambda f: (f / "cat/._0.png").write_bytes(b"x"), 0, 0, 1),
    "hidden folder": (lambda f: (f / ".trash").mkdir(), 0, 0, 1),
    "empty picture": (lambda f: (f / "cat/empty.png").write_bytes(b""), 0, 1, 0),
    "broken picture": (lambda f: (f / "cat/broken.png").write_bytes(PICTURES[0][:40]), 0, 1, 0),
    "narrow picture": (lambda f: (f / "cat/narrow.jpg").write_bytes(encoded(1, "JPEG", (65000, 1))), 0, 1, 0),
    "narrow column": (lambda f: (f / "cat/narrow.png").write_bytes(encoded(1, "PNG", (1, 5000))), 0, 1, 0),
    "name in bytes": (lambda f: open(os.fsencode(f) + b"/cat/caf\xe9.png", "wb").write(PICTURES[1]), 1, 0, 0),
    "folder named like a picture": (lambda f: (f / "dog.png").mkdir(), 0, 0, 0),
    "picture deep down": (
        lambda f: ((f / "cat/a/b/c").mkdir(parents=True), (f / "cat/a/b/c/1.png").write_bytes(PICTURES[1])),
        1,
        0,
        0,
    ),
    "huge file": (lambda f: os.truncate(os.open(f / "cat/huge.png", os.O_CREAT | os.O_WRONLY), (1 << 30) + 1), 0, 1, 0),
}


@pytest.mark.parametrize("name", ODDITIES)
def test_folders_with_each_oddity(folder, name):
    make, rows, rejects, others = ODDITIES[name]
    make(folder)
    begin = time.perf_counter()
    source = open_source(str(folder))
    assert account(source) == (6 + rows, rejects, others), source.others
    assert source.fingerprint() == open_source(str(folder)).fingerprint() and time.perf_counter() - begin < 20


def test_folders_with_all_oddities_at_once(folder):
    for make, *_ in ODDITIES.values():
        make(folder)
    expected = tuple(sum(o[k] for o in ODDITIES.values()) + 6 * (k == 1) for k in (1, 2, 3))
    assert account(open_source(str(folder))) == expected


tree_parts = st.sampled_from(["a", "b", ".a", "c.png", "d.txt", "e", "f.dng"])
tree_paths = st.lists(tree_parts, min_size=1, max_size=3).map("/".join)


@quick
@given(
    made=st.lists(
        st.tuples(
            tree_paths,
            st.sampled_from(["picture", "picture", "text", "folder", "link", "pipe"]),
            st.lists(st.sampled_from(["..", ".", "a", "b", "c.png", "e"]), max_size=4).map("/".join),
        ),
        max_size=14,
    )
)
def test_trees_of_any_shape(tmp_path_factory, made):
    "Against a plain count: everything that is no folder, links to folders and hidden folders as one each."
    root = tmp_path_factory.mktemp("tree")
    (root / "first.png").write_bytes(PICTURES[0])
    for name, kind, target in made:
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                {
                    "picture": lambda p: p.write_bytes(PICTURES[1]),
                    "text": lambda p: p.write_text("x"),
                    "folder": lambda p: p.mkdir(),
                    "pipe": os.mkfifo,
                }.get(kind, lambda p: None)(path)
                if kind == "link" and str(Path(os.path.abspath(path.parent / target))).startswith(str(root)):
                    os.symlink(target or ".", path)
        except OSError:  # a file stands where a folder should, or a link leads round
            continue
    members = 0
    for _, folders, files in os.walk(root):
        hidden = [f for f in folders if f.startswith(".")]
        folders[:] = [f for f in folders if f not in hidden]
        members += len(files) + len(hidden) + sum(os.path.islink(os.path.join(_, f)) for f in folders)
    assert sum(account(open_source(str(root)))) == members
    assert account(open_source(str(root))) == account(open_source(f"x={root}"))


def test_a_file_that_becomes_a_pipe_is_not_waited_for(folder):
    source = open_source(str(folder))
    os.unlink(folder / "cat/0.png")
    os.mkfifo(folder / "cat/0.png")
    assert account(source) == (5, 1, 0)


def test_a_class_folder_that_cannot_be_listed_is_refused(folder, monkeypatch):
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert opened(folder).endswith(
        "dog cannot be listed (Permission denied), so its images cannot be counted: make it readable or leave it out"
    )


def test_archives_and_pictures_in_one_folder(folder):
    for i in range(9):
        (folder / f"{i}.tar").write_bytes(tar(plain("1.png", "1.cls")))
    assert account(open_source(str(folder))) == (9, 0, 9 + 6)  # mostly archives: the pictures are counted
    for i in range(6, 9):
        (folder / f"{i}.tar").unlink()
    assert "as many" in opened(folder)
    assert account(open_source(f"{folder}/*.tar")) == (6, 0, 6)


def test_names_that_are_not_text_reach_the_manifest(tmp_path):
    place = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(place + b"/cr\xe8me")
    for name in (b"/cr\xe8me/1.jpg\xe9", b"/cr\xe8me/2.\xe9", b"/3.tar", b"/4.tar", b"/\xe9.tar"):
        with open(place + name, "wb") as f:
            f.write(PICTURES[0] if b"1." in name else tar(plain("1.png")))
    for where, rows, others in ((place, 3, 2), (place + b"/cr\xe8me", 1, 1)):
        source = open_source(os.fsdecode(where))
        assert (len(source), sum(source.others.values())) == (rows, others)
        entry = json.dumps(
            [source.describe(), source.fingerprint(), [s.id for s in source], source.class_names()], ensure_ascii=False
        ).encode()
        assert b"\\\\x" in entry


def test_one_file_and_globs(folder):
    assert account(open_source(str(folder / "cat/0.png"))) == (1, 0, 0)
    assert account(open_source(f"{folder}/cat/*.png")) == (3, 0, 0)
    (folder / "cat/notes.txt").write_text("x")
    assert account(open_source(f"{folder}/*/*")) == (6, 0, 1) and open_source(f"{folder}/*/*").class_names() == [
        "cat",
        "dog",
    ]
    assert opened(folder / "cat/notes.txt").endswith("but 1 .txt") and "no such file" in opened(folder / "*.gif")


def test_decomposed_names_are_composed(tmp_path):
    (tmp_path / "set/cre\u0300me").mkdir(parents=True)
    (tmp_path / "set/cre\u0300me/1.png").write_bytes(PICTURES[0])
    source = open_source(str(tmp_path / "set"))
    assert source.class_names() == [source.read(0, 1)[0].label] == ["crème"]
    assert (
        class_list(None, [(source.class_names()[0], ""), ("dog", "")])
        == class_list("cre\u0300me,dog")
        == ["crème", "dog"]
    )


# the same set?


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet", "memory"])
@pytest.mark.parametrize("keep_time", [False, True])
def test_replaced_pictures_of_the_same_size_are_another_set(tmp_path, kind, keep_time):
    from attrood.data.sources import MemorySource

    def write(first: bytes) -> Path:
        where = tmp_path / {"folder": "set/1.png", "tar": "a.tar", "parquet": "a.parquet", "memory": "1.png"}[kind]
        where.parent.mkdir(exist_ok=True)
        if kind == "parquet":
            pq.write_table(
                pa.table({"image": [first, PICTURES[1]]}),
                where,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
            )
        else:
            where.write_bytes(tar([("1.png", tarfile.REGTYPE, first, "")]) if kind == "tar" else first)
        return where

    def mark(where: Path) -> str:
        return (
            MemorySource([where]).fingerprint()
            if kind == "memory"
            else open_source(str(where.parent if kind == "folder" else where)).fingerprint()
        )

    where = write(PICTURES[0])
    before, size, times = mark(where), where.stat().st_size, (where.stat().st_atime_ns, where.stat().st_mtime_ns)
    assert mark(where) == before
    write(PICTURES[0][:-20] + PICTURES[1][-20:])
    if keep_time:
        os.utime(where, ns=times)
    assert where.stat().st_size == size and mark(where) != before
    if kind == "folder":  # a copy that keeps its times is the same set
        write(PICTURES[0])
        os.utime(where, ns=times)
        os.rename(tmp_path / "set", tmp_path / "moved")
        assert open_source(f"set={tmp_path / 'moved'}").fingerprint() == before


# tables

CLASSES = {
    "huggingface": json.dumps({"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}})
}


def table(path: Path, meta: dict | None = None, **columns) -> Source:
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)
    return open_source(str(path))


def test_hidden_float_and_wrong_class_labels(tmp_path):
    def labels(*values) -> list[str | None]:
        return [
            s.label for s in table(tmp_path / "a.parquet", CLASSES, image=PICTURES[: len(values)], label=list(values))
        ]

    assert labels(0, 1, -1, None) == ["cat", "dog", None, None]
    assert labels(0.0, 1.0, -1.0, float("nan")) == ["cat", "dog", None, None]
    assert [s.label for s in table(tmp_path / "b.parquet", None, image=PICTURES[:2], label=[0.0, 1.0])] == ["0", "1"]
    for wrong in (2, -2, 0.5):
        with pytest.raises(
            ValueError,
            match=r"label of row 00000001 in .*a\.parquet must be a number from 0 to 1, one of the 2 class names, or -1 for none, got",
        ):
            labels(0, wrong)
    with pytest.raises(ValueError, match="got 2 values"):
        labels([0, 1])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(st.sampled_from(["info", "features", "label", "names", "feature", "x"]), x, max_size=3)
    ),
    max_leaves=12,
)


@quick
@given(meta=json_values.map(json.dumps) | st.text(max_size=20) | st.just("[" * 50_000))
def test_odd_metadata_never_ends_in_a_traceback(tmp_path, meta):
    source = table(
        tmp_path / "a.parquet", {"huggingface": meta.encode("utf-8", "replace")}, image=PICTURES[:2], label=[0, 0]
    )
    assert account(source) == (2, 0, 0) and len(source.class_names()) >= 1


TEXTS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]
IMAGES = [
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.binary()),
    pa.list_(pa.uint8()),
    pa.large_list(pa.uint8()),
    pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    pa.struct({"path": pa.large_string(), "bytes": pa.large_binary()}),
]


@pytest.mark.parametrize("text", TEXTS, ids=str)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_tables_as_other_writers_make_them(tmp_path, text, image):
    def cells(values: list[bytes | None]) -> pa.Array:
        if pa.types.is_struct(image):
            return pa.array([None if v is None else {"bytes": v, "path": None} for v in values], image)
        if pa.types.is_list(image) or pa.types.is_large_list(image):
            return pa.array([None if v is None else list(v) for v in values], image)
        return (
            pa.array(values).cast(image) if not pa.types.is_dictionary(image) else pa.array(values).dictionary_encode()
        )

    source = (
        table(
            tmp_path / "a.parquet",
            None,
            photo=cells([PICTURES[0], None, PICTURES[2], b"broken"]),
            id=pa.array(list("abcd")).cast(text),
            label=pa.array(["x", "e\u0301", None, "x"]).cast(text),
        )
        if not (pa.types.is_list(image) or pa.types.is_large_list(image))
        else table(
            tmp_path / "a.parquet",
            None,
            image=cells([PICTURES[0], None, PICTURES[2], b"broken"]),
            id=pa.array(list("abcd")).cast(text),
            label=pa.array(["x", "e\u0301", None, "x"]).cast(text),
        )
    )
    assert account(source) == (2, 2, 0) and [s.id for s in source] == [f"a/{k}" for k in "abcd"]
    assert [s.label for s in source] == ["x", "é", None, "x"] and source.class_names() == ["x", "é"]


CELLS = {  # type -> values of all kinds that it can hold
    pa.int64(): [0, 1, -1, 7, None],
    pa.float64(): [0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), None],
    pa.bool_(): [True, False, None],
    pa.string(): ["a", "", "0", "e\u0301", None],
    pa.string_view(): ["a", None],
    pa.binary(): [PICTURES[0], b"", b"\xff", None],
    pa.list_(pa.int64()): [[0], [0, 1], [], [300], None],
    pa.list_(pa.list_(pa.int32())): [[[0, 255], [3, 4]], [[1], [1, 2]], None],
    pa.null(): [None],
    pa.struct({"bytes": pa.binary(), "path": pa.string()}): [
        {"bytes": PICTURES[1], "path": None},
        {"bytes": None, "path": "none.png"},
        {"bytes": None, "path": "a\0b"},
        None,
    ],
    pa.struct({"x": pa.int8()}): [{"x": 1}, None],
    pa.date32(): [3, None],
    pa.timestamp("ms"): [5, None],
    pa.decimal128(5, 2): [1, None],
    pa.binary(3): [b"abc", None],
    pa.map_(pa.string(), pa.int8()): [[("a", 1)], None],
}


@quick
@given(data=st.data(), meta=st.sampled_from([None, CLASSES]))
def test_tables_of_any_types_are_read_or_refused(tmp_path, data, meta):
    n, columns = data.draw(st.integers(1, 4)), {}
    for name in ("image", "label", "id"):
        kind = data.draw(st.sampled_from([None, pa.binary(), *CELLS] if name == "image" else [None, *CELLS]))
        if kind is not None:
            columns[name] = pa.array([data.draw(st.sampled_from(CELLS[kind])) for _ in range(n)], kind)
    if not columns:
        return
    try:
        source = table(tmp_path / "a.parquet", meta, **columns)
        source.describe(), source.class_names()
        rows, rejects, others = account(source)
        assert rows + rejects == n and others == 0
    except ValueError as e:
        assert "a.parquet" in str(e) and "\n" not in str(e), str(e)


def test_tables_are_refused_in_one_line(tmp_path):
    ids = table(tmp_path / "a.parquet", None, image=PICTURES[:2], id=["a", None])
    with pytest.raises(ValueError, match=r"column 'id' of .*a\.parquet must name every row, got an empty id"):
        ids.fingerprint()
    pq.write_table(pa.table({"image": PICTURES[:2], "label": ["a", "b"]}), tmp_path / "b.parquet")
    assert "all files must have the same columns" in opened(f"{tmp_path}/*.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    for cut in range(0, len(whole), 97):
        (tmp_path / "b.parquet").write_bytes(whole[:cut])
        assert "b.parquet" in opened(tmp_path / "b.parquet")
    damaged = bytearray(whole)
    damaged[20:60] = bytes(40)  # within the pages
    (tmp_path / "b.parquet").write_bytes(damaged)
    source = opened(tmp_path / "b.parquet")
    try:
        rows, rejects, others = account(source)
        assert rows + rejects + others == 2
    except ValueError as e:
        assert "row group 0 of" in str(e) and "b.parquet cannot be read" in str(e)


# pixels


def test_grey_of_one_camera_does_not_jump(tmp_path):
    for k, top in enumerate((255, 256, 1000, 4000)):
        Image.fromarray(np.full((8, 8), top, np.uint16)).save(tmp_path / f"{k}.png")
    source = open_source(str(tmp_path))
    shown = [int(np.asarray(decode_pixels(s.data)).max()) for s in source]
    assert shown == [1, 1, 4, 16]  # as 16 bits, without a word from the source
    source.white = white_level(source)
    assert source.describe()["white"] == {"integer": 4095.0}
    assert [int(np.asarray(decode_pixels(s.data, white=s.white)).max()) for s in source] == [16, 16, 62, 249]
    for overshoot in (1.0, 1.02, 1.5):
        assert np.asarray(decode_pixels(np.full((4, 4), overshoot))).min() == 255


def test_narrow_pictures_take_no_memory():
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in ((65000, 1), (1, 5000), (1, 60000), (40000, 3)):
        for mode in ("shortest", "longest", "squash"):
            with pytest.raises(ImageError, match=rf"too narrow: {size[0]} x {size[1]} pixels"):
                Preprocessing(resize_mode=mode).pixels(decode_pixels(encoded(0, "PNG", size)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    for mode in ("shortest", "longest", "squash"):
        for size in ((100, 1), (1, 100), (300, 3)):
            for side in (8, 32, 224):
                assert Preprocessing(size=(side, side), resize_mode=mode).pixels(
                    decode_pixels(encoded(0, "PNG", size))
                ).shape == (side, side, 3)


# lists of classes


def test_class_files(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"):
        (tmp_path / "names.txt").write_bytes(
            "apple_pie\ncre\u0300me\n猫\n".encode(encoding) if encoding != "latin-1" else b"caf\xe9\nb\n"
        )
        if encoding in ("utf-16-le", "latin-1"):
            with pytest.raises(ValueError, match=r"class file .*names\.txt must be UTF-8 text"):
                class_list(str(tmp_path / "names.txt"))
        else:
            assert class_list(str(tmp_path / "names.txt")) == ["apple pie", "crème", "猫"]
    with pytest.raises(ValueError, match="classes must be different names, got 'cat' as 1 and 3 of 3"):
        class_list(["cat", "dog", "cat"])
    assert len(class_list("imagenet")) == 998
    for name, text in {
        "a.txt": "n01\ttench\n",
        "a.csv": "name,id\na,0\n",
        "a.json": '["a", "b"]',
        "a.tsv": "a\tb\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"class file .*{name} must hold a name a line and nothing else"):
            class_list(str(tmp_path / name))
    (tmp_path / "a.csv").write_bytes("\ufeffcat\u200b\r\ntench, Tinca\rdog\u00a0\n".encode())
    with pytest.raises(ValueError, match="got 'tench, Tinca'"):
        class_list(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").rename(tmp_path / "b.txt")
    assert class_list(str(tmp_path / "b.txt")) == ["cat", "tench, Tinca", "dog"]


# one image in two sources


@pytest.mark.parametrize("way", ["itself", "below", "a link", "links", "hard links", "parquet", "tar"])
def test_an_image_is_in_one_source_only(tmp_path, way):
    for i in range(6):
        (tmp_path / f"photos/{'ab'[i % 2]}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"photos/{'ab'[i % 2]}/{i}.png").write_bytes(encoded(i))
    first, other = "photos", {"itself": "x=photos", "below": "photos/a"}.get(way, "other")
    if way == "a link":
        (tmp_path / "other").symlink_to("photos")
    if way in ("links", "hard links"):
        (tmp_path / "other").mkdir()
        for file in (tmp_path / "photos/a").iterdir():
            (os.link if way == "hard links" else os.symlink)(file, tmp_path / "other" / file.name)
    if way == "parquet":
        pq.write_table(pa.table({"image": [encoded(i) for i in range(4)]}), tmp_path / "one.parquet")
        first, other = "one.parquet[:3]", "x=one.parquet[2:]"
    if way == "tar":
        with tarfile.open(tmp_path / "one.tar", "w") as tar:
            for i in range(4):
                tar.add(tmp_path / f"photos/{'ab'[i % 2]}/{i}.png", f"{i}.png")
        first, other = "one.tar[:3]", "x=one.tar[2:]"
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(ValueError, match="share images .*: an image can be in one of them"):
            check_sources([open_source(first), open_source(other, "ood")])
        apart = {"parquet": ("one.parquet[:2]", "x=one.parquet[2:]"), "tar": ("one.tar[:2]", "x=one.tar[2:]")}
        a, b = apart.get(way, ("photos/a", "photos/b"))
        check_sources([open_source(a), open_source(b, "ood")])
    finally:
        os.chdir(before)


# the whole way


def test_infer_accounts_for_everything(tmp_path, folder, attrood):
    pytest.importorskip("open_clip")
    side = {"layers": 1, "width": 32, "head_width": 32, "patch_size": 16, "image_size": 32}
    (tmp_path / "attrood-test-lost.json").write_text(
        json.dumps(
            {
                "embed_dim": 32,
                "vision_cfg": side,
                "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
            }
        )
    )
    for make, *_ in ODDITIES.values():
        make(folder)
    shutil.copytree(folder / "dog", tmp_path / "apart/dog", symlinks=True)  # an image can be in one source only
    for link in (p for p in (tmp_path / "apart/dog").iterdir() if p.is_symlink() and p.is_file()):
        (tmp_path / "copy").write_bytes(link.read_bytes())
        (tmp_path / "copy").replace(link)
    (tmp_path / "apart/cat").mkdir()
    shutil.copy(folder / "cat/0.png", tmp_path / "apart/cat")
    options = (
        "--model",
        "attrood-test-lost.json",
        "--pretrained",
        "random:0",
        "--device",
        "cpu",
        "--max-rejects",
        "99",
        "--json",
        "--classes",
        "cat,dog",
    )
    done = attrood(
        "infer",
        "set",
        "apart/cat/0.png",
        "one=apart/dog/*.png",
        *options,
        "-o",
        "log",
        ATTROOD_CACHE=str(tmp_path / "cache"),
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    rows, rejects, others = (sum(o[k] for o in ODDITIES.values()) + 6 * (k == 1) for k in (1, 2, 3))
    named = 1 + 3 + 1  # one file; three pictures, a link and a dangling one
    assert (said["images"], said["rejects"], sum(said["others"].values())) == (rows + named, rejects + 1, others)
    assert f"{others} not images (" in done.stderr
    from attrood.log import read_log

    entries = {s["domain"]: s for s in read_log(tmp_path / "log").manifest.sources}
    assert (entries["set"]["rows"], sum(entries["set"]["others"].values())) == (rows + rejects, others)
    listed = (tmp_path / "log/rejects.csv").read_text()
    assert (
        "set/cat/narrow.jpg" in listed
        and "too narrow: 65000 x 1 pixels" in listed
        and "camera raw (.nef)" in listed
        and "HEIF, which Pillow cannot read" in listed
    )
    (folder / "cat/1.png").write_bytes(PICTURES[1][:-20] + PICTURES[2][-20:])
    again = attrood(
        "infer",
        "set",
        "apart/cat/0.png",
        "one=apart/dog/*.png",
        *options,
        "-o",
        "log",
        ATTROOD_CACHE=str(tmp_path / "cache"),
    )
    assert again.returncode == 2 and "holds another run (sources: had" in again.stderr
