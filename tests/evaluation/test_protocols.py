"""What each protocol reports, by hand and against the laws of its definition."""

from dataclasses import replace

import pytest
import torch

from eclip_lib.config import DataConfig, Run
from eclip_lib.evaluation.protocols import check_run, evaluate, load_target, protocol_scores, target_config
from eclip_lib.evaluation.scores import recognition

BASE = DataConfig(protocol="base-to-new", shots=None)
TRANSFER = DataConfig(protocol="transfer", target="n-mnist", target_root="digits", shots=None)


def test_base_to_new_by_hand():
    """Five classes: 0, 1, 2 are base. The best class of all is the other half's in rows 0 and 3, which do not count."""
    scores = torch.tensor(
        [
            [2.0, 1, 0, 9, 0],  # base, right among base
            [0, 1, 2, 0, 0],  # base, wrong
            [0, 0, 3, 0, 0],  # base, right
            [9, 0, 0, 2, 1],  # new, right among new
            [0, 0, 0, 1, 2],  # new, wrong
        ]
    )
    labels = torch.tensor([0, 1, 2, 3, 3])
    seen, found = evaluate(BASE, scores, labels)
    assert (found["base_top1"], found["new_top1"]) == pytest.approx((2 / 3, 1 / 2))
    assert found["harmonic_mean"] == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))
    assert (found["base_n"], found["new_n"]) == (3, 2)
    assert seen.argmax(1).tolist() == [0, 2, 2, 3, 4]
    assert torch.isinf(seen).sum(1).tolist() == [2, 2, 2, 3, 3]
    assert "top1" not in found  # of two tasks, so it would be the accuracy of neither


def test_other_protocols_compare_all_classes():
    torch.manual_seed(0)
    scores, labels = torch.randn(20, 6), torch.randint(6, (20,))
    for protocol in ("few-shot", "retrieval"):
        seen, found = evaluate(DataConfig(protocol=protocol), scores, labels)
        assert torch.equal(seen, scores) and found == recognition(scores, labels)


def test_a_half_without_recordings_is_said():
    with pytest.raises(ValueError, match="no test recording is of one of the new classes"):
        evaluate(BASE, torch.zeros(2, 4), torch.tensor([0, 1]))


def test_image_retrieval_comes_with_stills():
    eye, labels = torch.eye(3), torch.tensor([0, 1, 2])
    _, with_stills = evaluate(DataConfig(), eye, labels, eye, eye)
    assert with_stills["image_to_event_instance_recall@1"] == with_stills["top1"] == 1.0
    _, without = evaluate(DataConfig(), eye, labels, eye)
    assert not [name for name in without if name.startswith("image")]


def test_masking_does_not_change_the_scores_it_leaves():
    scores = torch.randn(8, 5)
    labels = torch.arange(8) % 5
    seen = protocol_scores(scores, labels, BASE)
    assert torch.equal(seen[seen.isfinite()], scores[seen.isfinite()])
    assert seen.gather(1, labels[:, None]).isfinite().all()


def test_the_target_is_tested_whole_and_untrained():
    target = target_config(replace(TRANSFER, subset="icons5", fold=2))
    assert (target.dataset, target.root, target.fold) == ("n-mnist", "digits", 2)
    assert (target.protocol, target.shots, target.subset, target.target) == ("zero-shot", None, None, None)
    back = DataConfig(dataset="n-mnist", root="digits", fold=1, protocol="transfer", target="icons100")
    assert len(load_target(back).class_names) == 100
    assert load_target(DataConfig()) is None


def test_what_a_protocol_cannot_test_is_refused():
    with pytest.raises(ValueError, match="a linear-probe knows only the classes it was fitted on"):
        check_run(Run(method="linear-probe", data=BASE))
    with pytest.raises(ValueError, match="target = 'icons100' is the data set that trains"):
        check_run(Run(data=DataConfig(protocol="transfer", target="icons100")))
    check_run(Run(data=BASE))
    check_run(Run(method="linear-probe"))
