"""How often the default average is right: simulated trials with known truth, resumable.

    python tests/calibration/study.py                    # all truths, 300 trials each
    python tests/calibration/study.py --truth null --trials 200

Every trial is a control and seven doses, log-spaced from 0.3 to 100, three rows each, Gaussian error of 6 % of the
control; its number is its seed. Results are kept in tests/calibration/results, one CSV per truth, and only missing
trials are run. The table is written into the README.
"""

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens
from hormesis_fit.windows.windowing import level_pieces

HERE = Path(__file__).parent
README = HERE.parent.parent / "README.md"
DOSES = [0.0, *np.geomspace(0.3, 100, 7)]
BENEFIT = 0.10
QUANTITIES = ("window_lower", "window_upper", "peak_dose", "zero_equivalent_dose", "peak_stimulation")

brain_cousens = BrainCousens(control=100.0, peak_stimulation=0.3, half_effect_dose=30.0, slope_excess=1.5)


def product_hill(dose):
    return 100 * (1 + 0.55 * dose**1.5 / (dose**1.5 + 3**1.5)) / (1 + (dose / 35) ** 2.5)


def haldane_weibull(dose):
    """Return a truth that lies in no fitted family."""
    return 100 * (1 + 1.1 * dose / (3 + dose + dose**2 / 12)) * np.exp(-((dose / 60) ** 1.5))


def log_logistic(dose):
    return 100 / (1 + (dose / 30) ** 2.5)


TRUTHS: dict[str, Callable] = {
    "BrainCousens": brain_cousens,
    "ProductHill": product_hill,
    "HaldaneWeibull": haldane_weibull,
    "null": log_logistic,
}


def true_quantities(truth: Callable) -> dict[str, float]:
    """Return the quantities of a truth by bracketing its peak."""
    found = minimize_scalar(lambda u: -truth(np.exp(u)), bounds=(np.log(1e-3), np.log(1e3)), method="bounded")
    peak, control = float(np.exp(found.x)), truth(0.0)
    if truth(peak) < control * (1 + BENEFIT):
        return dict.fromkeys(QUANTITIES, np.nan)

    def crossing(level: float, low: float, high: float) -> float:
        return float(np.exp(brentq(lambda u: truth(np.exp(u)) - level, np.log(low), np.log(high), xtol=1e-12)))

    return {
        "window_lower": crossing(control * (1 + BENEFIT), 1e-9, peak),
        "window_upper": crossing(control * (1 + BENEFIT), peak, 1e6),
        "peak_dose": peak,
        "zero_equivalent_dose": crossing(control, peak, 1e6),
        "peak_stimulation": truth(peak) / control - 1,
    }


def one_trial(truth: Callable, known: dict[str, float], seed: int) -> dict[str, float]:
    """Simulate and fit one trial; return ranks of the truth in the posterior and the verdicts."""
    started = time.process_time()
    trial = hf.simulate_trial(truth, doses=DOSES, replicates=3, cv=0.06, random_seed=seed, scale="ratio")
    fit = hf.fit(trial, random_seed=seed)
    window = hf.window(fit, benefit=BENEFIT)
    row: dict[str, float] = {"seed": seed, "prob_hormesis": fit["evidence"]["prob_hormesis"].item()}
    row |= {name: window[name].item() for name in ("prob_exists", "max_probability")}
    for name in QUANTITIES:
        draws = window[name].values[np.isfinite(window[name].values) | np.isinf(window[name].values)]
        row[name] = float(np.mean(draws < known[name])) if draws.size and np.isfinite(known[name]) else np.nan
    for low, high in level_pieces(window):
        row["hit"] = _share_inside(low, high, known)
    row["sick"] = bool((fit["evidence"]["sick"] & (fit["evidence"]["weight"] > 0.01)).any())
    row["seconds"] = round(time.process_time() - started, 2)
    return row


def _share_inside(low: float, high: float, known: dict[str, float]) -> float:
    if not np.isfinite(known["window_lower"]):
        return 0.0
    inside = np.log(min(high, known["window_upper"])) - np.log(max(low, known["window_lower"]))
    return float(max(inside, 0) / np.log(high / low))


def run(name: str, trials: int) -> pd.DataFrame:
    """Run the trials of one truth that are not yet in its CSV."""
    path = HERE / "results" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    columns = ["seed", "prob_hormesis", "prob_exists", "max_probability", *QUANTITIES, "hit", "sick", "seconds"]
    done = set(pd.read_csv(path)["seed"]) if path.exists() else set()
    known = true_quantities(TRUTHS[name])
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        if not done:
            writer.writeheader()
        for seed in range(trials):
            if seed not in done:
                row = one_trial(TRUTHS[name], known, seed)
                writer.writerow(
                    {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}
                )
                file.flush()
    return pd.read_csv(path).query("seed < @trials")


def coverage(ranks: pd.Series, mass: float) -> str:
    """Return the share of central intervals that hold the truth, with its Monte Carlo standard error."""
    known = ranks.dropna()
    if known.empty:
        return ""
    share = float(known.between((1 - mass) / 2, (1 + mass) / 2).mean())
    return f"{share:.3f} ± {np.sqrt(share * (1 - share) / len(known)):.3f}"


def table(trials: int) -> str:
    """Return the results of all truths that were run, as Markdown."""
    lines = [
        "| truth | trials | lower edge, 95 % | upper edge, 95 % | lower, 80 % | upper, 80 % | peak dose, 95 % "
        "| mean P(hormesis) | P(hormesis) > 0.95 | sick |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in TRUTHS:
        path = HERE / "results" / f"{name}.csv"
        if not path.exists():
            continue
        rows = pd.read_csv(path).query("seed < @trials")
        cells = [name, str(len(rows))]
        cells += [coverage(rows[edge], mass) for mass in (0.95, 0.8) for edge in ("window_lower", "window_upper")]
        cells += [coverage(rows["peak_dose"], 0.95), f"{rows['prob_hormesis'].mean():.3f}"]
        cells += [f"{(rows['prob_hormesis'] > 0.95).mean():.1%}", f"{rows['sick'].mean():.1%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table and write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", choices=list(TRUTHS), action="append")
    parser.add_argument("--trials", type=int, default=300)
    asked = parser.parse_args()
    for name in asked.truth or TRUTHS:
        run(name, asked.trials)
    text, result = README.read_text(encoding="utf-8"), table(asked.trials)
    before, rest = text.split("<!-- calibration -->\n")
    README.write_text(
        f"{before}<!-- calibration -->\n{result}\n<!-- /calibration -->{rest.split('<!-- /calibration -->')[1]}"
    )
    print(result)


if __name__ == "__main__":
    main()
