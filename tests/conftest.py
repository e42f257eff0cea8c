"""Every test sees the repository's sample and leaves nothing behind."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch

os.environ["OMP_NUM_THREADS"] = "1"      # of the processes that tests start: tiny models gain nothing by more
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)    # where it is ignored, what tests start would ignore it too


@pytest.fixture(autouse=True)
def _no_gradients_left() -> None:
    torch.set_grad_enabled(True)
