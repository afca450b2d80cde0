"""Images to a log as a process: every way in gives the same vectors, a killed run loses nothing, memory stays flat.

ATTROOD_FULL=1 runs the full sizes (ten kills, 10,000 images) and ATTROOD_RAY=1 the Ray tests.
"""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("open_clip")
from conftest import ROOT, SHARED  # noqa: E402
from PIL import Image  # noqa: E402

from attrood.log import read_log  # noqa: E402

sys.path.insert(0, str(ROOT / "tools"))
FULL, RAY = bool(os.environ.get("ATTROOD_FULL")), bool(os.environ.get("ATTROOD_RAY"))
CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


def picture(i: int, width: int = 90, height: int = 70) -> Image.Image:
    return Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8))


def encoded(i: int, fmt: str = "PNG", **options) -> bytes:
    f = io.BytesIO()
    picture(i).save(f, fmt, **options)
    return f.getvalue()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    os.environ["ATTROOD_CACHE"] = str(folder / "cache")
    (folder / "attrood-test-process.json").write_text(json.dumps(CONFIG))
    return folder / "attrood-test-process.json"


@pytest.fixture(scope="module")
def small(config):
    from attrood.inference import load_vlm

    return load_vlm(str(config), "random:0", device="cpu")


def samples(n: int) -> list[tuple[str, str, bytes]]:
    "Name, label and bytes of some JPEG images: real ones where they are at hand."
    file = SHARED / "data/images/food101_64_test.parquet"
    if not file.exists():
        return [(f"{i:04d}", ("apple_pie", "ramen")[i % 2], encoded(i, "JPEG", quality=90)) for i in range(n)]
    rows = pq.ParquetFile(file).read_row_group(0).slice(0, n).to_pylist()
    return [(f"{i:04d}", r["label"], r["image"]) for i, r in enumerate(rows)]


def photographs(n: int) -> list[tuple[str, str, bytes]]:
    "Name, label and bytes of full-size photographs of several classes."
    files = sorted((SHARED / "data/folders/food101_fullres").glob("*/*.jpg"))
    return [(f"{i:04d}", f.parent.name, f.read_bytes()) for i, f in enumerate(files[:: max(1, len(files) // n)][:n])]


@pytest.mark.parametrize(
    "rows",
    [samples, pytest.param(photographs, marks=pytest.mark.skipif(not photographs(1), reason="no photographs at hand"))],
)
def test_four_ways_in_give_the_same_vectors(tmp_path, small, rows):
    from make_food101_pocket_log import prepare_tfds

    from attrood.data.sources import MemorySource
    from attrood.inference import infer

    rows = rows(60)
    with tarfile.open(tmp_path / "set-000.tar", "w") as tar:
        for name, label, data in rows:
            (tmp_path / "folder" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / label / f"{name}.jpg").write_bytes(data)
            for ext, member in (("jpg", data), ("cls", label.encode())):
                info = tarfile.TarInfo(f"{name}.{ext}")
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))
    pq.write_table(
        pa.table({"id": [n for n, _, _ in rows], "label": [x for _, x, _ in rows], "image": [d for _, _, d in rows]}),
        tmp_path / "set.parquet",
    )
    prepare_tfds("food101", {"validation": tmp_path / "set.parquet"}, tmp_path / "tfds")
    logs = {}
    specs = {
        "folder": str(tmp_path / "folder"),
        "parquet": str(tmp_path / "set.parquet"),
        "tar": str(tmp_path / "set-{000..000}.tar"),
        "tfds": "food101:validation",
        "memory": MemorySource([d for _, _, d in rows], [x for _, x, _ in rows], [n for n, _, _ in rows]),
    }
    for kind, spec in specs.items():
        infer(
            spec,
            (),
            small,
            out=tmp_path / f"{kind}.parquet",
            classes="food101",
            embeddings=True,
            data_dir=str(tmp_path / "tfds"),
            batch_size=16,
            progress=False,
        )
        logs[kind] = read_log(tmp_path / f"{kind}.parquet")
    names = {n: i for i, (n, _, _) in enumerate(rows)}
    order = {
        k: np.argsort([names[Path(i).stem] if k != "tfds" else int(i.rsplit("/", 1)[1]) for i in log.array("id")])
        for k, log in logs.items()
    }
    first = logs["memory"].array("image_embedding")[order["memory"]].astype(float)
    for kind, log in logs.items():
        other = log.array("image_embedding")[order[kind]].astype(float)
        cosine = (first * other).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(other, axis=1)
        assert cosine.min() >= 0.99999, kind
        assert list(log.array("label")[order[kind]]) == [x.replace("_", " ") for _, x, _ in rows], kind
        assert np.abs(log.array("conf")[order[kind]] - logs["memory"].array("conf")[order["memory"]]).max() < 1e-5


def parquet(path: Path, file: str, n: int, labels: list[str] | None) -> Path:
    "The first images of a file at hand, or made ones, as a Parquet file of its own, with other labels if any are given."
    source = SHARED / "data/images" / file
    if source.exists():
        rows = pq.read_table(source, columns=["label", "image"]).slice(0, n).to_pylist()
    else:
        rows = [{"label": "class", "image": encoded(i)} for i in range(n)]
    rows = [row | {"label": labels[i % len(labels)]} if labels else row for i, row in enumerate(rows)]
    ids = [f"{i:06d}" for i in range(len(rows))]
    pq.write_table(
        pa.table(
            {"id": ids, "file_name": ids, "label": [r["label"] for r in rows], "image": [r["image"] for r in rows]}
        ),
        path,
    )
    return path


@pytest.mark.parametrize("preset", ["cifar", "paper"])
def test_presets_run_on_sets_of_their_names(tmp_path, preset, capsys):
    "All of a preset but its model, from TFDS sets with its names and features; with ATTROOD_FULL=1 at full size and with the reference of `paper`, which begins at row 10,000."
    from make_food101_pocket_log import prepare_tfds

    from attrood.entrance.cli_infer import infer_command
    from attrood.inference.pocket import DATA

    n, small = (12_000, 5000) if FULL else (150, 60)
    many = None if (SHARED / "data/images").is_dir() else [f"class {i:03d}" for i in range(60)]
    sets = {
        "cifar": {
            "cifar100": ({"test": "cifar100_32", "train": "cifar100_32"}, small, many),
            "svhn_cropped": ({"test": "dtd"}, small, list("0123456789")),
            "cifar10": ({"test": "cifar10_32"}, small, ["cat", "dog"]),
        },
        "paper": {
            "food101": ({"train": "food101_64_train"}, n, ["apple_pie", "ramen", "sushi"]),
            "cifar100": ({"train": "cifar100_32"}, small, many),
            "imagenet_r": ({"test": "pacs_sketch"}, small, ["n01443537", "n02119022"]),
        },
    }
    data = tmp_path / "tfds"
    for name, (splits, rows, labels) in sets[preset].items():
        files = {
            split: parquet(tmp_path / f"{name}-{split}.parquet", f"{file}.parquet", rows, labels)
            for split, file in splits.items()
        }
        prepare_tfds(name, files, data, limit=n)
    weights = None if (DATA / "pocket.safetensors").exists() else os.environ.get("ATTROOD_POCKET", "random:0")
    infer_command(
        preset=preset,
        model="pocket",
        pretrained=weights,
        out=tmp_path / "log",
        data_dir=str(data),
        evidence=FULL or preset == "cifar",
        device="cpu",
    )
    log, said = read_log(tmp_path / "log"), capsys.readouterr().err
    reference = (
        log.array("reference").astype(bool) if "reference" in log.table.column_names else np.zeros(len(log), bool)
    )
    domains = dict(zip(*np.unique(log.array("domain"), return_counts=True), strict=True))
    print(preset, domains, int(reference.sum()), said)
    if preset == "cifar":
        assert {"cifar100", "cifar100_reference", "svhn_cropped", "cifar10"} == set(domains) and domains[
            "cifar100_reference"
        ] == reference.sum() > 0
        assert {"knn", "vim"} <= set(log.manifest.evidence) and log.manifest.templates == ["a photo of a {}."]
    else:
        assert {"food101", "cifar100", "imagenet_r"} <= set(domains) and log.manifest.templates == ["a photo of {}"]
        assert "ID mean conf" in said and "(published 0.8260)" in said
        if FULL:
            assert domains["food101"] == 10_000 and domains["food101_reference"] == reference.sum() == 2000
    assert set(log.array("role")[np.isin(log.array("domain"), ["svhn_cropped", "cifar10", "imagenet_r"])]) == {"ood"}


def test_decoding_in_processes_gives_the_same(tmp_path):
    from attrood.data import Preprocessing
    from attrood.data.sources import MemorySource
    from attrood.inference.folder import plan_batches
    from attrood.inference.loader import load_batches

    source = MemorySource([encoded(i) for i in range(20)] + [b"broken"])
    plan, small = plan_batches([len(source)], 8, 16), Preprocessing(size=(32, 32))
    here, there = (list(load_batches([source], plan, small, workers=2, processes=p)) for p in (False, True))
    for a, b in zip(here, there, strict=True):
        assert (a.ids, a.rejects) == (b.ids, b.rejects) and np.array_equal(a.pixels, b.pixels)


def test_probabilities_of_a_plain_loop(tmp_path, small):
    import open_clip
    import torch

    from attrood.inference import infer

    rows = samples(40)
    pq.write_table(
        pa.table({"id": [n for n, _, _ in rows], "image": [d for _, _, d in rows]}), tmp_path / "set.parquet"
    )
    names, templates = ["apple pie", "ramen", "a dog"], ["a photo of {}.", "a drawing of {}."]
    infer(
        str(tmp_path / "set.parquet"),
        (),
        small,
        out=tmp_path / "log",
        classes=names,
        templates=templates,
        progress=False,
    )
    log = read_log(tmp_path / "log")
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**small.model.visual.preprocess_cfg), is_train=False
    )
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(small.model, small.tokenizer, names, templates)
        plain = []
        for _, _, data in rows:
            x = small.model.encode_image(transform(Image.open(io.BytesIO(data))).unsqueeze(0))
            plain.append(
                (small.model.logit_scale.exp() * x / x.norm(dim=-1, keepdim=True) @ weights).softmax(-1)[0].numpy()
            )
    p = np.stack(plain)
    assert np.abs(log.array("conf") - p.max(1)).max() < 1e-5
    assert list(log.array("prediction")) == [names[i] for i in p.argmax(1)]
    logits = log.array("top_cosine").astype(float) * log.manifest.logit_scale
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(ours - np.sort(p, 1)[:, ::-1]).max() < 1e-5


RUN = """
import sys, time
from attrood.inference import infer
from attrood.inference.model import VLM, load_vlm
class Slow(VLM):
    def encode_images(self, pixels):
        time.sleep(float(sys.argv[4]))
        return super().encode_images(pixels)
small = Slow(**load_vlm(sys.argv[1], "random:0", device="cpu").__dict__)
print("start", flush=True)
done = infer(sys.argv[2], (), small, out=sys.argv[3], batch_size=8, shard_rows=16, embeddings=True, max_rejects=0.5, progress=False)
print(done.status, done.images, done.rejects, done.new_images, flush=True)
"""


def start(config: Path, source: Path, out: Path, pause: float) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(config), str(source), str(out), str(pause)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert child.stdout.readline() == "start\n"
    return child


@pytest.mark.parametrize("name", ["log", "log.parquet"])
def test_a_killed_run_is_taken_up_and_ends_the_same(tmp_path, config, small, name):
    from attrood.inference import infer

    n, kills = (640, 10) if FULL else (192, 2)
    for i in range(n):
        f = tmp_path / "set" / ("a", "b")[i % 2] / f"{i:04d}.png"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(b"broken" if i % 17 == 0 else encoded(i))
    whole = infer(
        str(tmp_path / "set"),
        (),
        small,
        out=tmp_path / "whole",
        batch_size=8,
        shard_rows=16,
        embeddings=True,
        max_rejects=0.5,
        progress=False,
    )
    random.seed(3)
    pause, killed, out = 0.05, 0, tmp_path / name
    for _ in range(kills):
        child = start(config, tmp_path / "set", out, pause)
        time.sleep(random.uniform(0, n / 8 * pause * 1.5 / kills))
        killed += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert killed >= kills - 1
    child = start(config, tmp_path / "set", out, 0)
    status, images, rejects, _ = child.communicate()[0].split()
    assert (int(images), int(rejects)) == (whole.images, whole.rejects) and child.returncode == 0
    log, reference = read_log(out), read_log(tmp_path / "whole")
    assert log.table.column_names == reference.table.column_names and {"word_margin", "picture"} <= set(
        log.manifest.evidence
    )
    assert log.fingerprint() == reference.fingerprint(), "the rows differ from those of an uninterrupted run"
    assert len(set(log.array("id"))) == len(log) == n - whole.rejects
    rejects_csv = out.with_suffix(".rejects.csv") if out.suffix else out / "rejects.csv"
    assert rejects_csv.read_text() == (tmp_path / "whole/rejects.csv").read_text()
    assert not [p for p in tmp_path.rglob("*.attrood-part*")]
    again = infer(
        str(tmp_path / "set"),
        (),
        small,
        out=out,
        batch_size=8,
        shard_rows=16,
        embeddings=True,
        max_rejects=0.5,
        progress=False,
    )
    assert (again.status, again.new_images) == ("complete", 0)


def test_a_run_that_ends_among_its_evidence_is_completed(tmp_path, small, monkeypatch):
    from attrood.inference import finish as run_evidence
    from attrood.inference import infer

    for i in range(160):
        f = tmp_path / "set" / ("a", "b")[i % 2] / f"{i:04d}.png"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(b"broken" if i % 31 == 0 else encoded(i))
    options = dict(batch_size=8, shard_rows=16, max_rejects=0.5, progress=False)
    infer(str(tmp_path / "set"), (), small, out=tmp_path / "whole", **options)
    store, calls = run_evidence.add_evidence, []

    def until_the_third(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return store(*args, **options)

    monkeypatch.setattr(run_evidence, "add_evidence", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        infer(str(tmp_path / "set"), (), small, out=tmp_path / "log", **options)
    monkeypatch.undo()
    done = infer(str(tmp_path / "set"), (), small, out=tmp_path / "log", **options)
    log, whole = read_log(tmp_path / "log"), read_log(tmp_path / "whole")
    assert (
        (done.status, done.new_images) == ("resumed", 0)
        and log.table.column_names == whole.table.column_names
        and log.fingerprint() == whole.fingerprint()
        and log.manifest == whole.manifest
    )
    assert "image_embedding" not in log.table.column_names and {"knn", "vim", "null_prompt"} <= set(
        log.manifest.evidence
    )


MEMORY = """
import re, sys
from attrood.inference import infer
from attrood.inference.model import load_vlm
small = load_vlm(sys.argv[1], "random:0", device="cpu")
infer(sys.argv[2], (), small, out=sys.argv[3], classes="bread,rice,fish,egg,soup", progress=False, workers=1)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])  # ru_maxrss would start at the parent's size
"""


@pytest.mark.skipif(not (FULL and Path("/proc/self/status").exists()), reason="ATTROOD_FULL=1 runs it, on Linux")
@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, config, kind):
    peaks = {}
    for n in (1000, 10000):
        if kind == "parquet":
            pq.write_table(
                pa.table({"image": [encoded(i % 50, "JPEG") for i in range(n)]}),
                tmp_path / f"{n}.parquet",
                row_group_size=500,
            )
        else:
            (tmp_path / str(n)).mkdir()
            for i in range(n):
                (tmp_path / str(n) / f"{i:05d}.jpg").write_bytes(encoded(i % 50, "JPEG"))
        source = tmp_path / (f"{n}.parquet" if kind == "parquet" else str(n))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(config), str(source), str(tmp_path / f"out{n}")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=True,
        )
        peaks[n] = int(done.stdout.split()[-1])
    print(kind, peaks)
    assert peaks[10000] <= 1.1 * peaks[1000], peaks


@pytest.mark.skipif(not RAY, reason="ATTROOD_RAY=1 runs it")
@pytest.mark.parametrize("kill", [False, True])
def test_ray_equals_one_process_even_if_a_worker_is_killed(tmp_path, small, kill):
    ray, psutil = pytest.importorskip("ray"), pytest.importorskip("psutil")
    from attrood.inference import infer, open_sources
    from attrood.inference.folder import RunFolder
    from attrood.inference.plan import Run, Summary, execute
    from attrood.inference.ray import ray_batches

    n = 2000  # enough that work is left when a worker is killed
    for i in range(n):
        f = tmp_path / "set" / ("a", "b")[i % 2] / f"{i:04d}.png"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(b"broken" if i % 97 == 0 else encoded(i))
    options = dict(batch_size=4, shard_rows=16)
    infer(str(tmp_path / "set"), (), small, out=tmp_path / "one", progress=False, **options)
    killed = []

    def stream(todo):
        for k, part in enumerate(ray_batches(run, todo, 2)):
            if k == 0:
                workers = [
                    p
                    for p in psutil.Process().children(recursive=True)
                    if any(word in " ".join(p.cmdline()) for word in ("MapWorker", "EncodeActor"))
                ]  # idle, busy
                assert workers, "no Ray worker found to kill"
                workers[0].kill()
                killed.append(workers[0].pid)
            yield part

    if kill:
        run = Run.plan(open_sources(str(tmp_path / "set")), small, evidence=True, **options)
        done = execute(run, RunFolder(tmp_path / "two"), stream, Summary("two", "written"), progress=False)
    else:
        done = infer(
            str(tmp_path / "set"), (), small, out=tmp_path / "two", engine="ray", workers=2, progress=False, **options
        )
    ray.shutdown()
    assert bool(killed) == kill and done.images == n - len(range(0, n, 97))
    a, b = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert (
        list(a.array("id")) == list(b.array("id"))
        and list(a.array("reference")) == list(b.array("reference"))
        and a.manifest.evidence.keys() == b.manifest.evidence.keys()
    )
    for column in ("conf", "energy", "top_cosine", "text_span", "knn", "prototype_cosine"):
        assert np.abs(a.array(column).astype(float) - b.array(column)).max() < 1e-4, column
    assert (tmp_path / "one/rejects.csv").read_text() == (tmp_path / "two/rejects.csv").read_text()
