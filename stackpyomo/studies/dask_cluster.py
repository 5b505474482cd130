"""Clusters: Dask workers as an executor for studies, at an address or started here."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from stackpyomo.core import require_whole
from stackpyomo.errors import InvalidGame

__all__ = ["cluster"]

logger = logging.getLogger(__name__)

_PATIENCE = 10  # Seconds to wait for a scheduler to answer.


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The executor of a Dask scheduler: ``tcp://host:port``, or ``local[:n]``: n workers on this machine.

    Raises :class:`InvalidGame` without Dask, for a scheduler that does not answer or has no worker.
    """
    try:
        import dask.config
        from distributed import Client, LocalCluster
    except ImportError:
        raise InvalidGame(f'dask={address!r}: needs Dask; pip install "stackpyomo[dask]".') from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told by the rows
    kind, _, number = address.partition(":")
    if kind != "local":
        with _client(Client, address, address) as client:
            yield client.get_executor()
        return
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # a study asks again by itself
        local = _local(LocalCluster, number, address)
    with local, _client(Client, local, address) as client:
        yield client.get_executor()


def _local(kind: Any, number: str, address: str) -> Any:
    workers = int(number) if number.isdigit() else number or os.cpu_count()
    require_whole("dask=local: workers", workers)
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    try:
        return kind(n_workers=workers, threads_per_worker=1, **quiet)
    except (OSError, RuntimeError) as error:
        raise InvalidGame(
            f"dask={address!r}: workers did not start ({error}) In a script, does the study start under "
            'if __name__ == "__main__":?'
        ) from None


@contextmanager
def _client(kind: Any, target: Any, address: str) -> Iterator[Any]:
    try:
        client = kind(target, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidGame(f"dask={address!r}: no scheduler answers there ({reason}).") from None
    with client:
        logger.info("%s: %d workers", address, len(client.ncores()))
        if not client.ncores():
            raise InvalidGame(f"dask={address!r}: the scheduler has no workers; start some (dask worker {address}).")
        yield client
