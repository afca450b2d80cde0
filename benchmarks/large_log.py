"""A log of any number of rows, made by repeating a bundled one with a little noise, to measure at scale with.

Usage: python benchmarks/large_log.py ROWS OUT.parquet [--log animals] [--seed 0]

Every row is a row of the bundled log with noise of a hundredth of each column's spread, kept inside the column's range, and an id of its own. What the
columns of a row say of each other stays true to about that noise. It is written batch after batch, so any size will do.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from attrood.log import Log, bundled_log  # noqa: E402

SIZE = 65_536  # rows of a batch


def noisy(log: Log, first: int, rows: int, rng: np.random.Generator) -> pa.Table:
    "Rows `first` to `first + rows` of the large log."
    at = (first + np.arange(rows)) % len(log)
    table = log.table.take(pa.array(at))
    for i, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
        if field.name == "id":
            table = table.set_column(i, "id", pa.array([f"image-{first + j:09d}.jpg" for j in range(rows)]))
        elif pa.types.is_floating(kind):
            whole, values = log.array(field.name), Log(table, log.manifest).array(field.name).astype(np.float64)
            values += 0.01 * whole.std(0) * rng.standard_normal(values.shape)
            values = np.clip(values, whole.min(0), whole.max(0))
            if field.name == "top_cosine":
                values = -np.sort(-values, axis=1)
            flat = pa.array(values.ravel(), kind)
            made = pa.FixedSizeListArray.from_arrays(flat, field.type.list_size) if values.ndim == 2 else flat
            table = table.set_column(i, field.name, made)
    return table


def write(rows: int, out: Path, name: str = "animals", seed: int = 0) -> None:
    "Write the large log."
    log, rng = bundled_log(name), np.random.default_rng(seed)
    schema = log.table.schema.with_metadata({Log.KEY: log.manifest.to_json().encode()})
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for first in range(0, rows, SIZE):
            writer.write_table(noisy(log, first, min(SIZE, rows - first), rng).cast(schema), row_group_size=SIZE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--log", default="animals")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(given.rows, given.out, given.log, given.seed)
