import pytest
from pydantic import ValidationError

from qnn.spec import Augmentation, NetworkSpec, TrainConfig


def test_one_width_means_every_layer() -> None:
    spec = NetworkSpec(hidden=(64, 32), weight_bits=4, act_bits="float")
    assert spec.weight_bits_per_layer == (4, 4, 4)
    assert spec.act_bits_per_layer == ("float", "float")
    assert not spec.is_quantized
    assert spec.describe() == "784-64-32-1 W4Afloat"


def test_equal_networks_are_equal_however_they_were_written() -> None:
    assert NetworkSpec.model_validate({"hidden": [64], "weight_bits": [8, 8], "act_bits": [8]}) == NetworkSpec(
        hidden=(64,)
    )


def test_a_depthwise_convolution_is_two_weight_layers() -> None:
    blocks = [{"channels": 16, "kernel": 5, "stride": 2}, {"channels": 32, "kind": "depthwise", "padding": 1}]
    spec = NetworkSpec.model_validate(
        {"height": 64, "width": 64, "convolutions": blocks, "pool": "global", "hidden": [], "weight_bits": [8, 4, 6]}
    )
    assert spec.describe() == "4096-c16k5s2-d32-1 W8,4,6A8"
    assert spec.weight_bits_per_layer == (8, 4, 4, 6) and len(spec.act_bits_per_layer) == 3
    assert [layer.output for layer in spec.windows] == [(30, 30, 16), (30, 30, 16), (30, 30, 32)]
    assert spec.products == 30 * 30 * (25 * 16 + 9 * 16 + 16 * 32) + 32


def test_json_round_trip() -> None:
    spec = NetworkSpec(height=32, width=20, hidden=(7, 12), weight_bits=(8, "float", 1), act_bits=(1, 3))
    assert NetworkSpec.model_validate_json(spec.model_dump_json()) == spec
    config = TrainConfig(patience=3, augment=Augmentation(scale=0))
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_bits": 9}, r"weight_bits is 9, but widths are 1\.\.8 or 'float'"),
        ({"act_bits": 0}, r"act_bits is 0, but widths are 1\.\.8 or 'float'"),
        ({"act_bits": True}, r"act_bits is True, but widths"),
        ({"weight_bits": [8, 8, "int"]}, r"weight_bits\[2\] is 'int', but widths"),
        ({"weight_bits": [8, 8]}, r"weight_bits lists 2 widths, but the network has 3 weight layers"),
        ({"act_bits": [8, 8, 8]}, r"act_bits lists 3 widths, but the network has 2 activations"),
        ({"hidden": []}, r"hidden is empty, but a network without convolutions needs one hidden layer"),
        ({"pool": "none"}, r"pool is none, but there are no convolutions"),
        ({"convolutions": [8] * 17}, r"at most 16 items"),
        ({"convolutions": [0]}, r"greater than or equal to 1"),
        ({"convolutions": [8] * 5}, r"leave nothing of 28 x 28 pixels behind weight layer 4, which reads 1 x 1"),
        (
            {"convolutions": [{"channels": 8, "kernel": 3, "padding": 3}]},
            r"padding is 3, expected less than the kernel",
        ),
        ({"convolutions": [{"channels": 8, "kernel": 11, "stride": 4}] * 3, "pool": "none"}, r"leave nothing of"),
        ({"convolutions": [8, 8], "act_bits": 1}, r"weight layer 1 pads .* 1 bit, -1/\+1; .*'padding: 0'"),
        ({"convolutions": [512] * 2, "pool": "none"}, r"give 401408 values per image, expected 65536 at most"),
        (
            {"convolutions": [{"channels": 8, "kind": "depthwise"}], "weight_bits": [8, 8]},
            r"lists 2 widths, .* 4 weight layers \(the convolutions, also depthwise ones once each, the hidden",
        ),
        ({"convolutions": [8, 8], "weight_bits": [8, 8, 8]}, r"lists 3 widths, but the network has 5 weight layers"),
        ({"hidden": [0]}, r"size 0, but sizes are 1\.\.4096"),
        ({"hidden": 64}, r"expected a list of layer sizes"),
        ({"height": 7}, r"greater than or equal to 8"),
        ({"hiden": [64]}, r"Extra inputs are not permitted"),
    ],
)
def test_refusals_say_what_is_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkSpec.model_validate(fields)


def test_a_patience_that_never_acts_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"patience is 150 but there are 150 epochs"):
        TrainConfig(patience=150)
