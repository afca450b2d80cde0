"""Words against real sets: what the evidence of nbs `words` says of animals, pets and food, on rows that settled nothing.

    python benchmarks/study_words.py FOLDER [--grid]

FOLDER holds clip_vitb32_photos.npz (84 animal classes; photographs of animals and of objects, CIFAR-10 animals and vehicles) and clip_vitb32_sets.npz (pets and food as ID
against each other, their near classes, textures, video frames, flowers, aircraft, x-rays, patent drawings), embeddings of OpenAI CLIP ViT-B/32. Words are the bundled bank.
A hash of the ids gives a fifth of the ID rows to the fit; every number is of other rows. Which word is right for a label stands in words_right.json, written before any rule of naming was tried (its note says what had been seen); synonyms of these count.
`--grid` prints the choice of the two constants of the names, one group of sets left out at a time.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from study_problems import BANK, LABELS, RIGHT, VECTORS, Problem, problems

from attrood.detect.intervals import rate_interval
from attrood.detect.metrics import auroc
from attrood.evidence import EmbeddingScores
from attrood.evidence.distances import KNN
from attrood.evidence.meanings import class_words, thesaurus
from attrood.evidence.registry import array_evidence
from attrood.evidence.words import (
    SHARE,
    WordEvidence,
    _margins,
    familiar_share,
    fit_words,
    hedged_names,
    top_words,
    word_columns,
    word_names,
)

LEVEL = 0.95  # share of familiar images below, from which a value is called beyond them


def fitted(p: Problem, reference: np.ndarray | None = None) -> WordEvidence:
    "Words fitted on the reference rows."
    return fit_words(p.x[p.reference if reference is None else reference], p.t, p.classes, BANK, VECTORS)


def show(title: str, table: pd.DataFrame) -> None:
    "Print a table."
    print(f"\n## {title}\n")
    print(table.to_string())


def removed(ps: list[Problem]) -> None:
    "What means a class, and why."
    table = {}
    for p in ps:
        for why, words in class_words(BANK, p.classes, VECTORS, p.t).groupby("why"):
            some = words.assign(pair=words["word"] + " (" + words["class"] + ")")["pair"].head(4)
            table[p.name, why] = {"words": len(words), "some": ", ".join(some)}
    show("Words that mean a class", pd.DataFrame(table).T)


def scores(p: Problem, words: WordEvidence) -> None:
    "AUROC of the evidence, of the best score in hindsight, and of a classifier that has seen the set."
    columns = word_columns(words, p.x)
    others = dict(array_evidence(p.x @ p.t.T, 100.0, 0.0)) | EmbeddingScores.fit(
        p.x[p.reference], p.t, p.label[p.reference]
    ).columns(p.x, p.reference)
    table = {}
    for d in p.sets:
        y, rows = (
            np.r_[np.zeros(p.new.sum()), np.ones((p.domain == d).sum())],
            np.r_[np.flatnonzero(p.new), np.flatnonzero(p.domain == d)],
        )
        value = {c: auroc(y, columns[c][rows]) for c in ("word_margin", "word_lead", "word_mass")}
        rest = {c: auroc(y, np.asarray(v)[rows]) for c, v in others.items() if c != "reference"}
        best = max(rest, key=rest.get)
        seen = cross_val_predict(
            LogisticRegression(C=10, max_iter=300),
            p.x[rows],
            y,
            cv=StratifiedKFold(5, shuffle=True, random_state=0),
            method="decision_function",
        )
        table[d] = {
            **value,
            "best other, in hindsight": f"{rest[best]:.4f} {best}",
            "trained on the set": auroc(y, seen),
        }
    frame = pd.DataFrame(table).T
    show(f"{p.name}: AUROC against {p.new.sum()} new ID rows ({p.reference.sum()} in the fit)", frame)
    print(
        f"{len(rest)} other scores; mean over far sets ({', '.join(p.far)}):",
        {
            c: round(float(frame.loc[p.far, c].astype(float).mean()), 4)
            for c in ("word_margin", "word_lead", "word_mass")
        },
    )


def answers(p: Problem, words: WordEvidence) -> np.ndarray:
    "Three answers from words and distance: a word leads beyond familiar images, or the image lies beyond them, or neither. A medium or a condition is a matter of the picture."
    knn = KNN.fit(p.x[p.reference], min(50, max(1, int(p.reference.sum()) // 20)))
    own = np.sort(knn.score(p.x[p.reference], skip=1))
    lead = familiar_share(words, "word_lead", word_columns(words, p.x)["word_lead"]) > LEVEL
    far = np.searchsorted(own, knn.score(p.x)) / (len(own) + 1) > LEVEL
    kind = word_names(words, p.x)["kind"].isin(["medium", "condition"]).to_numpy()
    return np.where(lead & ~kind, "not_in_list", np.where(lead | far, "picture", "familiar"))


def told(p: Problem, words: WordEvidence) -> None:
    "Shares of the three answers, and balanced accuracy where the causes are known."
    given = answers(p, words)
    rows = {"id (new)": p.new, **{d: p.domain == d for d in p.sets}}
    show(
        f"{p.name}: three answers, level {LEVEL}",
        pd.DataFrame(
            {
                d: {a: f"{(given[r] == a).mean():.3f}" for a in ("familiar", "not_in_list", "picture")}
                | {"rows": r.sum()}
                for d, r in rows.items()
            }
        ).T,
    )
    if p.name == "animals":
        truth = np.where(p.domain == "id", "familiar", np.where(p.domain == "animals 32 px", "picture", "not_in_list"))
        use = ~p.reference

        def balanced(rows: np.ndarray) -> float:
            return float(
                np.mean([(given[rows][truth[rows] == a] == a).mean() for a in ("familiar", "not_in_list", "picture")])
            )

        rng, index = np.random.default_rng(0), np.flatnonzero(use)
        drawn = np.quantile([balanced(rng.choice(index, len(index))) for _ in range(2000)], [0.025, 0.975])
        print(f"balanced accuracy {balanced(index):.3f}, 95 % interval {drawn[0]:.3f} to {drawn[1]:.3f}")


def judged(names: np.ndarray, entry: str, which: str = "right") -> np.ndarray:
    "Whether each name is among the right words, or their synonyms."
    table = thesaurus()
    good = {table.node(w) for w in RIGHT[entry][which]}
    return np.array([table.node(n) in good for n in names])


def named(p: Problem, words: WordEvidence) -> None:
    "How often the name is right."
    names = word_names(words, p.x)
    top = np.array(words.names, object)[top_words(words, p.x)[0]]
    table = {}
    for label, domain, entry in LABELS[p.name]:
        rows = p.rows(label, domain)
        ok = judged(names["name"][rows].to_numpy(), entry)
        low, high = rate_interval(int(ok.sum()), len(ok))[-2:]
        five = np.array([judged(t, entry).any() for t in top[rows]])
        table[f"{domain}: {label}" if label else domain] = {
            "rows": len(ok),
            "right": f"{ok.mean():.3f} [{low:.2f}, {high:.2f}]",
            "best word right": round(judged(names["best"][rows].to_numpy(), entry).mean(), 3),
            "one of five right": round(five.mean(), 3),
            "names": ", ".join(f"{w} {c}" for w, c in names["name"][rows].value_counts().head(6).items()),
        }
    show(f"{p.name}: names", pd.DataFrame(table).T)


def unnamed(p: Problem, words: WordEvidence) -> None:
    "What the words say where the list has no word for it, of the rows said to show something else."
    names, given, table = word_names(words, p.x), answers(p, words) == "not_in_list", {}
    for d in ("xray", "patents", "textures", "actions", "near"):
        if d in p.sets:
            mine = names[given & (p.domain == d)]
            table[d] = {
                "rows": len(mine),
                "median probability": mine["probability"].median().round(2),
                "names": ", ".join(f"{w} {c}" for w, c in mine["name"].value_counts().head(8).items()),
            }
    if table:
        show(f"{p.name}: sets whose medium, pattern or kind has no word of its own", pd.DataFrame(table).T)


def few(p: Problem) -> None:
    "How many reference rows it takes: ten draws each."
    table, ids = {}, np.flatnonzero(p.domain == "id")
    for n in (30, 60, 100, 200):
        got = []
        for seed in range(10):
            mask = np.zeros(len(p.x), bool)
            mask[np.random.default_rng(seed).permutation(ids)[:n]] = True
            words = fitted(p, mask)
            columns = word_columns(words, p.x)
            new = (p.domain == "id") & ~mask
            far = [
                auroc(
                    np.r_[np.zeros(new.sum()), np.ones((p.domain == d).sum())],
                    np.r_[columns["word_margin"][new], columns["word_margin"][p.domain == d]],
                )
                for d in p.far
            ]
            got.append(
                (
                    np.mean(far),
                    (familiar_share(words, "word_margin", columns["word_margin"][new]) <= LEVEL).mean(),
                    (familiar_share(words, "word_lead", columns["word_lead"][new]) <= LEVEL).mean(),
                )
            )
        mean, low = np.mean(got, axis=0), np.min(got, axis=0)
        table[n] = {
            "far AUROC": f"{mean[0]:.4f}, worst {low[0]:.4f}",
            "new ID rows within, margin": f"{mean[1]:.3f}, worst {low[1]:.3f}",
            "new ID rows within, lead": f"{mean[2]:.3f}, worst {low[2]:.3f}",
        }
    show(f"{p.name}: reference rows", pd.DataFrame(table).T)


def grid(ps: list[Problem]) -> None:
    "Share of the discount and softness of the scale: right names of each group, and what the other groups would choose."
    shares, scales, right = (0.0, 0.25, 0.5, 0.75, 1.0), (0.3, 0.4, 0.45, 0.5, 0.6, 0.8), {}
    counts, told = (25, 50, 100, 200, 10_000), {}
    for p in ps:
        words = fitted(p)
        member = np.repeat(np.arange(len(words.group_names)), np.diff(words.start))
        groups = csr_array(
            (np.ones(len(member)), (words.member, member)), shape=(len(words.vectors), len(words.group_names))
        )
        for label, domain, entry in LABELS[p.name]:
            margins = _margins(words, p.x[p.rows(label, domain)])[0]
            for s in scales:
                for k in counts:
                    best = hedged_names(s * words.scale * (margins - SHARE * words.discount), groups, k)[0]
                    ok = judged(np.array(words.group_names, object)[best], entry)
                    bits = np.log2(groups.shape[0] / np.asarray(groups.sum(axis=0)).ravel())[best]
                    told.setdefault((s, k), []).append((ok.mean(), bits.mean()))
            for a in shares:
                for s in scales:
                    best = hedged_names(s * words.scale * (margins - a * words.discount), groups)[0]
                    right[p.name, label or domain, a, s] = judged(
                        np.array(words.group_names, object)[best], entry
                    ).mean()
    kinds = {
        "object photographs": ("bicycle", "car", "flower"),
        "CIFAR-10": ("airplane", "automobile", "ship", "truck"),
        "flowers": ("flowers",),
        "aircraft": ("aircraft",),
    }
    keys = sorted({k[:2] for k in right})
    mean = pd.DataFrame({a: {s: np.mean([right[k + (a, s)] for k in keys]) for s in scales} for a in shares}).round(3)
    of = {k: {s: np.mean(told[s, k], axis=0) for s in scales} for k in counts}
    for j, what in enumerate(("share of right names", "information of a name in bits")):
        table = pd.DataFrame({k: {s: v[j] for s, v in column.items()} for k, column in of.items()}).round(3)
        show(f"Mean {what}: rows softness of the scale, columns how many of the best words", table)
    show("Mean share of right names: rows softness of the scale, columns share of the discount", mean)
    for out, labels in kinds.items():
        rest = [k for k in keys if k[1] not in labels]
        a, s = max(((a, s) for a in shares for s in scales), key=lambda c: np.mean([right[k + c] for k in rest]))
        print(
            f"without {out}: share {a}, softness {s}; left out:",
            {k[0] + " " + k[1]: round(float(right[k + (a, s)]), 3) for k in keys if k[1] in labels},
        )


def main() -> None:
    "Print every table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid", action="store_true")
    args = parser.parse_args()
    ps = problems(args.folder)
    if args.grid:
        return grid(ps)
    removed(ps)
    for p in ps:
        words = fitted(p)
        for part in (scores, told, named, unnamed):
            part(p, words)
    for p in ps:
        few(p)


if __name__ == "__main__":
    main()
