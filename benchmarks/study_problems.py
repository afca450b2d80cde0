"""The three problems of the studies of words and of reasons: animals, pets and food as ID, with the sets that each is set against.

FOLDER holds clip_vitb32_photos.npz and clip_vitb32_sets.npz, embeddings of OpenAI CLIP ViT-B/32; see study_words.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attrood.evidence.vocabulary import bundled_bank
from attrood.ground import unit_rows
from attrood.log.rows import reference_rows

BANK, VECTORS, _ = bundled_bank()
RIGHT = {k: v for k, v in json.loads((Path(__file__).parent / "words_right.json").read_text()).items() if k != "note"}
LABELS = {  # label and set whose names are judged, and the entry of words_right.json
    "animals": [
        ("bicycle", "objects", "bicycle"),
        ("car", "objects", "car"),
        ("flower", "objects", "flower"),
        ("airplane", "vehicles 32 px", "airplane"),
        ("automobile", "vehicles 32 px", "car"),
        ("ship", "vehicles 32 px", "ship"),
        ("truck", "vehicles 32 px", "truck"),
    ],
    "pets": [("", "flowers", "flower"), ("", "aircraft", "airplane")],
    "food": [("", "flowers", "flower"), ("", "aircraft", "airplane")],
}


@dataclass
class Problem:
    "One ID set against others."

    name: str
    x: np.ndarray  # (n, d) unit image embeddings
    t: np.ndarray  # (C, d) unit text embeddings
    classes: list[str]
    domain: np.ndarray  # (n,) "id" or the name of an OoD set
    label: np.ndarray  # (n,)
    reference: np.ndarray  # (n,) True for rows of the fit

    def __post_init__(self) -> None:
        self.sets = [d for d in dict.fromkeys(self.domain.tolist()) if d != "id"]
        self.far = [d for d in self.sets if d not in ("near", "animals 32 px")]
        self.new = (self.domain == "id") & ~self.reference

    def rows(self, label: str, domain: str) -> np.ndarray:
        "Rows of a set, or of one label in it."
        return (self.domain == domain) & ((self.label == label) if label else True)


def problems(folder: Path) -> list[Problem]:
    "Animals, pets, food."
    z = np.load(folder / "clip_vitb32_photos.npz")
    names = {"none": "id", "covariate": "animals 32 px", "semantic": "objects", "both": "vehicles 32 px"}
    domain = np.array([names[s] for s in z["shift"]])
    found = [
        Problem(
            "animals",
            unit_rows(z["image_embeddings"]),
            unit_rows(z["text_embeddings"]),
            z["class_names"].tolist(),
            domain,
            z["label"],
            reference_rows(z["sample_id"], np.where(domain == "id", "id", "ood")),
        )
    ]
    z = np.load(folder / "clip_vitb32_sets.npz")
    for name in ("pets", "food"):
        mine = z["class_set"] == name
        classes = z["class_names"][mine].tolist()
        domain = np.where(z["domain"] == name, np.where(np.isin(z["label"], classes), "id", "near"), z["domain"])
        found.append(
            Problem(
                name,
                unit_rows(z["image_embeddings"]),
                unit_rows(z["text_embeddings"][mine]),
                classes,
                domain,
                z["label"],
                reference_rows(z["sample_id"], np.where(domain == "id", "id", "ood")),
            )
        )
    return found
