"""Calls from several Python threads at once: each gets what it would get alone, to the bit, on torch's own threads."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import kronla


def results(n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    G = torch.randn(3, n, n + 5, generator=generator)
    L, R = torch.zeros(3, n, n), torch.zeros(3, n + 5, n + 5)
    kronla.update_factors_(L, R, G, beta=0.5)
    basis = kronla.update_eigenbasis(L, torch.eye(n).expand(3, n, n), max_steps=3)
    root = kronla.inverse_root(L, 4, relative_damping=1e-4)
    H = L[0] @ L[0]
    nearest = kronla.nearest_kronecker(torch.kron(H[:6, :6], H[:5, :5]), 6, 5)
    return [L, R, *basis, *root, *kronla.eigh(R), kronla.kron_apply(root.X, G, R), *nearest]


def test_calls_from_several_threads_at_once():
    sizes = [8, 33, 70, 130, 300] * 4
    expected = {n: results(n) for n in set(sizes)}
    with ThreadPoolExecutor(6) as pool:
        for n, found in zip(sizes, pool.map(results, sizes), strict=True):
            for x, y in zip(found, expected[n], strict=True):
                assert torch.equal(x, y)


def threads() -> int:
    """Of this process, as the system counts them."""
    return len(os.listdir("/proc/self/task"))


def by_torch() -> None:
    """Something that torch shares over its threads."""
    torch.ones(1 << 21).sin_()


def most_threads_during(work) -> int:
    """Looked at every millisecond, less the thread that looks."""
    seen, done = [], threading.Event()

    def look():
        while not done.wait(0.001):
            seen.append(threads() - 1)

    looking = threading.Thread(target=look)
    looking.start()
    work()
    done.set()
    looking.join()
    return max(seen)


def check(count: int, callers: int) -> None:
    """In a process of its own: while kronla works, torch's threads alone, and at most `count` a caller of them busy."""
    torch.set_num_threads(count)
    ready = threading.Barrier(callers)

    def call(way) -> None:
        ready.wait()  # every thread of the pool takes one
        way()

    def by_kronla() -> None:
        for n in (33, 130, 300):
            results(n)

    with ThreadPoolExecutor(callers) as pool:

        def by_all(way) -> None:
            list(pool.map(call, [way] * callers))

        by_all(by_torch)
        before = threads()
        used, clock = time.process_time(), time.perf_counter()
        during = most_threads_during(lambda: by_all(by_kronla))
        used, clock = time.process_time() - used, time.perf_counter() - clock
        assert during <= before, f"{during} threads, torch has {before}"
        assert used <= (callers * count + 0.25) * clock + 0.05, f"{used:.2f} s of CPU in {clock:.2f} s"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
@pytest.mark.parametrize("callers", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_more_threads_than_torch_has(count, callers):
    """torch.set_num_threads holds for kronla, which has no threads of its own, nor teams within teams."""
    command = f"import test_threads; test_threads.check({count}, {callers})"
    found = subprocess.run(
        [sys.executable, "-c", command],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(kronla.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
