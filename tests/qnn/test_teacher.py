import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.errors import ConfigError
from datasets.xray import XrayData
from qnn.network import BINARY_WEIGHT_SCALE, PixelMLP
from qnn.spec import Bits, Distillation, NetworkSpec, TrainConfig
from qnn.teacher import (
    Source,
    answering,
    check_source,
    check_topology,
    copy_weights,
    soft_loss,
    split_fingerprint,
)
from qnn.training import TrainResult, _Trainee, train
from tests.qnn.test_training import CONFIG, DATA, SPEC, assert_same

CNN = NetworkSpec(height=8, width=8, convolutions=(4, 6), hidden=(8,), weight_bits="float", act_bits="float")
SPLIT = split_fingerprint(DATA)


def make_source(spec: NetworkSpec = CNN, *, split: str = SPLIT, seed: int = 0) -> Source:
    torch.manual_seed(seed)
    net = PixelMLP(spec)
    for _ in range(5):  # statistics that suit the images
        net(torch.from_numpy(DATA.train.pixels[:64]).flatten(1).float())
    return Source(net.eval(), split, f"teacher{seed}", f"{seed}" * 64, DATA.class_names)


def distilled(workdir: Path, source: Source, **fields: float) -> TrainResult:
    config = CONFIG.model_copy(
        update={"epochs": 3, "distill": Distillation(teacher=Path("teacher"), **fields)}  # type: ignore[arg-type]
    )
    return train(DATA, SPEC, config, workdir=workdir, teacher=source, progress=False)


def test_soft_loss_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher, weights = torch.randn((3, 50), generator=generator, dtype=torch.float64)
    weights = weights.abs()
    p, q = torch.sigmoid(logits / 3), torch.sigmoid(teacher / 3)
    by_hand = -(weights * (q * p.log() + (1 - q) * (1 - p).log())).mean() * 9
    torch.testing.assert_close(soft_loss(logits, teacher, weights, temperature=3), by_hand)


@pytest.mark.parametrize("spec", [CNN, SPEC], ids=["convolutions", "quantized"])
def test_the_fast_teacher_answers_like_the_network(spec: NetworkSpec) -> None:
    net = make_source(spec).net
    pixels = torch.randint(0, 256, (32, 64)).float()
    with torch.no_grad():
        torch.testing.assert_close(answering(net)(pixels), net(pixels), rtol=1e-3, atol=1e-3)


def test_a_teacher_changes_the_weights_reproducibly_and_stays_as_it_was(tmp_path: Path) -> None:
    first, other = make_source(seed=1), make_source(seed=2)
    before = copy.deepcopy(first.net.state_dict())
    result = distilled(tmp_path / "a", first)
    assert_same(distilled(tmp_path / "b", first), result)
    for name, tensor in before.items():
        assert torch.equal(tensor, first.net.state_dict()[name]), name
    # In the same folder, another teacher is another training.
    assert not torch.equal(distilled(tmp_path / "a", other).net.head.linear.weight, result.net.head.linear.weight)


def test_a_pure_student_learns_what_its_teacher_says_against_the_labels(tmp_path: Path) -> None:
    contrary = make_source(SPEC)
    trained = train(DATA, SPEC, CONFIG, workdir=tmp_path / "plain", progress=False)
    contrary.net.load_state_dict(trained.net.state_dict())
    with torch.no_grad():
        contrary.net.head.norm.weight.neg_()
        contrary.net.head.norm.bias.neg_()
    student = distilled(tmp_path / "student", contrary, weight=1, temperature=1)
    assert student.history[-1]["monitor"] < 0.2  # which sees the labels


@pytest.mark.parametrize("bits", [8, 4, 2, 1, "float"])
def test_copied_weights_keep_their_signs_and_where_they_can_their_answers(bits: Bits) -> None:
    spec = NetworkSpec(height=8, width=8, hidden=(8, 6), weight_bits="float", act_bits="float")
    source = make_source(spec).net
    target = PixelMLP(spec.model_copy(update={"weight_bits": bits, "act_bits": bits})).eval()
    copy_weights(source, target)
    pixels = torch.from_numpy(DATA.val.pixels).flatten(1).float()
    with torch.no_grad():
        correlation = np.corrcoef(source(pixels), target(pixels))[0, 1]
    assert correlation > {8: 0.97, "float": 0.999999}.get(bits, -1)
    for ours, theirs in zip(target.blocks, source.blocks, strict=True):
        assert torch.equal(ours.linear.weight.sign(), theirs.linear.weight.sign())
    if bits == 1:
        assert target.blocks[0].linear.weight.detach().abs().mean() == pytest.approx(BINARY_WEIGHT_SCALE / 2)


def test_training_starts_from_the_weights_that_are_given(tmp_path: Path) -> None:
    initial = make_source(SPEC)
    config = CONFIG.model_copy(update={"epochs": 1, "lr": 1e-9, "init_from": Path("first")})
    result = train(DATA, SPEC, config, workdir=tmp_path, initial=initial, progress=False)
    torch.testing.assert_close(
        result.net.blocks[0].norm.weight, initial.net.blocks[0].norm.weight, rtol=1e-4, atol=1e-6
    )
    levels = [part.blocks[0].linear.quant_weight().int(float_datatype=False) for part in (result.net, initial.net)]
    assert torch.equal(*levels)


def test_the_split_is_known_by_its_images_at_every_size() -> None:
    def with_train(**changes: Any) -> str:
        return split_fingerprint(replace(DATA, train=replace(DATA.train, **changes)))

    assert with_train(pixels=np.zeros((200, 9, 9), np.uint8)) == SPLIT
    assert with_train(names=("other.png", *DATA.train.names[1:])) != SPLIT
    moved = XrayData(DATA.val, DATA.train, DATA.test, DATA.fingerprint, "", DATA.report)
    assert split_fingerprint(moved) != SPLIT != split_fingerprint(replace(DATA, fingerprint="0"))


def test_sources_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'a\.b' is teacher0, which takes 8 x 8 pixels, but this network takes 28"):
        check_source(make_source(), "a.b", NetworkSpec(), DATA)
    with pytest.raises(ConfigError, match=r"another training split: it may have seen this run's validation images"):
        check_source(make_source(split="0" * 64), "a.b", SPEC, DATA)
    wider = SPEC.model_copy(update={"hidden": (8, 8)})
    with pytest.raises(ConfigError, match=r"is 64-8-1 W4A4, but this network is 64-8-8-1 W4A4: only the bit widths"):
        check_topology(make_source(SPEC), wider)
    check_topology(make_source(SPEC), SPEC.model_copy(update={"weight_bits": 1}))


def test_fields_of_a_teacher_are_checked() -> None:
    assert CNN.describe() == "64-c4-c6-8-1 WfloatAfloat" and not CNN.is_quantized
    for field in ({"weight": 0}, {"weight": 1.1}, {"temperature": 0}, {"teach": "x"}):
        with pytest.raises(ValueError, match=next(iter(field))):
            TrainConfig.model_validate({"distill": {"teacher": "t", **field}})


def test_a_step_takes_place_on_one_device() -> None:
    """On PyTorch's device without data, which like a GPU takes no operand from the CPU."""
    config = CONFIG.model_copy(update={"distill": Distillation(teacher=Path("teacher"))})
    trainee = _Trainee(
        DATA, SPEC, config, teacher=make_source(), initial=None, on_epoch=None, history_file=Path("unused")
    ).to("meta")
    trainee.on_fit_start()
    trainee.on_train_epoch_start()
    loss = trainee.training_step(0)
    loss.backward()
    assert loss.device.type == "meta" and config.augment.enabled


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"device": "cuda"})
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"'train\.device' is cuda, but PyTorch .* Install a CUDA build"):
        train(DATA, SPEC, config, workdir=tmp_path, progress=False)
