"""Tables and methods of a paper: rounding, escaping, and files that LaTeX and a word processor can read."""

import html
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from docx import Document

import hormesis_fit as hf
from hormesis_fit.cli.app import main
from hormesis_fit.curves import CURVES, Curve
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.histories import PHARMACOKINETICS
from hormesis_fit.report.markup import latex, markdown
from hormesis_fit.report.references import reference_of, references
from hormesis_fit.report.rounding import EXACT, Exactness, probable, rounded, weight_error
from hormesis_fit.report.typesetting import LONG, latex_table

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
HOSTILE = r"50% & <b>_x_</b> $y$ \input{x}"
TABLES = ["window", "summary", "derived", "models", "parameters"]
MASTER = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[margin=20mm]{geometry}
\usepackage{booktabs,array,longtable,tabularx}
\begin{document}
INPUTS
\bibliographystyle{plain}\bibliography{references}
\end{document}
"""


@pytest.fixture(scope="module")
def fit():
    fitted = hf.fit(hf.load_dataset("lettuce", standard_dose=50.0), **FAST)
    fitted["window"], fitted["derived"] = hf.window(fitted), hf.derived_quantities(fitted)
    return fitted


@pytest.fixture(scope="module")
def tables(fit):
    return hf.paper_tables(fit)


@pytest.fixture(scope="module")
def hostile():
    table = {HOSTILE: [0, 0, 1, 1, 3, 3, 10, 10], f"r {HOSTILE}": [1.0, 1.1, 1.3, 1.2, 1.0, 0.9, 0.4, 0.5]}
    names = {"dose": HOSTILE, "response": f"r {HOSTILE}"}
    trial = hf.read_trial(table, **names, dose_unit=f"µg L⁻¹ {HOSTILE}", response_unit=f"[γ] {HOSTILE}")
    trial.attrs |= {"name": HOSTILE, "source": HOSTILE}
    fitted = hf.fit(trial, curve=["BrainCousens", "LogLogistic"], **FAST)
    fitted["window"], fitted["derived"] = hf.window(fitted), hf.derived_quantities(fitted)
    return fitted


@pytest.fixture(scope="module")
def papers(fit, hostile, tmp_path_factory):
    """Return folders with what is written of an ordinary fit and of one with hostile names."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("ordinary", "hostile")}
    hf.write_paper(fit, folders["ordinary"])
    hf.write_paper(hostile, folders["hostile"])
    return folders


class TestRounding:
    @pytest.mark.parametrize(
        ("value", "error", "shown"),
        [
            (1.23456, 0.0001, "1.23"),  # three significant digits, whatever the error allows
            (1.23456, 0.01, "1.23"),
            (1.23456, 0.04, "1.2"),  # 0.04 is nearer to 0.1 than to 0.01
            (1.23456, 0.4, "1"),
            (1.23456, 4.0, "<10"),
            (0.0123456, 0.0001, "0.0123"),
            (123456.0, 20.0, "123000"),
            (123456.0, 20000.0, "120000"),
            (9.996, EXACT, "10.0"),
            (9.96, 0.1, "10.0"),
            (0.57, 0.12, "0.6"),
            (57.0, 40.0, "60"),  # one digit as long as the error is smaller than the number
            (-1.23456, 0.01, "−1.23"),
            (-0.01, 0.1, ">−0.1"),
            (0.0, 0.1, "0"),
            (1.5, np.nan, "1.5"),
            (1.23456, np.nan, "1.2"),
            (1.23456, np.inf, "1"),
            (np.nan, 0.1, "–"),
            (np.inf, np.nan, "∞"),
            (1.234e9, EXACT, "1.23 × 10⁹"),
            (1.5e-7, 1e-8, "1.5 × 10⁻⁷"),
        ],
    )
    def test_a_number_ends_with_the_last_digit_that_its_error_supports(self, value, error, shown):
        assert rounded(value, error) == shown

    @pytest.mark.parametrize("seed", range(20))
    def test_rounding_adds_no_more_than_the_error(self, seed):
        rng = np.random.default_rng(seed)
        value, error = 10 ** rng.uniform(-3, 5), 10 ** rng.uniform(-4, 2)
        shown = rounded(value, error)
        if error < 0.3 * value and error > 0.004 * value:
            assert abs(float(shown) - value) <= 1.6 * error

    @pytest.mark.parametrize(
        ("value", "error", "shown"),
        [
            (0.694, 0.008, "0.69"),
            (0.694, 0.05, "0.7"),
            (0.999, 0.001, ">0.99"),
            (1.0, 0.001, ">0.99"),
            (1.0, EXACT, "1"),
            (0.0, EXACT, "0"),
            (0.0, 0.001, "<0.01"),
            (0.98, 0.05, ">0.9"),
            (np.nan, 0.1, "–"),
        ],
    )
    def test_a_probability_is_no_certainty(self, value, error, shown):
        assert probable(value, error) == shown

    def test_a_probability_is_not_rounded_up_to_a_level_that_it_missed(self):
        assert probable(0.7961, 0.008, below=0.8) == "<0.80"
        assert probable(0.8039, 0.008, below=0.8) == "0.80"


class TestExactness:
    def test_independent_draws_are_as_exact_as_arviz_says(self):
        values = np.random.default_rng(1).lognormal(size=(4, 1000))
        exact = Exactness(values.size, np.full(values.size, "one"), {})
        for level, error in zip((0.025, 0.5, 0.975), exact.quantiles(values.ravel(), (0.025, 0.5, 0.975)), strict=True):
            other = arviz_stats.base.array_stats.mcse(values, method="quantile", prob=level)
            assert error == pytest.approx(float(other), rel=0.35)

    def test_draws_that_hang_together_are_less_exact(self):
        rng, values = np.random.default_rng(1), np.empty((4, 2000))
        values[:, 0] = rng.normal(size=4)
        for place in range(1, values.shape[1]):
            values[:, place] = 0.9 * values[:, place - 1] + np.sqrt(1 - 0.81) * rng.normal(size=4)
        size = float(arviz_stats.base.array_stats.ess(values))
        assert size < 1000
        exact = Exactness(size, np.full(values.size, "one"), {})
        other = float(arviz_stats.base.array_stats.mcse(values, method="quantile", prob=0.5))
        assert exact.quantiles(values.ravel(), (0.5,))[0] == pytest.approx(other, rel=0.35)

    def test_the_size_of_a_mixture(self, fit):
        window = fit["window"].to_dataset()
        evidence = fit["evidence"].to_dataset()
        weight, size = evidence["weight"].values, Exactness.of(fit, window).size
        # Importance samples of thousands: every curve is worth all its thousand draws, and so is the mixture.
        assert (evidence["ess"] > 1000).all()
        assert size == pytest.approx(1000)
        poor = fit.copy()
        poor["evidence"] = xr.DataTree(evidence.assign(ess=evidence["ess"] * 0 + 100))
        expected = 1 / (np.sum(weight**2) / 100 + (1 - np.sum(weight**2)) / 1000)
        assert Exactness.of(poor, window).size == pytest.approx(expected)

    def test_the_error_of_the_evidence_counts(self):
        labels = np.repeat(["a", "b"], 500)
        event = labels == "a"
        without = Exactness(1e9, labels, {"a": 0.0, "b": 0.0}).share(event)
        assert Exactness(1e9, labels, {"a": 0.2, "b": 0.0}).share(event) == pytest.approx(0.25 * 0.2, rel=1e-3)
        assert without < 1e-4

    def test_the_error_of_weights_is_that_of_perturbed_evidences(self, fit):
        evidence = fit["evidence"].to_dataset()
        chosen, rng = evidence["hormetic"].values, np.random.default_rng(1)
        logs = np.log(evidence["weight"].values) + rng.normal(size=(4000, 1)) * 0
        logs = logs + rng.normal(size=logs.shape) * evidence["log_evidence_se"].values
        weights = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
        assert weight_error(evidence, chosen) == pytest.approx(weights[:, chosen].sum(axis=1).std(), rel=0.1)

    @pytest.mark.slow
    def test_other_seeds_differ_by_the_error(self, trial):
        found, errors = [], []
        for seed in range(12):
            fitted = hf.fit(trial, curve=["BrainCousens", "LogLogistic"], **FAST | {"random_seed": seed})
            window = hf.window(fitted)
            doses = window["peak_dose"].values.ravel()
            errors.append(Exactness.of(fitted, window).quantiles(doses, (0.025, 0.5, 0.975)))
            found.append(np.nanquantile(doses, (0.025, 0.5, 0.975)))
        ratio = np.std(found, axis=0, ddof=1) / np.mean(errors, axis=0)
        assert ((ratio > 0.3) & (ratio < 1.7)).all()


class TestTables:
    def test_the_tables_of_a_fit(self, tables):
        assert list(tables) == TABLES
        for table in tables.values():
            assert table.attrs["caption"].endswith(".")
            assert table.map(lambda cell: isinstance(cell, str)).all().all()

    def test_numbers_are_those_of_the_summary(self, fit, tables):
        found, known = tables, hf.summary_table(fit).set_index("quantity")
        summary = found["summary"].set_index("Quantity")
        assert float(summary.loc["Peak response (g)", "Median"]) == pytest.approx(
            known.loc["peak_response", "median"], rel=0.01
        )
        low, high = summary.loc["Upper edge of the window (mg/L)", "95 % interval"].split(" to ")
        assert float(low) == pytest.approx(known.loc["window_upper", "lower"], rel=0.15)
        assert float(high) == pytest.approx(known.loc["window_upper", "upper"], rel=0.15)
        names = found["derived"].set_index("Quantity")
        assert float(names.loc["Effective dose, 50 % (mg/L)", "Median"]) == pytest.approx(
            known.loc["effective_dose_50", "median"], rel=0.02
        )

    def test_no_number_has_more_than_three_significant_digits(self, tables):
        for name in ("summary", "derived"):
            for cell in tables[name]["Median"]:
                digits = re.sub(r"[^0-9]", "", cell).lstrip("0").rstrip("0" if "." not in cell else "")
                assert len(digits) <= 3

    def test_the_window_says_its_question_its_status_and_its_flags(self, fit, tables):
        table = tables["window"].set_index("")
        window = fit["window"].to_dataset()
        assert table.loc["Status", "Result"] == window.attrs["status"]
        assert table.loc["Flags", "Result"].split(", ") == window.attrs["flags"].split()
        assert "% of standard dose" in table.columns
        notes = " ".join(tables["window"].attrs["notes"])
        assert "by at least 10 % over control" in notes
        assert all(f"{flag}: " in notes for flag in window.attrs["flags"].split())

    def test_without_a_standard_dose_there_is_no_share_of_it(self, hostile):
        assert list(hf.paper_tables(hostile)["window"].columns) == ["", "Result"]

    def test_without_a_window_the_default_is_used(self, fit):
        bare = fit.copy()
        del bare["window"]
        assert "The benefit is the default." in hf.paper_tables(bare)["window"].attrs["notes"][0]
        assert "default of the software" in hf.methods_text(bare)
        assert "window" not in bare

    def test_weights_are_those_of_the_evidence(self, fit, tables):
        table = tables["models"]
        evidence = fit["evidence"].to_dataset()
        assert table["Curve"].tolist() == evidence["model"].values.tolist()
        for cell, weight in zip(table["Weight"], evidence["weight"].values, strict=True):
            assert cell == "<0.01" if weight < 0.01 else float(cell) == pytest.approx(weight, abs=0.005)
        assert "R-hat" not in table  # nothing was sampled by NUTS

    def test_every_prior_is_listed(self, fit, tables):
        table = tables["parameters"]
        assert len(table) == sum(len(one["posterior"].data_vars) for one in fit["models"].children.values())
        assert "HalfNormal(0.5)" in table["Prior"].tolist()

    def test_the_next_doses(self, fit):
        planned = hf.next_doses(fit, n=6)
        table = hf.paper_tables(planned)["design"]
        assert table["Rows"].astype(int).sum() == 6
        assert table["Dose (mg/L)"].astype(float).tolist() == pytest.approx(planned["dose"].values.tolist(), rel=0.01)
        assert "6 rows that together bring the most information" in table.attrs["notes"][0]

    def test_an_optimal_design(self):
        curve = CURVES["LogQuadratic"](control=21.9, peak_stimulation=0.564, peak_dose=0.185)
        table = hf.paper_tables(hf.optimal_design(curve, doses=(0, 1), family="poisson", n=9))["design"]
        assert table["Share of rows"].tolist() == ["0.333"] * 3
        assert table["Rows"].tolist() == ["3"] * 3
        assert "D-optimal: for all parameters, of LogQuadratic" in table.attrs["notes"][0]

    def test_other_datasets_are_refused(self, fit):
        with pytest.raises(TypeError, match="Expected a fit, or the plan"):
            hf.paper_tables(fit["window"].to_dataset())
        with pytest.raises(TypeError, match="without a posterior"):
            hf.paper_tables(xr.DataTree())


class TestMethods:
    def test_what_was_done_is_said(self, fit):
        text = hf.methods_text(fit, markup="plain")
        for words in (
            "14 rows at 7 doses from 0 to 100 mg/L, 2 of them without the drug",
            "The standard dose was 50 mg/L",
            "Hormetic: BrainCousens (Brain and Cousens 1989), ",
            "prior probability 0.5",
            "Responses scatter normally around the mean",
            "control ∼ TruncatedNormal(",
            "adaptive importance sampling",
            "4 × 250 draws",
            "largest k-hat",
            "raise weight by at least 10 % over control",
            "No limit on harm was set",
            "the random seed 1",
            "PyMC ",
            "Source of the data: van Ewijk",
        ):
            assert words in text, words
        assert "No-U-Turn" not in text

    def test_nuts_is_told_with_its_health(self, fit):
        evidence = fit["evidence"].to_dataset()
        changed = evidence.assign(
            engine=evidence["engine"].copy(data=["nuts", *evidence["engine"].values[1:]]),
            max_rhat=evidence["max_rhat"].copy(data=[1.004, *evidence["max_rhat"].values[1:]]),
            sick=evidence["sick"].copy(data=[True, *evidence["sick"].values[1:]]),
        )
        sampled = fit.copy()
        sampled["evidence"] = xr.DataTree(changed)
        text = hf.methods_text(sampled, markup="plain")
        assert "the No-U-Turn sampler (Hoffman and Gelman 2014; Seyboldt et al. 2026) for BrainCousens" in text
        assert "largest R-hat 1.004, 0 divergent transitions" in text
        assert "stayed unhealthy for BrainCousens" in text
        assert "bridge sampling (Meng and Wong 1996; Frühwirth-Schnatter 2004)" in text
        assert hf.paper_tables(sampled)["models"]["R-hat"].tolist()[:2] == ["1.004", "–"]

    def test_groups_and_covariates_are_told(self):
        rng, people = np.random.default_rng(1), 4
        doses = np.tile([0.0, 1, 3, 10, 30], people)
        table = {"dose": doses, "response": 10 - 0.1 * doses + rng.normal(0, 1, doses.size)}
        table |= {"id": np.repeat(["Ann", "Bob", "Cy", "Di"], 5), "age": np.repeat([20, 30, 40, 50], 5)}
        trial = hf.read_trial(table, subject="id", columns=["age"])
        fitted = hf.fit(trial, curve="Linear", covariates={"control": "scale(age)"}, **FAST)
        text = hf.methods_text(fitted, markup="plain")
        assert "The rows belonged to 4 subjects" in text
        assert "control between 4 subjects (on the log scale)" in text
        assert "The control followed the covariates scale(age)" in text
        shown = " ".join([text, *(table.to_string() for table in hf.paper_tables(fitted).values())])
        assert "control slope" in shown
        assert not [name for name in ("Ann", "Bob") if name in shown]

    def test_side_effects_and_limits_are_told(self, trial):
        side = hf.Endpoint(trial=trial, curve="Linear")
        fitted = hf.fit(trial, curve="Constant", endpoints={"nausea": side}, **FAST)
        fitted["window"] = hf.window(fitted, harm=hf.Harm(endpoint="nausea", limit=2.0))
        text = hf.methods_text(fitted, markup="plain")
        assert "The side effect nausea was fitted by itself (observation model: gaussian), with Linear (Bretz" in text
        assert "A dose also had to keep these limits: nausea" in text
        assert "typical subject" not in text  # there are none
        assert "followed the dose-response curve Constant (Ritz et al. 2015)" in text

    def test_keys_are_those_of_the_bibliography(self, fit):
        entries = set(re.findall(r"^@\w+\{([^,]+),$", hf.bibliography(fit), re.MULTILINE))
        cited = set(re.findall(r"@(\w+)", hf.methods_text(fit, markup="markdown").replace("\\@", "")))
        lists = re.findall(r"\\cite\{([^}]+)\}", hf.methods_text(fit, markup="latex"))
        assert entries == cited == {key for one in lists for key in one.split(",")}
        assert f"Version {hf.__version__}" in hf.bibliography(fit)

    def test_an_unknown_markup_is_refused(self, fit):
        with pytest.raises(ValueError, match='no markup named "latx" \\(did you mean "latex"'):
            hf.methods_text(fit, markup="latx")


class TestReferences:
    @pytest.mark.parametrize("kind", [*CURVES.values(), *DRIFTS.values(), *PHARMACOKINETICS.values()])
    def test_every_source_is_known(self, kind):
        assert reference_of(kind) in references().values()

    def test_every_entry_is_whole(self):
        for one in references().values():
            assert {"author", "title", "year"} <= set(one.fields)
            assert one.bibtex.count("{") == one.bibtex.count("}")
            assert one.full.startswith(one.authors[0])
            assert not re.search(r"[{}\\]", one.full)

    def test_arviz_is_cited_as_it_asks(self):
        import arviz

        wanted = set(re.findall(r"10\.\d+/[^\s\"}]+", arviz.citations([arviz.rhat, arviz.ess])))
        assert wanted & {one.fields.get("doi") for one in references().values()} >= {"10.21105/joss.09889"}
        assert "10.1214/20-BA1221" in wanted

    def test_the_package_is_cited_as_it_asks(self):
        asked = (Path(__file__).parent.parent / "CITATION.cff").read_text(encoding="utf-8")
        own = references()["hormesis_fit"].fields
        assert f'title: "{own["title"]}"' in asked
        assert f'name: "{own["author"]}"' in asked
        assert f"date-released: {own['year']}" in asked

    def test_a_source_from_elsewhere_is_cited_by_its_doi(self):
        class Own(Curve):
            """A curve of somebody."""

            source = "https://doi.org/10.1000/182"

        assert "doi = {10.1000/182}" in reference_of(Own).bibtex
        Own.source = r"https://doi.org/10.1000/\input{x}"
        assert reference_of(Own) is None


class TestEscaping:
    def test_latex(self):
        escaped = r"50\% \& \textless{}b\textgreater{}\_x\_\textless{}/b\textgreater{} \$y\$ \textbackslash{}input\{x\}"
        assert latex(HOSTILE) == escaped
        assert latex("g m⁻² Ω Α ½₂ a\x07b") == (
            r"g m\textsuperscript{\ensuremath{-}2} \ensuremath{\Omega} A ½\textsubscript{2} a b"
        )

    def test_markdown(self):
        assert markdown(HOSTILE) == r"50% \& \<b\>\_x\_\</b\> \$y\$ \\input\{x\}"

    def test_nothing_hostile_is_left_in_latex(self, papers):
        for path in papers["hostile"].glob("*.tex"):
            text = path.read_text(encoding="utf-8")
            assert r"\input" not in text
            assert "$" not in text.replace(r"\$", "")
            assert "<b>" not in text
        assert r"\textbackslash{}input\{x\}" in (papers["hostile"] / "summary.tex").read_text(encoding="utf-8")

    def test_nothing_hostile_is_left_in_html(self, papers):
        page = (papers["hostile"] / "paper.html").read_text(encoding="utf-8")
        assert "<b>_x_" not in page
        assert html.escape(HOSTILE) in page
        assert "<script" not in page

    def test_a_word_processor_shows_it_as_it_is(self, papers):
        document = Document(str(papers["hostile"] / "paper.docx"))
        heads = [cell.text for table in document.tables for cell in table.columns[0].cells]
        assert any(HOSTILE in head for head in heads)

    def test_a_row_that_begins_with_a_bracket_is_no_argument(self, tables):
        table = tables["models"].copy()
        table.iloc[1, 0] = "[1cm] x"
        assert "\n{}[1cm] x &" in latex_table(table, "models")


class TestFiles:
    def test_the_files_of_a_fit(self, papers):
        assert {one.name for one in papers["ordinary"].iterdir()} == {
            *(f"{name}.tex" for name in TABLES),
            "methods.tex",
            "references.bib",
            "paper.docx",
            "paper.html",
        }

    def test_latex_has_booktabs_caption_label_and_notes(self, papers):
        text = (papers["ordinary"] / "summary.tex").read_text(encoding="utf-8")
        for words in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Posterior", r"\label{tab:summary}"):
            assert words in text
        assert "|" not in text
        assert r"equal-tailed 95~\% interval" in text

    def test_a_long_table_may_break(self, tables):
        table = tables["parameters"]
        longer = pd.concat([table] * (LONG // len(table) + 1), ignore_index=True)
        longer.attrs = table.attrs
        assert r"\begin{longtable}" in latex_table(longer, "parameters")

    def test_word_tables_are_those_of_the_frames(self, tables, papers):
        document = Document(str(papers["ordinary"] / "paper.docx"))
        frames = tables
        assert len(document.tables) == len(frames)
        for table, frame in zip(document.tables, frames.values(), strict=True):
            cells = [[cell.text.replace("\u00a0", " ") for cell in row.cells] for row in table.rows]
            assert cells == [list(frame.columns), *frame.to_numpy().tolist()]
        assert "95\u00a0% interval" in [cell.text for cell in document.tables[1].rows[0].cells]
        fields = [one for one in document.element.iter() if one.tag.endswith("}fldSimple")]
        assert len(fields) == len(frames)

    def test_a_plan_is_written_beside(self, fit, tmp_path):
        written = hf.write_paper(hf.next_doses(fit, n=4), tmp_path, formats=["latex", "docx"])
        assert [one.name for one in written] == ["design.tex", "design.docx"]

    def test_an_unknown_format_is_refused_before_anything_is_made(self, fit, tmp_path):
        with pytest.raises(ValueError, match='no format named "doc"'):
            hf.write_paper(fit, tmp_path / "new", formats="doc")
        assert not (tmp_path / "new").exists()

    def test_the_command(self, fit, tmp_path, capsys):
        (tmp_path / "results").mkdir()
        fit.to_netcdf(tmp_path / "results" / "fit.nc", engine="h5netcdf")
        assert main(["paper", str(tmp_path / "results"), "--format", "latex"]) == 0
        assert (tmp_path / "results-paper" / "methods.tex").exists()
        assert main(["paper", str(tmp_path / "results"), "--format", "latex"]) == 2
        assert "exists already: add --overwrite" in capsys.readouterr().err
        assert main(["paper", str(tmp_path / "results"), "--format", "latex", "--overwrite"]) == 0
        assert main(["paper", str(tmp_path / "nothing")]) == 2
        assert {one.name for one in tmp_path.iterdir()} == {"results", "results-paper"}


class TestOtherPrograms:
    @pytest.mark.parametrize("which", ["ordinary", "hostile"])
    def test_latex_compiles(self, which, papers, tmp_path):
        if shutil.which("pdflatex") is None or shutil.which("bibtex") is None:
            pytest.skip("pdflatex and bibtex are not installed (apt: texlive-latex-base texlive-latex-recommended)")
        inputs = [path.stem for path in papers[which].glob("*.tex")]
        (tmp_path / "all.tex").write_text(MASTER.replace("INPUTS", "".join(rf"\input{{{one}}}" for one in inputs)))
        for path in papers[which].iterdir():
            shutil.copy(path, tmp_path)
        typeset = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all"]
        for command in (typeset, ["bibtex", "all"], typeset, typeset):
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
            assert done.returncode == 0, done.stdout[-2000:]
        log = (tmp_path / "all.log").read_text(errors="replace")
        assert "undefined" not in log
        assert (tmp_path / "all.pdf").stat().st_size > 10_000
        if which == "ordinary":
            assert "Overfull" not in log

    @pytest.mark.parametrize("which", ["ordinary", "hostile"])
    def test_word_documents_open(self, which, papers, tmp_path):
        if shutil.which("soffice") is None:
            pytest.skip("LibreOffice is not installed (apt: libreoffice-writer-nogui)")
        source = papers[which] / "paper.docx"
        assert zipfile.is_zipfile(source)
        profile = f"-env:UserInstallation=file://{tmp_path}/profile"
        command = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), str(source)]
        subprocess.run(command, capture_output=True, check=True, timeout=180)
        pdf = tmp_path / "paper.pdf"
        assert pdf.read_bytes().startswith(b"%PDF")
        if shutil.which("pdftotext"):
            text = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout
            assert "Table 5" in text
            assert "Priors and posteriors of the parameters" in " ".join(text.split())
