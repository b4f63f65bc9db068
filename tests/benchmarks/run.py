"""What costs what, as ratios in one run: the machine that runs this is slow, busy or both, a ratio says so twice.

python tests/benchmarks/run.py [--nuts]
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
    asked = parser.parse_args()
    console = Console(width=110)

    stack, own = cpu_of("import pymc, arviz"), cpu_of("import hormesis_fit")
    loaded = child("import sys, hormesis_fit; print([m for m in ('pymc', 'arviz', 'matplotlib') if m in sys.modules])")
    fits = json.loads(child(COLD))
    table = Table("what", "CPU seconds", "per import pymc, arviz", "bound")
    table.add_row("import pymc, arviz", f"{stack:.2f}", "1.00", "")
    table.add_row("import hormesis_fit", f"{own:.3f}", f"{own / stack:.3f}", f"0.1 s; loads {loaded}")
    table.add_row("average of six curves, cold process", f"{fits['cold']:.2f}", f"{fits['cold'] / stack:.2f}", "3")
    table.add_row("average of six curves, warm", f"{fits['warm']:.2f}", f"{fits['warm'] / stack:.2f}", "1.5 s")
    table.add_row("window of the average", f"{fits['window']:.2f}", f"{fits['window'] / stack:.2f}", "")
    console.print(table)

    if asked.nuts:
        table = Table("curve", "trial", "engine", "min bulk ESS", "max R-hat", "divergences", "compile s", "sample s")
        for row in json.loads(child(NUTS)):
            texts = [row["curve"], row["trial"], row["engine"], f"{row['ess']:.0f}", f"{row['rhat']:.4f}"]
            table.add_row(*texts, str(row["divergences"]), f"{row['compile']:.1f}", f"{row['sample']:.1f}")
        console.print(table)


if __name__ == "__main__":
    main()
