"""Make attrood/assets/picture_causes.npz: which camera fault a picture has, from its pixels, relative to familiar pictures.

Usage: python tools/make_picture_causes.py

Fitted on the measures of 420 photographs of Food-101 and their changed copies, nbs/03_evidence/data/picture_measures.parquet, as chapter
"Picture causes" does; the measures of Caltech-101 in the same file are left out, so that the chapter can judge the model on them.
"""

from pathlib import Path

import pandas as pd

from attrood.evidence.picture import MEASURES
from attrood.evidence.picture_causes import PACKAGED, PictureCauses
from attrood.evidence.picture_reference import PictureReference

ROOT = Path(__file__).parents[1]


def main() -> None:
    "Fit and write."
    rows = pd.read_parquet(ROOT / "nbs/03_evidence/data/picture_measures.parquet")
    food = rows[rows["source"] == "food"].reset_index(drop=True)
    plain = (food["cause"] == "none") & (food["change"] == "")
    known = PictureReference.fit(food.loc[plain, list(MEASURES)])
    out = ROOT / "attrood" / PACKAGED
    PictureCauses.fit([(known, food)], [food["cause"]]).save(out)
    print(f"{out.name}: {out.stat().st_size / 1e3:.0f} kB, from {plain.sum()} photographs and {len(food)} pictures")


if __name__ == "__main__":
    main()
