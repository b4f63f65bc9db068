"""What a screen costs: CPU per curve against curve_fit in the same run, memory, growth with curves, accuracy.

python tests/benchmarks/screen.py [--curves 1000] [--growth] [--real]

The yardstick is scipy.optimize.curve_fit as in run.py: the same closed form, starting values from the data, the default
Jacobian, one BLAS thread. Every curve is a simulated Brain-Cousens curve with 24 rows at eight doses.
"""

import argparse
import json
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
    from hormesis_fit.screening.piecework import WIDTH, Asked, fit_piece
    from hormesis_fit.vocabulary import QUANTITIES

    DOSES = [0.0, *np.geomspace(0.3, 100, 7)]
    TRUTH = {"control": 100.0, "peak_stimulation": 0.3, "half_effect_dose": 30.0, "slope_excess": 1.5}

    def trial(seed):
        return hf.simulate_trial(BrainCousens(**TRUTH), doses=DOSES, replicates=3, cv=0.06, random_seed=seed,
                                 scale="ratio")

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
# Blocks as the screen makes them: the CPU of a curve is that of its block, divided by the curves in it.
COST = """
    trials = {f"c{seed}": trial(seed) for seed in range(CURVES)}
    with threadpool_limits(1), np.errstate(all="ignore"):
        fits = [least_squares(one) for one in trials.values()]
        result = {"curve_fit": float(np.median([cpu for cpu, _ in fits]))}
        for name, curves in (("one family", ("BrainCousens",)), ("average", hf.AVERAGE)):
            asked, labels, cpu, records = Asked(curves, seed=1), list(trials), [], {}
            fit_piece({label: trials[label] for label in labels[:2]}, asked)
            for start in range(0, len(labels), WIDTH):
                block = {label: trials[label] for label in labels[start:start + WIDTH]}
                begun = time.process_time()
                records |= fit_piece(block, asked)
                cpu += [(time.process_time() - begun) / len(block)] * len(block)
            place = list(QUANTITIES).index("half_effect_dose")
            table = np.array([record["quantity_table"][place] for record in records.values()])
            truth = np.log(TRUTH["half_effect_dose"])
            result[name] = {
                "median": float(np.median(cpu)), "mean": float(np.mean(cpu)),
                "rmse": float(np.sqrt(np.mean((np.log(table[:, 1]) - truth) ** 2))),
                "coverage": float(np.mean((np.log(table[:, 0]) < truth) & (truth < np.log(table[:, 2])))),
            }
        halves = np.log(np.abs([half for _, half in fits])) - np.log(TRUTH["half_effect_dose"])
        result["rmse"] = float(np.sqrt(np.nanmean(halves**2)))
        result["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))
"""
GROWTH = """
    import pandas as pd
    tables = [pd.DataFrame({"curve": seed, "dose": (one := trial(seed))["dose"].values,
                            "response": one["response"].values}) for seed in range(CURVES)]
    begun = time.process_time()
    hf.screen(pd.concat(tables), curve_id="curve", scale="ratio", random_seed=1)
    print(json.dumps([time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
REAL = """
    begun = time.process_time()
    found = hf.screen(**ASKED, random_seed=1)
    states, counts = np.unique(found["status"].values.astype(str), return_counts=True)
    print(json.dumps([time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      found.sizes["curve_id"], dict(zip(states.tolist(), counts.tolist()))]))
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=1000)
    parser.add_argument("--growth", action="store_true", help="also screens of 100 to 5,000 curves (minutes)")
    parser.add_argument("--real", action="store_true", help="also the two large tables, whole (half an hour)")
    asked = parser.parse_args()
    console = Console(width=120)

    cost = child(COST, CURVES=asked.curves)
    table = Table(
        f"{asked.curves} curves, one process", "median CPU ms", "per curve_fit", "bound", "RMSE per ML", "coverage"
    )
    table.add_row("curve_fit", f"{1e3 * cost['curve_fit']:.2f}", "1.0", "", "1.000", "")
    for name, bound in (("one family", "20"), ("average", "100")):
        row = cost[name]
        ratio, error = row["median"] / cost["curve_fit"], row["rmse"] / cost["rmse"]
        table.add_row(
            name, f"{1e3 * row['median']:.1f}", f"{ratio:.1f}", bound, f"{error:.3f}", f"{row['coverage']:.3f}"
        )
    console.print(table)
    console.print(f"peak memory {cost['MiB']:.0f} MiB")

    if asked.growth:
        table = Table("curves", "CPU s", "CPU ms per curve", "peak MiB")
        for curves in (100, 500, 1000, 5000):
            seconds, memory = child(GROWTH, CURVES=curves)
            table.add_row(str(curves), f"{seconds:.1f}", f"{1e3 * seconds / curves:.1f}", f"{memory:.0f}")
        console.print(table)

    if asked.real:
        table = Table("table", "curves", "CPU s", "peak MiB", "status")
        for name, options in TABLES.items():
            options = {"table": str(SHARED / f"{name}.csv")} | options
            seconds, memory, curves, states = child(REAL, ASKED=options)
            words = ", ".join(f"{count} {state}" for state, count in states.items())
            table.add_row(name, str(curves), f"{seconds:.0f}", f"{memory:.0f}", words)
        console.print(table)


if __name__ == "__main__":
    main()
