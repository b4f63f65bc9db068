"""Run notebooks from top to bottom, all or those whose names begin as said; with --write, store the outputs."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
PROGRESS = "<IPython.core.display.HTML object>"  # a line that was there while the cell ran
AT_ONCE = 3  # on two processors, since a notebook also waits


def run(path: Path) -> None:
    """Run a notebook and report how long it took."""
    started = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    if "--write" in sys.argv[1:]:
        for cell in notebook.cells:
            cell.metadata = {}
            if cell.cell_type == "code":
                cell.outputs = [one for one in cell.outputs if one.get("data", {}).get("text/plain") != PROGRESS]
        nbformat.write(notebook, path)
    print(f"{path.name}: {len(notebook.cells)} cells, {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Run the notebooks, three at a time."""
    names = tuple(one for one in sys.argv[1:] if one != "--write") or ("",)
    paths = [one for one in sorted(FOLDER.glob("*.ipynb")) if one.name.startswith(names)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(run, path) for path in paths]:
            one.result()


if __name__ == "__main__":
    main()
