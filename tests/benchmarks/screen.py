"""What a screen costs, in one table: time, memory, growth with curves and rows, beside curve_fit in the same run.

python tests/benchmarks/screen.py [--curves 1000] [--growth] [--real]

The yardstick is scipy.optimize.curve_fit as in run.py: the same closed form, starting values from the data, the default
Jacobian, one BLAS thread. Every curve is a simulated Brain-Cousens curve with 24 rows at eight doses, if not said
otherwise; everything runs in one process.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.table import Table

SHARED = Path("/work/shared/data")
COMMON = """
    import json, resource, time
    import numpy as np
    import hormesis_fit as hf
    from scipy.optimize import curve_fit
    from threadpoolctl import threadpool_limits
    from hormesis_fit.curves import BrainCousens
    from hormesis_fit.screening.piecework import Asked, fit_piece
    from hormesis_fit.screening.screens import PIECE
    from hormesis_fit.vocabulary import QUANTITIES

    DOSES = [0.0, *np.geomspace(0.3, 100, 7)]
    TRUTH = {"control": 100.0, "peak_stimulation": 0.3, "half_effect_dose": 30.0, "slope_excess": 1.5}

    def trial(seed, doses=DOSES, replicates=3):
        return hf.simulate_trial(BrainCousens(**TRUTH), doses=doses, replicates=replicates, cv=0.06, random_seed=seed,
                                 scale="ratio")

    def used(begun):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": time.perf_counter() - begun[0], "cpu": time.process_time() - begun[1], "MiB": peak}

    def clocks():
        return time.perf_counter(), time.process_time()

    def same(x, control, stimulation, half, excess):
        return BrainCousens(control=control, peak_stimulation=stimulation, half_effect_dose=half,
                            slope_excess=excess)(x)

    def least_squares(one):
        x, y = one["dose"].values, one["response"].values
        control, half = y[x == 0].mean(), np.interp(-y[x == 0].mean() / 2, -y, x)
        begun = time.process_time()
        try:
            found = curve_fit(same, x, y, p0=[control, 0.1, half, 1.0], maxfev=5000)[0][2]
        except RuntimeError:
            found = np.nan
        return time.process_time() - begun, found
"""
# Pieces as the screen makes them: the CPU of a curve is that of its piece, divided by the curves in it.
COST = """
    trials = {f"c{seed}": trial(seed) for seed in range(CURVES)}
    with threadpool_limits(1), np.errstate(all="ignore"):
        begun = clocks()
        fits = [least_squares(one) for one in trials.values()]
        result = {"curve_fit": used(begun) | {"median": float(np.median([cpu for cpu, _ in fits]))}}
        for name, curves in (("one family", ("BrainCousens",)), ("average", hf.AVERAGE)):
            asked, labels, cpu, records = Asked(curves, seed=1), list(trials), [], {}
            fit_piece({label: trials[label] for label in labels[:2]}, asked)
            whole = clocks()
            for start in range(0, len(labels), PIECE):
                block = {label: trials[label] for label in labels[start:start + PIECE]}
                begun = time.process_time()
                records |= fit_piece(block, asked)
                cpu += [(time.process_time() - begun) / len(block)] * len(block)
            place = list(QUANTITIES).index("half_effect_dose")
            table = np.array([record["quantity_table"][place] for record in records.values()])
            truth = np.log(TRUTH["half_effect_dose"])
            result[name] = used(whole) | {
                "median": float(np.median(cpu)),
                "rmse": float(np.sqrt(np.mean((np.log(table[:, 1]) - truth) ** 2))),
                "coverage": float(np.mean((np.log(table[:, 0]) < truth) & (truth < np.log(table[:, 2])))),
            }
        halves = np.log(np.abs([half for _, half in fits])) - np.log(TRUTH["half_effect_dose"])
        result["curve_fit"]["rmse"] = float(np.sqrt(np.nanmean(halves**2)))
    print(json.dumps(result))
"""
GROWTH = """
    import pandas as pd
    doses = [0.0, *np.geomspace(0.3, 100, LEVELS - 1)]
    ones = {seed: trial(seed, doses, REPLICATES) for seed in range(CURVES)}
    tables = [pd.DataFrame({"curve": seed, "dose": one["dose"].values, "response": one["response"].values})
              for seed, one in ones.items()]
    hf.screen(pd.concat(tables[:2]), curve_id="curve", scale="ratio", random_seed=1)
    begun = clocks()
    hf.screen(pd.concat(tables), curve_id="curve", scale="ratio", random_seed=1)
    print(json.dumps(used(begun)))
"""
REAL = """
    begun = clocks()
    found = hf.screen(**ASKED, random_seed=1)
    states, counts = np.unique(found["status"].values.astype(str), return_counts=True)
    print(json.dumps(used(begun) | {"curves": found.sizes["curve_id"], "rows": float(found["rows"].mean()),
                                    "states": dict(zip(states.tolist(), counts.tolist()))}))
"""
TABLES = {
    "ccle_curves_a": {"curve_id": "curve", "control": 100.0, "dose_unit": "uM"},
    "pce_kidney_transcriptome": {
        "curve_id": "gene",
        "scale": "interval",
        "benefit": 1.0,
        "benefit_scale": "difference",
    },
}


def child(code: str, **names: object) -> object:
    """Run code in a process of its own and return what its last line holds."""
    given = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    text = f"{given}\n{textwrap.dedent(COMMON)}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def add(table: Table, what: str, curves: int, rows: float, used: dict, yardstick: float, bound: str, note: str) -> None:
    """Add a row: what it took, per curve and per curve_fit."""
    each = used.get("median", used["cpu"] / curves)
    numbers = [f"{curves:,}", f"{rows:.0f}", f"{used['seconds']:.1f}", f"{used['cpu']:.1f}", f"{1e3 * each:.1f}"]
    table.add_row(what, *numbers, f"{each / yardstick:.1f}", bound, f"{used['MiB']:.0f}", note)


def slope(points: list[tuple[float, float]]) -> str:
    """Say how a time grows: the power of the size, by least squares on logarithms."""
    sizes, times = ([math.log(point[place]) for point in points] for place in (0, 1))
    return f"grows as the power {statistics.linear_regression(sizes, times).slope:.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=1000)
    parser.add_argument("--growth", action="store_true", help="also 100 to 5,000 curves, and 24 to 192 rows (minutes)")
    parser.add_argument("--real", action="store_true", help="also the two large tables, whole (half an hour)")
    asked = parser.parse_args()

    cost = child(COST, CURVES=asked.curves)
    yardstick, error = cost["curve_fit"]["median"], cost["curve_fit"]["rmse"]
    columns = ("curves", "rows", "s", "CPU s", "CPU ms per curve", "per curve_fit", "bound", "peak MiB", "")
    table = Table("in one process", *columns)
    add(table, "curve_fit", asked.curves, 24, cost["curve_fit"], yardstick, "", "")
    for name, bound in (("one family", "20"), ("average", "100")):
        row = cost[name]
        note = f"RMSE per ML {row['rmse'] / error:.3f}, coverage {row['coverage']:.3f}"
        add(table, name, asked.curves, 24, row, yardstick, bound, note)
    if asked.growth:
        points = []
        for curves in (100, 500, 1000, 5000):
            used = child(GROWTH, CURVES=curves, LEVELS=8, REPLICATES=3)
            points.append((curves, used["cpu"]))
            note = slope(points) if curves == 5000 else ""
            add(table, "screen, more curves", curves, 24, used, yardstick, "", note)
        for levels, replicates in ((8, 3), (8, 24), (64, 3)):
            used, rows = child(GROWTH, CURVES=100, LEVELS=levels, REPLICATES=replicates), levels * replicates
            add(table, f"screen, {levels} doses", 100, rows, used, yardstick, "", "")
    if asked.real:
        for name, options in TABLES.items():
            used = child(REAL, ASKED={"table": str(SHARED / f"{name}.csv")} | options)
            words = ", ".join(f"{count} {state}" for state, count in used["states"].items())
            add(table, name, used["curves"], used["rows"], used, yardstick, "2048 MiB", words)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
