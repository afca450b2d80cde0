"""Make attrood/data/food101-pocket.parquet: 20,000 images through the pocket model.

Usage: python tools/make_food101_pocket_log.py FOLDER_OF_PARQUET_IMAGES [OUT.parquet [WEIGHTS]]

The inference is that of `attrood infer` (the command is printed), from the Parquet files of the folder. Only what is computed from the images is kept:
scalars and the ten best cosines. Three columns are added: `shift` (the kind of set), `side` (shorter side of the original in pixels) and `food`
(the image's own label is a food or a thing that is seen with food, by name).
"""
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from attrood.inference import infer
from attrood.log import Log, read_log, write_log
from attrood.pocket import FOOD_TEMPLATE

ID = "food101=food101_64_test.parquet[:10000]"
OOD = {  # domain: (file and rows, kind of shift)
    "cifar100": ("cifar100_32.parquet", "objects"), "tiny_imagenet": ("tiny_imagenet_64.parquet[:5791]", "objects"),
    "pacs_art": ("pacs_art_painting.parquet", "renditions"), "pacs_cartoon": ("pacs_cartoon.parquet", "renditions"),
    "pacs_sketch": ("pacs_sketch.parquet", "renditions"), "cue_conflict": ("cue_conflict.parquet", "renditions"),
    "edges": ("imagenet16_edges.parquet", "renditions"), "silhouettes": ("imagenet16_silhouettes.parquet", "renditions"),
    "dtd": ("dtd.parquet", "textures"),
}
SAME = {"pizza, pizza pie", "ice cream, icecream", "guacamole"}  # a class of Food-101 under another name
FOODS = {
    "apple", "mushroom", "orange", "pear", "sweet_pepper", "banana", "bell pepper", "cauliflower", "lemon", "pomegranate", "espresso",
    "ice lolly, lolly, lollipop, popsicle", "mashed potato", "meat loaf, meatloaf", "potpie", "pretzel",
}
BESIDE = {  # animals that are eaten, and what foods lie on or in
    "lobster", "crab", "American lobster, Northern lobster, Maine lobster, Homarus americanus", "bowl", "plate", "cup", "can", "bottle",
    "spiny lobster, langouste, rock lobster, crawfish, crayfish, sea crawfish", "confectionery, confectionary, candy store", "butcher shop, meat market",
    "dining table, board", "frying pan, frypan, skillet", "wok", "wooden spoon", "beer bottle", "pop bottle, soda bottle",
}


def run_inference(folder: Path, out: Path, weights: str = "") -> None:
    "Run `attrood infer`, by its function."
    domain, _, where = ID.partition("=")
    ood = [f"{d}={folder}/{w}" for d, (w, _) in OOD.items()]
    options = " ".join(f"--ood '{o}'" for o in ood).replace(str(folder), "IMAGES")
    print(f"attrood infer --id '{domain}=IMAGES/{where}' {options} --model pocket --template '{FOOD_TEMPLATE}'")
    print(infer(f"{domain}={folder}/{where}", ood, "pocket", weights, out, templates=FOOD_TEMPLATE, max_rejects=0))


def kind_of(label: str) -> str:
    "How near a label is to food, by name."
    return "same" if label in SAME else "food" if label in FOODS else "beside" if label in BESIDE else "no"


def add_columns(log: Log, folder: Path) -> Log:
    "Add `shift`, `side` and `food`."
    frame = log.frame()
    side = np.zeros(len(frame), np.int32)
    for domain, where in [ID.split("=", 1), *((d, w) for d, (w, _) in OOD.items())]:
        table = pq.read_table(folder / where.partition("[")[0], columns=["id", "image"])
        sides = {f"{domain}/{i}": min(Image.open(io.BytesIO(b)).size) for i, b in zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True)}
        rows = (frame["domain"] == domain).to_numpy()
        side[rows] = [sides[i] for i in frame["id"][rows]]
    shift = ["none" if d == "food101" else OOD[d][1] for d in frame["domain"]]
    food = ["id" if s == "none" else kind_of(label) if s == "objects" else "no" for s, label in zip(shift, frame["label"], strict=True)]
    manifest = log.manifest
    columns = {**manifest.columns, "shift": "string", "side": "int32", "food": "string"}
    table = log.table
    for name, values in (("shift", shift), ("side", side), ("food", food)):
        table = table.append_column(name, pa.array(values))
    return Log(table, replace(manifest, columns=columns))


def main(folder: Path, out: Path, weights: str = "") -> None:
    "Infer, add columns, write."
    with tempfile.TemporaryDirectory() as td:
        run_inference(folder, Path(td) / "log", weights)
        log = add_columns(read_log(Path(td) / "log"), folder)
    write_log(log, out)
    print(f"{out}: {len(log)} rows, {out.stat().st_size / 1e6:.2f} MB, fingerprint {log.fingerprint()[:12]}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[1] / "attrood" / "data" / "food101-pocket.parquet"
    main(Path(sys.argv[1]), out, *sys.argv[3:])
