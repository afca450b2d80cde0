"""Which of nineteen causes, and which of five kinds, from scores alone and with words and the picture; the pocket model.

    python benchmarks/study_nineteen.py DATA LOG.parquet [--diagrams FILE.json]

DATA holds folders/food101_fullres and images/*.parquet, as in chapter "Do the axes know why?", whose study this is: nine classes in the list, three near ones, three missing ones, eight camera causes at severities 3 and 5, the harmless
families, five other sets, other words. LOG is written the first time (about four minutes of one core) and read afterwards. The words are the names of Food-101's 101 classes, those in the list left out: the pocket model knows no others.
The picture is the signed distance of each measure from the reference photographs, capped at two reaches. The classifier is linear discriminant analysis with equal priors; folds are by photograph, intervals by bootstrap of photographs. Once each cause is one class, and once each setting of it is one (every severity, every step and family of
the harmless changes) and the probabilities of a cause's settings are added: mixture discriminant analysis (Hastie and Tibshirani 1996) with known parts, since a rotation and a border have no mean in common.
Five kinds: the mean probability of a kind's causes, scaled to a sum of one.
Probabilities are judged out of fold, with causes (or kinds) at even weight: expected calibration error in ten bins. Once as the classifier states them, and once through a multinomial logistic regression on their logarithms, which is learnt inside each training fold from answers that are out of fold there: nothing of a judged photograph or of its changed copies takes part.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attrood.axes import fit_rows
from attrood.evidence import evidence_frame, extras
from attrood.inference import prompts
from attrood.inference.pocket import FOOD_TEMPLATE
from attrood.log import Log, read_log, write_log
from attrood.why.benchmark import Telling, tell_causes
from attrood.why.causes import CAUSES
from attrood.why.known_classes import calibration_error
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


def kind_logs(told: Telling, kind_of_cause: dict[str, str]) -> np.ndarray:
    "(n, 5) log probabilities of KINDS."
    p, of = np.exp(told.log_odds), np.array([kind_of_cause[c] for c in told.names])
    q = np.stack([p[:, of == k].mean(axis=1) for k in KINDS], axis=1)
    return np.log(np.maximum(q / q.sum(axis=1, keepdims=True), 1e-300))


def even(y: np.ndarray) -> np.ndarray:
    "(n,) weights that give every value the same."
    _, at, n = np.unique(y, return_inverse=True, return_counts=True)
    return len(y) / len(n) / n[at]


def calibrated(
    x: np.ndarray, cause: np.ndarray, part: np.ndarray, kind: np.ndarray, image: np.ndarray, told: Telling
) -> tuple[np.ndarray, np.ndarray]:
    "(n, causes) and (n, 5) probabilities through a logistic regression on logs, learnt inside the training folds."
    of = dict(zip(cause, kind, strict=True))
    stated = {"cause": told.log_odds, "kind": kind_logs(told, of)}
    out = {name: np.empty_like(v) for name, v in stated.items()}
    truth, names = {"cause": cause, "kind": kind}, {"cause": np.array(told.names), "kind": np.array(KINDS)}
    _, parts = np.unique(part, return_inverse=True)
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, parts, told.groups):
        inner = told_by(x[train], cause[train], part[train], image[train])
        inside = {"cause": inner.log_odds, "kind": kind_logs(inner, of)}
        for name, logs in inside.items():
            y = truth[name][train]
            model = LogisticRegression(max_iter=3000).fit(np.maximum(logs, -30) / 10, y, sample_weight=even(y))
            p = model.predict_proba(np.maximum(stated[name][test], -30) / 10)
            out[name][test] = p[:, [list(model.classes_).index(n) for n in names[name]]]
    return out["cause"], out["kind"]


def interval(draws: np.ndarray) -> str:
    "Of 95 %."
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return f"[{low:.3f}, {high:.3f}]"


def judged_probabilities(
    p: np.ndarray, names: np.ndarray, truth: np.ndarray, groups: np.ndarray, title: str
) -> pd.DataFrame:
    "Print balanced accuracy and calibration error with intervals by bootstrap of photographs; the diagram."
    ok, sure, weight, n = names[p.argmax(axis=1)] == truth, p.max(axis=1), even(truth), int(groups.max()) + 1
    error, table = calibration_error(sure, ok, weight)
    recall, errors = [], []
    for w in np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 200)[:, groups]:
        use = w > 0
        each = even(np.repeat(truth[use], w[use]))[np.cumsum(w[use]) - 1] * w[use]
        recall.append(np.average(ok[use], weights=each))
        errors.append(calibration_error(sure[use], ok[use], each)[0])
    print(
        f"  {title}: {np.average(ok, weights=weight):.3f} {interval(recall)}, ECE {error:.3f} {interval(errors)}, "
        f"stated {np.average(sure, weights=weight):.3f}"
    )
    return table


def judged(
    x: np.ndarray, cause: np.ndarray, part: np.ndarray, kind: np.ndarray, image: np.ndarray
) -> dict[str, pd.DataFrame]:
    "Print balanced accuracies, calibration errors and the confusion; the diagrams of the calibrated probabilities."
    told = told_by(x, cause, part, image)
    k, causes, out = len(told.names), np.array(told.names), {}
    kinds = np.exp(kind_logs(told, dict(zip(cause, kind, strict=True))))
    better = calibrated(x, cause, part, kind, image, told)
    for name, p, q in (("as stated", np.exp(told.log_odds), kinds), ("calibrated", *better)):
        out[f"{k} causes, {name}"] = judged_probabilities(p, causes, cause, told.groups, f"which of {k}, {name}")
        out[f"5 kinds, {name}"] = judged_probabilities(
            q, np.array(KINDS), kind, told.groups, f"which kind of 5, {name}"
        )
        said = np.array(KINDS)[q.argmax(axis=1)]
        print("   ", {of: round(float((said[kind == of] == of).mean()), 2) for of in KINDS})
    table = pd.crosstab(cause, causes[better[0].argmax(axis=1)], normalize="index").mul(100).round().astype(int)
    print("  named, in percent, calibrated:")
    print(table.rename(columns=lambda c: c[:7]).to_string())
    return out


def main() -> None:
    "Print every table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--diagrams", type=Path, help="keep the reliability of the last input in a JSON file")
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
        diagrams = judged(x, cause, part, kind, f["image"].to_numpy())
    if args.diagrams:
        plain = {n: {c: t[c].round(4).tolist() for c in t} for n, t in diagrams.items()}
        args.diagrams.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
