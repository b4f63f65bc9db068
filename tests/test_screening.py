"""Screens: thousands of curves, none lost, the same numbers whoever computes them."""

import json
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from calibration import screen_fdr
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.cli.app import main
from hormesis_fit.curves import BrainCousens, LogLogistic
from hormesis_fit.screening import screens as screening
from hormesis_fit.screening import store as screen_store
from hormesis_fit.screening import workers
from hormesis_fit.screening.multiplicity import share_of
from hormesis_fit.screening.piecework import Asked, fit_piece
from hormesis_fit.screening.tables import cut

pytest.importorskip("zarr")
TRUTH = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5)
NULL = LogLogistic(control=100.0, half_effect_dose=30.0, slope=2.0)
DOSES = (0.0, *np.geomspace(0.3, 100, 7))


def trial(seed, curve=TRUTH):
    return hf.simulate_trial(curve, doses=DOSES, replicates=3, cv=0.06, random_seed=seed, scale="ratio")


def rows_of(label, one):
    return pd.DataFrame({"compound": label, "dose": one["dose"].values, "response": one["response"].values})


@pytest.fixture(scope="module")
def table():
    return pd.concat(
        [rows_of(f"c{seed:02d}", trial(seed, TRUTH if seed % 3 == 0 else NULL)) for seed in range(9)], ignore_index=True
    )


@pytest.fixture(scope="module")
def whole(table):
    return hf.screen(table, curve_id="compound", scale="ratio", random_seed=1)


def assert_same(one, other):
    """The same values to the last bit, curve by curve."""
    other = other.sel(curve_id=one["curve_id"].values)
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def test_every_curve_is_there_with_units_and_definitions(whole):
    assert whole["curve_id"].values.tolist() == [f"c{seed:02d}" for seed in range(9)]
    for name, variable in whole.data_vars.items():
        assert variable.attrs["definition"].endswith("."), name
        assert {"units", "long_name"} <= set(variable.attrs)
    assert (whole["prob_hormesis"].values[::3] > 0.99).all()
    assert (whole["status"].values[::3] == "WINDOW").all()
    assert (whole["peak_dose"].sel(statistic="median").values[::3] > 1).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_screened_curve_has_the_numbers_of_a_fit(whole, seed):
    label, one = f"c{seed:02d}", trial(seed, TRUTH if seed % 3 == 0 else NULL)
    found = whole.sel(curve_id=label)
    fitted = hf.fit(one, random_seed=5)
    window, evidence = hf.window(fitted), fitted["evidence"].to_dataset()
    error = np.hypot(found["log_evidence_se"], evidence["log_evidence_se"])
    assert (abs(found["log_evidence"] - evidence["log_evidence"]) < 4 * error + 0.1).all()
    assert abs(float(found["prob_hormesis"]) - float(evidence["prob_hormesis"])) < 0.03
    assert abs(float(found["prob_exists"]) - float(window["prob_exists"])) < 0.04
    peaks = window["peak_dose"].values[np.isfinite(window["peak_dose"].values)]
    middle = np.log(found["peak_dose"].sel(statistic="median")) - np.log(np.median(peaks))
    assert abs(middle) < 6 * np.log(peaks).std() / np.sqrt(512)
    if str(window.attrs["status"]) == "WINDOW":
        edges = window["level_window"].sel(window_level=0.8, piece=0).values
        assert np.log(found["window_lower"]) == pytest.approx(np.log(edges[0]), abs=0.1)
        assert np.log(found["window_upper"]) == pytest.approx(np.log(edges[1]), abs=0.05)
    assert str(found["status"].values) == window.attrs["status"]


def test_the_order_of_curves_and_the_size_of_pieces_change_nothing(whole, table):
    labels = list(whole["curve_id"].values[::-1])
    turned = table.set_index("compound").loc[labels].reset_index()
    assert_same(whole, hf.screen(turned, curve_id="compound", scale="ratio", random_seed=1, piece=2))


def test_another_seed_gives_other_numbers_within_their_error(whole, table):
    other = hf.screen(table[table["compound"] < "c02"], curve_id="compound", scale="ratio", random_seed=2)
    both = whole.sel(curve_id=other["curve_id"])
    assert (other["log_evidence"].values != both["log_evidence"].values).all()
    assert (abs(other["log_evidence"] - both["log_evidence"]) < 0.3).all()


def test_one_family_has_no_probability_of_hormesis(table):
    part = table[table["compound"] < "c02"]
    found = hf.screen(part, curve_id="compound", curve="BrainCousens", scale="ratio", random_seed=1)
    assert np.isnan(found["prob_hormesis"]).all()
    assert np.isnan(found["local_fdr"]).all()
    assert int(found["selected_count"]) == 0
    assert found["model"].values.tolist() == ["BrainCousens"]


def test_percent_of_a_control_that_is_not_in_the_table(table):
    rows = table[(table["dose"] > 0) & (table["compound"] == "c00")]
    found = hf.screen(rows, curve_id="compound", control=100.0, scale="ratio", random_seed=1)
    assert found["status"].values == ["WINDOW"]


def test_other_families_go_through_the_ordinary_engine():
    one = hf.read_trial({"dose": np.repeat(DOSES, 4), "response": np.random.default_rng(1).poisson(20, 32)})
    [record] = fit_piece({"a": one}, Asked(("Constant",), family="poisson", seed=1)).values()
    fitted = hf.fit(one, curve="Constant", family="poisson", random_seed=3)
    assert record["engine"] == ["importance"]
    assert record["log_evidence"][0] == pytest.approx(float(fitted["evidence"]["log_evidence"][0]), abs=0.05)


def test_an_unhealthy_curve_is_computed_again_and_a_sick_one_is_called_so(monkeypatch):
    monkeypatch.setattr("hormesis_fit.screening.swarm.healthy", lambda *_: False)
    calls = []

    def ordinary(one, **options):
        calls.append(options["curve"][0].label)
        raise RuntimeError("it would not")

    monkeypatch.setattr("hormesis_fit.screening.piecework.fit", ordinary)
    [record] = fit_piece({"a": trial(1)}, Asked(("LogLogistic",), seed=1)).values()
    assert calls == ["LogLogistic"]
    assert record["status"] == "FAILED"
    assert "it would not" in record["note"]


def test_a_batch_that_breaks_is_computed_curve_by_curve(monkeypatch):
    import hormesis_fit.screening.piecework as piecework

    sample = piecework.sample_swarm

    def fragile(batch, generators, plan):
        if batch.size > 1:
            raise np.linalg.LinAlgError("singular")
        return sample(batch, generators, plan)

    asked = Asked(("LogLogistic", "Constant"), seed=1)
    trials = {"a": trial(1), "b": trial(2)}
    expected = fit_piece(trials, asked)
    monkeypatch.setattr(piecework, "sample_swarm", fragile)
    found = fit_piece(trials, asked)
    assert [one["log_evidence"] for one in found.values()] == [one["log_evidence"] for one in expected.values()]


class TestMultiplicity:
    def test_the_share_has_the_posterior_of_its_definition(self):
        rng = np.random.default_rng(1)
        probabilities = np.append(rng.uniform(0.05, 0.6, 12), [0.99, 0.999, np.nan])
        found = share_of(probabilities, 0.5)
        grid = (np.arange(200_000) + 0.5) / 200_000
        factors = probabilities[:-1] / (1 - probabilities[:-1])
        logs = stats.beta(1, 4).logpdf(grid) + np.log(grid[:, None] * factors + 1 - grid[:, None]).sum(axis=1)
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        assert found.mean == pytest.approx(weights @ grid, rel=1e-4)
        # The mean of the twelve low Bayes factors is below one, and with either high one above.
        assert found.safe == pytest.approx(min(weights @ grid, 2 / 14), rel=1e-4)
        odds = factors * found.safe / (1 - found.safe)
        np.testing.assert_allclose(found.probabilities[:-1], odds / (1 + odds))
        assert np.isnan(found.probabilities[-1])
        assert np.interp(found.lower, grid, np.cumsum(weights)) == pytest.approx(0.025, abs=1e-3)

    def test_the_prior_of_single_curves_is_taken_out_again(self):
        factors = np.array([0.3, 2.0, 40.0])
        for prior in (0.2, 0.5, 0.9):
            odds = factors * prior / (1 - prior)
            np.testing.assert_allclose(
                share_of(odds / (1 + odds), prior).probabilities, share_of(factors / (1 + factors), 0.5).probabilities
            )

    def test_without_evidence_the_share_is_its_prior(self):
        found = share_of(np.full(50, 0.5), 0.5)
        assert found.mean == pytest.approx(0.2, rel=1e-3)
        assert share_of(np.array([np.nan]), 0.5).mean != found.mean

    def test_the_safe_share_is_never_nothing(self):
        found = share_of(np.full(95, 0.3), 0.5)
        assert found.safe == pytest.approx(1 / 100)
        assert share_of(np.array([0.9999]), 0.5).safe < 0.5

    def test_certain_curves_and_hopeless_ones_are_told(self):
        found = share_of(np.array([1.0] * 10 + [1e-6] * 90), 0.5)
        assert found.mean == pytest.approx(11 / 105, rel=0.01)
        assert found.safe == pytest.approx(0.1)
        assert (found.probabilities[:10] > 0.999).all()


COLUMNS = {"dose": "dose", "response": "response"}
ASKED = {"curve_id": "compound", "curve": ["LogLogistic", "BrainCousens"], "scale": "ratio", "random_seed": 4}


class TestTables:
    def test_pieces_hold_every_row_once_wherever_it_stood(self, table, tmp_path):
        mixed = table.sample(frac=1, random_state=1)
        pieces = cut(mixed, tmp_path, curve_id="compound", columns=COLUMNS, units=[], size=4)
        assert pieces.count == 3
        found = {label: rows for number in range(3) for label, rows in pieces.tables(number).items()}
        for label, rows in found.items():
            expected = mixed[mixed["compound"] == label]
            np.testing.assert_array_equal(rows["response"].astype(float), expected["response"])

    def test_files_are_read_a_part_at_a_time(self, table, tmp_path, monkeypatch):
        monkeypatch.setattr("hormesis_fit.screening.tables.CHUNK", 7)
        table.to_csv(tmp_path / "a.csv", index=False, sep=";")
        table.to_parquet(tmp_path / "a.parquet")
        for name in ("a.csv", "a.parquet"):
            pieces = cut(tmp_path / name, tmp_path / name[2:], curve_id="compound", columns=COLUMNS, units=[], size=5)
            assert len(pieces.labels) == 9
            assert sum(len(rows) for number in range(2) for rows in pieces.tables(number).values()) == len(table)

    def test_what_is_wrong_is_named(self, table, tmp_path):
        plates = tmp_path / "plates"
        plates.mkdir()
        plain = table.assign(unit="uM")
        changes = plain[plain["compound"] == "c01"].assign(compound="changes")
        changes.loc[changes.index[12:], "unit"] = "nM"
        blank = plain[plain["compound"] == "c02"].head(2).assign(compound=" ")
        pd.concat([plain[plain["compound"] < "c03"], changes, blank]).to_csv(plates / "a.csv", index=False)
        other = plain[plain["compound"] == "c03"].assign(compound="other", unit="nM")
        plain[plain["compound"].isin(["c02", "c04"])].to_csv(plates / "b.csv", index=False)
        other.to_parquet(plates / "c.parquet")
        (plates / "d.csv").write_text('compound,dose,response,unit\n"c09,1,2')
        (plates / "e.parquet").write_bytes(b"PAR1")
        (plates / "f.csv").write_text("a,b\n1,2\n")
        columns = COLUMNS | {"unit": "unit"}
        pieces = cut(plates, tmp_path / "spool", curve_id="compound", columns=columns, units=["unit"], size=10)
        assert pieces.refused["c02"] == 'the curve id appears in "a.csv" and in "b.csv"'
        assert "changes from" in pieces.refused["changes"]
        assert '"nM"' in pieces.refused["other"]
        assert set(pieces.tables(0)) == {"c00", "c01", "c04"}
        for name in ('"d.csv"', '"e.parquet"', '"f.csv"', "2 rows without a curve id"):
            assert any(name in problem for problem in pieces.problems), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curve_id": "compund"}, 'did you mean "compound"'),
        ({"curve": "BrianCousens"}, "BrainCousens"),
        ({"curve": ["Constant", "Constant"]}, "twice"),
        ({"curve": []}, "empty"),
        ({"family": "gausian"}, "gaussian"),
        ({"fdr": 0}, "fdr must lie between 0 and 1"),
        ({"piece": 0}, "at least 1"),
        ({"benefit": -1}, "benefit must be above 0"),
        ({"direction": "sideways"}, "direction"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "No Dask scheduler answers"),
    ],
)
def test_bad_input_is_one_sentence(table, options, message, monkeypatch):
    monkeypatch.setattr("hormesis_fit.screening.workers.PATIENCE", "1s")
    with pytest.raises(ValueError, match=message):
        hf.screen(table, **({"curve_id": "compound"} | options))


class TestStore:
    def test_files_of_a_screen(self, table, tmp_path):
        found = hf.screen(table, out=tmp_path / "out", piece=4, dose_unit="mg/L", **ASKED)
        assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
            *("ranking.csv", "ranking.html", "ranking.parquet", "screen.json", "screen.zarr")
        ]
        with xr.open_zarr(tmp_path / "out" / "screen.zarr") as stored:
            assert_same(found, stored.load())
            assert stored.attrs["random_seed"] == 4
        ranked = pd.read_csv(tmp_path / "out" / "ranking.csv")
        assert list(ranked.columns) == list(screen_store.RANKING)
        assert ranked["local_fdr"].is_monotonic_increasing
        pd.testing.assert_frame_equal(
            ranked.drop(columns="note"), pd.read_parquet(tmp_path / "out" / "ranking.parquet").drop(columns="note")
        )
        page = (tmp_path / "out" / "ranking.html").read_text()
        for words in ("Screen of 9 curves", "peak dose (mg/L)", "at least 0.1 (relative)", "a probability of 0.8"):
            assert words in page

    def test_a_screen_goes_on_where_it_was(self, table, tmp_path, monkeypatch):
        expected = hf.screen(table, **ASKED)
        real, calls = screening.write_piece, []

        def dying(out, number, piece, mark):
            calls.append(number)
            if len(calls) == 3:
                raise KeyboardInterrupt
            real(out, number, piece, mark)

        monkeypatch.setattr(screening, "write_piece", dying)
        with pytest.raises(KeyboardInterrupt):
            hf.screen(table, out=tmp_path / "out", piece=2, **ASKED)
        monkeypatch.setattr(screening, "write_piece", lambda *given: (calls.append(given[1]), real(*given)))
        damaged = tmp_path / "out" / "pieces" / "00001.nc"
        damaged.write_bytes(damaged.read_bytes()[:500])
        found = hf.screen(table, out=tmp_path / "out", piece=2, resume=True, **ASKED)
        assert calls == [0, 1, 2, 1, 2, 3, 4]
        assert_same(expected, found)

    def test_an_older_screen_is_kept(self, table, tmp_path):
        part = table[table["compound"] == "c00"]
        hf.screen(part, out=tmp_path / "out", **ASKED)
        with pytest.raises(ValueError, match="holds a screen already"):
            hf.screen(part, out=tmp_path / "out", **ASKED)
        with pytest.raises(ValueError, match="random_seed=4, not 5"):
            hf.screen(part, out=tmp_path / "out", resume=True, **ASKED | {"random_seed": 5})
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "diary.txt").write_text("dear diary")
        with pytest.raises(ValueError, match="holds no screen"):
            hf.screen(part, out=tmp_path / "other", **ASKED)

    def test_a_finished_screen_is_read_and_not_computed_again(self, table, tmp_path, monkeypatch):
        part = table[table["compound"] < "c02"]
        first = hf.screen(part, out=tmp_path / "out", **ASKED)
        computed, real = [], workers.fit_tables
        monkeypatch.setattr(workers, "fit_tables", lambda *given: (computed.append(1), real(*given))[1])
        again = hf.screen(part, out=tmp_path / "out", resume=True, fdr=0.2, **ASKED)
        assert not computed
        assert again.attrs["fdr_level"] == 0.2
        assert_same(first[["log_evidence", "status", "local_fdr"]], again)
        hf.screen(table[table["compound"] < "c03"], out=tmp_path / "out", resume=True, **ASKED)
        assert computed

    def test_a_piece_that_was_lost_is_tried_again(self, table, tmp_path, monkeypatch):
        part = table[table["compound"] < "c03"]

        @contextmanager
        def unlucky(*_):
            def lose_the_second(pieces, numbers, asked, reading):
                for number in numbers:
                    records = workers.fit_tables(pieces.tables(number), asked, reading)
                    yield number, "its piece was lost" if number == 1 else records

            yield lose_the_second

        with monkeypatch.context() as patch:
            patch.setattr(screening, "mapper", unlucky)
            found = hf.screen(part, out=tmp_path / "out", piece=1, **ASKED)
        assert found["status"].values.tolist()[1] == "FAILED"
        assert found["note"].values.tolist()[1] == "its piece was lost"
        again = hf.screen(part, out=tmp_path / "out", piece=1, resume=True, **ASKED)
        assert_same(hf.screen(part, **ASKED), again)
        assert not (tmp_path / "out" / "pieces").exists()

    def test_a_resumed_screen_takes_its_seed_from_the_folder(self, table, tmp_path):
        part = table[table["compound"] == "c00"]
        asked = {name: value for name, value in ASKED.items() if name != "random_seed"}
        first = hf.screen(part, out=tmp_path / "out", **asked)
        assert_same(first, hf.screen(part, out=tmp_path / "out", resume=True, **asked))


def test_command_line(table, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad = table[table["compound"] == "c01"].assign(compound="one dose", dose=1.0)
    pd.concat([table[table["compound"] < "c02"], bad]).to_csv("plates.csv", index=False)
    words = ["screen", "plates.csv", "--curve-id", "compound", "--scale", "ratio", "--seed", "1", "--workers", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "3 curves: 1 FAILED" in said
    assert '"one dose": The only dose' in said
    assert "A benefit of at least 10%" in said
    assert (tmp_path / "plates-screen" / "screen.zarr").is_dir()
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert main(["screen", "plate.csv", "--curve-id", "compound"]) == 2
    assert 'did you mean "plates.csv"' in capsys.readouterr().err
    assert json.loads((tmp_path / "plates-screen" / "screen.json").read_text())["random_seed"] == 1


def test_a_folder_with_every_fault_is_fitted_as_far_as_it_goes(table, tmp_path, monkeypatch, capsys):
    """Exit code 0 with a count and with names; 2 only where nothing could be read."""
    monkeypatch.chdir(tmp_path)
    Path("plates").mkdir()
    plain = table[table["compound"] < "c04"].assign(unit="uM")
    changes = plain[plain["compound"] == "c00"].assign(compound="unit changes")
    changes.loc[changes.index[12:], "unit"] = "nM"
    single = plain[plain["compound"] == "c00"].assign(compound="one dose", dose=1.0)
    pd.concat([plain, changes, single]).to_csv("plates/a.csv", index=False)
    plain[plain["compound"] == "c03"].to_parquet("plates/b.parquet")  # a curve id of the other file
    Path("plates/c.csv").write_text('compound,dose,response,unit\n"c09,1,2')
    Path("plates/d.parquet").write_bytes(b"PAR1")
    words = [
        "--curve-id",
        "compound",
        "--dose-unit",
        "unit",
        "--curve",
        "LogLogistic",
        "--scale",
        "ratio",
        "--seed",
        "1",
    ]
    assert main(["screen", "plates", *words, "--workers", "1", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "6 curves: 3 FAILED" in said
    assert "3 curves could not be fitted" in said
    for name in ('"c.csv"', '"d.parquet"', '"c03": the curve id appears in "a.csv" and in "b.parquet"'):
        assert name in said
    assert '"unit changes": the unit in column "unit" changes from "uM" to "nM"' in said
    assert '"one dose": The only dose in the table' in said
    ranked = pd.read_csv("out/ranking.csv", index_col="curve_id")
    assert (ranked["status"][["c03", "unit changes", "one dose"]] == "FAILED").all()
    assert ranked["note"][["c03", "unit changes", "one dose"]].notna().all()
    with xr.open_zarr("out/screen.zarr") as stored:
        problems = json.loads(stored.attrs["problems"])
        assert stored["best_dose"].attrs["units"] == "uM"
    assert len(problems) == 2
    Path("plates/a.csv").unlink()
    Path("plates/b.parquet").unlink()
    assert main(["screen", "plates", *words, "--out", "nothing"]) == 2
    assert "nothing could be read" in capsys.readouterr().err
    assert not Path("nothing").exists()


def test_the_pace_says_rate_and_time_left(monkeypatch):
    monkeypatch.setattr(screening.time, "perf_counter", lambda: 110.0)
    words = screening._pace(done=300, total=5000, computed=2, size=100, begun=100.0)
    assert words == "300 of 5,000 curves, 20.0 per second, 4 min left"
    assert screening._pace(5000, 5000, 2, 100, 100.0).endswith("20.0 per second, 0 s left")
    assert screening._pace(300, 500_000, 2, 100, 100.0).endswith("6.9 h left")


def run_script(code, timeout=1200, **names):
    """Run code in a process of its own: clusters leave threads, and shot processes would be this one."""
    given = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    text = f"{given}\n{textwrap.dedent(SAME)}\n{textwrap.dedent(code)}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=timeout)


SAME = """
    import glob, json, os, shutil, signal, threading, time
    import numpy as np, xarray as xr
    import hormesis_fit as hf

    def contents(folder):
        with xr.open_zarr(folder + "/screen.zarr") as stored:
            whole = stored.load()
        return whole, open(folder + "/ranking.csv").read(), json.load(open(folder + "/screen.json"))

    def assert_same(one, other):
        (first, *texts), (second, *others) = one, other
        assert texts == others
        assert set(first.variables) == set(second.variables)
        for name in first.variables:
            np.testing.assert_array_equal(first[name].values, second[name].values, err_msg=name, strict=True)
            assert first[name].attrs == second[name].attrs, name
        del first.attrs["seconds_total"], second.attrs["seconds_total"]
        assert first.attrs == second.attrs
"""


@pytest.mark.slow
@pytest.mark.heavy
def test_workers_that_are_shot_ten_times_are_replaced_and_nothing_is_lost(table, tmp_path):
    """Two processes through Dask, of which a random one is shot ten times, at random moments."""
    pytest.importorskip("distributed")
    many = pd.concat([table.assign(compound=table["compound"] + f" {copy}") for copy in range(2)], ignore_index=True)
    many.to_csv(tmp_path / "plates.csv", index=False)
    code = """
        from distributed.client import default_client

        rng, shots, over = np.random.default_rng(), [], threading.Event()
        hf.screen("plates.csv", out="undisturbed", piece=1, **ASKED)

        def shoot():
            while len(shots) < 10 and not over.wait(rng.uniform(0.1, 1.0)):
                try:
                    alive = [*default_client().run(os.getpid, on_error="ignore").values()]
                except (ValueError, OSError, RuntimeError):  # between two clusters
                    continue
                if alive:
                    shots.append(alive[rng.integers(len(alive))])
                    os.kill(shots[-1], signal.SIGKILL)

        shooter = threading.Thread(target=shoot, daemon=True)
        shooter.start()
        runs = 0
        while len(shots) < 10 and runs < 10:  # a fast machine is done before ten shots
            runs += 1
            shutil.rmtree("out", ignore_errors=True)
            hf.screen("plates.csv", out="out", workers=2, piece=1, **ASKED)
            # A piece whose workers died four times over is lost, and tried again.
            hf.screen("plates.csv", out="out", resume=True, piece=1, **ASKED)
            assert_same(contents("undisturbed"), contents("out"))
        over.set()
        print(len(set(shots)), "same")
    """
    done = run_script(f"os.chdir({str(tmp_path)!r})\n{textwrap.dedent(code)}", ASKED=ASKED)
    assert done.stdout.strip() == "10 same", done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.heavy
def test_a_screen_that_is_killed_at_ten_random_moments_goes_on_to_the_same_store(table, tmp_path):
    table[table["compound"] < "c04"].to_csv(tmp_path / "plates.csv", index=False)
    code = """
        hf.screen("plates.csv", out="undisturbed", piece=1, **ASKED)  # loads what the children share
        shutil.rmtree("undisturbed")
        begun = time.monotonic()
        hf.screen("plates.csv", out="undisturbed", piece=1, **ASKED)
        whole, rng, killed, midway = time.monotonic() - begun, np.random.default_rng(), 0, 0
        for number in range(10):
            out = f"killed {number}"
            child = os.fork()
            if child == 0:
                hf.screen("plates.csv", out=out, piece=1, **ASKED)
                os._exit(0)
            # Random moments, in every stage: from none of four pieces to all of them, when the store is written.
            running = os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT
            while len(glob.glob(out + "/pieces/*.nc")) < number % 5 and os.waitid(*running) is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, whole / 8))
            os.kill(child, signal.SIGKILL)
            killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            midway += os.path.isdir(out + "/pieces")
            hf.screen("plates.csv", out=out, piece=1, resume=True, **ASKED)
            assert_same(contents("undisturbed"), contents(out))
        print(killed, midway, "same")
    """
    done = run_script(f"os.chdir({str(tmp_path)!r})\n{textwrap.dedent(code)}", ASKED=ASKED)
    assert done.stdout.strip().endswith("same"), done.stdout + done.stderr[-2000:]
    killed, midway, _ = done.stdout.split()
    assert int(killed) >= 6
    assert int(midway) >= 4


@pytest.mark.slow
@pytest.mark.heavy
def test_workers_that_die_with_their_nannies_before_they_begin_are_started_anew(table, tmp_path):
    pytest.importorskip("distributed")
    table[table["compound"] < "c02"].to_csv(tmp_path / "plates.csv", index=False)
    code = """
        import psutil
        from hormesis_fit.screening import workers

        workers.LOOK = 1
        shot = []

        def shoot():
            while not shot:
                nannies = [one for one in psutil.Process().children() if "Nanny" in " ".join(one.cmdline())]
                if len(nannies) == 2:
                    shot.extend(nannies)
                    for one in nannies:
                        one.kill()
                time.sleep(0.01)

        threading.Thread(target=shoot, daemon=True).start()
        found = hf.screen("plates.csv", out="out", workers=2, piece=1, **ASKED)
        print(len(shot), sorted(set(found["status"].values.astype(str)) - {"FAILED"}) != [])
    """
    done = run_script(f"os.chdir({str(tmp_path)!r})\n{textwrap.dedent(code)}", ASKED=ASKED)
    assert done.stdout.strip() == "2 True", done.stdout + done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.heavy
def test_a_killed_screen_leaves_no_workers_behind(table, tmp_path):
    pytest.importorskip("distributed")
    table.to_csv(tmp_path / "plates.csv", index=False)
    code = """
        import psutil
        from hormesis_fit.screening import workers

        workers.IDLE = "3s"
        child = os.fork()
        if child == 0:
            hf.screen("plates.csv", out="out", workers=2, piece=1, **ASKED)
            os._exit(0)
        while not glob.glob("out/pieces/*.nc"):
            time.sleep(0.05)
        left = psutil.Process(child).children(recursive=True)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        _, alive = psutil.wait_procs(left, timeout=120)
        print(len(left) >= 3, len(alive))
    """
    done = run_script(f"os.chdir({str(tmp_path)!r})\n{textwrap.dedent(code)}", ASKED=ASKED)
    assert done.stdout.strip() == "True 0", done.stdout + done.stderr[-2000:]


@pytest.mark.slow
def test_a_cluster_by_its_address_or_a_client_gives_the_same_numbers(table, tmp_path):
    pytest.importorskip("distributed")
    table.to_csv(tmp_path / "plates.csv", index=False)
    code = """
        import distributed
        from hormesis_fit.cli.app import main

        hf.screen("plates.csv", out="here", **ASKED)
        local = dict(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
        with distributed.LocalCluster(**local) as own:
            words = ["--curve-id", "compound", "--curve", "LogLogistic", "--curve", "BrainCousens", "--scale", "ratio"]
            words += ["--seed", "4", "--scheduler", own.scheduler_address, "--out", "address"]
            assert main(["screen", "plates.csv", *words]) == 0
            with distributed.Client(own, set_as_default=False) as client:
                hf.screen("plates.csv", out="client", scheduler=client, **ASKED)
                assert client.status == "running"  # a client that was given is left as it was
        for name in ("address", "client"):
            assert_same(contents("here"), contents(name))
        print("same")
    """
    done = run_script(f"os.chdir({str(tmp_path)!r})\n{textwrap.dedent(code)}", ASKED=ASKED)
    assert done.stdout.strip().endswith("same"), done.stdout + done.stderr[-2000:]


class TestStudy:
    """The committed study of 5,000 curves without hormesis and 5,000 of which a tenth is hormetic."""

    @pytest.mark.parametrize("study", screen_fdr.STUDIES)
    def test_the_declared_rate_holds(self, study):
        rows = screen_fdr.results(study)
        assert len(rows) >= 5000
        assert rows["number"].is_unique
        found = screen_fdr.discoveries(rows)
        assert found["false_share"] <= 0.07
        # Without hormesis every selected curve is false: next to none may be.
        assert found["false"] <= 0.001 * len(rows) if study == "null" else found["power"] > 0.5

    def test_probabilities_under_no_hormesis_are_rarely_high(self):
        null = screen_fdr.results("null")
        factors = null["prob_hormesis"] / (1 - null["prob_hormesis"])
        # Bayes factors against the truth average to one at most, whatever their tail.
        assert factors.mean() < 1 + 4 * factors.std() / np.sqrt(len(factors))

    def test_a_committed_curve_comes_out_as_recorded(self):
        recorded = screen_fdr.results("tenth").head(2)
        again = screen_fdr.run("tenth", range(2))
        np.testing.assert_allclose(again["prob_hormesis"], recorded["prob_hormesis"], atol=0.02)
        assert again["status"].tolist() == recorded["status"].tolist()


SHARED = Path("/work/shared/data")
REAL = {
    "ccle_curves_a": {"curve_id": "curve", "control": 100.0, "dose_unit": "uM"},
    "pce_kidney_transcriptome": {
        "curve_id": "gene",
        "scale": "interval",
        "benefit": 1.0,
        "benefit_scale": "difference",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_hundred_curves_of_a_real_table(name):
    path = SHARED / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rows = pd.read_csv(path)
    labels = rows[REAL[name]["curve_id"]].unique()
    chosen = rows[rows[REAL[name]["curve_id"]].isin(labels[:: labels.size // 100][:100])]
    found = hf.screen(chosen, random_seed=1, curve=["BrainCousens", "LogLogistic", "Constant"], **REAL[name])
    assert found.sizes["curve_id"] == 100
    assert (found["status"].values != "FAILED").mean() >= 0.95
    assert np.isfinite(found["prob_hormesis"].values[found["status"].values != "FAILED"]).all()
