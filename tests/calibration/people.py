"""How often a window for a new person is right: simulated trials of twelve subjects with known truth, resumable.

    python tests/calibration/people.py                          # all families, 200 trials each
    python tests/calibration/people.py --family binomial

Every trial draws its truth from fixed priors: twelve subjects who differ in control response and half-effect dose, a
control and seven doses each, one row a dose. The ranks of the truth among the posterior draws are uniform if fitting
is right (simulation-based calibration); a thirteenth subject of the same truth says how often the 80 % intervals of the
estimand "new" hold its window edges. Results are kept in tests/calibration/results, one CSV per family, and only
missing trials are run; a family is compiled once.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens
from hormesis_fit.families import FAMILIES

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[2] / "README.md"
DOSES = np.array([0.0, *np.geomspace(0.3, 100, 7)])
SUBJECTS, BENEFIT, MASS, DRAWS = 12, 0.10, 0.80, 100
VARY = {"control": "subject", "half_effect_dose": "subject"}
EDGES = ("window_lower", "window_upper")


def log_normal(median: float, sigma: float) -> hf.Prior:
    return hf.Prior("LogNormal", mu=float(np.log(median)), sigma=sigma)


SHARED = {
    "half_effect_dose": log_normal(30, 0.4),
    "slope_excess": log_normal(1.5, 0.3),
    "half_effect_dose_sd_subject": log_normal(0.4, 0.3),
    "control_sd_subject": log_normal(0.15, 0.3),
}
PRIORS = {
    "gaussian": SHARED
    | {"control": log_normal(100, 0.1), "peak_stimulation": log_normal(0.4, 0.3), "sigma": log_normal(6, 0.2)},
    "binomial": SHARED
    | {
        "control": hf.Prior("LogitNormal", mu=-0.85, sigma=0.3),
        "peak_stimulation": log_normal(1.0, 0.3),
        "control_sd_subject": log_normal(0.3, 0.3),
    },
    "negative_binomial": SHARED
    | {"control": log_normal(20, 0.2), "peak_stimulation": log_normal(0.6, 0.3), "dispersion": log_normal(0.05, 0.3)},
}
UNITS = 40  # in each group of a binomial trial


def drawn(prior: hf.Prior, rng: np.random.Generator) -> float:
    """Draw from a prior by SciPy, independently of PyMC."""
    normal = stats.norm(prior.arguments["mu"], prior.arguments["sigma"]).rvs(random_state=rng)
    return float(np.exp(normal) if prior.distribution == "LogNormal" else 1 / (1 + np.exp(-normal)))


def person(truth: dict, offsets: np.ndarray, link: str) -> BrainCousens:
    """Return the curve of somebody with standardised offsets in control and half-effect dose."""
    shift = truth["control_sd_subject"] * offsets[0]
    odds = truth["control"] / (1 - truth["control"]) * np.exp(shift) if link == "logit" else 0.0
    return BrainCousens(
        control=odds / (1 + odds) if link == "logit" else truth["control"] * np.exp(shift),
        peak_stimulation=truth["peak_stimulation"],
        half_effect_dose=truth["half_effect_dose"] * np.exp(truth["half_effect_dose_sd_subject"] * offsets[1]),
        slope_excess=truth["slope_excess"],
        link=link,
    )


def true_edges(curve: BrainCousens) -> tuple[float, float]:
    """Return the doses between which a known curve has the benefit, NaN without any."""
    grid = np.linspace(np.log(1e-6), np.log(1e5), 20001)
    level = curve.control * (1 + BENEFIT)
    inside = np.flatnonzero(curve(np.exp(grid)) >= level)
    if not inside.size or inside[0] == 0 or inside[-1] == len(grid) - 1:
        return np.nan, np.nan

    def miss(u: float) -> float:
        return float(curve(np.exp(u)) - level)

    first, last = inside[0], inside[-1]
    return float(np.exp(brentq(miss, grid[first - 1], grid[first]))), float(
        np.exp(brentq(miss, grid[last], grid[last + 1]))
    )


def one_trial(family: str, seed: int) -> dict[str, float]:
    """Simulate and fit one trial; return ranks of the truth and whether intervals hold the new subject's edges."""
    started = time.process_time()
    rng = np.random.default_rng([seed, 12])
    known, link = FAMILIES[family], FAMILIES[family].link if family != "gaussian" else "identity"
    truth = {name: drawn(prior, rng) for name, prior in PRIORS[family].items()}
    offsets = rng.standard_normal((SUBJECTS + 1, 2))
    rows = []
    for number, own in enumerate(offsets[:SUBJECTS]):
        curve = person(truth, own, link)
        given = {name: truth[name] for name in known.parameters}
        n = UNITS if known.counts_successes else 1
        response = known.sample(rng, curve(DOSES), control=curve.control, n=n, **given)
        rows += [(f"S{number + 1:02}", dose, value) for dose, value in zip(DOSES, response, strict=True)]
    table = pd.DataFrame(rows, columns=["subject", "dose", "response"])
    sizes = {}
    if known.counts_successes:
        table["n"], table["successes"] = UNITS, np.rint(table["response"] * UNITS)
        sizes = {"n": "n", "successes": "successes"}
    trial = hf.read_trial(table, subject="subject", scale="ratio", **sizes)
    fit = hf.fit(
        trial,
        curve="BrainCousens",
        family=family,
        vary=VARY,
        priors=PRIORS[family],
        engine="nuts",
        draws=500,
        tune=500,
        chains=2,
        random_seed=seed,
    )
    row = _ranks(fit, truth, offsets) | _new_subject(fit, true_edges(person(truth, offsets[-1], link)))
    evidence = fit["evidence"].to_dataset().isel(model=0)
    row |= {"ess": round(float(evidence["ess"])), "divergences": int(evidence["divergences"])}
    return {"seed": seed} | row | {"sick": int(evidence["sick"]), "seconds": round(time.process_time() - started, 1)}


def _ranks(fit, truth: dict, offsets: np.ndarray) -> dict[str, float]:
    posterior = fit["posterior"].to_dataset().stack(sample=("chain", "draw"), create_index=False)
    step = posterior.sizes["sample"] // DRAWS
    thinned = posterior.isel(sample=slice(None, None, step))
    ranks = {name: int((thinned[name].values < value).sum()) for name, value in truth.items()}
    for k, name in enumerate(("control_offset_subject", "half_effect_dose_offset_subject")):
        ranks[name] = int((thinned[name].isel(subject=0).values < offsets[0, k]).sum())
    return ranks


def _new_subject(fit, edges: tuple[float, float]) -> dict[str, float]:
    window = hf.window(fit, estimand="new", benefit=BENEFIT)
    row = {}
    for name, value in zip(EDGES, edges, strict=True):
        draws = window[name].values[window["exists"].values]
        low, high = np.quantile(draws, [(1 - MASS) / 2, (1 + MASS) / 2])
        row[name] = int(low <= value <= high) if np.isfinite(value) else ""
    return row


def run(family: str, trials: int) -> None:
    """Run the trials of one family that are not yet in its CSV."""
    path = RESULTS / f"people_{family}.csv"
    columns = ["seed", *PRIORS[family], "control_offset_subject", "half_effect_dose_offset_subject", *EDGES]
    columns += ["ess", "divergences", "sick", "seconds"]
    done = set(pd.read_csv(path)["seed"]) if path.exists() else set()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not done:
            writer.writeheader()
        for seed in range(trials):
            if seed not in done:
                writer.writerow(one_trial(family, seed))
                file.flush()


def uniformity(ranks: pd.Series) -> float:
    """Return the p-value of uniform ranks among `DRAWS` draws."""
    counts = np.bincount((ranks.to_numpy() * 10) // (DRAWS + 1), minlength=10)
    return float(stats.chisquare(counts).pvalue)


def table() -> str:
    """Return the results of all families that were run, as Markdown."""
    lines = [
        "| family | trials | lower edge, 80 % | upper edge, 80 % | smallest p of ranks, corrected "
        "| no divergence | sick |",
        "|---|---|---|---|---|---|---|",
    ]
    for family in PRIORS:
        path = RESULTS / f"people_{family}.csv"
        if not path.exists():
            continue
        rows = pd.read_csv(path)
        cells = [family, str(len(rows))]
        for edge in EDGES:
            hits = rows[edge].dropna()
            share = hits.mean()
            cells.append(f"{share:.3f} ± {np.sqrt(share * (1 - share) / len(hits)):.3f}")
        ranked = [*PRIORS[family], "control_offset_subject", "half_effect_dose_offset_subject"]
        smallest = min(uniformity(rows[name]) for name in ranked)
        cells += [f"{min(1.0, smallest * len(ranked)):.2f}", f"{(rows['divergences'] == 0).mean():.1%}"]
        lines.append(f"| {' | '.join([*cells, f'{rows["sick"].mean():.1%}'])} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table and write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=list(PRIORS), action="append")
    parser.add_argument("--trials", type=int, default=200)
    asked = parser.parse_args()
    for family in asked.family or PRIORS:
        run(family, asked.trials)
    text, result = README.read_text(encoding="utf-8"), table()
    before, rest = text.split("<!-- people -->\n")
    after = rest.split("<!-- /people -->")[1]
    README.write_text(f"{before}<!-- people -->\n{result}\n<!-- /people -->{after}", encoding="utf-8")
    print(result)


if __name__ == "__main__":
    main()
