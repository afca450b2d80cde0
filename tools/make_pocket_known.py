"""Write tests/pocket_known.json: what the pocket weights that ship give for a synthetic picture, and their top-1 accuracy.

Usage: python tools/make_pocket_known.py FOOD101_64_TEST.parquet
"""

import json
import sys
from pathlib import Path

import torch

from attrood.inference import pocket

ROOT = Path(__file__).parents[1]


def main(data: str) -> None:
    "Measure and write."
    sys.path.insert(0, str(ROOT / "tests"))
    from test_pocket import NAMES, synthetic

    model, _, tokenizer = pocket.load_pocket()
    with torch.inference_mode():
        text = pocket.embed_classes(model, tokenizer, NAMES)
    known = {
        "names": NAMES,
        "logits": pocket.predict_pocket(model, synthetic()[None], text)[0].round(5).tolist(),
        "top1": pocket.evaluate_pocket(data)["top1"],
    }
    (ROOT / "tests" / "pocket_known.json").write_text(json.dumps(known) + "\n")
    print(known)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
