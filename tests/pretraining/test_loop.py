import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from eclip_lib.clip.backbone import load_clip
from eclip_lib.clip.tiny import PretrainConfig, read_recipe
from eclip_lib.data.embedded_stills import icons100
from eclip_lib.pretraining.augmentation import event_sketch, random_affine, random_view
from eclip_lib.pretraining.loop import pretrain, zero_shot
from eclip_lib.pretraining.losses import relation_loss
from eclip_lib.pretraining.stills import gather_data
from eclip_lib.pretraining.texts import TEMPLATES
from eclip_lib.pretraining.vocabulary import used_merges, write_merges

CFG = PretrainConfig(steps=4, batch=16, width=32, layers=1, heads=2, text_width=32, text_layers=1, embed_dim=16)


@pytest.fixture
def data():
    stills = icons100()
    few = stills.select((stills.table.index % 40 == 0) & (stills.table.split == "train"))
    features = np.random.default_rng(0).random((len(few), 300)).astype(np.float32)
    return gather_data([(few, features)], "streamline")


def test_only_train_families_train(data):
    stills = icons100()
    few = stills.select(stills.table.index % 40 == 0)
    mine = gather_data([(few, np.random.rand(len(few), 300).astype(np.float32))], "streamline")  # noqa: NPY002
    assert len(mine.images) == ((few.table.split == "train") & (few.table.family != "streamline")).sum()


def test_a_stopped_run_resumes_to_the_same_weights(data, tmp_path):
    validation = icons100().select(icons100().table.index % 200 == 0)
    whole = list(pretrain(CFG, data, validation, icons100().classes, tmp_path / "whole", every=2))
    for record in pretrain(CFG, data, validation, icons100().classes, tmp_path / "parts", every=2):
        assert record["step"] == 2
        break
    rest = list(pretrain(CFG, data, validation, icons100().classes, tmp_path / "parts", every=2))
    assert [r["step"] for r in rest] == [4]
    assert rest[-1] == whole[-1]
    files = [(tmp_path / part / "open_clip_model.safetensors").read_bytes() for part in ("whole", "parts")]
    assert files[0] == files[1]
    with pytest.raises(ValueError, match="another recipe"):
        next(pretrain(PretrainConfig(steps=9), data, validation, icons100().classes, tmp_path / "whole"))


def test_what_is_exported_is_an_open_clip_folder(data, tmp_path):
    validation = icons100().select(icons100().table.index % 200 == 0)
    list(pretrain(CFG, data, validation, icons100().classes, tmp_path, every=4))
    clip = load_clip(str(tmp_path))
    assert clip.visual.conv1.out_channels == 32
    assert zero_shot(clip, clip.tokenizer, validation, icons100().classes)["n"] == len(validation)


def test_a_cut_vocabulary_tokenizes_its_texts_as_before(tmp_path):
    texts = [template.format(name) for name in icons100().classes for template in TEMPLATES]
    write_merges(tmp_path / "bpe.txt.gz", used_merges(texts))
    small, whole = SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz")), SimpleTokenizer()
    assert small.vocab_size < whole.vocab_size / 10
    for text in texts:
        pieces = [[t.decoder[i] for i in t.encode(text)] for t in (small, whole)]
        assert pieces[0] == pieces[1]
    assert small.decode(small.encode("zymurgy 東京")).strip() == "zymurgy 東京"  # nothing is unknown


def test_views_are_repeatable_and_in_range():
    images = torch.rand(8, 3, 96, 96)
    views = [random_view(images, 48, 0.5, 1.0, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*views)
    assert views[0].shape == (8, 3, 48, 48) and views[0].min() >= 0 and views[0].max() <= 1


def test_a_blank_still_has_no_sketch_but_noise():
    sketch = event_sketch(torch.ones(32, 3, 64, 64), torch.Generator().manual_seed(0))
    assert (sketch < 1).float().mean() < 0.05


def test_no_strength_leaves_the_object_in_place():
    images = torch.ones(4, 3, 32, 32)
    images[..., 8:24, 8:24] = 0
    same = random_affine(images, torch.Generator().manual_seed(0), 0.0)
    assert torch.allclose(same, images, atol=1e-5)  # the object is its own mirror image


def test_relation_loss_is_zero_for_the_same_geometry():
    points = torch.nn.functional.normalize(torch.randn(6, 8), dim=-1)
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    assert relation_loss(points, points @ turn).item() == pytest.approx(0, abs=1e-5)
    assert relation_loss(points, points.flip(0)).item() > 0


def test_what_ships_has_recipe_and_curve():
    recipe, curve = read_recipe()
    assert PretrainConfig.from_dict(recipe["config"]).id == recipe["id"]
    assert recipe["test"]["n"] == 892
    assert curve.step.is_monotonic_increasing and curve.step.iloc[-1] == recipe["config"]["steps"]


def test_the_shipped_accuracy_is_the_measured_one(clip):
    icons = icons100()
    test = icons.select(icons.table.split == "test")
    found = zero_shot(clip, clip.tokenizer, test, icons.classes)
    recipe, _ = read_recipe()
    assert found["top1"] == pytest.approx(recipe["test"]["top1"], abs=0.005)
