"""Reading runs needs no torch."""

import subprocess
import sys

import numpy as np
import pytest

import growthpath


def test_tables_are_what_the_parts_hold(reference):
    import pyarrow.parquet as pq

    run = growthpath.open(reference)
    for name, rows in run.rows().items():
        table = run.table(name)
        assert table.num_rows == rows
        parts = sorted((reference / name).glob("*.parquet"))
        if parts:
            plain = np.concatenate([pq.read_table(p).column("step").to_numpy() for p in parts])
            assert (table["step"].to_numpy() == plain).all()
            assert table.column_names == pq.read_table(parts[0]).column_names
    assert run.table("heads", 3, 5)["step"].unique().to_pylist() == [3, 4]
    assert run.heads.schema.field("spread").metadata[b"unit"] == b"1"


def test_other_libraries_take_the_tables(reference):
    pandas, polars, duckdb = (pytest.importorskip(m) for m in ("pandas", "polars", "duckdb"))
    heads = growthpath.open(reference).heads
    mean = heads["spread"].to_numpy().mean()
    assert np.isclose(heads.to_pandas()["spread"].mean(), mean)
    assert np.isclose(polars.from_arrow(heads)["spread"].mean(), mean)
    assert np.isclose(duckdb.sql("select avg(spread) from heads").fetchall()[0][0], mean)
    assert isinstance(heads.to_pandas(), pandas.DataFrame)


def test_explanations_are_those_of_the_program(reference, binary):
    import json

    run = growthpath.open(reference)
    said = json.loads(subprocess.run([binary, "analyze", reference, "--json"], check=True, capture_output=True).stdout)
    ours = run.analyze()
    assert ours["layers"] == said["layers"] and ours["prediction"] == said["prediction"]
    assert run.diagnose() == said["diagnosis"]
    assert run.verify()["ok"]
    compared = run.compare(reference)
    assert abs(compared["groups"]["upper"]["measured_gap"]) == 0.0


def test_figures(reference, tmp_path):
    run = growthpath.open(reference)
    picture = run.plot("growth-shares")
    assert picture.svg()[0].startswith("<svg") and "<svg" in picture._repr_html_()
    (path,) = picture.save(tmp_path / "shares.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "loss" in growthpath.figures()
    with pytest.raises(ValueError, match="there is no figure `growth`"):
        run.plot("growth")


def test_bad_input_is_named(tmp_path, reference):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        growthpath.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="not a run directory"):
        growthpath.open(tmp_path)
    with pytest.raises(ValueError, match="there is no table `head`"):
        growthpath.open(reference).table("head")
    with pytest.raises(ValueError, match="middle"):
        growthpath.open(reference).compare(reference, layers="middle")


def test_no_torch_is_imported(reference):
    code = f"import sys, growthpath; growthpath.open({str(reference)!r}).heads; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
