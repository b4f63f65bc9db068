"""Who computes the pieces of a screen: this process, processes on this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from hormesis_fit.screening.piecework import Asked, failure, fit_piece
from hormesis_fit.screening.tables import Pieces
from hormesis_fit.trials.reading import read_trial

WAITING = 2  # pieces under way for each worker: the memory of the scheduler is bounded, too
PATIENCE = "20s"  # with a scheduler that does not answer
RETRIES = 3  # of a piece whose worker died
LOOK = 30  # seconds without a result after which a local cluster is looked at
IDLE = "60s"  # after which a local cluster ends whose screen was killed
# A process with threads of its own for matrices of seven columns is slower than one without.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Numbers of pieces with their records, or with the reason why a piece was lost.
type Found = Iterator[tuple[int, dict[str, dict[str, Any]] | str]]
type Mapper = Callable[[Pieces, Sequence[int], Asked, Mapping[str, Any]], Found]


def fit_tables(
    tables: Mapping[str, pd.DataFrame], asked: Asked, reading: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Read the tables of a piece as trials and fit them: one task of a cluster.

    Parameters
    ----------
    tables : mapping
        Rows of every curve by its label.
    asked : Asked
        What is asked of each.
    reading : mapping
        Keyword arguments of `read_trial`.

    Returns
    -------
    dict
        A record for every label, as `fit_piece` returns them.
    """
    trials, records = {}, {}
    for label, table in tables.items():
        try:
            trials[label] = read_trial(table, **reading)
        except (ValueError, TypeError) as error:
            records[label] = failure(error)
    with threadpool_limits(1, user_api="blas"):
        records |= fit_piece(trials, asked)
    return records


@contextmanager
def mapper(scheduler: Any, workers: int | None) -> Iterator[Mapper]:
    """Yield what computes pieces; a cluster that was started for it ends with it.

    Parameters
    ----------
    scheduler : str or Client, optional
        A Dask cluster, or the address of its scheduler.
    workers : int, optional
        Processes on this machine; more than one need Dask.
    """
    if scheduler is None and (workers or 1) == 1:
        yield _here
        return
    try:
        import distributed
    except ImportError:
        raise ValueError("More than one process needs Dask: pip install 'hormesis-fit[screen]'.") from None
    with ExitStack() as stack:
        refill = None
        if isinstance(scheduler, distributed.Client):
            client = scheduler
        elif scheduler is not None:
            try:
                client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
            except (OSError, ValueError, TypeError) as error:
                raise ValueError(f"No Dask scheduler answers at {scheduler!r} ({error}): check the address.") from None
        else:
            cluster = stack.enter_context(_local(workers))
            client = stack.enter_context(distributed.Client(cluster))
            refill = partial(_refilled, cluster, workers)
        yield lambda *given: _on_cluster(client, refill, *given)


def _local(workers: int) -> Any:
    """Start workers as processes of their own, which do not run the script of the user again."""
    import dask
    from distributed.deploy.subprocess import SubprocessCluster

    dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT})
    return SubprocessCluster(
        n_workers=workers,
        threads_per_worker=1,
        worker_kwargs={"dashboard": False, "memory_limit": 0},
        scheduler_kwargs={"dashboard": False, "idle_timeout": IDLE},
        silence_logs=50,
    )


def _refilled(cluster: Any, workers: int) -> None:
    """Start workers anew where all have gone: who died at work is replaced by its nanny, but not the nannies."""
    if not any(one.process and one.process.returncode is None for one in cluster.workers.values()):
        cluster.scale(0)
        cluster.scale(workers)


def _here(pieces: Pieces, numbers: Sequence[int], asked: Asked, reading: Mapping[str, Any]) -> Found:
    for number in numbers:
        yield number, fit_tables(pieces.tables(number), asked, reading)


def _on_cluster(
    client: Any,
    refill: Callable[[], None] | None,
    pieces: Pieces,
    numbers: Sequence[int],
    asked: Asked,
    reading: Mapping[str, Any],
) -> Found:
    """Keep all workers busy, and no more than that; a piece whose worker dies goes to another one."""
    from distributed import wait

    waiting, under_way = list(reversed(numbers)), {}

    def submit() -> None:
        if waiting:
            number = waiting.pop()
            tables = pieces.tables(number)
            under_way[client.submit(fit_tables, tables, asked, dict(reading), pure=False, retries=RETRIES)] = number

    for _ in range(WAITING * max(len(client.scheduler_info()["workers"]), 1)):
        submit()
    while under_way:
        try:
            with client.as_current():  # one that is nobody's default is asked, too
                arrived = wait(list(under_way), timeout=LOOK if refill else None, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            refill()
            continue
        for future in arrived:
            number, error = under_way.pop(future), future.exception()
            lost = f"its piece was lost with the workers that computed it: {error}"
            records = future.result() if error is None else lost
            future.release()
            submit()
            yield number, records
