"""Teach the pocket model words of media, conditions and things, to try reasons by words from end to end.

    python tools/extend_pocket.py --data DIR --out pocket-words.safetensors --minutes 20
    attrood infer --model pocket --pretrained pocket-words.safetensors --words pocket-words.json ...

DIR holds Parquet files of images (`id`, `label`, `image`), by name: food101_64_train, tiny_imagenet_64, cifar100_32,
caltech101, dtd, pacs_*, imagenet16_*. Half of the images of each file but food101_64_train are kept out of training
(`held_out`), so that they can be asked afterwards. The words are written beside the weights. The model that ships is
not touched; what came of it: benchmarks/study_taught.txt.
"""

import argparse
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from train_pocket import FOOD_TEMPLATE, TEMPLATES, _save, augment

from attrood.evidence import vocabulary
from attrood.ground import outputs
from attrood.inference.pocket import load_pocket, need, read_parquet_images, to_tensor
from attrood.why.causes import perturb

MEDIA = {
    "pacs_art_painting": ("painting", "oil painting"),
    "pacs_cartoon": ("cartoon",),
    "pacs_sketch": ("sketch", "drawing", "line art"),
    "imagenet16_edges": ("edge image",),
    "imagenet16_silhouettes": ("silhouette",),
    "dtd": ("texture", "pattern"),
}  # file -> words of its medium
THINGS = ("tiny_imagenet_64", "cifar100_32", "caltech101", "pacs_art_painting", "pacs_cartoon", "pacs_sketch")
CONDITIONS = {
    "blur": ("blurred", "out of focus"),
    "noise": ("noisy",),
    "dark": ("dark", "underexposed"),
    "bright": ("bright", "overexposed"),
    "contrast": ("low contrast", "washed out"),
    "jpeg": ("compressed",),
    "low_resolution": ("low resolution", "pixelated"),
    "occlusion": ("hidden",),
}  # camera fault -> words

PLAIN = (FOOD_TEMPLATE, "a photo of {}.", "{}", "a photo of a {}.")  # templates of a log, where a word has no prompt


def held_out(
    ids: Iterable[str],  # of images
) -> np.ndarray:  # (n,) bool
    "Every second image, by a hash of its id: none of these is trained on."
    return np.array([zlib.crc32(str(i).encode()) % 2 == 1 for i in ids])


def readable(label: str) -> str:
    "A label as a text."
    return label.split(",")[0].replace("_", " ").replace("-", " ").lower()


def read_training(
    data: Path,  # folder of the files
    foods: int = 12_000,  # images of food
) -> tuple[np.ndarray, list[tuple[str, ...]], list[str]]:  # (n, 64, 64, 3) uint8, words of each image, food classes
    "Images that are trained on, with the words that each shows."
    pq = need("pyarrow.parquet")
    images, labels = read_parquet_images(data / "food101_64_train.parquet")
    some = np.random.default_rng(0).permutation(len(images))[:foods]
    classes = [readable(c) for c in sorted(set(labels))]
    pictures, words = [images[some]], [(readable(label),) for label in labels[some]]
    names = list(CONDITIONS)
    made = np.random.default_rng(1).permutation(len(images))[: foods // 2]
    changed = []
    for i, row in enumerate(made):
        name = names[i % len(names)]
        changed.append(perturb(images[row], name, 2 + i // len(names) % 4, key=str(row)))
        words.append((readable(labels[row]), *CONDITIONS[name]))
    pictures.append(np.stack(changed))
    for file in sorted({*MEDIA, *THINGS}):
        own, label = read_parquet_images(data / f"{file}.parquet")
        train = ~held_out(pq.read_table(data / f"{file}.parquet", columns=["id"])["id"].to_pylist())
        pictures.append(own[train])
        for name in label[train]:
            words.append(((readable(name),) if file in THINGS else ()) + MEDIA.get(file, ()))
    return np.concatenate(pictures), words, classes


def known_words(words: Iterable[tuple[str, ...]], classes: Iterable[str]) -> vocabulary.Vocabulary:
    "All words but the classes of food, media and conditions with the prompts of the packaged list."
    own = vocabulary.packaged()["words"]
    rows = [(w, "medium", own["medium"][w] or f"a {w}.") for group in MEDIA.values() for w in group]
    rows += [(w, "condition", own["condition"][w]) for group in CONDITIONS.values() for w in group]
    things = {w for group in words for w in group} - {w for w, _, _ in rows} - set(classes)
    return vocabulary.Vocabulary(*zip(*[(w, "thing", "") for w in sorted(things)] + rows, strict=True))


def train(
    data: Path,  # folder of the files
    out: Path,  # weights to write, float16; the words go beside them
    minutes: float = 20,
    batch: int = 192,  # images a step
    peak: float = 6e-4,  # largest learning rate
    seed: int = 0,
) -> dict[str, Any]:  # steps, last loss
    "Go on training the pocket model with images of many kinds, each with all words that it shows."
    outputs.check_output(out, "weights", [data])  # before the work
    outputs.check_output(out.with_suffix(".json"), "words", [data])
    torch, start = need("torch"), time.monotonic()
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    pictures, shown, classes = read_training(data)
    words = known_words(shown, classes)
    names = [*classes, *words.texts]
    prompts = [[t.format(c) for t in TEMPLATES] for c in classes] + vocabulary.word_prompts(words, PLAIN)
    place = {w: i for i, w in enumerate(names)}
    target = np.zeros((len(pictures), len(names)), np.float32)
    for i, group in enumerate(shown):
        target[i, [place[w] for w in group]] = 1 / len(group)
    weight = 1 / np.sqrt(target.sum(0) + 1)  # rare words are shown more often, a class of food less
    chance = (target * weight).sum(1)
    chance /= chance.sum()
    model, _, tokenizer = load_pocket()
    model.train()
    model.logit_scale.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    rng, steps, loss, begun = np.random.default_rng(seed), 0, math.nan, time.monotonic()
    print(f"{len(pictures)} images, {len(names)} words, read in {begun - start:.0f} s", file=sys.stderr, flush=True)
    while (done := (time.monotonic() - begun) / (60 * minutes)) < 1:
        rate = peak * min(1, (done + 1e-3) / 0.05) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = rng.choice(len(pictures), batch, p=chance)
        image = torch.from_numpy(pictures[rows])
        if steps % 2 == 0:  # crops change what is near, sharp and bright: half of the steps go without
            image = augment(image, 56, 0.5)
        text = tokenizer([p[rng.integers(len(p))] for p in prompts])
        with torch.autocast("cpu", torch.bfloat16):
            t = model.encode_text(text, normalize=True).float()
            v = model.encode_image(to_tensor(image), normalize=True).float()
        logits = 30 * v @ t.T
        error = -(torch.from_numpy(target[rows]) * logits.log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps, loss = steps + 1, float(error.detach())
        if steps % 50 == 0:
            print(f"{100 * done:3.0f} % step {steps} loss {loss:.3f}", file=sys.stderr, flush=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    state["logit_scale"] = torch.tensor(math.log(30.0)).half()
    _save(out, state, {"steps": steps, "minutes": minutes, "seed": seed, "loss": loss})
    vocabulary.write_vocabulary(words, out.with_suffix(".json"))
    return {"steps": steps, "loss": round(loss, 3), "words": len(words)}


def main(argv: list[str] | None = None) -> int:
    "Train: `python tools/extend_pocket.py --data DIR --out FILE`."
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/images"), help="folder of Parquet files")
    parser.add_argument("--out", type=Path, default=Path("pocket-words.safetensors"), help="weights to write")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    try:
        print(json.dumps(train(a.data, a.out, a.minutes, seed=a.seed), indent=1))
    except (ValueError, OSError) as error:
        print(f"pocket: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
