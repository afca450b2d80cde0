"""Real ID problems for the study of few axes: evidence tables with a reference, an ID part and OoD domains. Run: python benchmarks/study_sets.py DATA OUT [NAME=LOG ...]

DATA holds clip/clip_vitb32_{photos,sets,words}.npz. A NAME=LOG is a further problem, a log of the pocket model that keeps its embeddings: the study's are newcomer, a folder of 770 images, and food101w,
the images of the bundled Food-101 log. OUT gets one table per problem, in pandas' own pickle format: for this study alone, the package never reads one.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from attrood.evidence import EmbeddingScores, evidence_frame, extras
from attrood.evidence.list_fit import list_fit
from attrood.evidence.neglabel import neglabel_score
from attrood.evidence.registry import array_evidence
from attrood.evidence.vocabulary import bundled_bank
from attrood.evidence.words import fit_words
from attrood.log import bundled_log, read_log
from attrood.log.rows import reference_rows

ANIMALS = """horse cat dog cow sheep elephant zebra giraffe bear bird duck pigeon chicken goose swan penguin goldfish deer lion monkey rabbit yak camel
antelope parrot seal butterfly donkey dolphin jellyfish pig crab fish""".split()
FOODS = """apple orange banana tomato vegetables cake bread pizza dessert lemon broccoli donut carrot strawberry pepper pie cookies grape potato sausage egg candy
cucumber pear hamburger onion beans watermelon cream fries cabbage dog peach rice pineapple mango corn lettuce garlic sandwich nuts plum fruit shrimp sushi cheese
cherry pasta avocado melon mushroom eggplant coconut chips steak pomegranate meatball papaya tart grapefruit radish baozi rolls asparagus scallop noddles dumpling oyster lobster durian okra""".split()


def plain(word):
    "A word without its sense, in small letters."
    return re.sub(r"_?\(.*\)", "", str(word)).replace("_", " ").strip().lower()


def unit(x):
    x = np.asarray(x, float)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def other_words(words, vectors, classes, text, near=0.92):
    "Mask of words that mean no class: not the same name, not a part of it or it a part of them, text cosine below `near`."
    names = {plain(c) for c in classes}
    tokens = {t for n in names for t in [n, *n.split()] if len(t) > 2}
    same = np.array([plain(w) in names or bool(set(plain(w).split()) & names) or plain(w) in tokens for w in words])
    return ~same & ((unit(vectors) @ unit(text).T).max(1) < near)


def word_columns(x, text, vectors, reference, level=0.99):
    "Margin of the best word over the best class, plain and with each word discounted by its ID point; share of words in a softmax with classes."
    best = (x @ text.T).max(1)
    points = np.quantile(x[reference] @ vectors.T - best[reference, None], level, axis=0)
    gain = x @ vectors.T - best[:, None]
    share = neglabel_score(
        100 * x @ text.T, 100 * (x @ vectors.T - np.maximum(points, 0)), groups=min(100, len(vectors))
    )
    return {"word_margin_plain": gain.max(1), "word_margin": (gain - points).max(1), "word_share": share}, (
        gain - points
    ).argmax(1)


def build(x, text, scale, role, domain, label, ids, words, classes, fraction=0.2, reference=None):
    "Everything that a log with embeddings and words would hold."
    x, text = unit(x), unit(text)
    ref = reference_rows(ids, np.where(role, "ood", "id"), fraction) if reference is None else reference
    E = array_evidence(x @ text.T, scale)
    for name, values in EmbeddingScores.fit(x[ref], text, logit_scale=scale).columns(x, ref).items():
        E[name] = values
    if words is not None:
        keep = other_words(words["word"], words["text_embeddings"], classes, text)
        made, best = word_columns(x, text, unit(words["text_embeddings"])[keep], ref)
        for name, values in made.items():
            E[name] = values
    return {
        "E": E,
        "ood": role.copy(),
        "domain": domain.copy(),
        "ref": ref,
        "id": np.asarray(ids),
        "x": x.astype(np.float32),
        "text": text,
        "scale": scale,
        "words": None if words is None else unit(words["text_embeddings"])[keep].astype(np.float32),
        "label": label,
        "list_fit": fit_of_list(x[ref], text, classes, scale, words) if words is not None else {},
    }


def fit_of_list(x, text, classes, scale, words):
    "How well the class names fit reference images, as a log with the package's words knows it."
    bank, vectors, _ = bundled_bank()
    given = words.get("bank") if isinstance(words, dict) else None  # another model embeds the words itself
    fitted = fit_words(x, text, [str(c) for c in classes], bank, vectors if given is None else given, scale)
    found = list_fit(fitted, x)
    return found | {"word_share": found["word_mass"]} if found else {}


def arrays(data):
    "Photographs, sets and words as they are stored, and the domains of the photographs."
    photos, sets, words = (
        np.load(data / f"clip/clip_vitb32_{n}.npz", allow_pickle=True) for n in ("photos", "sets", "words")
    )
    shift = photos["shift"]
    domain = np.select(
        [shift == "none", shift == "covariate", shift == "semantic"],
        ["animal_photos", "animals_32px", "object_photos"],
        "vehicles_32px",
    )
    return photos, sets, words, domain


def together(data):
    "Vectors, domains and ids of all images, the photographs first."
    photos, sets, _, mine = arrays(data)
    x = np.concatenate([photos["image_embeddings"], sets["image_embeddings"]])
    domain = np.concatenate([mine, sets["domain"]]).astype(str)
    return x, domain, np.concatenate([photos["sample_id"], sets["sample_id"]]).astype(str)


def problems(data):
    "Yield (name, problem) of the CLIP sets."
    photos, sets, words, pd_ = arrays(data)
    plain_words = np.array([plain(w) for w in words["word"]])
    px, sx, shift = photos["image_embeddings"], sets["image_embeddings"], photos["shift"]
    yield (
        "animals",
        build(
            px,
            photos["text_embeddings"],
            100.0,
            shift != "none",
            pd_,
            photos["label"],
            photos["sample_id"],
            words,
            photos["class_names"],
        ),
    )
    for name in ("pets", "food"):
        mine = sets["class_set"] == name
        classes, text = sets["class_names"][mine], sets["text_embeddings"][mine]
        near = (sets["domain"] == name) & ~np.isin(sets["label"], classes)
        domain = np.where(near, f"near_{name}", sets["domain"])
        yield name, build(sx, text, 100.0, domain != name, domain, sets["label"], sets["sample_id"], words, classes)
    objects = (words["list"] == "objects365") & np.array(
        [not set(w.replace("/", " ").split()) & {*ANIMALS, *FOODS} for w in plain_words]
    )
    x = np.concatenate([px, sx[~np.isin(sets["domain"], ["actions", "flowers"])]])
    domain = np.concatenate(
        [
            np.where(shift == "semantic", "objects", np.where(shift == "none", "animal_photos", pd_)),
            sets["domain"][~np.isin(sets["domain"], ["actions", "flowers"])],
        ]
    )
    domain = np.where(domain == "aircraft", "objects", domain)
    ids = np.concatenate([photos["sample_id"], sets["sample_id"][~np.isin(sets["domain"], ["actions", "flowers"])]])
    yield (
        "objects",
        build(
            x,
            words["text_embeddings"][objects],
            100.0,
            domain != "objects",
            domain,
            domain,
            ids,
            words,
            words["word"][objects],
        ),
    )
    # pets with the 84 animal names: a broad list over narrow images
    yield (
        "pets84",
        build(
            sx,
            photos["text_embeddings"],
            100.0,
            sets["domain"] != "pets",
            sets["domain"],
            sets["label"],
            sets["sample_id"],
            words,
            photos["class_names"],
        ),
    )
    foods = (words["list"] == "objects365") & np.array(
        [bool(set(w.replace("/", " ").split()) & set(FOODS)) and w != "hot dog" for w in plain_words]
    )
    yield (
        "food75",
        build(
            sx,
            words["text_embeddings"][foods],
            100.0,
            sets["domain"] != "food",
            sets["domain"],
            sets["label"],
            sets["sample_id"],
            words,
            words["word"][foods],
        ),
    )


FLOWERS = re.compile(
    r"\b(flower|rose|daisy|lily|tulip|orchid|lotus|sunflower|lavender|slipper|plant|leaf|rapeseed|artichoke|cardoon|maple"
    r"|houseplant|carnation)\b"
)
VEHICLES = re.compile(
    r"\b(airliner|airplane|aircraft|warplane|airship|helicopter|jet plane|fighter jet|seaplane|space shuttle|car|bus|truck"
    r"|train|van|motorcycle|bicycle|boat|ship|tank|tractor|ambulance|taxi|scooter|wagon|limousine|minivan|jeep|convertible)\b"
)
FRESH = ("flowers", "aircraft", "animals32", "actions", "patents", "textures")  # ID sets that settled nothing


def fresh_problems(data):
    """Yield (name, problem) of sets that were OoD alone before, as ID: with a list that names what they show (flowers,
    aircraft; animals of 32 pixels), and with 365 names of objects that hardly do (video frames, line drawings, textures)."""
    photos, _, words, mine = arrays(data)
    named, lists, shift = np.array([plain(w) for w in words["word"]]), words["list"], photos["shift"]
    rows = together(data)

    def one(name, at, without=()):
        return at_most(rows, words, name, at, without)

    def first(pattern):
        return first_of(named, lists, pattern)

    yield "flowers", one("flowers", first(FLOWERS), ("object_photos",))
    yield "aircraft", one("aircraft", first(VEHICLES))
    for name in ("actions", "patents", "textures"):
        yield name, one(name, np.flatnonzero(lists == "objects365"))
    text, classes = photos["text_embeddings"], photos["class_names"]
    own = (photos["image_embeddings"], text, 100.0, shift != "covariate", mine)
    yield "animals32", build(*own, photos["label"], photos["sample_id"], words, classes)


LISTS = ("flowers365", "aircraft365", "food365", "pets365", "animals365", "vehicles32", "photos_oi", "patents_veh")


def list_problems(data):
    """Yield (name, problem) of the same images asked with other lists: five sets with 365 names of objects, photographs of
    objects with 500 of Open Images, line drawings and small vehicles with names of vehicles."""
    words, rows = arrays(data)[2], together(data)
    named, lists = np.array([plain(w) for w in words["word"]]), words["list"]
    o365, vehicles = np.flatnonzero(lists == "objects365"), first_of(named, lists, VEHICLES)
    asked = {f"{n}365": (n, o365, ()) for n in ("flowers", "aircraft", "food", "pets")}
    asked["animals365"] = ("animal_photos", o365, ("animals_32px",))
    asked["vehicles32"] = ("vehicles_32px", vehicles, ("object_photos", "aircraft"))
    openimages = np.flatnonzero(lists == "openimages")
    asked["photos_oi"] = ("object_photos", openimages, ("vehicles_32px", "aircraft", "flowers"))
    asked["patents_veh"] = ("patents", vehicles, ())
    for name, (d, at, without) in asked.items():
        yield name, at_most(rows, words, d, at, without)


def first_of(named, lists, pattern):
    "A row for each name, of the first list that has it."
    at = {}
    for source in ("lvis", "openimages", "imagenet", "objects365"):
        for i in np.flatnonzero((lists == source) & [bool(pattern.search(w)) for w in named]):
            at.setdefault(named[i], i)
    return np.array(sorted(at.values()))


def at_most(images, words, name, at, without=(), most=400):
    "A problem with at most so many rows of each domain."
    x, domain, ids = images
    keep, rng = ~np.isin(domain, without), np.random.default_rng(0)
    for d in sorted(set(domain)):
        rows = np.flatnonzero((domain == d) & keep)
        if len(rows) > most:
            keep[rows] = False
            keep[rng.permutation(rows)[:most]] = True
    d, text = domain[keep], words["text_embeddings"][at]
    return build(x[keep], text, 100.0, d != name, d, d, ids[keep], words, words["word"][at])


POCKET_ROWS = {
    "food101": 4000,
    "tiny_imagenet": 2000,
    "cifar100": 1500,
}  # images at most of a domain in a pocket problem


def pocket_problem(path):
    "A problem from a log of the pocket model with embeddings; a domain that ends in _train is the reference if the log marks none."
    import torch

    from attrood.inference.pocket import embed_classes, load_pocket

    log, template = read_log(path), None
    domain, rng = log.array("domain").astype(str), np.random.default_rng(0)
    keep = np.ones(len(log), bool)
    for name, most in POCKET_ROWS.items():
        rows = np.flatnonzero(domain == name)
        if len(rows) > most:
            keep[rows] = False
            keep[rng.permutation(rows)[:most]] = True
    model, _, tokenizer = load_pocket()
    words = dict(np.load(DATA / "clip/clip_vitb32_words.npz", allow_pickle=True))
    template = tuple(log.manifest.templates or ("a photo of a {}.",))
    with torch.no_grad():
        text = embed_classes(model, tokenizer, log.manifest.class_names, template).numpy()
        named = [plain(w) for w in words["word"]]

        def embedded(names):
            parts = [names[i : i + 500] for i in range(0, len(names), 500)]
            return np.concatenate([embed_classes(model, tokenizer, part, template).numpy() for part in parts])

        words["text_embeddings"] = embedded(named)
        words["bank"] = embedded(list(bundled_bank()[0].texts))
    marked = (
        log.array("reference").astype(bool)[keep]
        if "reference" in log.table.column_names
        else np.char.endswith(domain[keep], "_train")
    )
    x = np.stack(list(log.array("image_embedding"))).astype(float)[keep]
    return build(
        x,
        text,
        log.manifest.logit_scale,
        ~log.is_id[keep],
        domain[keep],
        log.array("label")[keep],
        log.array("id").astype(str)[keep],
        words,
        log.manifest.class_names,
        reference=marked,
    )


def log_problems(path):
    "The log's own evidence, with the package's columns of words and of the picture, and without either."
    log = read_log(path)
    E, ref = evidence_frame(log), np.zeros(len(log), bool)
    if "reference" in log.table.column_names:
        ref = log.array("reference").astype(bool)
    plain = [c for c in E if not c.startswith(("picture", "word"))]
    base = {"ood": ~log.is_id, "domain": log.array("domain").astype(str), "ref": ref, "x": None}
    base["list_fit"] = extras.known_list_fit(log)
    return {"log": base | {"E": E}, "plain": base | {"E": E[plain], "list_fit": {}}}


def report(name, p, out):
    pd.to_pickle(p, out / f"{name}.pkl")
    print(name, p["E"].shape, "ID", int((~p["ood"] & ~p["ref"]).sum()), "reference", int(p["ref"].sum()), flush=True)


def main(out, *pocket):
    out.mkdir(exist_ok=True, parents=True)
    for make in (problems, fresh_problems, list_problems):
        for name, p in make(DATA):
            report(name, p, out)
    log = bundled_log("food101-pocket")
    report(
        "food101",
        {
            "E": evidence_frame(log),
            "ood": ~log.is_id,
            "domain": log.array("domain").astype(str),
            "ref": log.array("reference").astype(bool),
            "id": log.array("id").astype(str),
            "x": None,
            "label": log.array("label"),
        },
        out,
    )
    for given in pocket:
        name, _, path = given.partition("=")
        report(name, pocket_problem(path), out)
        for kind, p in log_problems(path).items():
            report(f"{name}_{kind}", p, out)


if __name__ == "__main__":
    DATA = Path(sys.argv[1])
    main(Path(sys.argv[2]), *sys.argv[3:])
