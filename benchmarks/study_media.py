"""What is said of a medium: paintings, cartoons, sketches, edge maps, silhouettes and textures beside photographs, with words and the picture; the pocket model.

    python benchmarks/study_media.py DATA OUT

DATA holds folders/food101_fullres and images/*.parquet. ID are photographs, of food (10 classes, asked by name with the prompt the model was trained on) and of Caltech-101 (names that it hardly knows) in turn; every third class is left out of the list and judged as a set of its own (other classes: photographs of the same kind). Each also stands among the sets of the other, as photographs of other things. Logs are written to OUT the first time
(`infer --words --picture`, some minutes of one core each) and read afterwards. A part of the ID photographs (the reference) fits scores, words and what is usual in pixels. Of the others one half sets limits, axes and the decision, and the other is judged, then the halves change places: so every ID photograph that fitted no score is judged once, and the other sets twice; shares and AUROC are means of both,
intervals of 95 % by the bootstrap of images. No OoD row settles anything. Packaged words and packaged camera faults: the vocabulary has words for media (drawing, cartoon, sketch, painting, x-ray, …), but the pocket model was trained on names of dishes, so that the words' part shows what such a model makes of them.

What is not asked: a real CLIP. No image embeddings of these pictures are at hand, and its weights are not part of this repository. PACS photographs are not at hand either. Line drawings of patents and x-rays, without pixels, are in study_reasons.py.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from attrood.axes import fit_axes
from attrood.detect.evaluation import decide, fit_decision
from attrood.detect.intervals import rate_interval
from attrood.evidence import evidence_frame
from attrood.inference import infer
from attrood.inference.pocket import FOOD_TEMPLATE
from attrood.log import Log, read_log
from attrood.why.known_classes import calibration_error
from attrood.why.log_reasons import aspects, learn_reasons, reason_table

MEDIA = {
    "painting": "pacs_art_painting",
    "cartoon": "pacs_cartoon",
    "sketch": "pacs_sketch",
    "edges": "imagenet16_edges",
    "silhouette": "imagenet16_silhouettes",
    "texture as shape": "cue_conflict",
    "texture": "dtd",
}


def classes_apart(data: Path, out: Path, name: str) -> dict[str, str]:
    "Sources of photographs: two classes of three, and every third class, which is left out of the list."
    if name == "food":
        for i, folder in enumerate(sorted(p for p in (data / "folders" / "food101_fullres").iterdir() if p.is_dir())):
            part = out / ("food_other" if i % 3 == 2 else "food_id")
            part.mkdir(exist_ok=True)
            if not (part / folder.name).exists():
                (part / folder.name).symlink_to(folder)
        return {"id": str(out / "food_id"), "other": str(out / "food_other")}
    table = pq.read_table(data / "images" / "caltech101.parquet")
    label = np.array(table["label"].to_pylist())
    third = np.isin(label, sorted(set(label))[2::3])
    for part, rows in (("caltech_id", ~third), ("caltech_other", third)):
        pq.write_table(table.filter(rows), out / f"{part}.parquet")
    return {"id": str(out / "caltech_id.parquet"), "other": str(out / "caltech_other.parquet")}


def media_log(data: Path, out: Path, name: str) -> Log:
    "Photographs and media, as `infer --words --picture` writes them."
    file, images = out / f"{name}.parquet", data / "images"
    if not file.exists():
        own = classes_apart(data, out, name)
        ood = [f"{n}={images / f}.parquet" for n, f in MEDIA.items()] + [f"other classes={own['other']}"]
        given: dict = {"words": True, "picture": True}
        if name == "food":
            ood.append(f"caltech={images / 'caltech101.parquet'}")
            infer(f"id={own['id']}", ood, "pocket", out=file, templates=[FOOD_TEMPLATE], **given)
        else:
            ood.append(f"food={data / 'folders' / 'food101_fullres'}")
            given |= {"templates": ["a photo of a {}."], "reference": [f"reference={own['id']}[:110]"]}
            infer(f"id={own['id']}[110:]", ood, "pocket", out=file, **given)
    return read_log(file)


def halves(log: Log) -> list[np.ndarray]:
    "ID rows that fitted no score, by their place among the ids."
    new = log.positions(log.is_id & ~log.array("reference"))
    return [np.isin(np.arange(len(log)), new[k::2]) for k in (0, 1)]


def judged(log: Log) -> list[pd.DataFrame]:
    "Reasons, picture score and sum of all rows but those that settled limits or scores, by each half."
    tables, E = [], evidence_frame(log)
    for half in halves(log):
        known = log.select(half | log.array("reference"))
        card = fit_axes(known)
        z = pd.DataFrame(card.coordinates(card.evidence_of(log, E)), columns=list(card.names))
        told = reason_table(log, learn_reasons(known))
        made = {"aspect": aspects(told), "picture": E["picture"].to_numpy()}
        made["sum"] = decide(fit_decision(card, known), z)["distance"].to_numpy()
        tables.append(told.assign(domain=log.array("domain"), **made)[~half & ~log.array("reference")])
    return tables


def auroc(own: np.ndarray, other: np.ndarray, weight: np.ndarray, weights: np.ndarray) -> float:
    "P(own < other), ties half, of weighted rows."
    values, at = np.unique(np.r_[own, other], return_inverse=True)
    a = np.bincount(at[: len(own)], weight, len(values))
    b = np.bincount(at[len(own) :], weights, len(values))
    return float((b * (np.cumsum(a) - a / 2)).sum() / a.sum() / b.sum())


def both(tables: list[pd.DataFrame], column: str, name: str) -> str:
    "AUROC of a score for a set, the mean of both halves, with its interval."
    rng, out = np.random.default_rng(0), []
    for draw in range(201):
        found = []
        for t in tables:
            own, other = (t.loc[t["domain"] == d, column].to_numpy() for d in ("id", name))
            w = [
                np.ones(len(v)) if not draw else rng.multinomial(len(v), np.full(len(v), 1 / len(v)))
                for v in (own, other)
            ]
            found.append(auroc(own, other, *w))
        out.append(np.mean(found))
    low, high = np.quantile(out[1:], [0.025, 0.975])
    return f"{out[0]:.3f} [{low:.3f}, {high:.3f}]"


def share(ok: np.ndarray) -> str:
    "With its interval."
    low, high = rate_interval(int(ok.sum()), len(ok))[-2:]
    return f"{ok.mean():.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    "Print a block for each kind of photographs."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    for name in ("food", "caltech"):
        log = media_log(args.data, args.out, name)
        tables = judged(log)
        whole, sets = pd.concat(tables), [d for d in dict.fromkeys(log.array("domain")) if d not in ("id", "reference")]
        own = whole[whole["domain"] == "id"]
        print(f"\n## photographs of {name}: {int(log.array('reference').sum())} reference, {len(own)} judged\n")
        print("familiar, held-out photographs:", share((own["reason"] == "familiar").to_numpy()))
        print("a reason that is false:", share((~own["reason"].isin(["familiar", "unclear"])).to_numpy()))
        shares = pd.crosstab(whole["domain"], whole["aspect"], normalize="index").reindex(["id", *sets])
        print(shares.round(3).to_string())
        rows = {}
        for d in sets:
            first, mine = tables[0][tables[0]["domain"] == d], whole[whole["domain"] == d]
            names = mine.loc[mine["reason"] == "picture", "reason_name"].value_counts()
            words = mine.loc[mine["reason"] == "not_in_list", "reason_name"].value_counts()
            rows[d] = {
                "images": len(first),
                "picture": both(tables, "picture", d),
                "sum": both(tables, "sum", d),
                "reason is the picture": share((first["reason"] == "picture").to_numpy()),
                "names of pictures": ", ".join(f"{n} {c / len(mine):.2f}" for n, c in names.head(4).items()),
                "words": ", ".join(f"{n} {c / len(mine):.2f}" for n, c in words.head(3).items()),
            }
        print(pd.DataFrame(rows).T.to_string())
        stated(tables[0], sets)


def stated(t: pd.DataFrame, sets: list[str]) -> None:
    "Print how right the stated probabilities are: half of the weight on ID photographs, a quarter on classes left out, a quarter on the rest."
    d, reason, p = t["domain"].to_numpy(), t["reason"].to_numpy(), t["reason_probability"].to_numpy()
    said = np.isin(reason, ["picture", "not_in_list"])
    right = np.select([d == "id", d == "other classes"], [reason == "familiar", reason == "not_in_list"], said)
    media = [s for s in sets if s != "other classes"]
    for title, share, n in (("all", 0.25, 0.25), ("without other classes", 0.0, 0.5)):
        weight = np.select(
            [d == s for s in ("id", "other classes", *media)],
            [
                0.5 / (d == "id").sum(),
                share / (d == "other classes").sum(),
                *(n / len(media) / (d == s).sum() for s in media),
            ],
        )
        error, _ = calibration_error(p, right, weight)
        print(
            f"ECE of the first reason, {title}: {error:.3f}, stated {np.average(p, weights=weight):.3f}, "
            f"right {np.average(right, weights=weight):.3f}"
        )


if __name__ == "__main__":
    main()
