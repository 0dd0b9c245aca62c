import threading
import time

import pytest
import torch

from dpq.ranking.evaluate import in_threads


def test_results_keep_the_order_of_the_items():
    assert in_threads(lambda n: n * n, range(50), "square") == [n * n for n in range(50)]
    assert in_threads(len, [], "nothing") == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_drops_what_has_not_begun(error):
    begun, failed = [], threading.Event()

    def work(n):
        begun.append(n)
        if n == 0:
            failed.set()
            raise error("stop")
        failed.wait()
        time.sleep(0.001)  # a busy machine may be slow to hear of the failure

    with pytest.raises(error, match="stop"):
        in_threads(work, range(10_000), "fail")
    assert len(begun) < 10_000


def test_the_threads_are_as_many_as_pytorch_uses():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        barrier = threading.Barrier(3, timeout=30)  # passes only if three wait at once
        in_threads(lambda _: barrier.wait(), range(3), "wait")
    finally:
        torch.set_num_threads(before)
