"""Make attrood/assets/food101-pocket.parquet: the paper's experiment at N = 20,000, run with the pocket model.

Usage: python tools/make_food101_pocket_log.py FOLDER_OF_PARQUET_IMAGES [OUT.parquet]

Food-101 and CIFAR-100 are first prepared as TFDS sets (array_record, without TensorFlow), the other sets are read as Parquet. Inference is that of
`attrood infer`, with image embeddings, from which every further evidence is computed; 2,000 Food-101 training images are the reference it is fitted on.
Only computed numbers are kept, no image and no embedding. Three columns are added: `shift` (the kind of set), `side` (shorter side of the original in
pixels) and `food` (whether the image's own label is a food or a thing that is seen with food, by name).
"""

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from PIL import Image

from attrood.evidence import add_evidence
from attrood.inference import infer, load_vlm, open_sources
from attrood.inference.pocket import FOOD_TEMPLATE
from attrood.log import Log, read_log, write_log

OUT = Path(__file__).parents[1] / "attrood" / "assets" / "food101-pocket.parquet"
TFDS = {
    "food101": {"validation": "food101_64_test", "train": "food101_64_train"},
    "cifar100": {"test": "cifar100_32"},
}  # set, split, file
ID = {"food101": "food101:validation[:10000]", "food101_train": "food101:train[:2000]"}  # the second is the reference
OOD = {
    "cifar100": "cifar100:test",
    "tiny_imagenet": "tiny_imagenet_64.parquet[:5791]",
    "pacs_art": "pacs_art_painting.parquet",
    "pacs_cartoon": "pacs_cartoon.parquet",
    "pacs_sketch": "pacs_sketch.parquet",
    "cue_conflict": "cue_conflict.parquet",
    "edges": "imagenet16_edges.parquet",
    "silhouettes": "imagenet16_silhouettes.parquet",
    "dtd": "dtd.parquet",
}
SHIFT = {
    "food101": "none",
    "food101_train": "none",
    "cifar100": "objects",
    "tiny_imagenet": "objects",
    "dtd": "textures",
}  # else renditions
SAME = {"pizza, pizza pie", "ice cream, icecream", "guacamole"}  # a class of Food-101 under another name
FOODS = {
    "apple",
    "mushroom",
    "orange",
    "pear",
    "sweet pepper",
    "banana",
    "bell pepper",
    "cauliflower",
    "lemon",
    "pomegranate",
    "espresso",
    "ice lolly, lolly, lollipop, popsicle",
    "mashed potato",
    "meat loaf, meatloaf",
    "potpie",
    "pretzel",
}
BESIDE = {  # animals that are eaten, and what foods lie on or in
    "lobster",
    "crab",
    "American lobster, Northern lobster, Maine lobster, Homarus americanus",
    "bowl",
    "plate",
    "cup",
    "can",
    "bottle",
    "spiny lobster, langouste, rock lobster, crawfish, crayfish, sea crawfish",
    "confectionery, confectionary, candy store",
    "butcher shop, meat market",
    "dining table, board",
    "frying pan, frypan, skillet",
    "wok",
    "wooden spoon",
    "beer bottle",
    "pop bottle, soda bottle",
}


def prepare_tfds(name: str, splits: dict[str, Path], folder: Path, limit: int = 10_100) -> None:
    "Write Parquet files as the splits of a TFDS set, with its real name, version and features."
    real = tfds.builder(name, data_dir=str(folder))
    rows = {split: pq.read_table(file).slice(0, limit).to_pylist() for split, file in splits.items()}
    labels = {r["label"] for part in rows.values() for r in part}
    if not labels <= set(real.info.features["label"].names):  # TFDS learns CIFAR-100's names from the download
        missing = real.info.features["label"].num_classes - len(labels)
        real.info.features["label"].names = sorted(labels) + [f"other {i}" for i in range(missing)]

    class Local(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = real.version

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(builder=self, features=real.info.features, disable_shuffling=True)

        def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
            return {split: self._generate_examples(part) for split, part in rows.items()}

        def _generate_examples(self, part: list[dict]) -> Iterator:
            for i, row in enumerate(part):
                given = row | {"image": io.BytesIO(row["image"])}
                yield i, {k: given.get(k, -1) for k in real.info.features}  # -1 is TFDS's unknown label

    Local.name = name
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        Local(data_dir=str(folder), file_format="array_record").download_and_prepare()


def prepare(folder: Path, data_dir: Path) -> None:
    "Both TFDS sets."
    for name, splits in TFDS.items():
        prepare_tfds(name, {split: folder / f"{file}.parquet" for split, file in splits.items()}, data_dir)


def sources(folder: Path) -> dict[str, list[str]]:
    "ID and OoD sources as `attrood infer` takes them."
    where = lambda spec: f"{folder}/{spec}" if ".parquet" in spec else spec
    return {
        role: [f"{domain}={where(spec)}" for domain, spec in part.items()] for role, part in (("id", ID), ("ood", OOD))
    }


def command() -> str:
    "The inference as a command line."
    given = " ".join(f"--{role} '{s}'" for role, specs in sources(Path("IMAGES")).items() for s in specs)
    return (
        f"attrood infer {given} --model pocket --template '{FOOD_TEMPLATE}' --no-evidence --embeddings --data-dir TFDS"
    )


def images_to_log(folder: Path, data_dir: Path, out: Path) -> str:
    "All images through the model; what is in `out` already is not done again."
    return str(
        infer(
            **sources(folder),
            model="pocket",
            out=out,
            templates=FOOD_TEMPLATE,
            evidence=False,
            embeddings=True,
            max_rejects=0,
            data_dir=str(data_dir),
            progress=False,
        )
    )


def kind_of(label: str) -> str:
    "How near a label is to food, by name."
    return "same" if label in SAME else "food" if label in FOODS else "beside" if label in BESIDE else "no"


def terms(folder: Path, entry: dict) -> dict:
    "A source's manifest entry with the origin and the licence that its Parquet file states."
    file = (
        folder / Path(entry["source"]).name
        if entry["kind"] == "parquet"
        else folder / f"{TFDS[entry['source']][entry['split'].split('[')[0]]}.parquet"
    )
    stated = pq.read_schema(file).metadata
    return entry | {"source": stated[b"source"].decode(), "license": stated[b"licence"].decode()}


def enrich(log: Log, folder: Path, data_dir: Path) -> Log:
    "Evidence of the embeddings, and the columns `shift`, `side` and `food`."
    opened = open_sources(**sources(folder), data_dir=str(data_dir))
    sides = {sample.id: min(Image.open(io.BytesIO(sample.data)).size) for source in opened for sample in source}
    domain, label = log.array("domain"), log.array("label")
    shift = [SHIFT.get(d, "renditions") for d in domain]
    extra = {
        "shift": pa.array(shift),
        "side": pa.array([sides[i] for i in log.array("id")], pa.int32()),
        "food": pa.array(
            ["id" if s == "none" else kind_of(x) if s == "objects" else "no" for s, x in zip(shift, label, strict=True)]
        ),
        "reference": pa.array(domain == "food101_train"),
    }
    table = log.table
    for name, values in extra.items():
        table = table.append_column(name, values)
    columns = {**log.manifest.columns, "shift": "string", "side": "int32", "food": "string"}
    manifest = replace(log.manifest, columns=columns, sources=[terms(folder, s) for s in log.manifest.sources])
    text = load_vlm("pocket").text_embeddings(manifest.class_names, manifest.templates)
    return add_evidence(Log(table, manifest), text)


def main(folder: Path, out: Path) -> None:
    "From Parquet to the bundled log, timed."
    print(command())
    with tempfile.TemporaryDirectory() as td:
        work = Path(td)
        start = time.perf_counter()
        prepare(folder, work / "tfds")
        print(f"TFDS sets prepared in {time.perf_counter() - start:.1f} s")
        print(images_to_log(folder, work / "tfds", work / "log").replace(str(work), "WORK"))
        start = time.perf_counter()
        log = enrich(read_log(work / "log"), folder, work / "tfds")
        print(f"evidence of the embeddings in {time.perf_counter() - start:.1f} s")
    write_log(log, out)
    print(f"{out.name}: {len(log)} rows, {out.stat().st_size / 1e6:.2f} MB, fingerprint {log.fingerprint()[:12]}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else OUT)
