"""Simulation-based calibration of every curve: parameters from the priors, trials from them, ranks in the posterior.

    python tests/calibration/sbc.py                                      # all curves, 500 simulations each
    python tests/calibration/sbc.py --curve BrainCousens --simulations 100
    python tests/calibration/sbc.py --nuts --simulations 100             # the sample that goes through NUTS
    python tests/calibration/sbc.py --table                              # only the table, from what is there

If the engine is right, the rank of the truth among the posterior draws is uniform (Talts et al. 2018,
https://doi.org/10.48550/arXiv.1804.06788), for every parameter and every quantity derived from parameters and data.
The priors are the package's own at fixed scales, passed to `fit` in real units. A simulation has a number, which is its
seed; ranks are kept in tests/calibration/results, one CSV per curve, and only missing simulations are run.

A trial with a response beyond five times the control, up or down, is drawn anew, parameters and all: a parabola that
peaks far below the highest dose ends a million controls down. The choice looks at the responses alone, so that the
posterior of what is kept is the same, and so are its uniform ranks.
"""

import argparse
import csv
import gc
import itertools
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.curves import AVERAGE, CURVES, Curve
from hormesis_fit.families import FAMILIES
from hormesis_fit.parameter import Prior
from hormesis_fit.windows.posterior import members
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.windowing import threshold_of

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent.parent / "README.md"
DOSES = [0.0, *np.geomspace(0.3, 100, 7)]
SCALES = {"control": 100.0, "response": 30.0, "log_dose": np.log(0.3 * 100) / 2, "log_range": np.log(100 / 0.3)}
SIGMA = Prior("Exponential", scale=10)  # a tenth of the control, so that there is something to learn
FARTHEST = 5 * SCALES["control"]
BENEFIT = 0.10
CHAINS, DRAWS = 3, 341  # ranks 0 ... 1023
NUTS_THINNING = 3  # so that neighbours hardly know each other
NUTS_CURVES = ("BrainCousens", "LogLogistic", "SigmoidEmax")
HEALTH = ("seed", "redrawn", "sick", "nuts")
FALSE_ALARM = 0.01
FROZEN = {
    "Exponential": lambda scale: stats.expon(scale=scale),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "LogNormal": lambda mu, sigma: stats.lognorm(s=sigma, scale=np.exp(mu)),
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "TruncatedNormal": lambda mu, sigma, lower: stats.truncnorm((lower - mu) / sigma, np.inf, mu, sigma),
}

blank = hf.simulate_trial(lambda dose: 100 - dose, doses=DOSES, replicates=3, sd=1, random_seed=0, scale="ratio")


def fixed_priors(curve: Curve) -> dict[str, Prior]:
    """Return the package's priors of a curve, in the units of a trial whose scales are known beforehand."""
    known = curve.parameters()
    own = {name: prior.scaled(known[name].unit, SCALES) for name, prior in curve.priors().items()}
    return own | dict.fromkeys(FAMILIES["gaussian"].parameters, SIGMA)


def simulate(name: str, seed: int) -> tuple[dict[str, float], xr.Dataset, int]:
    """Return the parameters and the trial of one simulation, and how many trials were drawn anew."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 1])  # not the numbers of the engine
    template, dose = CURVES[name](), blank["dose"].values
    frozen = {known: FROZEN[p.distribution](**p.arguments) for known, p in fixed_priors(template).items()}
    for redrawn in itertools.count():
        truth = {known: float(prior.rvs(random_state=rng)) for known, prior in frozen.items()}
        response = rng.normal(template.with_values(truth)(dose), truth["sigma"])
        if np.abs(response).max() < FARTHEST:
            return truth, blank.assign(response=("observation", response)), redrawn
    raise AssertionError


def derived_names(curve: Curve) -> list[str]:
    """Return the quantities, besides parameters and likelihood, that are not the same for all parameters."""
    if curve.hormetic:
        names = ["peak_dose", "peak_stimulation", "window_lower", "window_upper"]
        return [name for name in names if name not in curve.parameters()]
    return ["window_lower"] if curve.trend in ("rising", "open") else []


def with_truth(fit: xr.DataTree, truth: Mapping[str, float], trial: xr.Dataset, names: list[str]) -> dict:
    """Return parameters, quantities and log likelihood of every draw and, last, of the truth, each of shape (1024,)."""
    posterior = fit["posterior"].to_dataset()
    values = {name: np.append(posterior[name].values, value) for name, value in truth.items()}
    joined = xr.Dataset({name: (("chain", "draw"), both[None]) for name, both in values.items()}, attrs=posterior.attrs)
    [member] = members(xr.DataTree.from_dict({"posterior": joined, "evidence": fit["evidence"].to_dataset()}))
    found = solve(member, threshold_of(member, BENEFIT, "relative"), trial) if names else {}
    # What a draw has not, such as the edge of a window, ranks lowest.
    derived = {name: np.where(np.isnan(found[name]), -np.inf, found[name]) for name in names}
    log_likelihood = fit["log_likelihood"]["response"].sum("observation").values
    mean = type(member.curve)().with_values(truth)(trial["dose"].values)
    true = stats.norm.logpdf(trial["response"].values, mean, truth["sigma"]).sum()
    return values | derived | {"log_likelihood": np.append(log_likelihood, true)}


def rank(values: np.ndarray, rng: np.random.Generator) -> int:
    """Return the number of draws below the truth, which is the last value; among equals its place is drawn."""
    draws, truth = values[:-1], values[-1]
    return int(np.sum(draws < truth) + rng.integers(np.sum(draws == truth) + 1))


def one_simulation(
    name: str, seed: int, *, engine: str = "auto", priors: Mapping[str, Prior] | None = None
) -> dict[str, int]:
    """Simulate and fit one trial; return the ranks of the truth.

    Parameters
    ----------
    name : str
        The curve.
    seed : int
        Number of the simulation.
    engine : {"auto", "nuts"}
        As for `fit`: importance sampling, and NUTS where it is unhealthy; or NUTS alone.
    priors : mapping, optional
        Priors with which to fit instead of those of the simulation: the ranks should then tell.
    """
    truth, trial, redrawn = simulate(name, seed)
    thinning = NUTS_THINNING if engine == "nuts" else 1
    fit = hf.fit(
        trial,
        curve=name,
        priors=fixed_priors(CURVES[name]()) | dict(priors or {}),
        engine=engine,
        draws=DRAWS * thinning,
        chains=CHAINS,
        random_seed=seed,
    )
    values = with_truth(fit.isel(draw=slice(None, None, thinning)), truth, trial, derived_names(CURVES[name]()))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 2])
    record = fit["evidence"].to_dataset().isel(model=0)
    row = {"seed": seed, "redrawn": redrawn, "sick": int(record["sick"]), "nuts": int(record["engine"] == "nuts")}
    return row | {known: rank(both, rng) for known, both in values.items()}


def path_of(name: str, engine: str = "auto") -> Path:
    return RESULTS / (f"sbc_{name}.csv" if engine == "auto" else f"sbc_{name}_{engine}.csv")


def run(name: str, simulations: int, engine: str = "auto") -> None:
    """Run the simulations of one curve that are not yet in its CSV; one that fails stays missing."""
    path = path_of(name, engine)
    path.parent.mkdir(exist_ok=True)
    done = set(pd.read_csv(path)["seed"]) if path.exists() else set()
    with path.open("a", newline="") as file:
        for seed in range(simulations):
            if seed in done:
                continue
            try:
                row = one_simulation(name, seed, engine=engine)
            except RuntimeError as error:
                print(f"{name} {engine}: simulation {seed} failed: {error}", flush=True)
                continue
            writer = csv.DictWriter(file, list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
    gc.collect()
    gc.freeze()  # what PyTensor keeps would be searched for garbage again and again, for a fifth of the time


def p_values(ranks: np.ndarray) -> dict[str, float]:
    """Return how surprising ranks are if they were uniform, by two tests.

    Notes
    -----
    Kolmogorov and Smirnov's looks at the difference of the distribution functions, Neyman's smooth test of order 4
    (https://doi.org/10.1080/03461238.1937.10404821) at location, spread, skewness and tails.
    """
    place = (np.asarray(ranks) + 0.5) / (CHAINS * DRAWS + 1)
    components = [np.polynomial.legendre.Legendre.basis(k)(2 * place - 1) * np.sqrt(2 * k + 1) for k in range(1, 5)]
    smooth = len(place) * np.sum(np.mean(components, axis=1) ** 2)
    return {"ecdf": float(stats.kstest(place, "uniform").pvalue), "smooth": float(stats.chi2.sf(smooth, 4))}


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values adjusted for their number, after Holm."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1.0)
    return result


def results() -> dict[str, pd.DataFrame]:
    """Return all ranks so far, by curve; those through NUTS have a name of their own."""
    labels = [(name, path_of(name)) for name in CURVES]
    labels += [(f"{name}, NUTS", path_of(name, "nuts")) for name in NUTS_CURVES]
    return {label: pd.read_csv(path) for label, path in labels if path.exists()}


def tests(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the p value of every test of every quantity of every curve, adjusted over all of them."""
    rows = [
        {"curve": label, "quantity": name, "test": test, "p": p}
        for label, ranks in found.items()
        for name in ranks.columns.drop(list(HEALTH))
        for test, p in p_values(ranks[name].to_numpy()).items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(adjusted=holm(table["p"].to_numpy()))


def table(found: Mapping[str, pd.DataFrame]) -> str:
    """Return the results of all curves that were run, as Markdown."""
    lines = [
        "| curve | simulations | quantities | 95 % intervals that hold the truth "
        "| smallest p | adjusted | by NUTS | sick |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tested = tests(found)
    for label, ranks in found.items():
        own = tested[tested["curve"] == label]
        worst = own.loc[own["p"].idxmin()]
        places = (ranks[own["quantity"].unique()] + 0.5) / (CHAINS * DRAWS + 1)
        held = places.apply(lambda place: place.between(0.025, 0.975)).mean()
        lines.append(
            f"| {label} | {len(ranks)} | {places.shape[1]} | {held.min():.3f} to {held.max():.3f} "
            f"| {worst['p']:.2g} ({worst['quantity']}) | {worst['adjusted']:.2g} "
            f"| {ranks['nuts'].mean():.1%} | {ranks['sick'].mean():.1%} |"
        )
    return "\n".join(lines)


def write(content: str) -> None:
    """Put the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split("<!-- sbc -->\n")
    README.write_text(f"{before}<!-- sbc -->\n{content}\n<!-- /sbc -->{rest.split('<!-- /sbc -->')[1]}")


def main() -> None:
    """Run what is missing in rounds of a hundred, print the table and write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curve", choices=list(CURVES), action="append")
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--nuts", action="store_true")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    engine = "nuts" if asked.nuts else "auto"
    names = asked.curve or (NUTS_CURVES if asked.nuts else sorted(CURVES, key=lambda name: name not in AVERAGE))
    for goal in [] if asked.table else [*range(100, asked.simulations, 100), asked.simulations]:
        for name in names:
            run(name, goal, engine)
            print(f"{name} {engine}: {goal}", flush=True)
    result = table(results())
    write(result)
    print(result)


if __name__ == "__main__":
    main()
