"""A log of any length: files read in batches give what a log in memory gives, and memory does not know how many rows there are."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from large_log import write  # noqa: E402

from attrood.entrance.analysis import analyse  # noqa: E402
from attrood.entrance.digest import digest  # noqa: E402
from attrood.entrance.job import run  # noqa: E402
from attrood.entrance.results import write_scores  # noqa: E402
from attrood.log import LogError, read_log, rows, write_log  # noqa: E402
from attrood.why import score_log, scoring  # noqa: E402

ROWS = 3_000


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "log.parquet"
    write(ROWS, path)
    return path


@pytest.fixture(scope="module")
def in_memory(file):
    return read_log(file)


@pytest.fixture(scope="module")
def card(in_memory):
    return analyse(in_memory).card


@pytest.mark.parametrize("size", [1_000_000, 97])
def test_scores_and_profiles_to_the_last_bit(file, in_memory, card, size, tmp_path):
    opened, whole = rows.open_log(file), score_log(card, in_memory)
    frames = list(scoring.score_batches(card, opened, size=size))
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole, check_exact=True)
    write_scores(iter(frames), tmp_path / "a.parquet")
    write_scores(whole, tmp_path / "b.parquet")
    stored = [pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    pd.testing.assert_frame_equal(*stored, check_exact=True)
    few, all_ = scoring.profile_batches(card, opened, size=size), scoring.profile_batches(card, in_memory)
    pd.testing.assert_frame_equal(few[0], all_[0], check_exact=True)
    assert (few[1] is None) == (all_[1] is None)
    if few[1] is not None:
        counted = [t.groupby(list(t.columns[:-1]))["rows"].sum() for t in (few[1], all_[1])]
        pd.testing.assert_series_equal(*counted)
    digests = [digest(card, tmp_path / "a.parquet", size), digest(card, whole)]
    for name in ("tally", "profile", "some"):
        pd.testing.assert_frame_equal(*(getattr(d, name) for d in digests), check_exact=True)
    assert digests[0].clouds == digests[1].clouds and digests[0].quadrants == digests[1].quadrants


def test_a_card_from_files_and_from_memory(file, in_memory, monkeypatch):
    monkeypatch.setattr(rows.some_rows, "__defaults__", (1_000, 97, False))  # rows kept, and rows at a time
    cards = [analyse(log).card for log in (rows.open_log(file), in_memory.canonical())]
    assert cards[0].to_dict() == cards[1].to_dict(), "neither the files nor the order of the rows matter"
    assert cards[0].provenance["log_rows"] == ROWS
    assert cards[0].provenance["log_fingerprint"] == in_memory.fingerprint()
    some = rows.some_rows(in_memory)
    assert 1_000 <= len(some) < ROWS and set(some.array("domain")) == set(in_memory.array("domain"))
    full = analyse(in_memory, rows=in_memory).card
    at = np.abs(cards[0].mean - full.mean) / full.unit
    assert at.max() < 4 / np.sqrt(some.is_id.sum()), "an even choice has the means of all within four standard errors"


def test_the_whole_job_of_a_large_log(file, tmp_path, monkeypatch):
    monkeypatch.setattr(rows.some_rows, "__defaults__", (1_000, 97, False))
    done = run(rows.open_log(file), tmp_path / "out", mode="default")["default"]
    scores = pd.read_parquet(tmp_path / "out/scores.parquet")
    assert len(scores) == ROWS and done.profile["images"].sum() == ROWS
    pd.testing.assert_frame_equal(scores, score_log(done.card, read_log(file)), check_exact=True)
    means = scores.groupby(["role", "domain"])[list(done.card.names)].mean().reset_index(drop=True)
    np.testing.assert_allclose(done.profile[list(done.card.names)], means, rtol=1e-12)
    text = (tmp_path / "out/summary.txt").read_text()
    assert f"of the {ROWS:,} rows" in text and (tmp_path / "out/report.html").stat().st_size < 1.5e6


def test_a_log_that_is_damaged_further_on_writes_nothing(file, card, tmp_path):
    log = read_log(file)
    names = log.array("id").copy()
    names[-1] = names[5]
    at = log.table.column_names.index("id")
    write_log(replace(log, table=log.table.set_column(at, "id", [names.tolist()])), tmp_path / "twice.parquet")
    with pytest.raises(LogError, match="has the id .* more than once"):
        write_scores(
            scoring.score_batches(card, rows.open_log(tmp_path / "twice.parquet"), size=97), tmp_path / "s.parquet"
        )
    assert [p.name for p in tmp_path.iterdir()] == ["twice.parquet"]


def test_rows_in_any_order_and_an_id_that_comes_twice_beside_itself(in_memory, card, tmp_path):
    "Ids that rise are known to differ without a look at each; others are looked at."
    mixed = in_memory.select(np.random.default_rng(0).permutation(ROWS))
    write_log(mixed, tmp_path / "mixed.parquet")
    frames = pd.concat(scoring.score_batches(card, rows.open_log(tmp_path / "mixed.parquet"), size=97))
    pd.testing.assert_frame_equal(frames.reset_index(drop=True), score_log(card, mixed), check_exact=True)
    for log in (in_memory, mixed):
        names = log.array("id").copy()
        names[11] = names[10]
        at = log.table.column_names.index("id")
        write_log(replace(log, table=log.table.set_column(at, "id", [names.tolist()])), tmp_path / "twice.parquet")
        with pytest.raises(LogError, match=f"has the id {names[10]!r} more than once: ids must be unique"):
            list(rows.open_log(tmp_path / "twice.parquet").batches(size=97))
        with pytest.raises(LogError, match=f"has the id {names[10]!r} more than once: ids must be unique"):
            read_log(tmp_path / "twice.parquet")


def test_scores_keep_dictionaries_of_texts_that_come_again(in_memory, card, tmp_path):
    write_scores(score_log(card, in_memory), tmp_path / "s.parquet")
    group = pq.read_metadata(tmp_path / "s.parquet").row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    coded = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert {"domain", "role", "label", "prediction", "dominant", "action"} <= coded
    assert coded.isdisjoint({"id", "conf", "excess", "percentile", "distance", *card.names})


def test_memory_does_not_know_the_rows(card, tmp_path):
    "Peak memory of scoring four times as many rows."
    card.write(tmp_path / "axes.json")
    code = (
        "import resource, sys; from attrood.entrance.cli import main; sys.argv = ['attrood', 'score', *sys.argv[1:]]\n"
        "try: main()\nfinally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(n):
        words = ["--axes", str(tmp_path / "axes.json"), "-o", str(tmp_path / f"s{n}.parquet")]
        command = [sys.executable, "-c", code, str(tmp_path / f"{n}.parquet"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])

    for n in (100_000, 400_000):
        write(n, tmp_path / f"{n}.parquet")
    peaks = [peak(100_000), peak(400_000)]
    if (
        peaks[1] >= 1.1 * peaks[0]
    ):  # how far reading runs ahead differs between runs: what grows with the rows does so again
        peaks = [max(peaks[0], peak(100_000)), min(peaks[1], peak(400_000))]
    assert peaks[1] < 1.1 * peaks[0], peaks


def _as_written_elsewhere(table, kind):
    "A log's table as another program might write it."
    made = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        column = column.combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            values, size = column.flatten(), column.type.list_size
            if pa.types.is_string(values.type) and kind != "plain":
                values = values.dictionary_encode() if kind == "coded" else values.cast(pa.large_string())
            ends = pa.array(np.arange(0, len(values) + 1, size), pa.int64() if kind == "large" else pa.int32())
            column = (pa.LargeListArray if kind == "large" else pa.ListArray).from_arrays(ends, values)
        elif pa.types.is_string(column.type) and kind == "coded":
            column = column.dictionary_encode()
        elif pa.types.is_string(column.type) and kind == "large":
            column = column.cast(pa.large_string())
        made[name] = column
    return pa.table(made, metadata=table.schema.metadata)


@pytest.mark.parametrize("kind", ["plain", "coded", "large", "delta"])
def test_a_long_log_written_elsewhere_is_read_once_and_hashed(in_memory, kind, tmp_path):
    table = in_memory.table.replace_schema_metadata({in_memory.KEY: in_memory.manifest.to_json().encode()})
    half, how = ROWS // 2, {}
    if kind == "delta":  # texts as what is different from the one before
        texts = [c for c in table.column_names if "string" in str(table.schema.field(c).type)]
        leaves = [f"{c}.list.element" if "list" in str(table.schema.field(c).type) else c for c in texts]
        how = {"use_dictionary": False, "column_encoding": dict.fromkeys(leaves, "DELTA_BYTE_ARRAY")}
    made = _as_written_elsewhere(table.slice(0, half), "plain" if kind == "delta" else kind)
    pq.write_table(made, tmp_path / "a.parquet", row_group_size=400, **how)
    at = table.column_names.index("energy")
    wide = table.set_column(at, "energy", table["energy"].cast(pa.float64())).slice(half)  # one folder, two writers
    pq.write_table(wide, tmp_path / "b.parquet", use_dictionary=False)
    opened = rows.open_log(tmp_path)
    some = rows.some_rows(opened, 500, 97, hashed=True)
    base = replace(in_memory, table=pa.concat_tables([part.table for part in opened.batches()]))
    assert opened.__dict__["_fingerprint"] == base.fingerprint()
    assert "words" in in_memory.table.column_names and "words" not in some.table.column_names
    expected = rows.some_rows(base, 500, 333)
    assert some.table.equals(expected.table) and some.array("id").tolist() == expected.array("id").tolist()
    assert rows.some_rows(rows.open_log(tmp_path), 500, 97).table.equals(some.table), "the fingerprint changes no row"
    assert read_log(tmp_path).fingerprint() == base.fingerprint(), "read whole it is the same log"


def test_a_long_log_whose_names_are_no_texts_is_refused_in_a_line(in_memory, tmp_path):
    at = in_memory.table.column_names.index("id")
    table = in_memory.table.set_column(at, "id", pa.array(np.arange(ROWS)))
    pq.write_table(
        table.replace_schema_metadata({in_memory.KEY: in_memory.manifest.to_json().encode()}), tmp_path / "n.parquet"
    )
    with pytest.raises(LogError, match="'id' must hold texts"):
        rows.some_rows(rows.open_log(tmp_path / "n.parquet"), 500, hashed=True)
