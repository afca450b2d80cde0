"""Few axes on fifteen problems, in numbers that a chapter reads. Run: python benchmarks/study_few.py SETS [part ...]

SETS is the folder that study_sets.py wrote, with its fresh problems. Parts: sets, sum, weights, rows, cosines, many, made, axes, forms, gain, fit, delete. Each part writes its tables into benchmarks/study_few.json and leaves the
others as they are. The part `made` reads the log of study_nineteen.py from the environment variable NINETEEN.
"""

import json
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.stats import beta
from study_axes import (
    STANDARD_SETS,
    Problem,
    Reach,
    additive,
    auc,
    core_columns,
    crossed,
    fast_auc,
    fit,
    folds_of,
    known,
    load,
    mean_auc,
    standard,
)
from study_sets import FRESH, LISTS, word_columns
from threadpoolctl import threadpool_limits

from attrood.axes import fit_axes, fit_rows
from attrood.axes.axis_names import name_axes
from attrood.axes.few import CORE_GROUPS, few_axes, fit_ideas, shrunk_correlation
from attrood.axes.few import standard as packaged
from attrood.axes.matching import match_axes
from attrood.axes.sparse_pca import coverage
from attrood.detect.additive import surprise
from attrood.detect.threshold import choose_threshold
from attrood.evidence import EmbeddingScores, evidence_frame
from attrood.evidence.registry import array_evidence
from attrood.log import bundled_log, read_log
from attrood.stability.resampling import stability

OUT = Path(__file__).with_name("study_few.json")
KNOWN = [*STANDARD_SETS, "food101", "newcomer", "newcomer_log", "newcomer_plain"]


def base_of(P: dict[str, Problem], name: str) -> np.ndarray:
    "The standard that a problem is measured with: none of its own images in it."
    own = {"animals32": "animals", "animals365": "animals", "food365": "food", "pets365": "pets"}
    return standard(P, own.get(name, "objects" if name.startswith(("aircraft", "photos")) else name))


def oods(p: Problem) -> np.ndarray:
    return np.flatnonzero(p.ood & ~p.ref)


def mean_over_sets(p: Problem, s: np.ndarray, ids: np.ndarray | None = None) -> float:
    "Mean AUROC over OoD sets."
    i = np.flatnonzero(p.idr) if ids is None else ids
    return float(np.mean([auc(s[i], s[p.ood & ~p.ref & (p.domain == d)]) for d in p.domains]))


def best_single(p: Problem) -> tuple[str, float]:
    "The score that is best with hindsight."
    found = {c: mean_over_sets(p, p.E[c].to_numpy()) for c in p.E}
    best = max(found, key=lambda c: found[c])
    return best, found[best]


def fifths(P: dict[str, Problem], name: str) -> np.ndarray:
    "Fifths of the classes of the ID rows, by what the model said, as a log's are."
    p = P["newcomer"] if name.startswith("newcomer") else P[name]
    if p.raw.get("x") is not None:
        x = np.asarray(p.raw["x"], float)[p.idr]
        said = (x / np.linalg.norm(x, axis=1, keepdims=True) @ np.asarray(p.raw["text"], float).T).argmax(1)
    else:
        said = bundled_log("food101-pocket").array("prediction").astype(str)[p.idr]
    return np.array([f"classes {v % 5 + 1} of 5" for v in np.unique(said, return_inverse=True)[1]])


def fixed(p: Problem, R0: np.ndarray, groups: np.ndarray, weight: float) -> dict:
    "How many axes come back under bootstrap, halves and left-out parts; the axes."
    i = np.flatnonzero(p.idr)
    _, W, _, _, core = fit(p, i, R0)
    V = p.E.loc[i, [core_columns(p.E.columns)[c] for c in core]].to_numpy(float)
    X, base, k = (V - V.mean(0)) / V.std(0), known(R0, core), len(W)

    def refit(m, w=weight):
        return few_axes(shrunk_correlation(m.correlation, m.count, base, w), k, n_starts=4, tol=1e-6)

    settings = {"components": W, "null_fit": lambda m: refit(m, 0.0)} if weight else {}  # as `judge` does
    report = stability(X, refit, core, groups, n_boot=100, n_half=20, n_null=20, **settings)
    names = name_axes(
        W,
        [CORE_GROUPS[c] for c in core],
        few_axes(base, k),
        name_axes(few_axes(base, k), [CORE_GROUPS[c] for c in core])[0],
    )[0]
    return {
        "fixed": sum(v.verdict == "fixed" for v in report.verdicts),
        "why": [str(v) for v in report.verdicts],
        "k": k,
        "names": names,
        "loadings": (W != 0).sum(1).tolist(),
    }


def interval(p: Problem, R0: np.ndarray, best: str, draws: int = 100) -> tuple[float, float, float, float]:
    "AUROC of the sum, and what it has above the best single score, with a bootstrap over rows."
    out, o = crossed(p, R0, {"additive": None})
    doms, v, rng, diffs = p.domain[o], p.E[best].to_numpy(), np.random.default_rng(1), []
    case = (out, p.domains, doms, v, o)
    point = [mean_auc(n, *case) for n in ("additive", "best")]
    for _ in range(draws):
        wi = {id(ids): rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids))).astype(float) for ids, _ in out}
        wo = {
            d: rng.multinomial(n, np.full(n, 1 / n)).astype(float) for d in p.domains for n in [int((doms == d).sum())]
        }
        diffs.append(mean_auc("additive", *case, wi, wo) - mean_auc("best", *case, wi, wo))
    return point[0], point[0] - point[1], *np.quantile(diffs, [0.025, 0.975])


def thinned(p: Problem, most: int = 200) -> Problem:
    "A problem with at most so many rows of each OoD set, for what is repeated often."
    rng, keep = np.random.default_rng(3), ~p.ood
    for d in p.domains:
        keep[rng.permutation(np.flatnonzero(p.ood & (p.domain == d)))[:most]] = True
    raw = p.raw | {k: p.raw[k][keep] for k in ("x",) if p.raw.get(k) is not None}
    return Problem(p.E[keep].reset_index(drop=True), p.ood[keep], p.domain[keep], p.ref[keep], raw)


def sets_part(P):
    "k, names, loadings, and what is fixed, with the standard beside the rows and without."
    rows = {}
    for n, p in P.items():
        R0, groups = base_of(P, n), fifths(P, n)
        mine, alone = fixed(p, R0, groups, 3000.0), fixed(p, R0, groups, 0.0)
        rows[n] = mine | {"alone fixed": alone["fixed"], "ID": int(p.idr.sum()), "OoD": len(oods(p))}
        rows[n]["confidence"] = float(-p.E.loc[p.idr, "conf"].mean())
        print(n, rows[n], flush=True)
    return rows


def sum_part(P):
    "The sum beside the best single score, with intervals."
    rows, old = {}, json.loads(OUT.read_text()).get("sum", {})
    for n, p in P.items():
        if n in old:
            rows[n] = old[n]
            continue
        p = thinned(p, 500)
        best, value = best_single(p)
        auroc, diff, low, high = interval(p, base_of(P, n), best)
        rows[n] = {"best": best, "best AUROC": value, "sum": auroc, "difference": diff, "low": low, "high": high}
        print(n, rows[n], flush=True)
    return rows


def named(p, W, core, R0):
    "Names of axes."
    S, groups = few_axes(known(R0, core), len(W)), [CORE_GROUPS[c] for c in core]
    return name_axes(W, groups, S, name_axes(S, groups)[0])[0]


def axes_part(P):
    "AUROC of every axis and of every core score."
    rows = {}
    for n, p in P.items():
        z, W, _, _, core = fit(p, np.flatnonzero(p.idr), base_of(P, n))
        rows[n] = {m: mean_over_sets(p, z[:, j]) for j, m in enumerate(named(p, W, core, base_of(P, n)))}
    return rows


def held_out(p: Problem, core: list[str], W: np.ndarray, F: int = 5, most: int = 500) -> np.ndarray | None:
    "AUROC (k,) of the axes for images of classes that were held out of the list and of the reference."
    x, text, words = (np.asarray(p.raw[k], float) for k in ("x", "text", "words"))
    x, scale, idr = x / np.linalg.norm(x, axis=1, keepdims=True), float(p.raw["scale"]), np.flatnonzero(p.idr)
    said = np.where(~p.ood, (x @ text.T).argmax(1), -1)
    used, counts = np.unique(said[~p.ood], return_counts=True)
    used, seen = used[np.argsort(-counts, kind="stable")][:40], []
    for a in range(min(F, len(used))):
        out, rng = used[np.arange(len(used)) % F == a], np.random.default_rng(0)
        keep, gone = np.setdiff1d(np.arange(len(text)), out), np.isin(said, out)
        ref = np.flatnonzero(p.ref & ~p.ood & ~gone)
        old, new = (rng.permutation(idr[m])[:most] for m in (~gone[idr], gone[idr]))
        if min(len(ref), len(new)) < 10 or len(old) < 20:
            continue
        at = np.r_[ref, old, new]
        mask = np.arange(len(at)) < len(ref)
        E = array_evidence(x[at] @ text[keep].T, scale)
        made = EmbeddingScores.fit(x[ref], text[keep], logit_scale=scale).columns(x[at], mask)
        E = E.assign(**made, **word_columns(x[at], text[keep], words, mask)[0])
        V = E[[core_columns(E.columns)[c] for c in core]].to_numpy(float)[~mask]
        z = (V - V[: len(old)].mean(0)) / V[: len(old)].std(0) @ W.T
        seen.append([auc(z[: len(old), j], z[len(old) :, j]) for j in range(len(W))])
    return np.mean(seen, 0) if seen else None


def paired_interval(p, i, o, both, draws, seed):
    "95 % interval of the second sum's mean AUROC less the first's, over draws of rows that both share."
    doms, rng, diffs = p.domain[o], np.random.default_rng(seed), []
    for _ in range(draws):
        wi = rng.multinomial(len(i), np.full(len(i), 1 / len(i))).astype(float)
        v = np.zeros(2)
        for d in p.domains:
            at = o[doms == d]
            wo = rng.multinomial(len(at), np.full(len(at), 1 / len(at))).astype(float)
            for b, s in enumerate(both):
                order = np.argsort(s[i])
                v[b] += fast_auc(s[i][order], wi[order], s[at], wo) / len(p.domains)
        diffs.append(v[1] - v[0])
    return np.quantile(diffs, [0.025, 0.975])


def weights_part(P, draws=100):
    "Parts weighted by what axes see of held-out classes, less the even sum, paired over rows."
    rows = {}
    for n, p in P.items():
        if p.raw.get("x") is None:
            continue
        p = thinned(p)
        i, o = np.flatnonzero(p.idr), oods(p)
        z, W, reach, _, core = fit(p, i, base_of(P, n))
        if (sees := held_out(p, core, W)) is None:
            continue
        parts = reach.parts(z)
        both = [parts.sum(1), parts @ np.maximum(2 * sees - 1, 0) ** 2]
        best = best_single(p)[1]
        even, weighted = (mean_over_sets(p, s) - best for s in both)
        low, high = paired_interval(p, i, o, both, draws, 2)
        rows[n] = {
            "held": sees.tolist(),
            "real": [mean_over_sets(p, z[:, j]) for j in range(len(W))],
            "even": even,
            "weighted": weighted,
            "low": low,
            "high": high,
        }
        print(n, rows[n], flush=True)
    return rows


FORMS = {
    "sum": lambda r, z, u, R: r.parts(z).sum(1),
    "even": lambda r, z, u, R: (r.parts(z) / r.params.get("weight", 1)).sum(1),
    "surprises alone": lambda r, z, u, R: surprise(u).sum(1),
    "power 1.5": lambda r, z, u, R: (surprise(u) ** 1.5).sum(1),
    "power 2": lambda r, z, u, R: (surprise(u) ** 2).sum(1),
    "unshared": lambda r, z, u, R: surprise(u) @ (1 / np.abs(R).sum(1)),
}


def forms_part(P):
    "Other sums, less the best single score; three folds."
    rows = {}
    for n, p in P.items():
        R0, i = base_of(P, n), np.flatnonzero(p.idr)
        f, o, out = folds_of(i, 3), oods(p), {}
        best = best_single(p)[1]
        for a in range(3):
            z, _, reach, _, _ = fit(p, i[f != a], R0)
            u, R = reach.excess(z), np.corrcoef(z[i[f != a]].T)
            for name, form in FORMS.items():
                s = form(reach, z, u, R)
                out.setdefault(name, []).append(np.mean([auc(s[i[f == a]], s[o][p.domain[o] == d]) for d in p.domains]))
        rows[n] = {name: float(np.mean(v)) - best for name, v in out.items()}
        print(n, rows[n], flush=True)
    return rows


def gain_part(P, draws=100):
    "What the slope beyond the reach changes against the surprises alone, paired over rows; ID rows of the fit."
    rows = {}
    for n, p in P.items():
        p = thinned(p)
        i, o = np.flatnonzero(p.idr), oods(p)
        z, _, reach, _, _ = fit(p, i, base_of(P, n))
        both = [surprise(reach.excess(z)).sum(1), reach.parts(z).sum(1)]
        low, high = paired_interval(p, i, o, both, draws, 4)
        rows[n] = {"gain": mean_over_sets(p, both[1]) - mean_over_sets(p, both[0]), "low": low, "high": high}
        print(n, rows[n], flush=True)
    return rows


def fit_part(P, draws=100):
    "What the weights by the fit of the class names change, paired over rows; ID rows of the fit."
    rows = {}
    for n, p in P.items():
        if not p.raw.get("list_fit"):
            continue
        p = thinned(p)
        i, o = np.flatnonzero(p.idr), oods(p)
        z, W, reach, _, core = fit(p, i, base_of(P, n))
        parts, best = reach.parts(z), best_single(p)[1]
        both = [(parts / reach.params.get("weight", 1)).sum(1), parts.sum(1)]
        low, high = paired_interval(p, i, o, both, draws, 5)
        rows[n] = {
            "names": named(p, W, core, base_of(P, n)),
            "weights": np.broadcast_to(reach.params.get("weight", 1.0), len(W)).tolist(),
            "max_cosine": p.raw["list_fit"]["max_cosine"],
            "even": mean_over_sets(p, both[0]) - best,
            "sum": mean_over_sets(p, both[1]) - best,
            "low": low,
            "high": high,
        }
        print(n, rows[n], flush=True)
    return rows


def delete_part(P):
    "Half of the ID rows fit, half set the threshold: how often a verdict falls without a part."
    rows, rng = {}, np.random.default_rng(0)
    for n, p in P.items():
        i = rng.permutation(np.flatnonzero(p.idr))
        a, b = i[: len(i) // 2], i[len(i) // 2 :]
        z, _, reach, _, _ = fit(p, a, base_of(P, n))
        s, parts = additive(reach, z)
        t = choose_threshold(s[b], 0.95).value
        o = np.flatnonzero(p.ood & ~p.ref & (s > t))
        flip = s[o, None] - parts[o] + np.minimum(np.log(2), parts[o]) <= t
        order = np.argsort(-parts[o], 1)
        two = s[o] - np.take_along_axis(parts[o] - np.minimum(np.log(2), parts[o]), order[:, :2], 1).sum(1) <= t
        rows[n] = {
            "called OoD": len(o) / len(oods(p)),
            "largest part": flip[np.arange(len(o)), order[:, 0]].mean(),
            "a random part": flip.mean(),
            "two largest": two.mean(),
            "sum error": float(np.abs(parts.sum(1) - s).max()),
        }
        print(n, rows[n], flush=True)
    return rows


def rows_part(P, draws=10):
    "AUROC and realised rate from N ID rows: 60 % fit, 40 % set the threshold, all others judge."
    rows, rng = [], np.random.default_rng(0)
    for n in [*STANDARD_SETS, "food101"]:
        p, R0 = thinned(P[n]), base_of(P, n)
        ids = np.flatnonzero(p.idr)
        for N in (30, 60, 100, 200, 300, 500, 1000):
            for _ in range(draws if N + 100 <= len(ids) else 0):
                take = rng.permutation(ids)
                mine, new = take[:N], take[N : N + 3000]
                z, _, reach, _, _ = fit(p, mine, R0)
                a, b = mine[: int(0.6 * N)], mine[int(0.6 * N) :]
                s = additive(Reach.fit(z[a], reach.params.get("weight")), z)[0]
                t = choose_threshold(s[b], 0.95)
                law, rate = beta(t.rank, t.n_id + 1 - t.rank), float((s[new] <= t.value).mean())
                rows.append(
                    {
                        "set": n,
                        "N": N,
                        "AUROC": mean_over_sets(p, s, new),
                        "realised": rate,
                        "promised": float(law.mean()),
                        "low": float(law.ppf(0.025)),
                        "high": float(law.ppf(0.975)),
                    }
                )
        print(n, flush=True)
    T = pd.DataFrame(rows)
    T["inside"] = (T.realised >= T.low) & (T.realised <= T.high)
    g = T.groupby(["set", "N"])
    made = g[["AUROC", "realised", "promised", "low", "high", "inside"]].mean()
    made["AUROC sd"], made["realised sd"] = g.AUROC.std(), g.realised.std()
    return made.reset_index().to_dict("records")


def cosines_part(P):
    "Axes of each set, its rows alone and with the standard beside them, against the standard of the other families."
    rows = {}
    for n, p in P.items():
        R0, i = base_of(P, n), np.flatnonzero(p.idr)
        out = {}
        for kind, weight in (("alone", 0.0), ("with the standard", 3000.0)):
            _, W, _, _, core = fit(p, i, R0, weight)
            groups = [CORE_GROUPS[c] for c in core]
            S = few_axes(known(R0, core), len(W))
            out[kind] = dict(zip(name_axes(S, groups)[0], match_axes(S, W).cosine.tolist(), strict=True))
        rows[n] = out
    return rows


def many_part(P, rows=10**6):
    """The correlations of each set as if of a million rows, with the packaged standard: which of its names the rows' own axes
    would give up and for how much of the scores, what one more axis of the standard brings, how many rows are counted; the
    last for the rows at hand too. And the standard's correlations with their scores shuffled, twenty times."""
    found = {}
    known_names = list(packaged().evidence)
    places = [np.random.default_rng(s).permutation(len(known_names)) for s in range(20)]
    shuffled = [packaged().correlation[np.ix_(q, q)] for q in places]
    found["shuffled, all rows counted"] = sum(fit_ideas(R, rows, known_names).counted == rows for R in shuffled)
    for n, p in P.items():
        core = {m: c for m, c in core_columns(p.E.columns).items() if m in known_names}
        own, base = np.corrcoef(p.E.loc[p.idr, list(core.values())].to_numpy(float).T), packaged().of(list(core))
        usual = fit_ideas(own, 0, list(core))
        k = len(usual.names)
        W, more = few_axes(shrunk_correlation(own, rows, base), k), few_axes(base, k + 1)
        groups, axes = [CORE_GROUPS[c] for c in core], few_axes(base, k)
        names = name_axes(W, groups, axes, name_axes(axes, groups)[0])[0]
        least = float(coverage(axes, own).mean())
        found[n] = {
            "given up": sorted(set(usual.names) - set(names)),
            "gain": float(coverage(W, own).mean()) - least,
            "one more": float(coverage(more, own).mean()) - least,
            "counted": fit_ideas(own, rows, list(core)).counted,
            "counted of its own": fit_ideas(own, int(p.idr.sum()), list(core)).counted / int(p.idr.sum()),
        }
    return found


def made_part(P):
    "Causes made on purpose, from few axes, axes of all evidence, and all evidence."
    from study_nineteen import kind_of

    from attrood.why.benchmark import compare_inputs

    log = read_log(os.environ["NINETEEN"])
    rows = log.select(fit_rows(log))
    E, f = evidence_frame(rows), rows.frame()
    kind = np.array([kind_of(c) for c in f["cause"]])
    cause = np.where(kind == "instability", "harmless", f["cause"].to_numpy())
    plain = [c for c in E if not c.startswith(("word", "picture"))]
    inputs, k = {}, {}
    for label, columns in (("", plain), (", words and picture", list(E))):
        for mode, name in (("default", "few axes"), ("many", "many axes")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                card = fit_axes(log, mode, table=evidence_frame(log)[columns])
            inputs[name + label] = card.coordinates(E[list(card.evidence)])
            k[name + label] = len(card.names)
        inputs["all evidence" + label] = E[columns]
        k["all evidence" + label] = len(columns)
        print(k, flush=True)
    out = {}
    for label, y in (("which of 19", cause), ("which kind of 5", kind)):
        T = compare_inputs(inputs, y, f["image"], permutations=1, n_boot=100)
        print(T.round(3).to_string(), flush=True)
        out[label] = T[["balanced_accuracy", "low", "high"]].to_dict("index")
    return {"columns": k, "rows": len(E)} | out


if __name__ == "__main__":
    folder, parts = Path(sys.argv[1]), sys.argv[2:] or ["sets"]
    with threadpool_limits(1):
        P = load(folder, [*KNOWN, *FRESH, *LISTS]) if parts != ["made"] else {}
        for part in parts:
            found = globals()[f"{part}_part"](P)
            book = json.loads(OUT.read_text()) if OUT.exists() else {}
            OUT.write_text(json.dumps(book | {part: found}, indent=1, default=float) + "\n")
