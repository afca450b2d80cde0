"""Camera faults told from pixels alone: fitted on one set of photographs, used on it (folds by photograph) and on others.

    python benchmarks/bench_faults.py FOOD_FOLDER CALTECH.parquet PACS.parquet --every 1 2 2 --out measures/
    python benchmarks/bench_faults.py --time FOOD_FOLDER

A set is a folder of images in class folders or a Parquet table with the columns id and image (encoded bytes). Each picture is taken as it is and with every
camera fault of `attrood.causes.CAUSES`, picture i and fault j at severity (i + j) mod 5 + 1, and, of every third picture, with the harmless changes. Of the other sets, every second unchanged picture
is the familiar image, and the rest is judged; once more with thirty of those (mean of ten draws), and with the calibration error of the named cause. Intervals of 95 % by the bootstrap of photographs. Measures are kept in --out and read back from there.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image
from sklearn.model_selection import GroupKFold

from attrood.data.pictures import decode_image
from attrood.evidence.picture import MEASURES, picture_measures
from attrood.evidence.picture_causes import HARMLESS, PictureCauses
from attrood.evidence.picture_reference import PictureReference
from attrood.why.causes import CAUSES, perturb
from attrood.why.known_classes import calibration_error

FAULTS = [name for name, cause in CAUSES.items() if cause.kind == "camera"]
NAMES = list(MEASURES)


def pictures(path: Path, every: int):
    "Key and encoded bytes of every n-th picture."
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield from list(zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True))[::every]
    else:
        for file in sorted(path.glob("*/*.*"))[::every]:
            yield f"{file.parent.name}/{file.name}", file.read_bytes()


def measure(path: Path, every: int, side: int) -> pd.DataFrame:
    "A row per picture and change."
    rows = []
    for i, (key, data) in enumerate(pictures(path, every)):
        image = decode_image(data)
        if side:
            short = min(image.size)
            left, top = (image.width - short) // 2, (image.height - short) // 2
            image = image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)
        made = [("none", "", 0, image)] + [
            (c, "", (i + j) % 5 + 1, perturb(image, c, (i + j) % 5 + 1, 0, str(key))) for j, c in enumerate(FAULTS)
        ]
        if i % 3 == 0:
            made += [("none", name, 0, change(image)) for name, change in HARMLESS.items()]
        rows += [
            {"photo": i, "cause": c, "change": change, "severity": s, **picture_measures(np.asarray(p))}
            for c, change, s, p in made
        ]
    return pd.DataFrame(rows)


def accuracy(rows: pd.DataFrame, told: np.ndarray) -> dict[str, float]:
    "Balanced accuracy by severity; share of unchanged pictures and of harmless changes that are called a fault."
    right, cause, severity = told == rows["cause"].to_numpy(), rows["cause"].to_numpy(), rows["severity"].to_numpy()
    clean, harmless = (cause == "none") & (rows["change"] == "").to_numpy(), (rows["change"] != "").to_numpy()

    def balanced(chosen: np.ndarray) -> float:
        return float(np.mean([right[clean].mean(), *(right[chosen & (cause == c)].mean() for c in FAULTS)]))

    return {f"s{s}": balanced(severity == s) for s in range(1, 6)} | {
        "1-5": balanced(severity > 0),
        "2-5": balanced(severity > 1),
        "false": 1 - right[clean].mean(),
        "harmless": 1 - right[harmless].mean() if harmless.any() else np.nan,
    }


def unchanged(rows: pd.DataFrame) -> pd.DataFrame:
    "The pictures as they are."
    return rows.loc[(rows["cause"] == "none") & (rows["change"] == ""), NAMES]


def familiar(rows: pd.DataFrame) -> PictureReference:
    "Fitted on the unchanged pictures."
    return PictureReference.fit(unchanged(rows))


def interval(rows: pd.DataFrame, told: np.ndarray) -> str:
    "Of the balanced accuracy over severities 2 to 5."
    rng, photos, found = np.random.default_rng(0), rows["photo"].unique(), []
    at = {photo: np.flatnonzero(rows["photo"] == photo) for photo in photos}
    for _ in range(200):
        drawn = np.concatenate([at[photo] for photo in rng.choice(photos, len(photos))])
        found.append(accuracy(rows.iloc[drawn], told[drawn])["2-5"])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return f"[{low:.3f}, {high:.3f}]"


def elsewhere(model: PictureCauses, there: pd.DataFrame, new: pd.DataFrame) -> dict[str, float | str]:
    "What a model says of another set by familiar images from there."
    p = model.probabilities(familiar(there), new)
    told, plain = p.idxmax(axis=1).to_numpy(), (new["change"] == "").to_numpy()
    right = told == new["cause"].to_numpy()
    few = []
    for seed in range(10):
        some = PictureReference.fit(unchanged(there).sample(min(30, len(unchanged(there))), random_state=seed))
        few.append(accuracy(new, model.probabilities(some, new).idxmax(axis=1).to_numpy())["2-5"])
    error = calibration_error(p.max(axis=1).to_numpy()[plain], right[plain])[0]
    judged = int(((new["cause"] == "none") & plain).sum())
    more: dict[str, float | str] = {
        "95 %": interval(new, told),
        "thirty": float(np.mean(few)),
        "ece": error,
        "judged": judged,
    }
    return {**accuracy(new, told), **more}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--every", nargs="+", type=int, default=[1], help="take every n-th picture of each set")
    parser.add_argument("--side", type=int, default=0, help="crop and resize to this side first")
    parser.add_argument("--out", type=Path, default=Path("measures"))
    parser.add_argument("--time", action="store_true", help="only time the measures on the first set")
    args = parser.parse_args()
    if args.time:
        images = [np.asarray(decode_image(data)) for _, data in pictures(args.sets[0], 10)]
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            for image in images:
                picture_measures(image)
            best = min(best, (time.process_time() - start) / len(images))
        return print(
            f"{1e3 * best:.1f} ms of CPU a picture, {len(images)} pictures of {np.mean([i.shape[:2] for i in images], axis=0).round()} pixels in the mean"
        )
    args.out.mkdir(exist_ok=True)
    tables = {}
    for path, every in zip(args.sets, args.every * (len(args.sets) if len(args.every) == 1 else 1), strict=True):
        file = args.out / f"{path.stem}_{every}_{args.side}.parquet"
        if not file.exists():
            measure(path, every, args.side).to_parquet(file)
        tables[path.stem] = pd.read_parquet(file)
    first, *others = tables
    rows, results = tables[first], {}
    told = np.empty(len(rows), object)
    for fit, new in GroupKFold(5).split(rows, groups=rows["photo"]):
        known = familiar(rows.iloc[fit])
        told[new] = (
            PictureCauses.fit([(known, rows.iloc[fit])], [rows.iloc[fit]["cause"]])
            .probabilities(known, rows.iloc[new])
            .idxmax(axis=1)
        )
    results[f"{first}, folds"] = accuracy(rows, told)
    known = familiar(rows)
    model = PictureCauses.fit([(known, rows)], [rows["cause"]])
    for name in others:
        there, new = (tables[name][tables[name]["photo"] % 2 == k] for k in (0, 1))
        results[f"{first} to {name}"] = elsewhere(model, there, new)
    print(pd.DataFrame(results).T.round(3).to_string())


if __name__ == "__main__":
    main()
