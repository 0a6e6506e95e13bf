import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

import tests.support.typechecker  # noqa: F401  the hook below finds it by name

# Before anything of eclip_lib is imported. Where users come in, the library has better words for a wrong type; and
# torch.compile cannot look through the checks of the event encoder.
TENSOR_FILES = """
clip.backbone model.losses model.text_prompts model.text_encoder model.eclip model.eventbind data.inputs
evaluation.metrics evaluation.intervals evaluation.scores training.loop training.schedule training.scoring
views.inside.attention views.inside.stages views.inside.tables views.inside.training
"""
install_import_hook([f"eclip_lib.{name}" for name in TENSOR_FILES.split()], "tests.support.typechecker.check")

from eclip_lib.clip import load_clip  # noqa: E402
from eclip_lib.events import EVENT_DTYPE, Recording  # noqa: E402

settings.register_profile("steady", deadline=None, derandomize=True)  # a slow machine is no failure, nor is luck
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def private_runs(tmp_path, monkeypatch):
    """No test reads or writes the user's own cache and ledger."""
    monkeypatch.setattr("eclip_lib.cache.CACHE", tmp_path / "cache")
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def clip():
    return load_clip()


@pytest.fixture
def recording():
    """Return a seeded recording: 1,000 events on a sensor of 24 x 32 pixels."""
    rng = np.random.default_rng(7)
    events = np.zeros(1000, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 32, 1000), rng.integers(0, 24, 1000)
    events["t"], events["p"] = np.sort(rng.integers(0, 300_000, 1000)), rng.random(1000) < 0.5
    return Recording(events, (24, 32))


@pytest.fixture
def data_folder():
    """Return the folder of real recordings, for tests marked `data`."""
    folder = os.environ.get("ECLIP_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs ECLIP_TEST_DATA, the folder of real recordings")
    return Path(folder)
