"""The retake gate on real pictures: photographs of food with made faults at five severities, asked with the pocket model.

    python benchmarks/study_retake.py FOOD_FOLDER [--each 3] [--work DIR]

FOOD_FOLDER holds photographs in class folders. Every second photograph stays as it is and is an ID row; each of the others is changed by some camera faults, picture
i and fault j at severity (i + j) mod 5 + 1. The gate is set on half of all rows and judged on the other half: refused, accuracy of the rest, by fault and by severity.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from attrood.act import retake_gate
from attrood.log import make, read_log
from attrood.why.causes import CAUSES, image_causes, perturb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--each", type=int, default=3)
parser.add_argument("--work", type=Path, default=Path(tempfile.mkdtemp()))
args = parser.parse_args()
faults, photos = image_causes("camera"), sorted(args.folder.glob("*/*.jpg"))
for i, file in enumerate(photos):
    image = Image.open(file).convert("RGB")
    changes = (
        [("as it is", 0)]
        if i % 2 == 0
        else [(f, (i + j) % 5 + 1) for j, f in enumerate(faults) if (i // 2 + j) % len(faults) < args.each]
    )
    for fault, level in changes:
        level = min(level, len(CAUSES[fault].settings)) if level else 0
        made = perturb(image, fault, level, key=file.name) if level else image
        out = (
            args.work
            / ("known" if not level else "changed")
            / file.parent.name
            / f"{file.stem}-{fault.replace(' ', '_')}-{level}.jpg"
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        made.save(out, quality=95)
names = args.work / "names.txt"
names.write_text("\n".join(sorted({p.parent.name for p in photos})))
run = ["infer", "--id", str(args.work / "known"), "--ood", f"changed={args.work / 'changed'}", "--classes", str(names)]
code = "from attrood.entrance.cli import main; main()"
subprocess.run(
    [sys.executable, "-c", code, *run, "--model", "pocket", "--picture", "--no-words", "-o", str(args.work / "log")],
    check=True,
)
log = read_log(args.work / "log")
stems = [Path(i).stem.rsplit("-", 2)[1:] for i in log.array("id")]
columns = {n: log.array(n) for n in log.table.column_names} | {
    "fault": np.array([s[0] for s in stems]),
    "severity": np.array([s[1] for s in stems]),
}
from dataclasses import replace  # noqa: E402

log = make.make_log(
    columns, replace(log.manifest, columns=log.manifest.columns | {"fault": "string", "severity": "string"})
)
label, right = log.array("label"), log.array("label") == log.array("prediction")
print(
    f"{len(log)} pictures, {len(photos)} photographs; {right[log.is_id].mean():.3f} of those as they are are right, {right[~log.is_id].mean():.3f} of the others"
)
for accuracy in (0.5, 0.6, 0.7, 0.75, 0.8):
    for by in ("fault", "severity"):
        print(f"\naccuracy {accuracy}, by {by}\n{retake_gate(log, accuracy, by=by).summary()}")
