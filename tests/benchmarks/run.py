"""What costs what, as ratios in one run: the machine that runs this is slow, busy or both, a ratio says so twice.

python tests/benchmarks/run.py [--nuts] [--people] [--drift] [--only]
"""

import argparse
import json
import subprocess
import sys
import textwrap

from rich.console import Console
from rich.table import Table

IMPORT = "import time; s = time.process_time(); {}; print((time.process_time() - s))"
COLD = """
    import json, time
    start = time.process_time()
    import hormesis_fit as hf
    trial = hf.load_dataset("lettuce")
    fit = hf.fit(trial, random_seed=1)
    cold = time.process_time() - start
    warm, window = [], []
    for seed in range(5):
        start = time.process_time()
        fit = hf.fit(trial, random_seed=seed)
        warm.append(time.process_time() - start)
        start = time.process_time()
        hf.window(fit)
        window.append(time.process_time() - start)
    print(json.dumps({"cold": cold, "warm": sorted(warm)[2], "window": sorted(window)[2]}))
"""
# The same closed form by least squares: starting values from the data, the default Jacobian, one BLAS thread.
CURVE_FIT = """
    import json, time
    import numpy as np
    from scipy.optimize import curve_fit
    from threadpoolctl import threadpool_limits
    import hormesis_fit as hf
    from hormesis_fit.curves import BrainCousens

    truth = BrainCousens(control=100.0, peak_stimulation=0.3, half_effect_dose=30.0, slope_excess=1.5)
    trials = [hf.simulate_trial(truth, doses=[0.0, *np.geomspace(0.3, 100, 7)], replicates=3, cv=0.06, random_seed=seed)
              for seed in range(100)]

    def same(x, control, stimulation, half, excess):
        return BrainCousens(control=control, peak_stimulation=stimulation, half_effect_dose=half,
                            slope_excess=excess)(x)

    def handwritten(x, d, f, e, b):
        return (d + f * x) / (1 + (x / e) ** b)

    def least_squares(trial, curve, start):
        x, y = trial["dose"].values, trial["response"].values
        control, half = y[x == 0].mean(), np.interp(-y[x == 0].mean() / 2, -y, x)
        begun = time.process_time()
        try:
            curve_fit(curve, x, y, p0=[control, start[0], half, start[1]], maxfev=5000)
        except RuntimeError:
            pass
        return time.process_time() - begun

    def ours(trial, asked):
        start = time.process_time()
        hf.fit(trial, curve=asked, random_seed=1)
        return time.process_time() - start

    with threadpool_limits(1), np.errstate(all="ignore"):
        times = {"curve_fit": [least_squares(trial, same, (0.1, 1.0)) for trial in trials],
                 "curve_fit, drc's e and f": [least_squares(trial, handwritten, (0.0, 2.0)) for trial in trials]}
        for asked in ("BrainCousens", "average"):
            ours(trials[0], asked)
            times[asked] = [ours(trial, asked) for trial in trials]
    print(json.dumps({name: float(np.median(seconds)) for name, seconds in times.items()}))
"""
# Twelve subjects, eight doses, three replicates; the first fit compiles, the others count.
PEOPLE = """
    import json, time
    import numpy as np
    import hormesis_fit as hf
    from hormesis_fit.curves import BrainCousens

    def trial(seed):
        rng, rows = np.random.default_rng(seed), []
        for number in range(12):
            control, half = 100 * np.exp(0.15 * rng.normal()), 30 * np.exp(0.5 * rng.normal())
            own = BrainCousens(control=control, peak_stimulation=0.4, half_effect_dose=half, slope_excess=1.5)
            rows += [(f"S{number}", dose, own(dose) + 6 * rng.normal())
                     for dose in (0.0, *np.geomspace(0.3, 100, 7)) for _ in range(3)]
        subject, dose, response = zip(*rows)
        return hf.read_trial({"subject": subject, "dose": dose, "response": response}, subject="subject", scale="ratio")

    rows = []
    for seed in range(11):
        start, cpu = time.perf_counter(), time.process_time()
        fit = hf.fit(trial(seed), curve="BrainCousens", random_seed=seed,
                     vary={"control": "subject", "half_effect_dose": "subject"})
        row = fit["evidence"].to_dataset().isel(model=0)
        rows.append({"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu,
                     "ess": row["ess"].item(), "divergences": row["divergences"].item()})
    print(json.dumps(rows[1:]))
"""
NUTS = """
    import json, time
    import hormesis_fit as hf
    rows = []
    for curve in hf.AVERAGE:
        for name in ("lettuce", "ryegrass", "leaflength"):
            fit = hf.fit(hf.load_dataset(name), curve=curve, engine="nuts", random_seed=1)
            row = fit["evidence"].to_dataset().isel(model=0)
            rows.append({"curve": curve, "trial": name, "engine": row["engine"].item(), "ess": row["ess"].item(),
                         "rhat": row["max_rhat"].item(), "divergences": row["divergences"].item(),
                         "compile": fit.attrs["seconds_compile"], "sample": fit.attrs["seconds_sample"]})
    print(json.dumps(rows))
"""


# Receptor turnover, 20 subjects with doses of their own, 14 days of hourly steps: the model as it is, and the same with
# its steps written as a scan.
DRIFT = """
    import json, time
    import numpy as np, pytensor, pytensor.tensor as pt
    import hormesis_fit as hf
    from hormesis_fit.curves import BrainCousens
    from hormesis_fit.drift import ReceptorTurnover
    from hormesis_fit.drift.histories import histories_of
    from hormesis_fit.model.building import build_model
    rng = np.random.default_rng(1)
    curve = BrainCousens(control=100.0, peak_stimulation=0.6, half_effect_dose=60.0, slope_excess=1.5)
    doses = np.repeat([0.0, *np.geomspace(1, 30, 19)], 12)
    days = np.tile([0.5, 1, 2, 3, 5, 7, 9, 10, 11, 12, 13, 14], 20)
    plan, fixed = hf.Regimen(dose=None, interval=1.0, n=9), hf.OneCompartment(elimination_rate=1.0)
    columns = {"day": days, "dose": doses, "response": 100 + rng.normal(size=doses.size)}
    histories = histories_of(hf.read_trial(columns, time="day", scale="ratio"), plan, fixed)
    truth = ReceptorTurnover(turnover_rate=0.3, loss_ratio=2.0, occupancy_dose=8.0, occupancy_slope=1.0)
    path = truth(histories.over_steps(), histories.lengths)
    seen = np.concatenate([np.ones((20, 1)), path], axis=1)[histories.row_history, histories.row_edge]
    columns["response"] = curve.drifted(histories.at_rows(), gain=np.log(seen)) + 3 * rng.normal(size=doses.size)
    trial = hf.read_trial(columns, time="day", scale="ratio")
    asked = {"drift": "ReceptorTurnover", "regimen": plan, "kinetics": fixed}

    def gradient(model):
        values = model.value_vars
        function = pytensor.function(values, [model.logp(), *pytensor.grad(model.logp(), values)], mode="NUMBA")
        point = [model.initial_point()[one.name] for one in values]
        function(*point)
        seconds = []
        for _ in range(300):
            start = time.perf_counter()
            function(*point)
            seconds.append(time.perf_counter() - start)
        return 1e3 * sorted(seconds)[150]

    def scanned(self, exposure, duration):
        names = list(self.parameters())

        def step(concentration, length, state, *known):
            term = self.with_values(dict(zip(names, known)))
            return term.step([state], concentration, length)[0]

        begin = pt.ones_like(exposure[:, 0])
        known = [pt.as_tensor(getattr(self, name)) for name in names]
        asked = {"sequences": [exposure.T, duration], "outputs_info": [begin], "non_sequences": known}
        return pytensor.scan(step, **asked, strict=True, return_updates=False).T

    own = gradient(build_model(trial, **asked))
    kept, ReceptorTurnover.__call__ = ReceptorTurnover.__call__, scanned
    scan = gradient(build_model(trial, **asked))
    ReceptorTurnover.__call__ = kept
    fit = hf.fit(trial, curve="BrainCousens", random_seed=2, draws=300, tune=600, engine="nuts", **asked)
    seconds, compiled = fit.attrs["seconds_sample"], fit.attrs["seconds_compile"]
    ess = float(fit["evidence"]["ess"].min())
    print(json.dumps({"steps": histories.lengths.size, "own": own, "scan": scan, "seconds": seconds, "ess": ess,
                      "compile": compiled, "divergences": int(fit["evidence"]["divergences"].sum())}))
"""


def child(code: str) -> str:
    """Run code in a process of its own and return the last line it prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def cpu_of(statement: str, runs: int = 5) -> float:
    """Return the median CPU seconds of a statement in a fresh process."""
    return sorted(float(child(IMPORT.format(statement))) for _ in range(runs))[runs // 2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nuts", action="store_true", help="also compile and run NUTS for every curve (minutes)")
    parser.add_argument("--people", action="store_true", help="also fit trials of twelve subjects (minutes)")
    parser.add_argument("--drift", action="store_true", help="also receptor turnover over two weeks (minutes)")
    parser.add_argument("--only", action="store_true", help="only the parts that the other options name")
    asked = parser.parse_args()
    console = Console(width=110)
    if not asked.only:
        _imports_and_fits(console)
    if asked.people:
        _people(console)
    if asked.drift:
        _drift(console)
    if asked.nuts:
        _nuts(console)


def _imports_and_fits(console: Console) -> None:
    stack, own = cpu_of("import pymc, arviz"), cpu_of("import hormesis_fit")
    loaded = child("import sys, hormesis_fit; print([m for m in ('pymc', 'arviz', 'matplotlib') if m in sys.modules])")
    fits = json.loads(child(COLD))
    table = Table("what", "CPU seconds", "per import pymc, arviz", "bound")
    table.add_row("import pymc, arviz", f"{stack:.2f}", "1.00", "")
    table.add_row("import hormesis_fit", f"{own:.3f}", f"{own / stack:.3f}", f"0.1 s; loads {loaded}")
    table.add_row("average of seven curves, cold process", f"{fits['cold']:.2f}", f"{fits['cold'] / stack:.2f}", "3")
    table.add_row("average of seven curves, warm", f"{fits['warm']:.2f}", f"{fits['warm'] / stack:.2f}", "1.5 s")
    table.add_row("window of the average", f"{fits['window']:.2f}", f"{fits['window'] / stack:.2f}", "")
    console.print(table)

    yardstick = json.loads(child(CURVE_FIT))
    table = Table("24 rows, warm, median of 100 trials", "CPU seconds", "per curve_fit", "bound")
    for name, bound in (
        ("curve_fit", ""),
        ("curve_fit, drc's e and f", ""),
        ("BrainCousens", "150"),
        ("average", "600"),
    ):
        seconds = yardstick[name]
        table.add_row(name, f"{seconds:.4f}", f"{seconds / yardstick['curve_fit']:.0f}", bound)
    console.print(table)


def _people(console: Console) -> None:
    fits = json.loads(child(PEOPLE))
    table = Table("12 subjects x 8 doses x 3, warm, 10 trials", "median", "worst", "bound")
    for name, bound in (("seconds", "15"), ("cpu", ""), ("ess", "at least 400")):
        values = sorted(row[name] for row in fits)
        worst = values[0] if name == "ess" else values[-1]
        table.add_row(name, f"{values[len(values) // 2]:.1f}", f"{worst:.1f}", bound)
    clean = sum(row["divergences"] == 0 for row in fits)
    table.add_row("trials without divergences", str(clean), "", "9 of 10")
    console.print(table)


def _drift(console: Console) -> None:
    found = json.loads(child(DRIFT))
    table = Table(f"receptor turnover, 20 subjects, {found['steps']} steps", "", "per scan", "bound")
    table.add_row("gradient, ms", f"{found['own']:.3f}", f"{found['own'] / found['scan']:.2f}", "0.25")
    table.add_row("the same as a scan, ms", f"{found['scan']:.3f}", "1.00", "")
    table.add_row("compilation, s", f"{found['compile']:.1f}", "", "30")
    table.add_row("4 x 300 draws, after compilation, s", f"{found['seconds']:.1f}", "", "60")
    table.add_row("least effective draws", f"{found['ess']:.0f}", "", "at least 400")
    table.add_row("divergences", str(found["divergences"]), "", "")
    console.print(table)


def _nuts(console: Console) -> None:
    table = Table("curve", "trial", "engine", "min bulk ESS", "max R-hat", "divergences", "compile s", "sample s")
    for row in json.loads(child(NUTS)):
        texts = [row["curve"], row["trial"], row["engine"], f"{row['ess']:.0f}", f"{row['rhat']:.4f}"]
        table.add_row(*texts, str(row["divergences"]), f"{row['compile']:.1f}", f"{row['sample']:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
