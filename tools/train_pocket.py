"""Train the pocket model again, write its weights, or measure them on a file.

    python tools/train_pocket.py train --data food101_64_train.parquet --run pocket-run --minutes 90
    python tools/train_pocket.py export --run pocket-run --out pocket.safetensors
    python tools/train_pocket.py test --data food101_64_test.parquet

The recipe and what came of it: nbs/20_results/10_pocket_training.ipynb.
"""

import argparse
import copy
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attrood.ground import atomic_path
from attrood.inference.pocket import (
    FOOD_TEMPLATE,
    calibration,
    embed_classes,
    evaluate_pocket,
    need,
    predict_pocket,
    read_parquet_images,
    register_pocket,
    to_tensor,
)

HELPER = "class_vectors"  # name of the parameter that only training has
HORIZON = 20_000  # images over which the weights are averaged
TEMPLATES = (
    FOOD_TEMPLATE,
    "a photo of {}.",
    "{}",
    "a photo of the {}.",
    "a close-up photo of {}.",
    "a picture of {}.",
    "a plate of {}.",
    "{}, a dish.",
    "a bad photo of {}.",
    "a good photo of {}.",
    "a cropped photo of {}.",
    "a small photo of {}.",
    "a bright photo of {}.",
    "a dark photo of {}.",
    "a blurry photo of {}.",
    "a low resolution photo of {}.",
    "a jpeg photo of {}.",
    "food: {}.",
    "{} served at a restaurant.",
    "my {}.",
    "an image of {}.",
    "the {} that we ordered.",
    "a photo of homemade {}.",
    "{}, a type of food.",
)


def augment(
    images: Any,  # (n, h, w, 3) uint8 tensor
    size: int,  # side of the result in pixels
    smallest: float = 0.25,  # smallest share of the area that a crop keeps
) -> Any:  # (n, size, size, 3) uint8 tensor
    "Random resized and turned crop, horizontal flip, brightness, saturation and contrast, each image its own."
    torch = need("torch")
    n, draw = len(images), lambda a, b, *shape: torch.empty(len(images), *shape, device=images.device).uniform_(a, b)
    area, ratio = draw(smallest, 1), torch.exp(draw(math.log(3 / 4), math.log(4 / 3)))
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    angle, flip = draw(-0.2, 0.2), draw(-1, 1).sign()
    theta = torch.stack(
        [
            torch.stack([wide * flip * angle.cos(), -high * angle.sin(), draw(-1, 1) * (1 - wide)], 1),
            torch.stack([wide * flip * angle.sin(), high * angle.cos(), draw(-1, 1) * (1 - high)], 1),
        ],
        1,
    )
    grid = torch.nn.functional.affine_grid(theta, [n, 3, size, size], align_corners=False)
    x = images.permute(0, 3, 1, 2).float() / 255
    x = torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    x = x * draw(0.7, 1.3, 1, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * draw(0.5, 1.5, 1, 1, 1)
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + (x - level) * draw(0.7, 1.3, 1, 1, 1)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def mix_images(
    images: Any,  # (n, h, w, 3) tensor
    share: Any,  # (n, c) shares of each class, rows sum to 1
) -> tuple[Any, Any]:  # mixed images and shares
    "Mix every image with the next one and share the classes alike: by blending (mixup, Zhang et al. 2018) or by a rectangle (CutMix, Yun et al. 2019)."
    torch = need("torch")
    n, h, w, _ = images.shape
    kept = float(torch.rand(()))
    if torch.rand(()) < 0.5:
        return (kept * images.float() + (1 - kept) * images.roll(1, 0).float()).round().to(
            images.dtype
        ), kept * share + (1 - kept) * share.roll(1, 0)
    side = math.sqrt(1 - kept)
    high, wide = max(1, round(h * side)), max(1, round(w * side))
    top, left = int(torch.randint(h - high + 1, ())), int(torch.randint(w - wide + 1, ()))
    mixed = images.clone()
    mixed[:, top : top + high, left : left + wide] = images.roll(1, 0)[:, top : top + high, left : left + wide]
    kept = 1 - high * wide / (h * w)
    return mixed, kept * share + (1 - kept) * share.roll(1, 0)


def pocket_loss(
    image: Any,  # (b, d) normalised image embeddings
    text: Any,  # (c, d) normalised embeddings, one prompt per class
    scale: Any,  # learned logit scale
    target: Any,  # (b, c) shares of each class in each image, rows sum to 1
    smoothing: float = 0.1,  # label smoothing
    back: float = 0.2,  # weight of the text-to-image part
) -> Any:  # scalar
    "Contrastive loss in which all captions of a class are positives, @eq-pocket."
    logits = scale * image @ text.T
    soft = target * (1 - smoothing) + smoothing / target.shape[1]
    forward = -(soft * logits.log_softmax(1)).sum(1).mean()
    present = target.sum(0) > 0
    positives = target[:, present] / target[:, present].sum(0)
    return (1 - back) * forward - back * (positives * logits[:, present].log_softmax(0)).sum(0).mean()


def _save(path: Path, tensors: dict[str, Any], note: dict[str, Any]) -> None:
    "Write a safetensors file whole or not at all."
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path, "weights") as part:
        need("safetensors.torch").save_file(flat, part, metadata={"attrood": json.dumps(note)})
        os.chmod(part, 0o644)  # safetensors writes files that nobody else may read


def _load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    "Tensors and note of a file that `_save` wrote."
    with need("safetensors").safe_open(path, framework="pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["attrood"])


def _average(tensors: list[Any]) -> None:
    "Replace floating-point tensors by their mean over the processes."
    torch, dist = need("torch"), need("torch.distributed")
    if dist.is_initialized():
        flat = torch.cat([t.flatten() for t in tensors]).float()
        dist.all_reduce(flat)
        parts = (flat / dist.get_world_size()).split([t.numel() for t in tensors])
        torch._foreach_copy_(tensors, [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])


def _schedule(
    done: float,  # share of the time that has passed, 0 to 1
    peak: float,  # largest learning rate
    warmup: float = 0.05,  # share of the time for the linear rise
) -> tuple[float, int]:  # learning rate, side of the training images in pixels
    "Cosine to zero on the clock, and images that grow."
    rise = min(1.0, (done + 1e-3) / warmup)
    fall = 0.5 * (1 + math.cos(math.pi * max(0.0, done - warmup) / (1 - warmup)))
    return peak * max(rise * fall, 1e-3), 40 if done < 0.2 else 48 if done < 0.6 else 56


def _new_model(seed: int, device: str, n_class: int) -> tuple[Any, Any, Any]:
    "A model with random weights and helper vectors, its tokenizer, and an AdamW that decays matrices only and moves the text tower slowly."
    torch, open_clip, name = need("torch"), need("open_clip"), register_pocket()
    torch.manual_seed(seed)
    model = open_clip.create_model(name, pretrained=None, device=device).to(memory_format=torch.channels_last)
    model.register_parameter(
        HELPER, torch.nn.Parameter(torch.randn(n_class, model.text_projection.shape[1], device=device))
    )
    groups: dict[tuple[float, float], list[Any]] = {}
    for n, p in model.named_parameters():
        image = n.startswith("visual.")
        groups.setdefault(
            (0.2 if image and p.ndim > 1 else 0.0, 1.0 if image or n in (HELPER, "logit_scale") else 0.25), []
        ).append(p)
    optimizer = torch.optim.AdamW(
        [{"params": p, "weight_decay": decay, "pace": pace} for (decay, pace), p in groups.items()]
    )
    return model, open_clip.get_tokenizer(name), optimizer


def _floats(model: Any) -> list[Any]:
    "Everything in a model that can be averaged."
    return [t for t in model.state_dict().values() if t.is_floating_point()]


def _resume(path: Path, model: Any, ema: Any, optimizer: Any) -> dict[str, Any]:
    "Put a saved state back; the clock and the history are returned."
    tensors, note = _load(path)
    for prefix, module in (("model.", model), ("ema.", ema)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        if key.startswith("opt."):
            state.setdefault(int(key.split(".")[1]), {})[key.split(".")[2]] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return note


def _state(model: Any, ema: Any, optimizer: Any) -> dict[str, Any]:
    "Weights, moving average and optimiser moments under flat names."
    tensors = {"model." + k: v for k, v in model.state_dict().items()} | {
        "ema." + k: v for k, v in ema.state_dict().items()
    }
    return tensors | {f"opt.{i}.{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()}


def _steps(
    model: Any, text: Any, optimizer: Any, batches: list[tuple[Any, Any]], size: int, opt: dict[str, Any]
) -> float:
    "A few steps on batches of (uint8 images, class indices); the mean loss of the captions."
    torch, total = need("torch"), 0.0
    words: Any = None
    tokens, n_class = text
    unit = lambda v: torch.nn.functional.normalize(v.float(), dim=1)  # noqa: E731
    for i, (images, target) in enumerate(batches):
        images, share = augment(images, size), torch.nn.functional.one_hot(target, n_class).float()
        if torch.rand(()) < opt["mixed"]:
            images, share = mix_images(images, share)
        prompt = tokens[torch.randint(len(tokens), (n_class,)), torch.arange(n_class)]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=opt["lowp"]):
            image = unit(model.encode_image(to_tensor(images)))
            words = unit(model.encode_text(prompt)) if i % 2 == 0 else words.detach()
        scale = model.logit_scale.exp()
        loss = pocket_loss(image, words, scale, share)
        optimizer.zero_grad()
        (loss + pocket_loss(image, unit(getattr(model, HELPER)), scale, share, back=0.0)).backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        total += float(loss.detach())
    return total / len(batches)


def _batches(n: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    "Endless index batches, every epoch in a new order."
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        yield from (order[i : i + batch] for i in range(0, n - batch + 1, batch))


def _validate(ema: Any, tokenizer: Any, folder: Path) -> float:
    "Top-1 accuracy on the held-out images."
    names, target = np.unique(np.load(folder / "labels.npy"), return_inverse=True)
    held = np.load(folder / "held_out.npy")
    with need("torch").inference_mode():
        text = embed_classes(ema, tokenizer, list(names))
    return calibration(predict_pocket(ema, np.load(folder / "images.npy", mmap_mode="r")[held], text), target[held])[
        "top1"
    ]


def _tick(start: float, folder: Path) -> tuple[float, bool]:
    "Seconds so far and whether somebody asked to stop: the first process's word for all."
    torch, dist = need("torch"), need("torch.distributed")
    clock = torch.tensor([time.monotonic() - start, (folder / "stop").exists()], dtype=torch.float64)
    if dist.is_initialized():
        dist.broadcast(clock, 0)
    return float(clock[0]), bool(clock[1])


def _worker(rank: int, world: int, run: str, opt: dict[str, Any]) -> None:
    "One process of the training: steps, averaging, the clock, and now and then a look at the held-out images."
    torch, folder = need("torch"), Path(run)
    if world > 1:
        torch.set_num_threads(1)
        need("torch.distributed").init_process_group(
            "gloo", init_method=f"file://{folder.resolve()}/meet", rank=rank, world_size=world
        )
    images, labels = torch.from_numpy(np.load(folder / "images.npy", mmap_mode="c")), np.load(folder / "labels.npy")
    names, target = np.unique(labels, return_inverse=True)
    train, y = np.setdiff1d(np.arange(len(labels)), np.load(folder / "held_out.npy")), torch.from_numpy(target)
    model, tokenizer, optimizer = _new_model(opt["seed"], opt["device"], len(names))
    ema, note = copy.deepcopy(model), {"elapsed": 0.0, "seen": 0, "sitting": 0, "history": [], "earlier": [], **opt}
    if (folder / "state.safetensors").exists():
        note |= {k: v for k, v in _resume(folder / "state.safetensors", model, ema, optimizer).items() if k not in opt}
    elif opt["start"]:
        before = _resume(Path(opt["start"]), model, ema, optimizer)
        note["earlier"] = [
            *before.get("earlier", []),
            {k: before[k] for k in ("elapsed", "seen", "sitting", "history")},
        ]
    stream = 1000 * note["sitting"] + 10 * opt["seed"] + rank
    torch.manual_seed(1000 + stream)
    tokens = torch.stack([tokenizer([t.format(n.replace("_", " ")) for n in names]) for t in TEMPLATES]).to(
        opt["device"]
    )
    draw, start, saved, total = (
        _batches(len(train), opt["batch"], stream),
        time.monotonic() - note["elapsed"],
        time.monotonic(),
        60 * opt["minutes"],
    )
    note["sitting"], ending = note["sitting"] + 1, False
    while not ending:
        rate, size = _schedule(min(1.0, note["elapsed"] / total), opt["peak"])
        for group in optimizer.param_groups:
            group["lr"] = rate * group["pace"]
        picks = [train[next(draw)] for _ in range(opt["sync"])]
        loss = _steps(
            model,
            (tokens, len(names)),
            optimizer,
            [(images[p].to(opt["device"]), y[p].to(opt["device"])) for p in picks],
            size,
            opt,
        )
        _average(_floats(model) + [s[k] for s in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq")])
        note["seen"] += world * opt["sync"] * opt["batch"]
        torch._foreach_lerp_(_floats(ema), _floats(model), 1 - math.exp(-world * opt["sync"] * opt["batch"] / HORIZON))
        note["elapsed"], stop = _tick(start, folder)
        ending = stop or note["elapsed"] >= total
        if rank == 0 and (ending or time.monotonic() - saved > 120):
            seen = {
                "minute": note["elapsed"] / 60,
                "epoch": note["seen"] / len(train),
                "loss": loss,
                "lr": rate,
                "size": size,
            }
            note["history"].append(seen | {"top1": _validate(ema, tokenizer, folder)})
            print(json.dumps(note["history"][-1]), file=sys.stderr, flush=True)
            _save(folder / "state.safetensors", _state(model, ema, optimizer), note)
            saved = time.monotonic()


def train_pocket(
    data: str | os.PathLike[str],  # Parquet file of training images
    run: str | os.PathLike[str],  # folder for the state; training goes on from what is there
    minutes: float = 90,  # length of the whole schedule on the clock
    seed: int = 0,  # of weights, batches and augmentation
    workers: int = 2,  # processes; 1 on a GPU
    batch: int = 128,  # images a step and process
    peak: float = 2e-3,  # largest learning rate
    sync: int = 8,  # steps between two averagings
    mixed: float = 0.8,  # share of the steps on images that are mixed from two
    lowp: bool = True,  # bfloat16 in the towers; slow on processors that lack it
    start: str
    | os.PathLike[str]
    | None = None,  # state of another run to begin from, its clock set back: a warm restart (Loshchilov and Hutter 2017)
) -> dict[str, Any]:  # the clock and the history
    "Train the pocket model, or go on training it; ten images a class are held out of training for the curve and the scale."
    torch, folder = need("torch"), Path(run)
    if minutes <= 0 or workers < 1:
        raise ValueError(f"minutes must be > 0 and workers >= 1, got {minutes} and {workers}")
    if start and not Path(start).is_file():
        raise FileNotFoundError(f"start {start}: no such file")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "held_out.npy").exists():
        images, labels = read_parquet_images(data)
        rng = np.random.default_rng(seed)
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)
        np.save(
            folder / "held_out.npy",
            np.concatenate([rng.choice(np.flatnonzero(labels == c), 10, replace=False) for c in np.unique(labels)]),
        )
    for name in ("meet", "stop"):
        (folder / name).unlink(missing_ok=True)
    gpu = torch.cuda.is_available()
    opt = {
        "minutes": minutes,
        "seed": seed,
        "batch": batch,
        "peak": peak,
        "sync": sync,
        "mixed": mixed,
        "lowp": lowp,
        "start": str(start or ""),
        "device": "cuda" if gpu else "cpu",
    }
    world = 1 if gpu else workers
    if world == 1:
        _worker(0, 1, str(folder), opt)
    else:
        need("torch.multiprocessing").spawn(_worker, (world, str(folder), opt), nprocs=world)
    return _load(folder / "state.safetensors")[1]


def export_pocket(
    run: str | os.PathLike[str],  # folder of `train_pocket`
    out: str | os.PathLike[str],  # safetensors file to write
    which: str = "ema",  # the moving average, or "model", the last weights
) -> dict[str, Any]:  # results on the held-out images, size in bytes, SHA-256
    "Calibrate the scale on the held-out images and write float16 weights."
    if which not in ("ema", "model"):
        raise ValueError(f"which must be 'ema' or 'model', got {which!r}")
    torch, folder = need("torch"), Path(run)
    tensors, note = _load(folder / "state.safetensors")
    weights = {k.removeprefix(which + "."): v for k, v in tensors.items() if k.startswith(which + ".")}
    held = np.load(folder / "held_out.npy")
    images, labels = np.load(folder / "images.npy", mmap_mode="r")[held], np.load(folder / "labels.npy")
    names, target = np.unique(labels, return_inverse=True)
    model, tokenizer, _ = _new_model(0, "cpu", len(names))
    model.load_state_dict(weights)
    weights.pop(HELPER)
    with torch.inference_mode():
        text = embed_classes(model, tokenizer, list(names))
    cosine = predict_pocket(model, images, text) / float(model.logit_scale.detach().exp())
    scales = np.exp(np.linspace(math.log(2), math.log(100), 200))
    best = min(scales, key=lambda s: calibration(s * cosine, target[held])["nll"])
    weights["logit_scale"] = torch.tensor(math.log(best))
    half = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    result = {k: calibration(best * cosine, target[held])[k] for k in ("top1", "top5", "nll", "ece")}
    card = {
        k: note[k]
        for k in ("minutes", "elapsed", "seen", "sitting", "seed", "batch", "peak", "sync", "mixed", "earlier")
    } | {"scale": float(best), "held_out": result}
    _save(Path(out), half, card | {"history": note["history"]})
    blob = Path(out).read_bytes()
    return card | {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}


def main(
    argv: list[str] | None = None,  # arguments; None: those of the process
) -> int:  # exit status
    "Train, export or test the pocket model: `python tools/train_pocket.py train|export|test`."
    parser = argparse.ArgumentParser(description="Train, export or test the pocket model.")
    parser.add_argument("what", choices=("train", "export", "test"))
    parser.add_argument(
        "--data", default="../shared/data/images/food101_64_train.parquet", help="Parquet file of images"
    )
    parser.add_argument("--run", default="pocket-run", help="folder of the training's state")
    parser.add_argument("--out", default="pocket.safetensors", help="weights to write")
    parser.add_argument("--weights", default=None, help="weights to test; the package's own if left out")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--start", default=None, help="state of another run to begin from, its clock set back")
    parser.add_argument("--float32", action="store_true", help="no bfloat16, for processors that lack it")
    a = parser.parse_args(argv)
    try:
        if a.what == "train":
            result = train_pocket(
                a.data, a.run, a.minutes, a.seed, a.workers, peak=a.peak, lowp=not a.float32, start=a.start
            )["history"][-1]
        elif a.what == "export":
            result = export_pocket(a.run, a.out)
        else:
            result = evaluate_pocket(a.data, a.weights)
    except (ValueError, OSError) as error:
        print(f"pocket: {error}", file=sys.stderr)
        return 2
    print(json.dumps({k: v for k, v in result.items() if not isinstance(v, np.ndarray)}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
