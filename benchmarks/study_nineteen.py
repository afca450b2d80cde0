"""Which of nineteen causes, and which of five kinds, from scores alone and with words and the picture; the pocket model.

    python benchmarks/study_nineteen.py DATA LOG.parquet

DATA holds folders/food101_fullres and images/*.parquet, as in chapter "Do the axes know why?", whose study this is: nine classes in the list, three near ones, three missing ones, eight camera causes at severities 3 and 5, the harmless
families, five other sets, other words. LOG is written the first time (about four minutes of one core) and read afterwards. The words are the names of Food-101's 101 classes, those in the list left out: the pocket model knows no others.
The picture is the signed distance of each measure from the reference photographs, capped at two reaches. The classifier is linear discriminant analysis with equal priors; folds are by photograph, intervals by bootstrap of photographs. Once each cause is one class, and once each setting of it is one (every severity, every step and family of
the harmless changes) and the probabilities of a cause's settings are added: mixture discriminant analysis (Hastie and Tibshirani 1996) with known parts, since a rotation and a border have no mean in common.
Five kinds: the mean probability of a kind's causes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attrood.axes import fit_rows
from attrood.evidence import evidence_frame, extras
from attrood.inference import prompts
from attrood.inference.pocket import FOOD_TEMPLATE
from attrood.log import Log, read_log, write_log
from attrood.why.benchmark import Telling, tell_causes
from attrood.why.causes import CAUSES
from attrood.why.log_reasons import known_pictures
from attrood.why.study import run_causes

FAR = {
    "tiny_imagenet": "tiny_imagenet_64",
    "cifar100": "cifar100_32",
    "textures": "dtd",
    "art": "pacs_art_painting",
    "sketch": "pacs_sketch",
}
KINDS = ["none", "camera", "instability", "semantic", "text"]
TEXT = {"wrong_template", "synonyms", "missing_class"}


def study_log(data: Path, file: Path) -> Log:
    "The study with measures and words, kept in a file."
    if not file.exists():
        book = json.loads((Path(__file__).parents[1] / "nbs/20_results/05_causes.ipynb").read_text(encoding="utf-8"))
        cells = ["".join(c["source"]) for c in book["cells"]]
        own: dict = {}
        exec(next(c for c in cells if c.startswith("synonyms = {")), own)  # the chapter's other names
        study = run_causes(
            data / "folders" / "food101_fullres",
            templates=[FOOD_TEMPLATE],
            hold_out=6,
            far={n: f"{data}/images/{f}.parquet[:150]" for n, f in FAR.items()},
            synonyms=own["synonyms"],
            severities=(3, 5),
            text="a photo of sushi",
            words=[prompts.readable(v, "food101") for v in prompts.class_list("food101")],
            picture=True,
            step=lambda text: print(text, flush=True),
        )
        write_log(study.log, file)
    return read_log(file)


def kind_of(cause: str) -> str:
    "One of KINDS."
    if cause == "none" or cause in TEXT:
        return "text" if cause in TEXT else "none"
    return CAUSES[cause].kind if cause in CAUSES and CAUSES[cause].settings else "semantic"


def told_by(x: np.ndarray, cause: np.ndarray, part: np.ndarray, image: np.ndarray) -> Telling:
    "Causes told by linear discriminant analysis of their parts: even priors of causes, shared evenly by the parts of each."
    names, k = np.unique(part), len(set(cause))
    of = np.array([dict(zip(part, cause, strict=True))[n] for n in names])
    priors = np.array([1 / k / (of == c).sum() for c in of])
    rule = LinearDiscriminantAnalysis(priors=priors, solver="lsqr", shrinkage=0.01)
    fine = tell_causes(x, part, image, classifier=make_pipeline(StandardScaler(), rule))
    causes = np.unique(cause)
    p = np.stack([np.exp(fine.log_odds)[:, of == c].sum(axis=1) for c in causes], axis=1)
    return Telling(cause, causes[p.argmax(axis=1)], np.log(p), tuple(map(str, causes)), fine.groups)


def judged(x: np.ndarray, cause: np.ndarray, part: np.ndarray, kind: np.ndarray, image: np.ndarray) -> None:
    "Print balanced accuracies and the confusion."
    k, told = len(set(cause)), told_by(x, cause, part, image)
    n = int(told.groups.max()) + 1
    draws = told.balanced_accuracy(np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 200))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    print(f"  which of {k}: {told.balanced_accuracy():.3f} [{low:.3f}, {high:.3f}]")
    of = dict(zip(cause, kind, strict=True))
    p, kinds = np.exp(told.log_odds), np.array([of[c] for c in told.names])
    said = np.array(KINDS)[np.stack([p[:, kinds == q].mean(axis=1) for q in KINDS], axis=1).argmax(axis=1)]
    recall = {q: float((said[kind == q] == q).mean()) for q in KINDS}
    weights, ok = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 200)[:, told.groups], said == kind
    draws = np.mean(
        [(weights * (ok & (kind == q))).sum(axis=1) / (weights * (kind == q)).sum(axis=1) for q in KINDS], axis=0
    )
    low, high = np.percentile(draws, [2.5, 97.5])
    print(
        f"  which kind of 5: {np.mean(list(recall.values())):.3f} [{low:.3f}, {high:.3f}]",
        {q: round(v, 2) for q, v in recall.items()},
    )
    table = pd.crosstab(told.causes, told.predicted, normalize="index").mul(100).round().astype(int)
    print(table.rename(columns=lambda c: c[:7]).to_string())


def main() -> None:
    "Print every table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("log", type=Path)
    args = parser.parse_args()
    log = study_log(args.data, args.log)
    rows = log.select(fit_rows(log))
    E, f = evidence_frame(rows), rows.frame()
    kind = np.array([kind_of(c) for c in f["cause"]])
    cause = np.where(kind == "instability", "harmless", f["cause"].to_numpy())
    groups = {n: e["group"] for n, e in log.manifest.evidence.items() if "group" in e}
    scores = [c for c in E if groups.get(c) not in ("words", "picture")]
    words = [c for c in E if groups.get(c) == "words"]
    pixels = known_pictures(log).relative(extras.measures_of(rows), 2.0)
    whole, parts = np.c_[E[scores + words], pixels], f["cause"].astype(str) + " " + f["severity"].astype(str)
    for name, x, part in (
        ("scores", E[scores].to_numpy(), cause),
        ("scores, words, picture", whole, cause),
        ("scores, words, picture, each setting a class", whole, parts.to_numpy()),
    ):
        print(f"\n## {name}: {x.shape[1]} columns, {len(x)} rows\n")
        judged(x, cause, part, kind, f["image"].to_numpy())


if __name__ == "__main__":
    main()
