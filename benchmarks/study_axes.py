"""Few axes on many sets: standard axes, the additive detector and what it loses. Run: python benchmarks/study_axes.py SETS [part ...]

SETS is the folder that study_sets.py wrote. Every set is measured with a standard of the other families only. Parts: table, forms, recur, rows, delete, causes, held, kernels, standard, card.

The table takes some minutes for each set; ONLY=animals,pets limits it. The part card writes the correlations that ship as attrood/assets/standard_axes.json.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.stats import beta, betabinom, rankdata
from threadpoolctl import threadpool_limits

from attrood.axes.axis_names import AXIS_NAMES, axis_title, name_axes
from attrood.axes.few import CORE_GROUPS, IDEAS, core_columns, count_ideas, few_axes, shrunk_correlation
from attrood.axes.matching import match_axes
from attrood.axes.sparse_pca import coverage
from attrood.detect.additive import additive_parts, fit_additive, fit_weights, surprise
from attrood.detect.detectors import FITTERS
from attrood.detect.intervals import delong_test
from attrood.detect.threshold import choose_threshold

# ------------------------------------------------------------------------------------------------ the study


@dataclass(frozen=True)
class Reach:
    "ID medians, median deviations and reach of coordinates, as the additive detector has them."

    params: dict

    @classmethod
    def fit(cls, z, weights=None):
        given = {} if weights is None else {f"z{j}": float(w) for j, w in enumerate(weights)}
        return cls(fit_additive(z, np.zeros(len(z)), weights=given).params)

    def excess(self, z):
        return (np.asarray(z, float) - self.params["median"]) / self.params["deviation"]

    def parts(self, z):
        return additive_parts(np.asarray(z, float), self.params)


def additive(reach, z):
    "Score and parts."
    parts = reach.parts(z)
    score = np.zeros(len(parts))
    for j in range(parts.shape[1]):
        score += parts[:, j]
    return score, parts


NAMES = [a.name for a in AXIS_NAMES.values()]


FAMILY = {
    "pets": "pets",
    "pets84": "pets",
    "food": "food",
    "food75": "food",
    "food101": "pocket",
    "food101w": "pocket",
    "newcomer": "pocket",
    "newcomer_log": "pocket",
    "newcomer_plain": "pocket",
}
STANDARD_SETS = ("animals", "pets", "food", "objects", "pets84", "food75")


def family(name):
    return FAMILY.get(name, name)


def auc(i, o):
    r = rankdata(np.r_[i, o])
    return (r[len(i) :].sum() - len(o) * (len(o) + 1) / 2) / (len(i) * len(o))


@dataclass
class Problem:
    E: pd.DataFrame
    ood: np.ndarray
    domain: np.ndarray
    ref: np.ndarray
    raw: dict

    @property
    def idr(self):
        return ~self.ood & ~self.ref

    @property
    def domains(self):
        return sorted(set(self.domain[self.ood & ~self.ref]))


def load(folder, names):
    if os.environ.get("ONLY"):
        names = [n for n in names if n in os.environ["ONLY"].split(",") or n in STANDARD_SETS]
    out = {}
    for n in names:
        if (folder / f"{n}.pkl").exists():
            p = pd.read_pickle(folder / f"{n}.pkl")
            out[n] = Problem(p["E"], p["ood"], np.asarray(p["domain"]).astype(str), p["ref"], p)
    return out


ALL = [n for idea, names in IDEAS.items() for n in names if idea != "picture"]  # the standard has no pixels


def id_correlation(p, rows=None):
    "Correlations of core evidence on ID rows, NaN where the set lacks it."
    core = {n: c for n, c in core_columns(p.E.columns).items() if n in ALL}
    R = np.full((len(ALL), len(ALL)), np.nan)
    at = [ALL.index(n) for n in core]
    R[np.ix_(at, at)] = np.corrcoef(p.E.loc[p.idr if rows is None else rows, list(core.values())].to_numpy().T)
    return R


def standard(problems, without=None):
    "Mean correlations over the standard sets of other families; families count alike."
    fam = {}
    for n in STANDARD_SETS:
        if n in problems and (without is None or family(n) != family(without)):
            fam.setdefault(family(n), []).append(id_correlation(problems[n]))
    R = np.mean([np.mean(v, 0) for v in fam.values()], 0)
    return R


def known(R0, core):
    "The standard for the scores of a problem; one that it has not counts as unrelated."
    own = [i for i, n in enumerate(core) if n in ALL]
    at, out = [ALL.index(list(core)[i]) for i in own], np.eye(len(core))
    out[np.ix_(own, own)] = R0[np.ix_(at, at)]
    return out


def fit(p, rows, R0, weight=3000.0, k=None, alpha=0.3):
    "Features, axes and reach from ID rows; returns a function from rows of E to excess, with the axes."
    core = core_columns(p.E.columns)
    V = p.E[list(core.values())].to_numpy(float)
    mean, sd = V[rows].mean(0), V[rows].std(0)
    n = len(V[rows])
    own = np.corrcoef(V[rows].T) if n > 2 else np.eye(len(core))
    R = shrunk_correlation(np.nan_to_num(own), n, known(R0, core), weight)
    W = few_axes(R, k or count_ideas(list(core)), alpha)
    z = (V - mean) / sd @ W.T
    return z, W, Reach.fit(z[rows], weights_of(p, W, core)), own, list(core)


def weights_of(p, W, core):
    "Weights of axes by how well the names fit the ID images; None where nothing is known of it."
    fit = p.raw.get("list_fit")
    return fit_weights(W, list(core.values()), fit) if fit else None


def folds_of(ids, F=5, seed=0):
    return np.random.default_rng(seed).permutation(np.arange(len(ids)) % F)


def crossed(p, R0, scores, F=5, **kw):
    "Per fold: scores of held-out ID rows and of all OoD rows by models of the other folds."
    i = np.flatnonzero(p.idr)
    f = folds_of(i, F)
    o = np.flatnonzero(p.ood & ~p.ref)
    out = []
    for a in range(F):
        z, W, reach, _, _ = fit(p, i[f != a], R0, **kw)
        u = reach.excess(z)
        made = {name: additive(reach, z)[0] if s is None else s(u, z, i[f != a]) for name, s in scores.items()}
        out.append((i[f == a], {name: (v[i[f == a]], v[o]) for name, v in made.items()}))
    return out, o


def mahal(u, z, rows):
    c = z[rows] - z[rows].mean(0)
    L = np.linalg.cholesky(np.linalg.inv(c.T @ c / len(c) + 1e-9 * np.eye(c.shape[1])))
    return (((z - z[rows].mean(0)) @ L) ** 2).sum(1)


DETECTORS = {
    "additive": None,
    "relu": lambda u, z, r: np.maximum(u, 0).sum(1),
    "signed": lambda u, z, r: u.sum(1),
    "mahalanobis": mahal,
}


def fast_auc(sorted_id, order_w, o, ow):
    "Weighted AUROC from sorted ID scores with weights, for bootstrap."
    left = np.searchsorted(sorted_id, o, "left")
    right = np.searchsorted(sorted_id, o, "right")
    c = np.r_[0, np.cumsum(order_w)]
    return float((ow * (c[left] + c[right]) / 2).sum() / (c[-1] * ow.sum()))


def mean_auc(name, out, domains, doms, best, o, id_weights=None, ood_weights=None):
    "Mean over folds and OoD domains; `best` are the values of the best single score, and weights those of a bootstrap."
    total = []
    for ids, made in out:
        iw = np.ones(len(ids)) if id_weights is None else id_weights[id(ids)]
        for d in domains:
            m = doms == d
            s_i, s_o = (best[ids], best[o][m]) if name == "best" else (made[name][0], made[name][1][m])
            order = np.argsort(s_i)
            total.append(
                fast_auc(s_i[order], iw[order], s_o, np.ones(m.sum()) if ood_weights is None else ood_weights[d])
            )
    return np.mean(total)


def supervised(p, R0, best, F=5):
    "Mean AUROC over OoD domains of a logistic regression on axes and on all evidence, held out, less the best single score; DeLong's interval is of all domains together."
    i, o = np.flatnonzero(p.idr), np.flatnonzero(p.ood & ~p.ref)
    rows, y = np.r_[i, o], np.r_[np.zeros(len(i)), np.ones(len(o))]
    f, E = folds_of(rows, F, 1), p.E.loc[:, p.E[p.idr].nunique() > F].to_numpy(float)
    score = {"axes": np.zeros(len(rows)), "all evidence": np.zeros(len(rows))}
    for a in range(F):
        z = fit(p, i[f[: len(i)] != a], R0)[0]
        for name, x in (("axes", z), ("all evidence", E)):
            d = FITTERS["logistic"](x[rows][f != a], y[f != a])
            score[name][f == a] = d.score(x[rows][f == a])
    single, doms = p.E[best].to_numpy()[rows], p.domain[rows]

    def mean(s):
        return np.mean([auc(s[y == 0], s[(y == 1) & (doms == d)]) for d in p.domains])

    t = delong_test(y.astype(bool), score["axes"], single)
    return {
        "logistic": mean(score["axes"]),
        "logistic diff": mean(score["axes"]) - mean(single),
        "pooled diff": t.difference,
        "pooled low": t.low,
        "pooled high": t.high,
        "lost to all": mean(score["axes"]) - mean(score["all evidence"]),
    }


def table_part(P, boots=200, weights=(3000.0,)):
    rows = []
    for n, p in P.items():
        if n not in os.environ.get("ONLY", n).split(","):
            continue
        R0 = standard(P, n)
        out, o = crossed(p, R0, DETECTORS)
        doms = p.domain[o]
        singles = {}
        i_all = np.flatnonzero(p.idr)
        for c in p.E:
            v = p.E[c].to_numpy()
            singles[c] = np.mean([auc(v[i_all], v[o][doms == d]) for d in p.domains])
        best = max(singles, key=singles.get)
        vb = p.E[best].to_numpy()

        case = (out, p.domains, doms, vb, o)
        point = {name: mean_auc(name, *case) for name in [*DETECTORS, "best"]}
        diffs, rng = [], np.random.default_rng(1)
        for _ in range(boots):
            rng_i = {
                id(ids): rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids))).astype(float) for ids, _ in out
            }
            rng_o = {
                d: rng.multinomial((doms == d).sum(), np.full((doms == d).sum(), 1 / (doms == d).sum())).astype(float)
                for d in p.domains
            }
            diffs.append(mean_auc("additive", *case, rng_i, rng_o) - mean_auc("best", *case, rng_i, rng_o))
        low, high = np.quantile(diffs, [0.025, 0.975])
        # thresholds: fit on 3/5, threshold on 1/5, test on 1/5
        f = folds_of(i_all)
        acc, prom = [], []
        for a in range(5):
            b = (a + 1) % 5
            z, W, reach, own, core = fit(p, i_all[(f != a) & (f != b)], R0)
            s = additive(reach, z)[0]
            t = choose_threshold(s[i_all[f == b]], 0.95)
            acc.append((s[i_all[f == a]] <= t.value).sum())
            prom.append(t.rank / (t.n_id + 1))
        told = supervised(p, R0, best)
        z, W, reach, own, core = fit(p, i_all, R0)
        refit = few_axes(own, len(W))
        cov, cov0 = coverage(W, own), coverage(refit, own)
        rows.append(
            {
                "set": n,
                "ID": len(i_all),
                "OoD": len(o),
                "k": len(W),
                "loadings": int((W != 0).sum()),
                "cov mean": cov.mean(),
                "cov min": cov.min(),
                "refit cov": cov0.mean(),
                "best single": best,
                "best": point["best"],
                **{d: point[d] for d in DETECTORS},
                "diff": point["additive"] - point["best"],
                "low": low,
                "high": high,
                "promised": np.mean(prom),
                "realised": np.sum(acc) / len(i_all),
                **told,
            }
        )
        print(rows[-1], flush=True)
    T = pd.DataFrame(rows).set_index("set")
    print(T.round(4).to_string())
    return T


def reached(level):
    "The logistic surprise with the ID reach up to a level as its unit, in place of the median deviation."

    def score(z, rows):
        median = np.median(z[rows], 0)
        t = (z - median) / (np.quantile(z[rows], level, axis=0) - median)
        return np.logaddexp(0, np.log(1 / (1 - level) - 1) * t).sum(1)

    return score


def fisher(z, rows, tail=0.1):
    "Sum of -log p, p from the ID rows, with an exponential tail beyond their 90 % point."
    out = np.zeros_like(z)
    for j in range(z.shape[1]):
        known = np.sort(z[rows, j])
        u = np.quantile(known, 1 - tail)
        beyond = tail * np.exp(-np.maximum(z[:, j] - u, 0) / (known[known > u] - u).mean())
        p = (len(known) - np.searchsorted(known, z[:, j], "right") + 1) / (len(known) + 1)
        out[:, j] = -np.log(np.where(z[:, j] > u, beyond, np.maximum(p, tail)))
    return out.sum(1)


def unshared(z, rows):
    "The sum with each axis weighted by what it does not share with the others over ID rows."
    weight = 1 / np.abs(np.corrcoef(z[rows].T)).sum(1)
    return surprise(Reach.fit(z[rows]).excess(z)) @ weight


FORMS = {
    "sum": lambda z, rows: Reach.fit(z[rows]).parts(z).sum(1),
    "surprises alone": lambda z, rows: surprise(Reach.fit(z[rows]).excess(z)).sum(1),
    "reach 90 %": reached(0.9),
    "reach 99 %": reached(0.99),
    "Fisher": fisher,
    "largest": lambda z, rows: Reach.fit(z[rows]).excess(z).max(1),
    "unshared": unshared,
}


def forms_part(P):
    "Other forms of the detector, less the best single score, three folds of ID rows."
    rows = []
    for n, p in P.items():
        out, o = crossed(p, standard(P, n), {k: lambda u, z, r, f=f: f(z, r) for k, f in FORMS.items()}, 3)
        doms, i = p.domain[o], np.flatnonzero(p.idr)

        def mean(s, p=p, o=o, i=i, doms=doms):
            return np.mean([auc(s[i], s[o][doms == d]) for d in p.domains])

        best = max(mean(p.E[c].to_numpy()) for c in p.E)
        rows.append({"set": n} | {k: mean_auc(k, out, p.domains, doms, None, o) - best for k in FORMS})
    print(pd.DataFrame(rows).set_index("set").round(4).to_string())


def recur_part(P):
    cc = ALL
    G = standard(P)
    W0 = few_axes(G, 5)
    gn = [CORE_GROUPS[c] for c in cc]
    base, _ = name_axes(W0, gn)
    print("standard axes")
    for w, b in zip(W0, base, strict=True):
        print(
            "  ",
            b,
            "|",
            axis_title(w, gn),
            "|",
            axis_title(w, gn, "ja"),
            "|",
            " ".join(f"{x:+.3f} {c}" for x, c in zip(w, cc, strict=True) if x),
        )
    print("coverage", dict(zip(cc, coverage(W0, G).round(2), strict=True)))
    rows = []
    rng = np.random.default_rng(0)
    for weight in (0.0, 300.0, 1000.0, 2000.0, 3000.0, 5000.0, 10000.0, np.inf):
        for n, p in P.items():
            R0 = standard(P, n)
            i = np.flatnonzero(p.idr)
            z, W, reach, own, core = fit(p, i, R0, weight)
            S, groups = few_axes(known(G, core), len(W)), [CORE_GROUPS[c] for c in core]
            m = match_axes(S, W)
            names, ties = name_axes(W, groups, S, name_axes(S, groups)[0])
            V = p.E.loc[i, [core_columns(p.E.columns)[c] for c in core]].to_numpy()
            fixed = len(W)
            half = np.ones(len(W))
            if np.isfinite(weight):
                B = np.stack(
                    [
                        shrunk_correlation(
                            np.nan_to_num(np.corrcoef(V[rng.integers(len(V), size=len(V))].T)),
                            len(V),
                            known(R0, core),
                            weight,
                        )
                        for _ in range(60)
                    ]
                )
                WB = few_axes(B, len(W), n_starts=4, tol=1e-6)
                low = np.quantile(match_axes(W, WB).cosine, 0.05, axis=0)
                H = []
                for _ in range(20):
                    h = rng.permutation(len(V)) < len(V) // 2
                    H.append(
                        np.stack(
                            [
                                shrunk_correlation(np.nan_to_num(np.corrcoef(V[x].T)), len(V), known(R0, core), weight)
                                for x in (h, ~h)
                            ]
                        )
                    )
                WH = few_axes(np.stack(H), len(W), n_starts=4, tol=1e-6)
                half = np.median(match_axes(WH[:, 0], WH[:, 1]).cosine, axis=0)
                fixed = int(((low >= 0.95) & (half >= 0.95)).sum())
            s = additive(reach, z)[0]
            A = np.mean([auc(s[i], s[p.domain == d]) for d in p.domains])
            rows.append(
                {
                    "weight": weight,
                    "set": n,
                    "k": len(W),
                    "names": " ".join(x[2:] for x in names),
                    "cosines": " ".join(f"{c:.2f}" for c in m.cosine),
                    "same": (m.cosine >= 0.9).mean(),
                    "fixed": fixed,
                    "single": int(((np.abs(W) > 0.1).sum(1) == 1).sum()),
                    "cov": coverage(W, own).mean(),
                    "AUROC": A,
                    "ties": len(ties),
                }
            )
    T = pd.DataFrame(rows)
    print(T[T.weight.isin([0, 3000, np.inf])].round(4).to_string())
    T["fixed share"] = T.fixed / T.k
    print(T.groupby("weight")[["same", "fixed share", "single", "cov", "AUROC"]].mean().round(4).to_string())
    return T


def rows_part(P, draws=20):
    "Few ID rows: axes, medians and threshold from N of them (60 % fit, 40 % set the threshold), judged on the others."
    rows, rng = [], np.random.default_rng(0)
    for n in STANDARD_SETS:
        p = P[n]
        R0, ids = standard(P, n), np.flatnonzero(p.idr)
        for N in (30, 60, 100, 200, 500, 1000):
            for _ in range(draws if N + 100 <= len(ids) else 0):
                take = rng.permutation(ids)
                known, new = take[:N], take[N:]
                z, _, _, _, _ = fit(p, known, R0)
                a, b = known[: int(0.6 * N)], known[int(0.6 * N) :]
                s = additive(Reach.fit(z[a]), z)[0]
                t = choose_threshold(s[b], 0.95)
                found = np.mean([auc(s[new], s[p.domain == d]) for d in p.domains])
                law = beta(t.rank, t.n_id + 1 - t.rank)
                rate = (s[new] <= t.value).mean()
                rows.append(
                    {
                        "set": n,
                        "N": N,
                        "AUROC": found,
                        "realised": rate,
                        "promised": law.mean(),
                        "in interval": law.cdf(rate) > 0.025 and law.cdf(rate) < 0.975,
                    }
                )
    T = pd.DataFrame(rows)
    print(T.groupby("N")[["AUROC", "realised", "promised", "in interval"]].mean().round(4).to_string())
    print(T.pivot_table(index="set", columns="N", values="AUROC").round(4).to_string())


def delete_part(P):
    rows = []
    rng = np.random.default_rng(0)
    for n, p in P.items():
        R0 = standard(P, n)
        i = rng.permutation(np.flatnonzero(p.idr))
        a, b = i[: len(i) // 2], i[len(i) // 2 :]
        z, W, reach, _, _ = fit(p, a, R0)
        s, parts = additive(reach, z)
        t = choose_threshold(s[b], 0.95).value
        o = np.flatnonzero(p.ood & ~p.ref & (s > t))
        err = np.abs(parts.sum(1) - s).max()
        base = surprise(np.zeros(1))[0]
        after = s[o, None] - parts[o] + np.minimum(base, parts[o])
        flip = after <= t
        top = parts[o].argmax(1)
        second = np.argsort(-parts[o], 1)[:, 1]
        two = s[o] - parts[o, top] - parts[o, second] + 2 * base <= t
        share = parts[o, top] / parts[o].sum(1)
        rows.append(
            {
                "set": n,
                "called OoD": len(o) / (p.ood & ~p.ref).sum(),
                "largest": flip[np.arange(len(o)), top].mean(),
                "random": flip.mean(),
                "random of others": ((flip.sum(1) - flip[np.arange(len(o)), top]) / (parts.shape[1] - 1)).mean(),
                "two largest": two.mean(),
                "share of largest": share.mean(),
                "sum error": err,
            }
        )
    print(pd.DataFrame(rows).set_index("set").round(4).to_string())


def causes_part(P):
    from attrood.why.benchmark import compare_inputs

    for n in P:
        p = P[n]
        R0 = standard(P, n)
        keep = np.flatnonzero(~p.ref)
        rng = np.random.default_rng(0)
        keep = np.concatenate([rng.permutation(keep[p.domain[keep] == d])[:400] for d in sorted(set(p.domain[keep]))])
        i = np.flatnonzero(p.idr)
        z, W, reach, _, core = fit(p, i, R0)
        z6 = fit(p, i, R0, k=min(6, len(core)))[0]
        u, u6 = reach.excess(z), Reach.fit(z6[i]).excess(z6)
        c = np.where(p.ood, p.domain, "ID")[keep]
        C = p.E[[core_columns(p.E.columns)[x] for x in core]].to_numpy()
        T = compare_inputs(
            {"axes": u[keep], "six axes": u6[keep], "core columns": C[keep], "all evidence": p.E.to_numpy()[keep]},
            c,
            permutations=0,
            n_boot=200,
        )
        print(n, len(set(c)), "causes")
        print(T.round(3).to_string(), flush=True)


def standard_part(P):
    "ID rows alone: the standard of other families as it is, beside axes that the set's own rows have a part in; AUROC, and the rate of new ID rows that a threshold accepts."
    rows = []
    for n, p in P.items():
        R0, ids = standard(P, n), np.flatnonzero(p.idr)
        f, out = folds_of(ids), {"set": n}
        for name, weight in (("standard", np.inf), ("refitted", 3000.0)):
            accepted, inside, found = 0, [], []
            for a in range(5):
                b = (a + 1) % 5
                z, _, reach, _, _ = fit(p, ids[(f != a) & (f != b)], R0, weight)
                s = additive(reach, z)[0]
                t, new = choose_threshold(s[ids[f == b]], 0.95), s[ids[f == a]]
                law = betabinom(len(new), t.rank, t.n_id + 1 - t.rank)
                k = int((new <= t.value).sum())
                accepted += k
                inside.append(law.cdf(k) > 0.025 and law.sf(k - 1) > 0.025)
                found.append(np.mean([auc(new, s[p.domain == d]) for d in p.domains]))
            out |= {
                f"{name} AUROC": np.mean(found),
                f"{name} realised": accepted / len(ids),
                f"{name} folds in interval": np.mean(inside),
            }
        rows.append(out)
    print(pd.DataFrame(rows).set_index("set").round(4).to_string())


def loads_part(P):
    "Axes and names of every set, in the order of rows and mixed: for the part kernels."
    found = {}
    for n, p in P.items():
        R0, i = standard(P, n), np.flatnonzero(p.idr)
        for order, rows in (("as it is", i), ("mixed", np.random.default_rng(5).permutation(i))):
            W, core = (fit(p, rows, R0)[k] for k in (1, 4))
            S, groups = few_axes(known(R0, core), len(W)), [CORE_GROUPS[c] for c in core]
            found[f"{n}, {order}"] = (name_axes(W, groups, S, name_axes(S, groups)[0])[0], W)
    pd.to_pickle(found, os.environ["LOADS"])


def kernels_part(P):
    "Names and loadings under the kernels of OpenBLAS that the processor has, and another order of rows."
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as td:
        made = {}
        for kernel in ("Haswell", "Zen", "SkylakeX", "Sandybridge", "Nehalem"):
            env = os.environ | {"OPENBLAS_CORETYPE": kernel, "LOADS": f"{td}/{kernel}"}
            if subprocess.run([sys.executable, __file__, sys.argv[1], "loads"], env=env).returncode:
                print(f"{kernel}: not on this processor")
                continue
            made[kernel] = pd.read_pickle(f"{td}/{kernel}")
    first = made["Haswell"]
    same, off = True, 0.0
    for found in made.values():
        for key, (names, W) in found.items():
            base = first[f"{key.split(', ')[0]}, as it is"]
            same &= names == base[0]
            off = max(off, float(np.abs(W - base[1]).max()))
    print(
        f"{len(made)} kernels, 2 orders, {len(P)} sets: names {'equal' if same else 'DIFFER'}, largest difference of a loading {off:.1e}"
    )


def held_part(P, F=5, most=500):
    "What each axis sees of classes that were held out of the list and of the reference, ID rows alone; and a sum weighted by it."
    from study_sets import word_columns

    from attrood.evidence import EmbeddingScores
    from attrood.evidence.registry import array_evidence

    rows = []
    for n, p in P.items():
        if p.raw.get("x") is None or p.raw.get("words") is None:
            continue
        x, text, words, scale = (np.asarray(p.raw[k], float) for k in ("x", "text", "words", "scale"))
        x, idr = x / np.linalg.norm(x, axis=1, keepdims=True), np.flatnonzero(p.idr)
        said = np.where(~p.ood, (x @ text.T).argmax(1), -1)
        used, counts = np.unique(said[~p.ood], return_counts=True)
        used, R0, seen = used[np.argsort(-counts, kind="stable")][:40], standard(P, n), []
        W, core = (fit(p, idr, R0)[k] for k in (1, 4))
        for a in range(min(F, len(used))):
            out = used[np.arange(len(used)) % F == a]
            keep, rng = np.setdiff1d(np.arange(len(text)), out), np.random.default_rng(0)
            gone = np.isin(said, out)
            ref = np.flatnonzero(p.ref & ~p.ood & ~gone)
            old, new = (rng.permutation(idr[m])[:most] for m in (~gone[idr], gone[idr]))
            if min(len(ref), len(new)) < 10 or len(old) < 20:
                continue
            at = np.r_[ref, old, new]
            mask = np.arange(len(at)) < len(ref)
            E = array_evidence(x[at] @ text[keep].T, float(scale))
            for name, v in (
                EmbeddingScores.fit(x[ref], text[keep], logit_scale=float(scale)).columns(x[at], mask).items()
            ):
                E[name] = v
            for name, v in word_columns(x[at], text[keep], words, mask)[0].items():
                E[name] = v
            V = E[[core_columns(E.columns)[c] for c in core]].to_numpy(float)[~mask]
            z = (V - V[: len(old)].mean(0)) / V[: len(old)].std(0) @ W.T
            seen.append([auc(z[: len(old), j], z[len(old) :, j]) for j in range(len(W))])
        sees = np.mean(seen, 0)
        z, _, reach, _, _ = fit(p, idr, R0)
        parts, o = reach.parts(z), np.flatnonzero(p.ood & ~p.ref)

        def mean(s, p=p, idr=idr, o=o):
            return np.mean([auc(s[idr], s[o][p.domain[o] == d]) for d in p.domains])

        best = max(mean(p.E[c].to_numpy()) for c in p.E)
        weight = np.maximum(2 * sees - 1, 0) ** 2
        rows.append(
            {
                "set": n,
                "held-out classes": " ".join(f"{v:.2f}" for v in sees),
                "real OoD": " ".join(f"{mean(z[:, j]):.2f}" for j in range(len(W))),
                "even": mean(parts.sum(1)) - best,
                "weighted": mean(parts @ weight) - best,
            }
        )
    print(pd.DataFrame(rows).set_index("set").round(4).to_string())


def card_part(P):
    "Write the standard: correlations, axes, names, titles, completeness, and how far the axes move without each family."
    import json

    G = standard(P)
    gn = [CORE_GROUPS[c] for c in ALL]
    W = few_axes(G, 5, tol=1e-12)
    names = name_axes(W, gn)[0]
    order = sorted(range(len(W)), key=lambda j: NAMES.index(names[j]))
    W, names = W[order], [names[j] for j in order]
    fam = sorted({family(n) for n in STANDARD_SETS})
    moved = {
        f: match_axes(W, few_axes(standard(P, next(n for n in STANDARD_SETS if family(n) == f)), 5))
        .cosine.round(3)
        .tolist()
        for f in fam
    }
    card = {
        "evidence": ALL,
        "weight": 3000,
        "alpha": 0.3,
        "correlation": G.round(4).tolist(),
        "names": names,
        "components": W.round(4).tolist(),
        "titles": {"en": [axis_title(w, gn) for w in W], "ja": [axis_title(w, gn, "ja") for w in W]},
        "coverage": coverage(W, G).round(3).tolist(),
        "without": moved,
        "sets": {n: int(P[n].idr.sum()) for n in STANDARD_SETS},
    }
    Path(os.environ.get("CARD", "standard.json")).write_text(json.dumps(card, ensure_ascii=False, indent=1))
    print(
        json.dumps(
            {k: card[k] for k in ("names", "titles", "coverage", "without", "sets")}, ensure_ascii=False, indent=1
        )
    )
    print(
        "completeness by k:",
        {
            k: (coverage(few_axes(G, k), G).min().round(2), coverage(few_axes(G, k), G).mean().round(3))
            for k in range(1, 9)
        },
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    parts = sys.argv[2:] or ["table"]
    with threadpool_limits(1):
        P = load(
            folder,
            [
                "animals",
                "pets",
                "food",
                "objects",
                "pets84",
                "food75",
                "food101",
                "food101w",
                "newcomer",
                "newcomer_log",
                "newcomer_plain",
            ],
        )
        for part in parts:
            globals()[f"{part}_part"](P)
