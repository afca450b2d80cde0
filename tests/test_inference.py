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
from PIL import Image  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from attrood.log import read_log  # noqa: E402

SHARED = next((p / "shared" for p in ROOT.parents if (p / "shared/data/images").is_dir()), ROOT.parent / "shared")
FULL, RAY = bool(os.environ.get("ATTROOD_FULL")), bool(os.environ.get("ATTROOD_RAY"))
CONFIG = {"embed_dim": 64, "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
          "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}}


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
    from attrood.vlm import load_vlm
    return load_vlm(str(config), "random:0", device="cpu")


def samples(n: int) -> list[tuple[str, str, bytes]]:
    "Name, label and bytes of some JPEG images: real ones where they are at hand."
    file = SHARED / "data/images/food101_64_test.parquet"
    if not file.exists():
        return [(f"{i:04d}", ("apple_pie", "ramen")[i % 2], encoded(i, "JPEG", quality=90)) for i in range(n)]
    rows = pq.ParquetFile(file).read_row_group(0).slice(0, n).to_pylist()
    return [(f"{i:04d}", r["label"], r["image"]) for i, r in enumerate(rows)]


def write_tfds(folder: Path, rows: list[tuple[str, str, bytes]]) -> None:
    "A TFDS set named food101 in array_record files, made without TensorFlow."
    import tensorflow_datasets as tfds

    real = tfds.builder("food101", data_dir=str(folder))

    class StandIn(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("2.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=real.info.features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"validation": self._generate_examples()}

        def _generate_examples(self):
            for i, (_, label, data) in enumerate(rows):
                yield i, {"image": io.BytesIO(data), "label": label}

    StandIn(data_dir=str(folder), file_format="array_record").download_and_prepare()
    (folder / "food101").mkdir()
    target = folder / "food101/2.0.0"
    os.rename(folder / "stand_in/2.0.0", target)
    for f in target.glob("stand_in-*"):
        f.rename(target / f.name.replace("stand_in", "food101"))
    info = json.loads((target / "dataset_info.json").read_text())
    (target / "dataset_info.json").write_text(json.dumps(info | {"name": "food101"}))


def test_four_ways_in_give_the_same_vectors(tmp_path, small):
    from attrood.inference import infer
    from attrood.sources import MemorySource

    rows = samples(60)
    with tarfile.open(tmp_path / "set-000.tar", "w") as tar:
        for name, label, data in rows:
            (tmp_path / "folder" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "folder" / label / f"{name}.jpg").write_bytes(data)
            for ext, member in (("jpg", data), ("cls", label.encode())):
                info = tarfile.TarInfo(f"{name}.{ext}")
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))
    pq.write_table(pa.table({"id": [n for n, _, _ in rows], "label": [x for _, x, _ in rows], "image": [d for _, _, d in rows]}), tmp_path / "set.parquet")
    write_tfds(tmp_path / "tfds", rows)
    logs = {}
    specs = {"folder": str(tmp_path / "folder"), "parquet": str(tmp_path / "set.parquet"), "tar": str(tmp_path / "set-{000..000}.tar"), "tfds": "food101:validation",
             "memory": MemorySource([d for _, _, d in rows], [x for _, x, _ in rows], [n for n, _, _ in rows])}
    for kind, spec in specs.items():
        infer(spec, (), small, out=tmp_path / f"{kind}.parquet", classes="food101", embeddings=True, data_dir=str(tmp_path / "tfds"), batch_size=16, progress=False)
        logs[kind] = read_log(tmp_path / f"{kind}.parquet")
    names = {n: i for i, (n, _, _) in enumerate(rows)}
    order = {k: np.argsort([names[Path(i).stem] if k != "tfds" else int(i.rsplit("/", 1)[1]) for i in log.array("id")]) for k, log in logs.items()}
    first = logs["memory"].array("image_embedding")[order["memory"]].astype(float)
    for kind, log in logs.items():
        other = log.array("image_embedding")[order[kind]].astype(float)
        cosine = (first * other).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(other, axis=1)
        assert cosine.min() >= 0.99999, kind
        assert list(log.array("label")[order[kind]]) == [x.replace("_", " ") for _, x, _ in rows], kind
        assert np.abs(log.array("conf")[order[kind]] - logs["memory"].array("conf")[order["memory"]]).max() < 1e-5


def test_decoding_in_processes_gives_the_same(tmp_path):
    from attrood.images import Preprocessing
    from attrood.loader import load_batches
    from attrood.shards import plan_batches
    from attrood.sources import MemorySource

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
    pq.write_table(pa.table({"id": [n for n, _, _ in rows], "image": [d for _, _, d in rows]}), tmp_path / "set.parquet")
    names, templates = ["apple pie", "ramen", "a dog"], ["a photo of {}.", "a drawing of {}."]
    infer(str(tmp_path / "set.parquet"), (), small, out=tmp_path / "log", classes=names, templates=templates, progress=False)
    log = read_log(tmp_path / "log")
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**small.model.visual.preprocess_cfg), is_train=False)
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(small.model, small.tokenizer, names, templates)
        plain = []
        for _, _, data in rows:
            x = small.model.encode_image(transform(Image.open(io.BytesIO(data))).unsqueeze(0))
            plain.append((small.model.logit_scale.exp() * x / x.norm(dim=-1, keepdim=True) @ weights).softmax(-1)[0].numpy())
    p = np.stack(plain)
    assert np.abs(log.array("conf") - p.max(1)).max() < 1e-5
    assert list(log.array("prediction")) == [names[i] for i in p.argmax(1)]
    logits = log.array("top_cosine").astype(float) * log.manifest.logit_scale
    ours = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(ours - np.sort(p, 1)[:, ::-1]).max() < 1e-5


RUN = """
import sys, time
from attrood.inference import infer
from attrood.vlm import VLM, load_vlm
class Slow(VLM):
    def encode_pixels(self, pixels):
        time.sleep(float(sys.argv[4]))
        return super().encode_pixels(pixels)
small = Slow(**load_vlm(sys.argv[1], "random:0", device="cpu").__dict__)
print("start", flush=True)
done = infer(sys.argv[2], (), small, out=sys.argv[3], batch_size=8, shard_rows=16, embeddings=True, max_rejects=0.5, progress=False)
print(done.status, done.images, done.rejects, done.new_images, flush=True)
"""


def start(config: Path, source: Path, out: Path, pause: float) -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", RUN, str(config), str(source), str(out), str(pause)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                             env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
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
    whole = infer(str(tmp_path / "set"), (), small, out=tmp_path / "whole", batch_size=8, shard_rows=16, embeddings=True, max_rejects=0.5, progress=False)
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
    assert log.table.equals(reference.table), "the rows differ from those of an uninterrupted run"
    assert len(set(log.array("id"))) == len(log) == n - whole.rejects
    rejects_csv = out.with_suffix(".rejects.csv") if out.suffix else out / "rejects.csv"
    assert rejects_csv.read_text() == (tmp_path / "whole/rejects.csv").read_text()
    assert not [p for p in tmp_path.rglob("*.attrood-part*")]
    again = infer(str(tmp_path / "set"), (), small, out=out, batch_size=8, shard_rows=16, embeddings=True, max_rejects=0.5, progress=False)
    assert (again.status, again.new_images) == ("complete", 0)


MEMORY = """
import re, sys
from attrood.inference import infer
from attrood.vlm import load_vlm
small = load_vlm(sys.argv[1], "random:0", device="cpu")
infer(sys.argv[2], (), small, out=sys.argv[3], classes="food101", progress=False, workers=1)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])  # ru_maxrss would start at the parent's size
"""


@pytest.mark.skipif(not (FULL and Path("/proc/self/status").exists()), reason="ATTROOD_FULL=1 runs it, on Linux")
@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_memory_does_not_grow_with_the_number_of_images(tmp_path, config, kind):
    peaks = {}
    for n in (1000, 10000):
        if kind == "parquet":
            pq.write_table(pa.table({"image": [encoded(i % 50, "JPEG") for i in range(n)]}), tmp_path / f"{n}.parquet", row_group_size=500)
        else:
            (tmp_path / str(n)).mkdir()
            for i in range(n):
                (tmp_path / str(n) / f"{i:05d}.jpg").write_bytes(encoded(i % 50, "JPEG"))
        source = tmp_path / (f"{n}.parquet" if kind == "parquet" else str(n))
        done = subprocess.run([sys.executable, "-c", MEMORY, str(config), str(source), str(tmp_path / f"out{n}")], cwd=ROOT, capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, check=True)
        peaks[n] = int(done.stdout.split()[-1])
    print(kind, peaks)
    assert peaks[10000] <= 1.1 * peaks[1000], peaks


@pytest.mark.skipif(not RAY, reason="ATTROOD_RAY=1 runs it")
def test_a_killed_ray_worker_loses_nothing(tmp_path, small):
    ray, psutil = pytest.importorskip("ray"), pytest.importorskip("psutil")
    from attrood.inference import Run, Summary, execute, infer, open_sources
    from attrood.ray_engine import ray_batches
    from attrood.shards import RunFolder

    for i in range(600):
        f = tmp_path / "set" / ("a", "b")[i % 2] / f"{i:04d}.png"
        f.parent.mkdir(parents=True, exist_ok=True)
        f.write_bytes(b"broken" if i % 97 == 0 else encoded(i))
    infer(str(tmp_path / "set"), (), small, out=tmp_path / "one", batch_size=4, shard_rows=16, embeddings=True, progress=False)
    run = Run.plan(open_sources(str(tmp_path / "set")), small, batch_size=4, shard_rows=16, embeddings=True)
    killed = []

    def stream(todo):
        for k, part in enumerate(ray_batches(run, todo, 2)):
            if k == 5:
                workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(p.cmdline()) or "ray::Map" in p.name()]
                assert workers, "no Ray worker found to kill"
                workers[0].kill()
                killed.append(workers[0].pid)
            yield part

    done = execute(run, RunFolder(tmp_path / "two"), stream, Summary("two", "written"), progress=False)
    ray.shutdown()
    assert killed and done.images == 600 - 7
    a, b = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert list(a.array("id")) == list(b.array("id"))
    for column in ("conf", "energy", "top_cosine"):
        assert np.abs(a.array(column) - b.array(column)).max() < 1e-4
    assert (tmp_path / "one/rejects.csv").read_text() == (tmp_path / "two/rejects.csv").read_text()
