"""Make attrood/assets/animals.parquet from real CLIP embeddings.

Usage: python tools/make_bundled_log.py CLIP_VITB32_PHOTOS.npz

The input holds embeddings of OpenAI CLIP ViT-B/32 (image_embeddings, text_embeddings, class_names, label, source, shift, sample_id). Only what is
computed from them is kept: scalars, the ten best cosines, every evidence that the embeddings allow, and the best of the package's words that are no
classes (assets/words_vitb32.npz), no embedding and no image. A fifth of the ID rows, chosen by a hash of their ids, is the reference that distances
and words are fitted on; the column `reference` marks them.
"""

import sys
from pathlib import Path

import numpy as np

from attrood.evidence import log_from_embeddings, vocabulary
from attrood.log import write_log
from attrood.log.rows import reference_rows

DOMAIN = {"none": "animal_photos", "covariate": "animals_32px", "semantic": "object_photos", "both": "vehicles_32px"}
PHOTOS = {"source": "https://github.com/ahmedembeddedx/Cross-Modality_Search_Engine", "license": "Apache-2.0"}
CIFAR = {
    "source": "https://github.com/infinitiveaman/clip-cifar10-search (CIFAR-10 test images)",
    "license": "none stated; CIFAR-10 is for research",
}
WHAT = {"animal_photos": PHOTOS, "object_photos": PHOTOS, "animals_32px": CIFAR, "vehicles_32px": CIFAR}


def main(npz: Path, out: Path) -> None:
    "Compute the log's columns and write it."
    z = np.load(npz)
    domains = np.array([DOMAIN[s] for s in z["shift"]])
    roles = np.where(z["shift"] == "none", "id", "ood")
    sources = [
        {"domain": d, "role": "id" if d == "animal_photos" else "ood", "rows": int((domains == d).sum()), **WHAT[d]}
        for d in sorted(WHAT)
    ]
    reference = reference_rows(z["sample_id"].tolist(), roles)
    words, vectors, _ = vocabulary.bundled_bank()
    log = log_from_embeddings(
        z["image_embeddings"],
        z["text_embeddings"],
        z["class_names"].tolist(),
        100.0,
        ids=z["sample_id"].tolist(),
        domains=domains.tolist(),
        roles=roles.tolist(),
        labels=z["label"].tolist(),
        columns={"shift": z["shift"]},
        reference=reference,
        words=words,
        word_embeddings=vectors,
        sources=sources,
        model={"name": "ViT-B-32-quickgelu", "pretrained": "openai", "weights": "OpenAI CLIP ViT-B/32"},
        templates=["a {}"],
        precision="fp16 embeddings",
        notes="84 animal names as classes; text embeddings: https://github.com/facebookresearch/Detic (Apache-2.0). "
        "Words that are no classes: assets/words_vitb32.npz of the package, which names its sources.",
    )
    write_log(log.canonical(), out)
    print(f"{out}: {len(log)} rows, {out.stat().st_size / 1e3:.0f} kB, fingerprint {log.fingerprint()[:12]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(__file__).parents[1] / "attrood" / "assets" / "animals.parquet")
