"""Are the probabilities of reasons right where no known cause is given? Packaged odds beside odds learnt from classes left out of the list, on eleven problems of two models.

    attrood infer --id food=IMAGES/food101_64_test.parquet@4040 --ood tiny=IMAGES/tiny_imagenet_64.parquet@1500 --ood cifar100=IMAGES/cifar100_32.parquet \
        --ood cifar10=IMAGES/cifar10_32.parquet@1000 --ood dtd=IMAGES/dtd.parquet --ood art=IMAGES/pacs_art_painting.parquet --ood cartoon=IMAGES/pacs_cartoon.parquet \
        --ood sketch=IMAGES/pacs_sketch.parquet --ood caltech=IMAGES/caltech101.parquet --model pocket --template "a photo of {}, a type of food." --words --embeddings -o LOG.parquet
    python benchmarks/study_odds.py FOLDER LOG.parquet [--diagrams FILE.json]

FOLDER holds clip_vitb32_photos.npz, clip_vitb32_sets.npz and clip_vitb32_words.npz, embeddings of OpenAI CLIP ViT-B/32 (see study_words.py). The pocket model knows foods of 64 pixels and little else: asked for CIFAR-100, Tiny ImageNet or Caltech-101 by its words it is close to blind.
A hash of the ids gives a fifth of the ID rows to scores, words and odds; the others are judged by halves, each by limits from the other half. No OoD row settles anything. A first reason is right if it is familiar for ID rows, not_in_list for the others, picture for animals of 32 pixels;
of paintings, cartoons and sketches beside photographs either of the two (strict: not_in_list alone). Half of the weight is on ID rows, the other half shared by the sets; classes that are near the list have a column of their own. Intervals of 95 % by the bootstrap of rows.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from study_problems import BANK, VECTORS, Problem, problems

from attrood.evidence import log_from_embeddings
from attrood.evidence.vocabulary import Vocabulary, vocabulary
from attrood.ground import unit_rows
from attrood.inference.encoder import class_vectors, word_vectors
from attrood.inference.pocket import FOOD_TEMPLATE
from attrood.log import Log, read_log
from attrood.log.rows import reference_rows
from attrood.why.known_classes import calibration_error
from attrood.why.log_reasons import reason_table
from attrood.why.reasons import Reasons

MEDIA = ("art", "cartoon", "sketch")
Words = tuple[Vocabulary, np.ndarray, float]  # words, their vectors, logit scale
THINGS = ["horse", "dog", "cat", "bird", "frog", "deer", "ship", "airplane", "truck", "car", "bicycle", "flower"]


def problem(
    name: str, x: np.ndarray, t: np.ndarray, classes: list[str], domain: np.ndarray, label: np.ndarray
) -> Problem:
    "With a fifth of the ID rows as reference."
    ids = ids_of(name, len(x))
    return Problem(name, x, unit_rows(t), classes, domain, label, reference_rows(ids, roles_of(domain), 0.2))


def ids_of(name: str, n: int) -> np.ndarray:
    "Ids of the rows of a problem."
    return np.array([f"{name}_{i:05d}" for i in range(n)], object)


def roles_of(domain: np.ndarray) -> np.ndarray:
    "id or ood."
    return np.where(domain == "id", "id", "ood").astype(object)


def clip_problems(folder: Path) -> list[tuple[Problem, Words]]:
    "Animals, pets, food; all photographs by what they show; textures and flowers asked with names of objects."
    z, s, w = (np.load(folder / f"clip_vitb32_{n}.npz") for n in ("photos", "sets", "words"))
    found = problems(folder)
    bare = [n.partition(" (")[0] for n in BANK.names]
    label = np.where(z["label"] == "automobile", "car", z["label"]).astype(object)
    far = np.isin(s["domain"], ["food", "textures", "actions", "xray", "patents"])
    x = np.concatenate([unit_rows(z["image_embeddings"]), unit_rows(s["image_embeddings"][far])])
    domain = np.r_[np.full(len(label), "id", object), s["domain"][far].astype(object)]
    of = np.r_[label, s["label"][far].astype(object)]
    found.append(problem("things", x, VECTORS[[bare.index(n) for n in THINGS]], THINGS, domain, of))
    objects = w["list"] == "objects365"
    for own, others in (("textures", ()), ("flowers", ("textures",))):
        use = np.isin(s["domain"], [own, "pets", "food", "aircraft", "xray", *others])
        domain = np.where(s["domain"][use] == own, "id", s["domain"][use]).astype(object)
        x, t, of = s["image_embeddings"][use], w["text_embeddings"][objects], s["label"][use].astype(object)
        found.append(problem(f"{own} by objects", unit_rows(x), t, w["word"][objects].tolist(), domain, of))
    return [(p, (BANK, VECTORS, 100.0)) for p in found]


def pocket_problems(log: Log) -> list[tuple[Problem, Words]]:
    "Food, a fifth of its classes, and three sets that the model cannot read the names of."
    from attrood.inference.model import load_vlm

    vlm, bank, out = load_vlm("pocket", device="cpu"), vocabulary(), []
    x, domain, label = unit_rows(log.array("image_embedding").astype(float)), log.array("domain"), log.array("label")
    for own, template, every, same in (
        ("food", FOOD_TEMPLATE, 1, ()),
        ("food", FOOD_TEMPLATE, 5, ()),
        ("cifar100", "a photo of a {}.", 1, ("tiny", "cifar10")),
        ("tiny", "a photo of a {}.", 1, ("cifar100", "cifar10", "caltech")),
        ("caltech", "a photo of a {}.", 1, ("tiny", "cifar100", "cifar10", *MEDIA)),
    ):
        use, classes = ~np.isin(domain, same), sorted(set(label[domain == own]))[::every]
        inside = np.where(np.isin(label, classes), "id", "near")
        kind = np.where(domain == own, inside, domain)[use].astype(object)
        name = f"pocket, {own}{f', {len(classes)} classes' if every > 1 else ''}"
        p = problem(name, x[use], class_vectors(vlm, classes, [template]), classes, kind, label[use])
        out.append((p, (bank, word_vectors(vlm, bank, [template]), vlm.logit_scale)))
    return out


def words_log(p: Problem, words: Words) -> Log:
    "With words, distances, and what classes left out have taught."
    ids, roles = ids_of(p.name, len(p.x)), roles_of(p.domain)
    labels = [v if r == "id" and v in p.classes else None for v, r in zip(p.label.tolist(), roles, strict=True)]
    given = {"ids": ids.tolist(), "domains": p.domain.tolist(), "roles": roles.tolist(), "labels": labels}
    reference = reference_rows(ids, roles, 0.2)
    return log_from_embeddings(
        p.x, p.t, p.classes, words[2], **given, reference=reference, words=words[0], word_embeddings=words[1]
    )


def right(p: Problem, t: pd.DataFrame, strict: bool) -> np.ndarray:
    "Whether the first reason is so."
    d, said = p.domain[t.index], t["reason"].to_numpy()
    truth = np.select([d == "id", d == "animals 32 px"], ["familiar", "picture"], "not_in_list")
    return (said == truth) | (~np.bool_(strict) & np.isin(d, MEDIA) & np.isin(said, ["picture", "not_in_list"]))


def weights(d: np.ndarray) -> np.ndarray:
    "Half on ID rows, the other half shared by the sets."
    sets = [s for s in dict.fromkeys(d.tolist()) if s != "id"]
    shares = [0.5 / (d == "id").sum(), *(0.5 / len(sets) / (d == s).sum() for s in sets)]
    return np.select([d == s for s in ("id", *sets)], shares)


def errors(p: Problem, t: pd.DataFrame) -> tuple[dict[str, float], pd.DataFrame]:
    "Calibration errors of the first reason, and the diagram."
    far = p.domain[t.index] != "near"
    found, diagram = {}, pd.DataFrame()
    said, d = t["reason"].to_numpy(), p.domain[t.index]
    for name, use, strict in (
        ("error", far, False),
        ("strict", far, True),
        ("near too", np.ones(len(t), bool), False),
        ("not unclear", far & (said != "unclear"), False),
    ):
        of = t[use]
        found[name], table = calibration_error(of["reason_probability"], right(p, of, strict), weights(d[use]))
        diagram = table if name == "error" else diagram
    w = weights(d[far])
    found["stated"] = float(np.average(t["reason_probability"][far], weights=w))
    found["right"] = float(np.average(right(p, t[far], False), weights=w))
    found["unclear"] = float(np.average(said[far] == "unclear", weights=w))
    found["familiar"] = float((said[d == "id"] == "familiar").mean())
    return found, diagram


def interval(p: Problem, t: pd.DataFrame, draws: int = 200) -> str:
    "Of the error, by the bootstrap of rows."
    far = p.domain[t.index] != "near"
    of, d = t[far], p.domain[t.index][far]
    ok, q, rng, out = right(p, of, False), of["reason_probability"].to_numpy(), np.random.default_rng(0), []
    for _ in range(draws):
        w = weights(d) * rng.multinomial(len(d), np.full(len(d), 1 / len(d)))
        out.append(calibration_error(q, ok, w)[0])
    low, high = np.quantile(out, [0.025, 0.975])
    return f"[{low:.3f}, {high:.3f}]"


def judged(p: Problem, log: Log, learnt: bool) -> list[pd.DataFrame]:
    "First reasons of the rows that settled nothing, by limits of each half."
    new, tables = log.positions(log.is_id & ~log.array("reference")), []
    for k in (0, 1):
        half = np.isin(np.arange(len(log)), new[k::2])
        fitted = Reasons.fit(log, rows=half)
        fitted = fitted if learnt else replace(fitted, left_out={})
        tables.append(reason_table(log, fitted)[~half & ~log.array("reference")])
    return tables


def main() -> None:
    "Print a table for each kind of odds."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--diagrams", type=Path, help="keep the reliability of stated probabilities in a JSON file")
    args = parser.parse_args()
    rows: dict[str, dict[str, dict[str, object]]] = {"packaged": {}, "learnt": {}}
    diagrams = {}
    for p, words in clip_problems(args.folder) + pocket_problems(read_log(args.log)):
        log = words_log(p, words)
        taught = Reasons.fit(log).left_out
        print(f"{p.name}: {int(log.array('reference').sum())} reference rows, odds {taught or 'packaged'}")
        for kind in rows if taught else ["packaged"]:
            tables = judged(p, log, kind == "learnt")
            found = [errors(p, t) for t in tables]
            mean = pd.DataFrame([e for e, _ in found]).mean().round(3).to_dict()
            rows[kind][p.name] = {"error": mean.pop("error"), "interval": interval(p, tables[0]), **mean}
            diagrams[f"{p.name}, {kind}"] = {c: found[0][1][c].round(4).tolist() for c in found[0][1]}
    for kind, table in rows.items():
        print(f"\n## {kind}\n\n{pd.DataFrame(table).T.to_string()}")
    if args.diagrams:
        args.diagrams.write_text(json.dumps(diagrams, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
