"""Traces in other programs' hands: rewritten by them and imported, and queried as one dataset.

usage: foreign_traces.py GROWTHPATH; needs numpy, pyarrow, pandas, polars, duckdb, datafusion.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import datafusion
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

BIN = sys.argv[1]


def run(*arguments, code=0):
    done = subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != code:
        raise SystemExit(f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def train(out, *options):
    run("train", "--size", "nano", "--steps", "24", "--probe-every", "8", "--reliance-sequences", "2", "--eval-sequences", "2", "--quiet",
        "--device", "cpu", "--out", out, *options)


def by_pandas(source, target):
    pd.read_parquet(source).to_parquet(target / "rows.parquet")


def by_pandas_shuffled(source, target):
    pd.read_parquet(source).sample(frac=1, random_state=1).to_parquet(target / "rows.parquet")


def by_polars(source, target):
    pl.read_parquet(source / "*.parquet").write_parquet(target / "out.parquet")


def by_duckdb(source, target):
    duckdb.sql(f"COPY (SELECT * FROM read_parquet('{source}/*.parquet')) TO '{target}/data_0.parquet'")


def by_duckdb_in_wide_types(source, target):
    names = [d[0] for d in duckdb.sql(f"SELECT * FROM read_parquet('{source}/*.parquet') LIMIT 0").description]
    keys = ["step", "layer", "head", "site", "prev_step", "write", "lag_step", "scope", "sequence"]
    cast = ", ".join(f'"{n}"::BIGINT AS "{n}"' if n in keys else f'"{n}"::DOUBLE AS "{n}"' if n != "tokens" else n for n in names)
    duckdb.sql(f"COPY (SELECT {cast}, 1 AS extra FROM read_parquet('{source}/*.parquet')) TO '{target}/wide.parquet'")


def by_pyarrow(source, target):
    pq.write_table(pq.read_table(source), target / "a.parquet")


def by_pyarrow_dataset(source, target):
    ds.write_dataset(ds.dataset(source).to_table(), target, format="parquet", max_rows_per_file=100, max_rows_per_group=50)


TABLES = ["steps", "heads", "writes", "evals", "eval_losses", "probe", "probe_layers", "shares", "maturity", "settling", "reliance"]


def rewritten(folder, source, how):
    """A copy of a run whose tables `how` wrote again."""
    copy = folder / how.__name__
    shutil.copytree(source, copy)
    for table in filter(lambda t: (source / t).is_dir(), TABLES):
        shutil.rmtree(copy / table)
        (copy / table).mkdir()
        how(source / table, copy / table)
    return copy


def check_import(folder, source, how):
    copy = rewritten(folder, source, how)
    out = folder / f"{how.__name__}-imported"
    said = run("import", copy, "--out", out)
    if how is by_duckdb_in_wide_types and "heads.extra" not in said:
        raise SystemExit(f"the column left out is not named: {said}")
    run("verify", out)
    for table in filter(lambda t: (source / t).is_dir(), TABLES):
        if run("export", source, "--table", table.replace("_", "-")) != run("export", out, "--table", table.replace("_", "-")):
            raise SystemExit(f"{how.__name__}: table {table} is not the same after the import")
    if run("analyze", source, "--json") != run("analyze", out, "--json"):
        before, after = (json.loads(run("analyze", r, "--json")) for r in (source, out))
        different = [k for k in before if before[k] != after[k] and k != "run"]
        if different:
            raise SystemExit(f"{how.__name__}: analyze differs in {different}")
    if "imported" not in json.loads((out / "run.json").read_text())["extra"]:
        raise SystemExit("an imported run is not marked")
    print(f"{how.__name__:28} imported, verified, the same rows")


def check_refusals(folder, source):
    # Rewritten in place and not imported: never read without a word.
    copy = folder / "in-place"
    shutil.copytree(source, copy)
    part = next((copy / "heads").glob("*.parquet"))
    pd.read_parquet(part).to_parquet(part)
    said = run("analyze", copy, code=1)
    assert "growthpath import" in said, said
    for name, change, says in [
        ("dropped", lambda t: t.drop_columns(["layer"]), ["no column layer", "UInt16"]),
        ("text", lambda t: t.set_column(t.schema.get_field_index("lr"), "lr", pa.array(["x"] * t.num_rows, pa.large_string())), ["column lr", "Float32"]),
        ("negative", lambda t: t.set_column(1, "layer", pa.array([-1] * t.num_rows, pa.int64())), ["column layer", "-1", "UInt16"]),
        ("averaged", lambda t: t.set_column(t.schema.get_field_index("lr"), "lr", pa.array([0.1] * t.num_rows, pa.float64())), ["column lr", "0.1", "Float32"]),
        ("twice", lambda t: pa.concat_tables([t, t]), ["step=0"]),
    ]:
        copy = folder / f"wrong-{name}"
        shutil.copytree(source, copy)
        table = pq.read_table(source / "heads")
        shutil.rmtree(copy / "heads")
        (copy / "heads").mkdir()
        pq.write_table(change(table), copy / "heads" / "x.parquet")
        said = run("import", copy, "--out", folder / "none", code=1)
        if not all(s in said for s in says) or (folder / "none").exists():
            raise SystemExit(f"{name}: {said}")
        print(f"refused: {said.strip().split('/')[-1][:110]}")
    # A statistic that may be undefined is undefined where a file lacks it, and said to be.
    copy = folder / "without-spread"
    shutil.copytree(source, copy)
    table = pq.read_table(source / "heads").drop_columns(["spread"])
    shutil.rmtree(copy / "heads")
    (copy / "heads").mkdir()
    pq.write_table(table, copy / "heads" / "x.parquet")
    said = run("import", copy, "--out", folder / "lacking")
    assert "heads.spread" in said, said
    print("named: heads.spread is undefined where a file lacks it")


def check_dataset(folder, runs):
    dataset = folder / "dataset"
    run("export", runs[0], runs[1], "--to", "parquet-dataset", dataset)
    run("export", runs[2], "--to", "parquet-dataset", dataset)
    said = run("export", runs[2], "--to", "parquet-dataset", dataset, code=1)
    assert "this arm and seed" in said, said
    files = f"{dataset}/heads/**/*.parquet"
    query = "SELECT arm, CAST(seed AS BIGINT) AS seed, layer, avg(CAST(spread AS DOUBLE)) AS spread, count(*) AS n FROM {} GROUP BY arm, seed, layer ORDER BY arm, seed, layer"
    duck = duckdb.sql(query.format(f"read_parquet('{files}', hive_partitioning = true)")).df()
    context = datafusion.SessionContext()
    columns = [("arm", pa.string()), ("seed", pa.int64())]
    context.register_parquet("heads", f"{dataset}/heads/", table_partition_cols=columns)
    fusion = context.sql(query.format("heads")).to_pandas()
    partition = ds.partitioning(pa.schema(columns), flavor="hive")
    arrow = ds.dataset(dataset / "heads", partitioning=partition).to_table().to_pandas()
    lazy = pl.scan_parquet(f"{dataset}/heads", hive_partitioning=True).collect()
    want = []
    for r in runs:
        info = json.loads((r / "run.json").read_text())
        heads = pd.read_parquet(r / "heads")
        for layer, group in heads.groupby("layer"):
            want.append((info["label"], info["seeds"]["model"], layer, group.spread.astype(float).mean(), len(group)))
    want = pd.DataFrame(sorted(want), columns=["arm", "seed", "layer", "spread", "n"])
    for name, got in [("DuckDB", duck), ("DataFusion", fusion)]:
        same = (got[["arm", "seed", "layer", "n"]].astype(str).values == want[["arm", "seed", "layer", "n"]].astype(str).values).all()
        if not same or not np.allclose(got.spread, want.spread, rtol=1e-12):
            raise SystemExit(f"{name} answers\n{got}\nexpected\n{want}")
        print(f"{name:10} {len(got)} groups of {int(got.n.sum())} rows agree")
    if len(arrow) != want.n.sum() or lazy.height != want.n.sum():
        raise SystemExit("pyarrow or polars sees another number of rows")
    lines = [json.loads(l) for l in (dataset / "runs.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and all(l["config"] for l in lines), lines


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        runs = [folder / "gpt-1", folder / "gpt-2", folder / "slow"]
        train(runs[0])
        train(runs[1], "--seed", "2")
        train(runs[2], "--intervene", "upper-qk")
        for how in (by_pandas, by_pandas_shuffled, by_polars, by_duckdb, by_duckdb_in_wide_types, by_pyarrow, by_pyarrow_dataset):
            check_import(folder, runs[0], how)
        check_refusals(folder, runs[0])
        check_dataset(folder, runs)
    print("foreign traces: passed")


main()
