"""Reasons on real sets: what `why.reasons` says of animals, pets and food, and of photographs, on rows that settled nothing.

    python benchmarks/study_reasons.py FOLDER [--faults MEASURES.parquet …]

FOLDER holds clip_vitb32_photos.npz and clip_vitb32_sets.npz, embeddings of OpenAI CLIP ViT-B/32 (see study_words.py). A hash of the ids gives a fifth of the ID rows to the scores; the other ID rows are judged by halves,
each by limits from the other half. No OoD label and no OoD row is used. Which word is right stands in words_right.json, written before any rule of naming was tried. Intervals are of 95 %: of rates by Wilson, of balanced accuracy by the bootstrap of rows.
Held-out causes: classes of the ID set are left out of the list in turn; probabilities are learnt on some of these and judged on the images of the others.
Each MEASURES file is what bench_faults.py keeps: pictures as they are and with camera faults, one row each. Their folds are by photograph.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold
from study_problems import BANK, LABELS, RIGHT, VECTORS, Problem, problems

from attrood.detect.intervals import rate_interval
from attrood.evidence import log_from_embeddings
from attrood.evidence.meanings import thesaurus
from attrood.evidence.picture import MEASURES
from attrood.evidence.picture_causes import PictureCauses, packaged_causes
from attrood.evidence.picture_reference import PictureReference
from attrood.log import Log
from attrood.log.make import bare_log
from attrood.log.rows import reference_rows
from attrood.why.known_classes import calibration_error, known_classes
from attrood.why.log_reasons import reason_table
from attrood.why.reasons import KINDS, Reasons, reasons
from attrood.why.set_words import set_sentence, set_words


def words_log(p: Problem) -> Log:
    "With words and distances."
    is_id, ids = p.domain == "id", np.array([f"{p.name}_{i:05d}" for i in range(len(p.x))], object)
    roles = np.where(is_id, "id", "ood").astype(object)
    return log_from_embeddings(
        p.x,
        p.t,
        p.classes,
        ids=ids.tolist(),
        domains=p.domain.tolist(),
        roles=roles.tolist(),
        labels=[v if k and v in p.classes else None for v, k in zip(p.label.tolist(), is_id, strict=True)],
        reference=reference_rows(ids, roles, 0.2),
        words=BANK,
        word_embeddings=VECTORS,
    )


def halves(log: Log) -> tuple[np.ndarray, np.ndarray]:
    "The ID rows that fitted no score, in two halves by their place among the ids."
    new = log.positions(log.is_id & ~log.array("reference"))
    return tuple(np.isin(np.arange(len(log)), new[k::2]) for k in (0, 1))


def told(log: Log, known: pd.DataFrame | None = None, packaged: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    "The first reason of every row by limits of each half; rows of that half and of the reference are left out of its table."
    tables = []
    for half in halves(log):
        fitted = Reasons.fit(log, rows=half)
        fitted = replace(fitted, left_out={}) if packaged else fitted
        fitted = fitted if known is None else fitted.calibrate(known)
        tables.append(reason_table(log, fitted)[~half & ~log.array("reference")])
    return tables[0], tables[1]


def rate(ok: np.ndarray) -> str:
    "Share with its interval."
    low, high = rate_interval(int(ok.sum()), len(ok))[-2:]
    return f"{ok.mean():.3f} [{low:.3f}, {high:.3f}]"


def kinds(p: Problem, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    "Shares of the kinds in each set: ID rows judged once each, the others by the mean of both halves."
    table = {}
    for d in dict.fromkeys(p.domain.tolist()):
        parts = [t[p.domain[t.index] == d]["reason"] for t in tables]
        both = pd.concat(parts)
        table[d] = {k: f"{(both == k).mean():.3f}" for k in KINDS} | {"rows": len(both) if d == "id" else len(parts[0])}
    print(f"\n## {p.name}: kinds\n\n{pd.DataFrame(table).T.to_string()}")
    own = pd.concat([t[p.domain[t.index] == "id"]["reason"] for t in tables])
    print("familiar, ID rows:", rate((own == "familiar").to_numpy()))
    far = np.isin(p.domain[tables[0].index], [d for d in set(p.domain) if d not in ("id", "near", "animals 32 px")])
    print(
        "not_in_list, far rows:",
        rate((tables[0]["reason"][far] == "not_in_list").to_numpy()),
        "and by the other half",
        rate(
            (
                tables[1]["reason"][
                    np.isin(
                        p.domain[tables[1].index],
                        [d for d in set(p.domain) if d not in ("id", "near", "animals 32 px")],
                    )
                ]
                == "not_in_list"
            ).to_numpy()
        ),
    )


def balanced(p: Problem, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    "Three answers where the causes are known."
    truth = np.where(p.domain == "id", "familiar", np.where(p.domain == "animals 32 px", "picture", "not_in_list"))
    ok = pd.concat([(t["reason"] == truth[t.index]) for t in tables])
    rows, right, y = ok.index.to_numpy(), ok.to_numpy(), truth[ok.index]

    def value(w: np.ndarray) -> float:
        return float(
            np.mean(
                [np.average(right[y == k], weights=w[rows][y == k]) for k in ("familiar", "not_in_list", "picture")]
            )
        )

    rng, n = np.random.default_rng(0), len(p.domain)
    draws = np.quantile([value(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(2000)], [0.025, 0.975])
    print(f"three answers, balanced accuracy {value(np.ones(n)):.3f} [{draws[0]:.3f}, {draws[1]:.3f}]")


def named(p: Problem, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    "How often kind and word are right, of all rows of a label."
    known, out = thesaurus(), {}
    for label, domain, entry in LABELS[p.name]:
        good = {known.node(w) for w in RIGHT[entry]["right"]}
        t = tables[0]
        mine = t[(p.domain[t.index] == domain) & ((p.label[t.index] == label) if label else True)]
        ok = np.array(
            [
                k == "not_in_list" and known.node(n) in good
                for k, n in zip(mine["reason"], mine["reason_name"], strict=True)
            ]
        )
        out[f"{domain} {label}".strip()] = {
            "rows": len(mine),
            "kind and word right": rate(ok),
            "names": ", ".join(
                f"{n or k} {c}" for (k, n), c in mine[["reason", "reason_name"]].value_counts().head(4).items()
            ),
        }
    print(pd.DataFrame(out).T.to_string())


def held_out(p: Problem, log: Log) -> pd.DataFrame:
    "Probabilities on held-out classes: learnt on the images of some of the classes, judged on those of the others."
    own = (p.domain == "id") & np.isin(p.label, p.classes)
    known = known_classes(p.x[own], p.t, p.classes, p.label[own], BANK, VECTORS)
    fitted, parts = Reasons.fit(log, rows=halves(log)[0]), []
    for fold in sorted(known["fold"].unique()):
        names = set(known["label"][(known["fold"] == fold) & (known["kind"] == "not_in_list")])
        learn = known[(known["fold"] != fold) & ~known["label"].isin(names)]
        judge = known[(known["fold"] == fold)]
        judge = judge[(judge["kind"] == "not_in_list") | (judge["row"] % 2 == 0)]
        learn = learn[~learn["row"].isin(set(judge["row"]))]
        model = fitted.calibrate(learn)
        x = np.c_[np.ones(len(judge)), np.clip(judge[model.inputs].to_numpy(), -1, 4)]
        q = np.exp(x @ np.array(model.weights["not_in_list"]))
        parts.append(judge.assign(probability=q / (1 + q)))
    judged = pd.concat(parts)
    new = (judged["kind"] == "not_in_list").to_numpy()
    weight = np.where(new, 0.5 / new.sum(), 0.5 / (~new).sum())
    error, table = calibration_error(judged["probability"], new, weight)
    rng, groups = np.random.default_rng(0), judged["row"].to_numpy()
    unique = np.unique(groups)
    draws = []
    for _ in range(200):
        counts = pd.Series(rng.choice(unique, len(unique))).value_counts().reindex(groups).fillna(0).to_numpy()
        w = counts * weight
        draws.append(
            calibration_error(judged["probability"], new, np.where(new, w / w[new].sum(), w / w[~new].sum()))[0]
        )
    print(
        f"held-out classes: {new.sum()} rows not in the list, {(~new).sum()} familiar, even odds; ECE of P(not_in_list) {error:.3f} [{np.quantile(draws, 0.025):.3f}, {np.quantile(draws, 0.975):.3f}]"
    )
    print(table.round(3).T.to_string())
    return known


def stated(p: Problem, tables: tuple[pd.DataFrame, pd.DataFrame], title: str, near: bool = False) -> pd.DataFrame:
    "Stated probability of the first reason against how often it is right: half of the weight on ID rows, the other half shared by the sets."
    t = tables[0]
    use = (p.domain[t.index] != "near") | near
    t, d = t[use], p.domain[t.index][use]
    truth = np.where(d == "id", "familiar", np.where(d == "animals 32 px", "picture", "not_in_list"))
    sets = [s for s in dict.fromkeys(d.tolist()) if s != "id"]
    weight = np.select(
        [d == s for s in ("id", *sets)], [0.5 / (d == "id").sum(), *(0.5 / len(sets) / (d == s).sum() for s in sets)]
    )
    error, table = calibration_error(t["reason_probability"], t["reason"].to_numpy() == truth, weight)
    print(
        f"{title}: ECE of the first reason {error:.3f}, mean stated {np.average(t['reason_probability'], weights=weight):.3f}, right {np.average(t['reason'].to_numpy() == truth, weights=weight):.3f}"
    )
    return table


def twice(log: Log) -> None:
    "The same rows alone, among others and in another order."
    fitted, rows = Reasons.fit(log), np.random.default_rng(0).permutation(len(log))[:200]
    whole = reasons(log, fitted)
    alone = [reasons(log.select([i]), fitted)[0] for i in rows[:50]]
    print(
        "the same words twice:",
        sum(a == whole[i] for a, i in zip(alone, rows[:50], strict=True)),
        "of 50 alone,",
        sum(a == whole[i] for a, i in zip(reasons(log.select(rows), fitted), rows, strict=True)),
        "of 200 in another order",
    )


def in_words(p: Problem) -> None:
    "Each set against the ID set, and random halves of that."
    own = np.flatnonzero(p.domain == "id")
    print(f"\n## {p.name}: sets in words\n")
    for d in dict.fromkeys(p.domain[p.domain != "id"].tolist()):
        rows = np.r_[np.flatnonzero(p.domain == d), own]
        inside = np.arange(len(rows)) < (p.domain == d).sum()
        table = set_words(p.x[rows], inside, BANK.names, VECTORS)
        print(f"{d}, {table['told'].sum()} words told:", set_sentence(table, inside, 4))
    print(
        "random halves, words told:",
        [
            int(
                set_words(
                    p.x[own],
                    np.random.default_rng(s + 100).permutation(len(own)) < len(own) // 2,
                    BANK.names,
                    VECTORS,
                    shuffles=100,
                )["told"].sum()
            )
            for s in range(10)
        ],
    )


def faults(path: Path) -> pd.DataFrame:
    "Camera faults on photographs, from pixels alone: limits, model and familiar pictures from some photographs, judged on the others."
    rows = pd.read_parquet(path)
    rows = rows[(rows["change"] == "").to_numpy()].reset_index(drop=True)
    dummy = np.eye(2)[[0, 1]]
    parts = []
    for fit, new in GroupKFold(5).split(rows, groups=rows["photo"]):
        learn = rows.iloc[fit]
        first, second = learn[learn["photo"] % 2 == 0], learn[learn["photo"] % 2 == 1]
        usual = PictureReference.fit(first.loc[first["cause"] == "none", list(MEASURES)])
        model = PictureCauses.fit([(usual, first)], [first["cause"]])

        def log_of(t: pd.DataFrame) -> Log:
            return bare_log(
                np.tile([1.0, 0.2], (len(t), 1)),
                dummy[:1],
                ["food"],
                ids=[f"{i:06d}" for i in range(len(t))],
                roles=np.where(t["cause"] == "none", "id", "ood").tolist(),
            )

        clean = second[second["cause"] == "none"]
        fitted = Reasons.fit(log_of(clean), clean, usual, model)
        plain = fitted
        strengths, p = fitted.answers(log_of(second), second)
        fitted = fitted.calibrate(strengths.assign(kind=np.where(second["cause"] == "none", "familiar", "picture")))
        judge = rows.iloc[new]
        table = reason_table(log_of(judge), fitted, judge)
        parts.append(
            judge[["cause", "severity"]].assign(
                **{c: table[c].to_numpy() for c in table},
                plain=reason_table(log_of(judge), plain, judge)["reason_probability"].to_numpy(),
            )
        )
    judged = pd.concat(parts)
    clean = (judged["cause"] == "none").to_numpy()
    right = np.where(clean, judged["reason"] == "familiar", judged["reason"] == "picture")
    weight = np.where(clean, 0.5 / clean.sum(), 0.5 / (~clean).sum())
    print(f"\n## {path.stem}: pixels alone, {clean.sum()} photographs\n")
    print("familiar, as they are:", rate(right[clean]), " picture, with a fault:", rate(right[~clean]))
    print(
        {
            f"severity {s}": round(float(right[(judged["severity"] == s).to_numpy() & ~clean].mean()), 3)
            for s in range(1, 6)
        }
    )
    found = {
        n: calibration_error(judged[c], right, weight)
        for n, c in (("learnt", "reason_probability"), ("packaged", "plain"))
    }
    for name, (error, _) in found.items():
        print(f"ECE of the first reason, {name}: {error:.3f}")
    return found["packaged"][1]


def alarms(path: Path, splits: int = 60) -> None:
    "How often the packaged faults are named on unchanged photographs: familiar pictures, limits and judged ones a third each, drawn anew."
    rows = pd.read_parquet(path)
    rows = rows[(rows["change"] == "").to_numpy()].reset_index(drop=True)
    photos, found = rows["photo"].unique(), []
    for seed in range(splits):
        third = dict(
            zip(np.random.default_rng(seed).permutation(photos), np.arange(len(photos)) * 3 // len(photos), strict=True)
        )
        part = rows["photo"].map(third).to_numpy()
        clean = (rows["cause"] == "none").to_numpy()
        usual = PictureReference.fit(rows.loc[clean & (part == 0), list(MEASURES)])
        limits, judge = rows[clean & (part == 1)], rows[part == 2].reset_index(drop=True)
        logs = [
            bare_log(
                np.tile([1.0, 0.2], (len(t), 1)),
                np.eye(2)[:1],
                ["photo"],
                ids=[f"{i:06d}" for i in range(len(t))],
                roles=np.where(t["cause"] == "none", "id", "ood").tolist(),
            )
            for t in (limits, judge)
        ]
        fitted = Reasons.fit(logs[0], limits.reset_index(drop=True), usual, packaged_causes())
        told = reason_table(logs[1], fitted, judge)
        called, of = (told["action"] == "retake").to_numpy(), judge["cause"] == "none"
        found.append((called[of].mean(), called[~of].mean()))
    a, b = np.mean(found, axis=0)
    worst = max(f[0] for f in found)
    print(
        f"packaged faults, {splits} splits into thirds of {len(photos)}: named on {a:.3f} of unchanged photographs "
        f"(worst split {worst:.3f}, standard error {np.std([f[0] for f in found]) / np.sqrt(splits):.3f}), "
        f"on {b:.3f} of those with a fault"
    )


def main() -> None:
    "Print every table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", nargs="*", type=Path, default=[])
    parser.add_argument("--diagrams", type=Path, help="keep the reliability of stated probabilities in a JSON file")
    args, diagrams = parser.parse_args(), {}
    for p in problems(args.folder):
        log = words_log(p)
        in_words(p)
        tables = told(log)
        kinds(p, tables)
        if p.name == "animals":
            balanced(p, tables)
        named(p, tables)
        twice(log)
        odds = "learnt from classes left out" if Reasons.fit(log).left_out else "packaged"
        diagrams[p.name] = stated(p, tables, odds)
        stated(p, tables, f"{odds}, near classes too", near=True)
        if odds != "packaged":
            plain = told(log, packaged=True)
            diagrams[f"{p.name}, packaged"] = stated(p, plain, "packaged")
            stated(p, plain, "packaged, near classes too", near=True)
            kinds(p, plain)
        if len(set(p.label[p.domain == "id"])) < 5:
            print("fewer than five classes with images: no known causes")
            continue
        known = held_out(p, log)
        learnt = told(log, known)
        diagrams[f"{p.name}, known classes"] = stated(p, learnt, "with known causes")
        kinds(p, learnt)
    for path in args.faults:
        diagrams[f"faults, {path.stem.rsplit('_', 2)[0]}"] = faults(path)
        alarms(path)
    if args.diagrams:
        plain = {n: {c: t[c].round(4).tolist() for c in t} for n, t in diagrams.items()}
        args.diagrams.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
