"""What acting does on real sets: classes suggested and added, class vectors tuned, with the bound on the energy change and without.

    python benchmarks/study_act.py FOLDER [suggest] [breeds] [adapt] [fresh] [without] [speed] [log=LOG ...]

FOLDER holds clip_vitb32_photos.npz and clip_vitb32_sets.npz, embeddings of OpenAI CLIP ViT-B/32; see study_words.py. Words are the bundled bank. Names alone
run only those parts. `adapt` draws 16 labelled rows a class five times, with at most 300 rows of each far set; its intervals are of the mean over draws, from their spread (t, 4 degrees of freedom):
they say what another draw of labelled rows would do, not what other images would. `rows say` counts the draws whose own paired interval over the judged rows (DeLong's) lies above 0 and below.
`fresh` does the same with a set as ID that settled nothing about the weights: photographs of three kinds of objects with the 365 names of Objects365; it needs clip_vitb32_words.npz. `log=LOG` does it with a log that `attrood infer --embeddings --words` wrote, of any model. `without` leaves out each term of the loss in turn. The weights of the terms were chosen on these sets with three draws, scores of the axes not looked at: no forecast.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student
from study_problems import BANK, Problem, problems

from attrood.act import adapt, suggest_classes, whatif
from attrood.act.adapting import _scored, judged
from attrood.act.texts import texts_of
from attrood.act.tuning import Weights, tune
from attrood.evidence import log_from_embeddings
from attrood.ground import unit_rows
from attrood.log import Log, read_log
from attrood.log.rows import reference_rows

DRAWS = 5
PARTS = ("suggest", "breeds", "adapt", "fresh", "without", "speed")


def log_of(p: Problem, classes: list[str] | None = None) -> tuple[Log, np.ndarray]:
    "A problem as a log with image vectors, and the vectors of its classes, or of some of them."
    names = classes or p.classes
    t = p.t[[p.classes.index(c) for c in names]]
    log = log_from_embeddings(
        p.x,
        t,
        names,
        ids=[f"{i:05d}" for i in range(len(p.x))],
        domains=p.domain.astype(str),
        roles=np.where(p.domain == "id", "id", "ood"),
        labels=p.label.astype(str),
        evidence=False,
        keep_embeddings=True,
        columns={"reference": p.reference},
        model={"name": "ViT-B-32-quickgelu", "pretrained": "openai"},
    )
    return replace(log, name=p.name), t


def show(title: str, text: object) -> None:
    "A heading and a table."
    print(f"\n## {title}\n\n{text.to_string() if isinstance(text, pd.DataFrame) else text}", flush=True)


def suggest(ps: list[Problem]) -> None:
    "Three words, found without labels, made classes."
    for p in ps:
        log, t = log_of(p)
        found = suggest_classes(log, 3, text=t)
        show(f"{p.name}: three suggested words", found.summary())
        rows = whatif(log, add=found.words, text=t).rows
        mine = rows["after"].isin(found.words)
        changed = (rows["before"] != rows["after"])[rows["role"] == "id"]
        print(mine.groupby(rows["domain"]).mean().round(3).rename("predicted as one of them").to_string())
        print(f"ID predictions changed: {changed.sum()} of {len(changed)} ({changed.mean():.2%})")


BREEDS = {
    "basset hound": "basset",
    "leonberger": "Leonberg",
    "japanese chin": "Japanese spaniel",
}  # label: word of the bank


def breeds(p: Problem) -> None:
    "Pets: the breeds of the near set that the bank has a word for, made classes."
    log, t = log_of(p)
    near = sorted(set(map(str, p.label[p.domain == "near"])))
    known = {label: word for label, word in BREEDS.items() if word in BANK.names and label in near}
    show("pets: breeds of the near set that are words", f"{known}, of {len(near)}: {', '.join(near)}")
    done = whatif(log, add=list(known.values()), text=t)
    print(done.summary())
    rows = done.rows[done.rows["domain"] == "near"]
    own = rows[rows["label"].isin(list(known))]
    print(f"their {len(own)} rows called by their word: {(own['after'] == own['label'].map(known)).mean():.3f}")
    other = rows[~rows["label"].isin(list(known))]
    taken = other["after"].isin(list(known.values())).mean()
    print(f"the other {len(other)} near rows that now get one of these words: {taken:.3f}")
    print(f"called out of them: {other['out before'].mean():.3f} before, {other['out after'].mean():.3f} after")
    left = log.select(np.flatnonzero(~((p.domain == "near") & np.isin(p.label.astype(str), list(known)))))
    table = whatif(left, add=list(known.values()), text=t).auroc
    print("AUROC of these alone\n" + table[table["domain"] == "near"].round(3).to_string(index=False))


def spread(values: np.ndarray) -> str:
    "Mean over draws with its 95 % interval."
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


def draws(log: Log, t: np.ndarray, weights: Weights = Weights(), axes: bool = True) -> pd.DataFrame:  # noqa: B008
    "Tables of five draws of 16 rows a class; what the prompts give is computed once."
    known, x = texts_of(log, text=t, tower=False), unit_rows(log.array("image_embedding").astype(np.float64))
    first, parts = _scored(log, x, known.classes, known, axes), []
    for d in range(DRAWS):
        done, scored = {}, {"before": first}
        for name, w in {"without": replace(weights, bound=0.0), "after": weights}.items():
            if axes or name == "after":
                done[name] = adapt(log, 16, w, f"draw {d}", judge=False, text=t)
                scored[name] = _scored(log, x, done[name].vectors.vectors, known, axes)
        parts.append(judged(log, done["after"].used, scored).assign(draw=d))
    return pd.concat(parts)


def told(table: pd.DataFrame) -> pd.DataFrame:
    "Means over draws and intervals of the differences, one row per measure and set."
    found = []
    for (measure, name), part in table.groupby(["measure", "set"], sort=False):
        row = {"measure": measure, "set": name, "rows": int(part["rows"].iloc[0]), "before": part["before"].mean()}
        for k in ("without", "after"):
            if k in part:
                row |= {k: part[k].mean(), f"{k} - before": spread((part[k] - part["before"]).to_numpy())}
        row["rows say"] = f"{(part['low'] > 0).sum()} up, {(part['high'] < 0).sum()} down"
        found.append(row)
    return pd.DataFrame(found).round(4)


def fewer(p: Problem, most: int = 300) -> Problem:
    "A problem with at most so many rows of each far set, the first by number."
    use = np.zeros(len(p.x), bool)
    for d in dict.fromkeys(p.domain.tolist()):
        rows = np.flatnonzero(p.domain == d)
        use[rows if d in ("id", "near") or p.name == "animals" else rows[:: max(1, -(-len(rows) // most))]] = True
    return Problem(p.name, p.x[use], p.t, p.classes, p.domain[use], p.label[use], p.reference[use])


def cases(ps: list[Problem]) -> list[tuple[str, Log, np.ndarray]]:
    "Pets, food, animals with their 84 names, animals with the three that have photographs."
    made = [(p.name, *log_of(fewer(p))) for p in (ps[1], ps[2], ps[0])]
    return [*made, ("animals, three names", *log_of(ps[0], ["cat", "dog", "horse"]))]


def tuned(ps: list[Problem]) -> None:
    "Before and after, with the bound and without."
    for name, log, t in cases(ps):
        table = draws(log, t)
        keep = table["set"].isin(["mean", "near", "ID"]) | table["set"].str.contains("known classes")
        show(f"{name}: 16 rows a class, {DRAWS} draws", told(table if name.startswith("animals") else table[keep]))


def fresh(folder: Path, ps: list[Problem]) -> None:
    "Before and after on an ID set that settled nothing: photographs of objects, asked with the names of Objects365."
    animals, pets = ps[:2]
    z = np.load(folder / "clip_vitb32_words.npz", allow_pickle=True)
    listed = z["list"] == "objects365"
    names, t = np.char.lower(z["word"][listed].astype(str)), unit_rows(z["text_embeddings"][listed])
    x = np.concatenate([animals.x, pets.x])
    domain = np.concatenate([np.where(animals.domain == "id", "animals", animals.domain), pets.domain]).astype(object)
    domain[np.isin(domain, ["id", "near"])] = "pets"
    domain[domain == "objects"] = "id"
    label = np.concatenate([animals.label, pets.label]).astype(object)
    label[label == "automobile"] = "car"
    label[np.isin(domain, ["animals 32 px", "pets", "food"])] = "?"  # names of their own, few of them asked for
    rows = {d: np.flatnonzero(domain == d) for d in dict.fromkeys(domain.tolist()) if d != "flowers"}  # a class here
    keep = np.concatenate([r if d == "id" else r[:: max(1, -(-len(r) // 300))] for d, r in rows.items()])
    d, ids = domain[keep].astype(str), np.array([f"{i:05d}" for i in range(len(keep))])
    mine = reference_rows(ids, np.where(d == "id", "id", "ood"))
    log, t = log_of(Problem("objects", x[keep], t, names.tolist(), d, label[keep].astype(str), mine))
    show(f"fresh: objects as ID ({log.is_id.sum()} rows, {len(names)} names), {DRAWS} draws", told(draws(log, t)))


def of_log(path: str) -> None:
    "Before and after on a log with its own model."
    log = read_log(path)
    table = draws(log, texts_of(log, tower=False).classes)
    name, classes = log.manifest.model.get("name", "model unknown"), len(log.manifest.class_names)
    show(f"fresh: {log.is_id.sum()} ID rows, {classes} classes, {name}, {DRAWS} draws", told(table))


def without(ps: list[Problem]) -> None:
    "Each term of the loss left out in turn; axes are not judged."
    for name, log, t in cases(ps):
        found = {}
        for what, w in {
            "all terms": Weights(),
            "no bound": Weights(bound=0),
            "bound at the model's temperature": Weights(warmth=1),
            "bound at ten times": Weights(warmth=10),
            "nothing between classes": Weights(between=0),
            "no zero-shot answers kept": Weights(keep=0),
            "cross-entropy alone": Weights(0, 2, 0, 0),
        }.items():
            table = draws(log, t, weights=w, axes=False)
            keep = table["set"].isin(["mean", "near", "ID"]) | table["set"].str.contains("known classes")
            means = (
                (table["after"] - table["before"])[keep].groupby([table["measure"], table["set"]], sort=False).mean()
            )
            found[what] = means
        show(f"{name}: differences, mean of {DRAWS} draws", pd.DataFrame(found).T.round(4))


def clocked(what: str, job: Callable[[], object]) -> object:
    "What a job gives; its time is printed."
    wall, own = time.perf_counter(), time.process_time()
    done = job()
    print(f"{what}: {time.perf_counter() - wall:.1f} s, of them {time.process_time() - own:.1f} s of the processor")
    return done


def speed() -> None:
    "Time of tuning 1,000 rows of 100 classes, and of all that `adapt` does with them, axes fitted to three sets of vectors too."
    rng = np.random.default_rng(0)
    t = unit_rows(rng.normal(size=(100, 512)))
    y = np.repeat(np.arange(100), 25)
    x = unit_rows(0.12 * t[y] + rng.normal(size=(len(y), 512)) / 512**0.5)
    words = unit_rows(rng.normal(size=(2000, 512)))
    few = np.arange(len(y)) % 25 < 10
    for how, more in {"tuning, early stop": {}, "tuning, all 200 steps": {"patience": 10**6}}.items():
        done = clocked(how, lambda more=more: tune(x[few], y[few], t, words=words, **more))
        print(f"  {len(done.validation) - 1} steps")
    foreign = unit_rows(rng.normal(size=(500, 512)))
    names = [f"class {i}" for i in range(100)]
    log = log_from_embeddings(
        np.concatenate([x, foreign]),
        t,
        names,
        domains=["id"] * len(y) + ["foreign"] * 500,
        roles=["id"] * len(y) + ["ood"] * 500,
        labels=[names[i] for i in y] + ["?"] * 500,
        evidence=False,
        keep_embeddings=True,
    )
    done = clocked("adapt, with judging", lambda: adapt(log, 10, text=t))
    print(f"  {int(done.used.sum())} rows")


if __name__ == "__main__":
    folder, asked = Path(sys.argv[1]), sys.argv[2:] or list(PARTS)
    ps = problems(folder)
    if "suggest" in asked:
        suggest(ps)
    if "breeds" in asked:
        breeds(ps[1])
    if "adapt" in asked:
        tuned(ps)
    if "fresh" in asked:
        fresh(folder, ps)
    for part in asked:
        if part.startswith("log="):
            of_log(part.removeprefix("log="))
    if "without" in asked:
        without(ps)
    if "speed" in asked:
        speed()
