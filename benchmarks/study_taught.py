"""Reasons by words from end to end, with a model that knows words of media, conditions and things.

    python tools/extend_pocket.py --data DATA/images --minutes 25 --out pocket-words.safetensors
    python benchmarks/study_taught.py DATA pocket-words.safetensors FOLDER

DATA holds folders/food101_fullres and images/*.parquet. The familiar images are two thirds of the photographs of food, as a user would give them to `attrood infer`; the other third is asked as a set of its own (new food), as it is and
with each camera fault at severity 3. The other sets are those halves of the files that the taught model has not seen. Each set is inferred with the words that the model was taught (pocket-words.json), with the packaged vocabulary, most
of whose words it does not know, and with the state of the picture beside the taught words. FOLDER keeps logs and results. Intervals: Clopper and Pearson, 95 %.
"""

import argparse
import io
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from attrood.detect.intervals import rate_interval
from attrood.why.causes import image_causes, perturb
from attrood.why.log_reasons import aspects

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from extend_pocket import CONDITIONS, MEDIA, held_out

FILES = {
    "sketches": "pacs_sketch",
    "cartoons": "pacs_cartoon",
    "paintings": "pacs_art_painting",
    "edges": "imagenet16_edges",
    "silhouettes": "imagenet16_silhouettes",
    "textures": "dtd",
    "objects": "caltech101",
    "thumbnails": "tiny_imagenet_64",
}  # set -> file
START = "from attrood.entrance.cli import main; main()"
ANOTHER = {
    "sketches": "edge image",
    "edges": "sketch",
    "low_resolution": "enlarged",
    "occlusion": "partly covered",
}  # a name that is right too: lines on white and on black, what pixels call a fault


def make_sets(data: Path, folder: Path) -> None:
    "Pictures of every set, once."
    photos = sorted((data / "folders/food101_fullres").glob("*/*.jpg"))
    for i, file in enumerate(photos):
        there = folder / ("new" if i % 3 == 0 else "familiar") / file.parent.name / file.name
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.exists():
            there.symlink_to(file.resolve())
    for cause in image_causes("camera"):
        if not (out := folder / f"{cause}.parquet").exists():
            rows = []
            for file in photos[::3]:
                image, buffer = perturb(Image.open(file).convert("RGB"), cause, 3, key=file.name), io.BytesIO()
                image.save(buffer, "PNG")
                rows.append({"id": f"{cause}/{file.name}", "label": file.parent.name, "image": buffer.getvalue()})
            pq.write_table(pa.Table.from_pylist(rows), out)
    for name, file in FILES.items():
        if not (out := folder / f"{name}.parquet").exists():
            table = pq.read_table(data / f"images/{file}.parquet")
            pq.write_table(table.filter(pa.array(held_out(table["id"].to_pylist()))).slice(0, 400), out)


def said(folder: Path, weights: Path, name: str, options: list[str]) -> pd.DataFrame:
    "Scores with reasons of all sets, as a user's two commands make them."
    log, out = folder / f"log-{name}", folder / f"out-{name}"
    if not (out / "scores.parquet").exists():
        sets = ["--id", f"food={folder}/familiar", "--ood", f"new food={folder}/new"]
        for s in (*FILES, *image_causes("camera")):
            sets += ["--ood", f"{s}={folder}/{s}.parquet"]
        model = ["--model", "pocket", "--pretrained", str(weights)]
        for words in (
            ["infer", *model, *sets, *options, "-o", str(log)],
            ["run", str(log), "--mode", "default", "-o", str(out)],
        ):
            subprocess.run([sys.executable, "-c", START, *words], check=True)
    return pd.read_parquet(out / "scores.parquet")


def lines(scores: pd.DataFrame) -> pd.DataFrame:
    "A row per set: how many images, which aspects, and how often the right word is said."
    scores, out = scores.assign(aspect=aspects(scores)), []
    for name in ("food", "new food", *FILES, *image_causes("camera")):
        rows = scores[scores["domain"] == name]
        share = rows["aspect"].value_counts(normalize=True)
        right = {*MEDIA.get(FILES.get(name, ""), ()), *CONDITIONS.get(name, ()), ANOTHER.get(name, "")} - {""}
        hit = int(rows["reason_name"].isin(right).sum())
        _, low, high = rate_interval(hit, len(rows))
        top = rows.loc[rows["reason_name"] != "", "reason_name"].value_counts()
        out.append(
            {
                "set": name,
                "rows": len(rows),
                **{a: round(float(share.get(a, 0)), 2) for a in ("familiar", "not_in_list", "medium", "fault", "look")},
                "word right": f"{hit / len(rows):.2f} [{low:.2f}, {high:.2f}]" if right else "",
                "names": ", ".join(f"{n} {c}" for n, c in top.head(4).items()),
            }
        )
    return pd.DataFrame(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    make_sets(args.data, args.folder)
    taught = str(args.weights.with_suffix(".json"))
    for name, options in {
        "taught words": ["--words", taught, "--no-picture"],
        "packaged words": ["--words", "--no-picture"],
        "taught words, picture": ["--words", taught, "--picture"],
    }.items():
        scores = said(args.folder, args.weights, name.replace(", ", "-").replace(" ", "-"), options)
        print(f"\n## {name}\n\n{lines(scores).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
