"Columns of the user's Parquet sources: carried into the log in their types, named clearly where they cannot be, and seen by `factors`."

import datetime as dt
import io
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from attrood.act import whatif
from attrood.entrance.cli import app
from attrood.inference import infer
from attrood.log import read_log

KEPT = {
    "camera": pa.string(),
    "site": pa.int64(),
    "hour": pa.float64(),
    "flag": pa.bool_(),
    "at": pa.timestamp("us"),
    "day": pa.date32(),
    "price": pa.decimal128(10, 2),
}


def picture(i, dark):
    rng, f = np.random.default_rng(i), io.BytesIO()
    a = np.kron(rng.integers(60, 190, (5, 5, 3)), np.ones((8, 8, 1))) * (0.35 if dark else 1)
    Image.fromarray(a.astype(np.uint8)).save(f, "PNG")
    return f.getvalue()


def street(n=150):
    "Every third picture is from the camera that takes dark ones; one picture is broken, and much is missing."
    rng = np.random.default_rng(1)
    camera = np.array(["left", "right", "night"], object)[np.arange(n) % 3]
    return pa.table(
        {
            "id": [f"{i:03d}" for i in range(n)],
            "label": [("pizza", "sushi")[i % 2] for i in range(n)],
            "image": [b"broken" if i == 17 else picture(i, camera[i] == "night") for i in range(n)],
            "camera": pa.array([c if i % 11 else None for i, c in enumerate(camera)]).dictionary_encode(),
            "site": pa.array([int(v) if i % 7 else None for i, v in enumerate(rng.integers(2**53, 2**60, n))]),
            "hour": rng.uniform(0, 24, n),
            "flag": pa.array([bool(v) if i % 5 else None for i, v in enumerate(rng.integers(0, 2, n))]),
            "at": pa.array([dt.datetime(2026, 1, 1, 0, 0, 0, i) for i in range(n)], pa.timestamp("us")),
            "day": pa.array([dt.date(2026, 1, 1 + i % 28) for i in range(n)]),
            "price": pa.array([Decimal(i) / 4 if i % 4 else None for i in range(n)], pa.decimal128(10, 2)),
            "boxes": [[1, 2]] * n,
            "nothing": pa.nulls(n),
            "__index_level_0__": np.arange(n),
        }
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    table = street()
    pq.write_table(table, folder / "street.parquet", row_group_size=40)
    some = table.slice(0, 30).set_column(0, "id", pa.array([f"x{i}" for i in range(30)])).select(["id", "image"])
    pq.write_table(some.append_column("weather", pa.array(["rain"] * 30)), folder / "other.parquet")
    pq.write_table(table.append_column("energy", pa.array(["x"] * 150)), folder / "clash.parquet")
    pq.write_table(some.append_column("site", pa.array(["s"] * 30)), folder / "types.parquet")
    return folder


def run(place, out, id="street.parquet", ood="other.parquet", **more):
    settings = {"model": "pocket", "classes": "pizza,sushi", "workers": 0, "progress": False, "batch_size": 25} | more
    return infer(str(place / id), str(place / ood) if ood else (), out=out, **settings)


@pytest.fixture(scope="module")
def log(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("log") / "log"
    run(place, out, picture=True, shard_rows=50, embeddings=True)
    return out


def held(log, table):
    "Own columns of a log and of the table they come from, in one order."
    at = {f"street/{i}": k for k, i in enumerate(table["id"].to_pylist())}
    rows = [i for i, x in enumerate(log.array("id")) if x in at]
    return rows, table.take([at[log.array("id")[i]] for i in rows])


def test_types_and_missing_values_are_kept(log):
    made, table = read_log(log), street()
    rows, theirs = held(made, table)
    assert len(rows) == 149 and len(made) == 178  # one is a reject, twice
    for name, kind in KEPT.items():
        assert made.table.schema.field(name).type == kind, name
        assert made.table[name].take(rows).to_pylist() == theirs[name].to_pylist(), name
        assert made.table[name].take([i for i in range(len(made)) if i not in set(rows)]).null_count == 29, name
    assert made.table["weather"].null_count == 149 and set(made.table["weather"].to_pylist()) == {"rain", None}
    assert not {"boxes", "nothing", "__index_level_0__", "id_1"} & set(made.table.column_names)
    assert made.manifest.columns["camera"] == "string"


def test_one_file_other_workers_and_row_order_change_nothing(place, log, tmp_path):
    run(place, tmp_path / "log.parquet", picture=True, embeddings=True, shard_rows=50, workers=2)
    a, b = read_log(log), read_log(tmp_path / "log.parquet")
    assert a.fingerprint() == b.fingerprint()
    assert run(place, tmp_path / "log.parquet", picture=True, embeddings=True, shard_rows=50).status == "complete"
    with pytest.raises(ValueError, match="holds another run .*columns"):
        run(place, tmp_path / "log.parquet", picture=True, embeddings=True, shard_rows=50, columns="none")


def test_some_or_none(place, tmp_path):
    run(place, tmp_path / "a", columns="hour, camera", evidence=False)
    assert list(read_log(tmp_path / "a").manifest.columns) == ["camera", "hour"]
    run(place, tmp_path / "b", columns="none", evidence=False)
    assert not read_log(tmp_path / "b").manifest.columns
    run(place, tmp_path / "c", id="clash.parquet", ood="", columns=["camera"], evidence=False)
    assert list(read_log(tmp_path / "c").manifest.columns) == ["camera"]


def test_what_cannot_be_kept_is_said_before_the_work(place, tmp_path):
    out = tmp_path / "log"
    with pytest.raises(ValueError, match="column 'energy' of .*clash.parquet has the name of a column of the log"):
        run(place, out, id="clash.parquet")
    with pytest.raises(ValueError, match=r"column 'site' holds int64 in .*street.parquet and string in .*types"):
        run(place, out, ood="types.parquet")
    with pytest.raises(ValueError, match="no source has a column 'boxes' of single values; there are 'camera'"):
        run(place, out, columns="boxes")
    assert not out.exists()
    told = CliRunner().invoke(app, ["infer", str(place / "clash.parquet"), "--model", "pocket", "-o", str(out)])
    assert "--columns camera,site,hour,flag,at,day,price" in str(told.exception) and not out.exists()


def test_evidence_and_whatif_pass_them_by(log):
    made = read_log(log)
    after = whatif(made, drop=[], rename={"pizza": "a pizza"}).after
    for name in (*KEPT, "weather"):
        assert after.table[name].equals(made.table[name]), name
        assert after.manifest.columns[name] == made.manifest.columns[name]


def test_factors_sees_them(log):
    told = CliRunner().invoke(app, ["factors", str(log), "--json"])
    assert told.exception is None, told.output
    found = json.loads(told.stdout.splitlines()[-1])
    assert "camera" in json.dumps(found)
