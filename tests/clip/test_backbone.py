"""Weights from files in the formats that users have; architectures that do not fit are refused by name."""

import json
import shutil

import open_clip
import pytest
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from eclip_lib.clip.backbone import load_clip
from eclip_lib.clip.weights import openai_digests, weights_file
from eclip_lib.paths import ASSETS

NAME = "ViT-B-32"


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return load_clip(NAME + "-quickgelu", "random")


def uses_quick_gelu(clip):
    return isinstance(clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)


@torch.no_grad()
def test_openai_state_dict_forces_quick_gelu(original, tmp_path):
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    state = original.state_dict() | {name: torch.tensor(value) for name, value in sizes.items()}
    torch.save(state, tmp_path / "openai.pt")
    clip = load_clip(NAME, str(tmp_path / "openai.pt"))
    image = torch.rand(1, 3, 224, 224)
    assert uses_quick_gelu(clip)
    assert torch.allclose(clip.encode_image(image), original.encode_image(image), atol=1e-6)


@pytest.mark.parametrize("file", ["open_clip.safetensors", "open_clip.bin", "training.pt"])
def test_open_clip_files(original, tmp_path, file):
    state, path = {k: v.contiguous() for k, v in original.state_dict().items()}, tmp_path / file
    if file == "training.pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif path.suffix == ".bin":
        torch.save(state, path)
    else:
        save_file(state, path)
    clip = load_clip(NAME + "-quickgelu", str(path))
    assert uses_quick_gelu(clip)
    assert all(torch.equal(value, state[name]) for name, value in clip.state_dict().items())


def test_an_unknown_activation_is_not_silent(original, tmp_path):
    torch.save(original.state_dict(), tmp_path / "weights.pt")
    with pytest.warns(UserWarning, match="ViT-B-32-quickgelu"):
        assert not uses_quick_gelu(load_clip(NAME, str(tmp_path / "weights.pt")))


def test_files_that_do_not_fit_are_refused(original, tmp_path):
    path = tmp_path / "weights.pt"
    state = dict(original.state_dict())
    torch.save(state | {"visual.conv1.weight": torch.zeros(768, 3, 16, 16)}, path)
    with pytest.raises(ValueError, match=r"visual\.conv1\.weight, has another shape"):
        load_clip(NAME + "-quickgelu", str(path))
    del state["logit_scale"]
    torch.save(state, path)
    with pytest.raises(ValueError, match="logit_scale, is missing"):
        load_clip(NAME + "-quickgelu", str(path))
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(ValueError, match=r"SHA-256 [0-9a-f]{64} is none that OpenAI published"):
        load_clip(NAME, str(path))
    assert len(openai_digests()) >= 9 and all(len(digest) == 64 for digest in openai_digests())


def hub_folder(root, revisions=("new", "old")):
    """Return a folder as the hub's cache has it; its main revision is the first."""
    folder = root / "models--lab--clip"
    for revision in revisions:
        (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(f"{revisions[0]}\n")
    return folder, folder / "snapshots" / revisions[0]


@pytest.mark.parametrize("config", [True, False])
def test_a_folder_of_the_hubs_cache(original, tmp_path, config, recwarn):
    """With a config beside the weights it tells the activation, whatever the name; without, the name does."""
    folder, snapshot = hub_folder(tmp_path)
    torch.save(original.state_dict(), snapshot / "open_clip_pytorch_model.bin")
    if config:
        (snapshot / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    clip = load_clip(NAME if config else NAME + "-quickgelu", str(folder))
    assert uses_quick_gelu(clip) and not [w for w in recwarn if "activation" in str(w.message)]
    assert all(torch.equal(value, clip.state_dict()[name]) for name, value in original.state_dict().items())


def test_a_folder_of_the_hubs_cache_as_backbone(clip, tmp_path):
    folder, snapshot = hub_folder(tmp_path)
    shutil.copytree(ASSETS / "eclip_tiny", snapshot, dirs_exist_ok=True)
    assert all(
        torch.equal(value, clip.state_dict()[name]) for name, value in load_clip(str(folder)).state_dict().items()
    )


def test_a_folder_without_weights_says_what_to_put_there(tmp_path):
    folder, snapshot = hub_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"no weights in {snapshot}: put open_clip_model\.safetensors or"):
        load_clip(NAME, str(folder))
    (folder / "refs" / "main").unlink()  # two revisions, and none is the main one
    (folder / "snapshots" / "old" / "open_clip_model.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=rf"no weights in {folder}: put"):
        weights_file(folder)
    assert weights_file(folder / "snapshots" / "old")[0].name == "open_clip_model.safetensors"


@pytest.mark.parametrize("name", [NAME, "ViT-B-16-quickgelu"])
def test_without_a_network_it_says_which_file_to_put_where(monkeypatch, name):
    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", no_network)
    tag = "laion2b_s34b_b79k" if name == NAME else "metaclip_400m"
    repo = open_clip.get_pretrained_cfg(name, tag)["hf_hub"].rpartition("/")[0]
    with pytest.raises(FileNotFoundError, match="no route to host") as caught:
        load_clip(name, tag)
    assert f"the hub's {repo} " in str(caught.value)
    assert f"models--{repo.replace('/', '--')} of that machine's cache to {HF_HUB_CACHE}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("RN50", "is a ResNet"),
        ("vit_medium_patch16_gap_256", "is timm's"),
        ("ViT-H-14-CLIPA", "averages its patches"),
        ("roberta-ViT-B-32", "is HuggingFace's"),
        ("coca_ViT-B-32", "CoCa"),
    ],
)
def test_other_towers_are_refused_by_name(name, says):
    with pytest.raises(ValueError, match=says):
        load_clip(name, "random")


def test_weights_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match=r"backbone .eclip-tiny. brings its own weights; leave pretrained"):
        load_clip("eclip-tiny", "x.pt")
