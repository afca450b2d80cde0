"""How much of the model's own speed does `attrood infer` keep? One table, one run.

    python benchmarks/bench_inference.py [--images 384] [--small-images 4000] [--repeats 3] [--device cpu]

Rows: photographs (full-size JPEG folder, ViT-B/32) and thumbnails (64-pixel Parquet, two small ViTs). Columns: the model alone on tensors in memory, a plain OpenCLIP loop
image by image and batched (text encoded once, kindly), and attrood, without the further evidence that only it computes, with it, and with it and the state of the picture. The contestants take turns within each repeat, and each ratio is the median over the repeats of the
ratios inside one repeat, so that other load on the machine hits all alike. Beside the rate stands the processor time per image, which other load hardly
touches. Weights are random: speed does not depend on them. What the measures of a picture cost beside decoding and the model is also timed alone, in one thread (--only picture --threads 1).
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from attrood.data.pictures import (
    decode_pixels,
    read_encoded,  # noqa: E402
)
from attrood.evidence import picture  # noqa: E402
from attrood.inference import (
    infer,  # noqa: E402
    load_vlm,
)
from attrood.inference.loader import cpu_count  # noqa: E402
from attrood.inference.model import VLM  # noqa: E402

SHARED = next((p / "shared/data" for p in ROOT.parents if (p / "shared/data/images").is_dir()), None)
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
SMALL = {
    f"ViT {layers}x{width}": {
        "embed_dim": width,
        "vision_cfg": {"image_size": 64, "layers": layers, "width": width, "head_width": 32, "patch_size": 16},
        "text_cfg": TEXT,
    }
    for layers, width in ((4, 128), (2, 64))
}


def photographs(folder: Path, n: int) -> list[Path]:
    "Real photographs where they are at hand, otherwise smooth made ones of the same size."
    files = sorted((SHARED / "folders/food101_fullres").glob("*/*.jpg"))[:n] if SHARED else []
    (folder / "photos/food").mkdir(parents=True)
    for i in range(n):
        target = folder / f"photos/food/{i:05d}.jpg"
        if files:
            target.write_bytes(files[i % len(files)].read_bytes())
        else:
            rough = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(rough).resize((512, 384), Image.Resampling.BICUBIC).save(target, quality=92)
    return sorted((folder / "photos/food").iterdir())


def thumbnails(folder: Path, n: int) -> Path:
    "A Parquet file of 64-pixel JPEG images."
    if SHARED:
        table = pq.ParquetFile(SHARED / "images/food101_64_test.parquet").read(columns=["image"]).slice(0, n)
    else:

        def jpeg(i: int) -> bytes:
            f = io.BytesIO()
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)).resize((64, 64)).save(
                f, "JPEG", quality=90
            )
            return f.getvalue()

        table = pa.table({"image": [jpeg(i) for i in range(n)]})
    pq.write_table(table, folder / "thumbs.parquet", row_group_size=2000)
    return folder / "thumbs.parquet"


@torch.inference_mode()
def model_alone(vlm: VLM, n: int, batch: int) -> float:
    x = vlm.to_tensor(np.random.default_rng(0).integers(0, 256, (batch, *vlm.preprocessing.size, 3), np.uint8))
    vlm.encode_tensor(x)
    start = time.perf_counter()
    for _ in range(max(1, n // batch)):
        vlm.encode_tensor(x).cpu()
    return max(1, n // batch) * batch / (time.perf_counter() - start)


@torch.inference_mode()
def plain_loop(vlm: VLM, images: list, batch: int, text: torch.Tensor) -> float:
    "The loop of OpenCLIP's README; `images` are paths or encoded bytes."
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**vlm.model.visual.preprocess_cfg), is_train=False
    )
    start = time.perf_counter()
    for i in range(0, len(images), batch):
        x = torch.stack(
            [transform(Image.open(p if isinstance(p, Path) else io.BytesIO(p))) for p in images[i : i + batch]]
        ).to(vlm.device)
        with vlm.lowered():
            features = vlm.model.encode_image(x).float()
        features /= features.norm(dim=-1, keepdim=True)
        (vlm.model.logit_scale.exp() * features @ text.T).softmax(-1).cpu()
    return len(images) / (time.perf_counter() - start)


def attrood_rate(vlm: VLM, source: str, folder: Path, batch: int, classes: list[str], **options) -> tuple[float, dict]:
    start = time.perf_counter()
    done = infer(
        source,
        (),
        vlm,
        out=folder / f"log{time.time_ns()}",
        classes=classes,
        batch_size=batch,
        progress=False,
        **options,
    )
    return done.images / (time.perf_counter() - start), done.times


def picture_costs(vlm: VLM, images: list, repeats: int, batch: int) -> dict:
    "Processor milliseconds per image, in one thread: decoding, the measures of the picture, bringing it to size, the image tower; the median over repeats."
    images = images[: len(images) // batch * batch]
    spent: dict[str, list[float]] = {k: [] for k in ("decode", "picture", "preprocess", "model")}
    for _ in range(repeats):
        total = dict.fromkeys(spent, 0.0)
        for i in range(0, len(images), batch):
            pixels = []
            for image in images[i : i + batch]:
                data = read_encoded(image) if isinstance(image, Path) else image
                marks = [time.thread_time()]
                decoded = np.asarray(decode_pixels(data))
                marks.append(time.thread_time())
                picture.picture_measures(decoded, data)
                marks.append(time.thread_time())
                pixels.append(vlm.preprocessing.pixels(decoded))
                marks.append(time.thread_time())
                for part, seconds in zip(total, np.diff(marks), strict=False):
                    total[part] += seconds
            start = time.thread_time()
            vlm.encode_images(np.stack(pixels))
            total["model"] += time.thread_time() - start
        for k, v in total.items():
            spent[k].append(1000 * v / len(images))
    return {k: round(statistics.median(v), 2) for k, v in spent.items()} | {
        "picture / model": round(
            statistics.median(p / m for p, m in zip(spent["picture"], spent["model"], strict=True)), 3
        ),
        "picture / decode": round(
            statistics.median(p / d for p, d in zip(spent["picture"], spent["decode"], strict=True)), 2
        ),
    }


def compare(
    name: str,
    vlm: VLM,
    images: list,
    source: str,
    folder: Path,
    batch: int,
    repeats: int,
    one_by_one: int,
    options: dict,
) -> dict:
    classes = open_clip.IMAGENET_CLASSNAMES[:20]
    text = torch.from_numpy(vlm.text_embeddings(classes, ["a photo of a {}."])).to(vlm.device)
    rows: dict[str, list[float]] = {
        "model alone": [],
        "plain, image by image": [],
        "plain, batched": [],
        "attrood": [],
        "attrood with evidence": [],
        "attrood with picture": [],
    }
    cpu: dict[str, list[float]] = {k: [] for k in rows}

    def timed(who: str, n: int, call) -> float:
        start = time.process_time()
        rate = call()
        cpu[who].append(1000 * (time.process_time() - start) / n)
        rows[who].append(rate)
        return rate

    plain_loop(vlm, images[:batch], batch, text)
    times: dict = {}
    whole = len(images) // batch * batch  # the model alone also warms up with one batch
    for _ in range(repeats):
        timed("model alone", whole + batch, lambda: model_alone(vlm, len(images), batch))
        timed("plain, image by image", one_by_one, lambda: plain_loop(vlm, images[:one_by_one], 1, text))
        timed("plain, batched", len(images), lambda: plain_loop(vlm, images, batch, text))

        def ours(evidence: bool, picture: bool = False) -> float:
            rate, spent = attrood_rate(
                vlm, source, folder, batch, classes, evidence=evidence, picture=picture, words=False, **options
            )
            times.update({} if evidence else spent)
            return rate

        timed("attrood", len(images), lambda: ours(False))
        after = model_alone(vlm, len(images), batch)
        rows["model alone"][-1] = (rows["model alone"][-1] + after) / 2
        timed("attrood with evidence", len(images), lambda: ours(True))
        timed("attrood with picture", len(images), lambda: ours(True, True))
        print(name, {k: f"{v[-1]:.1f}/s {cpu[k][-1]:.2f} ms" for k, v in rows.items()}, flush=True)
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(rows[a], rows[b], strict=True))  # noqa: E731
    return {
        "case": name,
        **{k: round(statistics.median(v), 1) for k, v in rows.items()},
        "attrood / model alone": round(ratio("attrood", "model alone"), 3),
        "processor time, model alone / attrood": round(
            statistics.median(x / y for x, y in zip(cpu["model alone"], cpu["attrood"], strict=True)), 3
        ),
        "attrood / batched": round(ratio("attrood", "plain, batched"), 2),
        "attrood / one by one": round(ratio("attrood", "plain, image by image"), 2),
        "attrood with evidence / batched": round(ratio("attrood with evidence", "plain, batched"), 2),
        "attrood with picture / with evidence": round(ratio("attrood with picture", "attrood with evidence"), 3),
        **{f"processor ms per image, {k}": round(statistics.median(v), 2) for k, v in cpu.items()},
        "times": {k: round(v, 2) for k, v in times.items()},
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=384)
    p.add_argument("--small-images", type=int, default=4000)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--workers", type=int, default=None)
    p.add_argument("--device", default="cpu")
    p.add_argument("--precision", default="fp32", help="of the image tower, for all contestants")
    p.add_argument("--threads", type=int, default=None, help="torch threads of all contestants")
    p.add_argument(
        "--only",
        choices=["photos", "thumbs", "picture"],
        help="picture: what its measures cost beside decoding and the model, and nothing else",
    )
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {cpu_count()} cores, device {a.device}, {a.precision}"
    )
    with tempfile.TemporaryDirectory() as td:
        folder, results = Path(td), []
        os.environ["ATTROOD_CACHE"] = str(folder / "cache")
        options = {"workers": a.workers}
        if a.only != "thumbs":
            files = photographs(folder, a.images)
            vlm = load_vlm("ViT-B-32", "random:0", a.device, a.precision)
            costs = picture_costs(vlm, files[:96], a.repeats, min(a.batch_size, len(files)))
            print("processor ms per photograph in one thread:", json.dumps(costs), flush=True)
            if a.only == "picture":
                return
            results.append(
                compare(
                    "photographs, ViT-B/32",
                    vlm,
                    files,
                    str(folder / "photos"),
                    folder,
                    a.batch_size,
                    a.repeats,
                    min(8, a.images),
                    options,
                )
            )
        if a.only != "photos":
            source = thumbnails(folder, a.small_images)
            images = pq.read_table(source).column("image").to_pylist()
            for name, config in SMALL.items():
                file = folder / f"attrood-bench-{name.replace(' ', '-')}.json"
                file.write_text(json.dumps(config))
                vlm = load_vlm(str(file), "random:0", a.device, a.precision)
                results.append(
                    compare(
                        f"64-pixel Parquet, {name}",
                        vlm,
                        images,
                        str(source),
                        folder,
                        a.batch_size,
                        a.repeats,
                        min(200, len(images)),
                        options,
                    )
                )
    for r in results:
        print(json.dumps(r))
    keys = [k for k in results[0] if k not in ("case", "times")]
    print("\n| images/s | " + " | ".join(r["case"] for r in results) + " |\n|---|" + "---|" * len(results))
    for k in keys:
        print(f"| {k} | " + " | ".join(str(r[k]) for r in results) + " |")


if __name__ == "__main__":
    main()
