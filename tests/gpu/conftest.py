import pytest
import torch


@pytest.fixture(autouse=True)
def gpu():
    """Skip where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
