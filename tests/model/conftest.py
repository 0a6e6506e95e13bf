import pytest
import torch


@pytest.fixture
def frames():
    return torch.rand(4, 3, 3, 48, 48)


@pytest.fixture
def valid():
    return torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True]])
