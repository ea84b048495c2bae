from collections.abc import Iterator

import brevitas.nn as bnn
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.errors import DataError
from qnn.network import BINARY_WEIGHT_SCALE, PixelMLP, TrainedReLU, act_scale, activation, predict_logits, snap_weights
from qnn.spec import NetworkSpec

BITS = range(2, 9)


def make_net(spec: NetworkSpec, *, seed: int = 0) -> PixelMLP:
    """A network as if trained: batch norms of every sign, statistics that suit the images."""
    torch.manual_seed(seed)
    net = PixelMLP(spec)
    with torch.no_grad():
        for _ in range(20):  # fill the running statistics
            net(torch.randint(0, 256, (64, spec.inputs)).float())
        for part in (*net.blocks, net.head):
            part.norm.weight.normal_()
            part.norm.bias.normal_()
    return net.eval()


def make_pixels(spec: NetworkSpec, n: int) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(1).integers(0, 256, (n, spec.height, spec.width), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    return pixels


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_activation_levels_are_exact_powers_of_two(bits: int, dtype: torch.dtype) -> None:
    act = PixelMLP(NetworkSpec(hidden=(8,), act_bits=bits)).blocks[0].act.to(dtype).eval()
    scale = 2.0 ** (2 - bits)
    assert act_scale(bits) == scale == act.act_quant.scale().item()
    x = torch.arange(-1, 2**bits + 1, dtype=dtype).repeat_interleave(3) * scale
    x += torch.tensor([-0.5, 0.0, 0.5], dtype=dtype).repeat(len(x) // 3) * scale  # all levels and all ties
    expected = np.clip(np.round(x.numpy() / scale), 0, 2**bits - 1) * scale
    assert act(x).dtype == dtype
    np.testing.assert_array_equal(act(x).detach().numpy(), expected)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("unit_scale", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_trained_activation_and_its_gradients_are_those_of_brevitas(
    bits: int, unit_scale: bool, dtype: torch.dtype
) -> None:
    act = activation(bits, unit_scale=unit_scale).train()
    assert isinstance(act, TrainedReLU)
    ties = torch.arange(-3, 2 ** (bits + 1) + 4, dtype=torch.float64) / 2 * act.scale  # all levels and all ties
    near = [torch.nextafter(ties.to(dtype), torch.tensor(end, dtype=dtype)) for end in (-1e9, 1e9)]
    x = torch.cat([ties.to(dtype), *near, torch.randn(1000, dtype=dtype) * 3 * 2**bits * act.scale])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = act(ours), bnn.QuantReLU.forward(act, theirs)
    gradient = torch.randn(len(x), dtype=dtype)
    y.backward(gradient), expected.backward(gradient)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.equal(y, expected.to(dtype)) and torch.equal(ours.grad, theirs.grad)


def test_one_bit_activation_is_the_sign_with_zero_positive() -> None:
    act = PixelMLP(NetworkSpec(hidden=(8,), act_bits=1)).blocks[0].act.eval()
    x = torch.tensor([-5.0, -1e-30, -0.0, 0.0, 1e-30, 5.0])
    assert act(x).tolist() == [-1, -1, 1, 1, 1, 1]


def test_nothing_about_an_activation_is_learned_or_collected() -> None:
    net = PixelMLP(NetworkSpec(hidden=(8,)))
    assert not net.blocks[0].act.state_dict() and not list(net.blocks[0].act.parameters())


@pytest.mark.parametrize("bits", BITS)
def test_weights_are_narrow_range_and_reach_their_largest(bits: int) -> None:
    linear = PixelMLP(NetworkSpec(weight_bits=bits)).blocks[0].linear
    ints = linear.quant_weight().int()
    assert ints.abs().max() == 2 ** (bits - 1) - 1


def reference_layers(
    net: PixelMLP, pixels: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64] | None]]:
    """An independent network with integers between the layers. Yields each batch norm's output and the integers."""
    x, x_scale = pixels.reshape(len(pixels), -1).astype(np.int64), 1.0
    spec = net.spec
    for i, bits in enumerate(spec.weight_bits_per_layer):
        part = net.blocks[i] if i < len(net.blocks) else net.head
        weight = part.linear.weight.detach().numpy().astype(np.float64)
        if bits == 1:
            w, w_scale = np.where(weight >= 0, 1, -1), float(np.float32(BINARY_WEIGHT_SCALE))
        else:
            w_scale = np.abs(weight).max() / (2 ** (int(bits) - 1) - 1)
            w = np.round(weight / w_scale).astype(np.int64)
        acc = x @ w.T
        norm = {name: t.numpy().astype(np.float64) for name, t in part.norm.state_dict().items()}
        y = (acc * (w_scale * x_scale) - norm["running_mean"]) / np.sqrt(norm["running_var"] + part.norm.eps)
        y = y * norm["weight"] + norm["bias"]
        if i == len(net.blocks):
            yield y, None
            return
        act_bits = int(spec.act_bits_per_layer[i])
        x_scale = 1.0 if act_bits == 1 else 4 / 2**act_bits
        x = np.where(y >= 0, 1, -1) if act_bits == 1 else np.clip(np.round(y / x_scale), 0, 2**act_bits - 1)
        x = x.astype(np.int64)
        yield y, x


@pytest.mark.parametrize(
    ("weight_bits", "act_bits"),
    [((8, 7, 6, 5), (8, 7, 6)), ((4, 3, 2, 1), (5, 4, 3)), ((1, 2, 8, 1), (2, 1, 8)), (1, 1), (2, 2)],
    ids=["8765", "4321", "mixed", "W1A1", "W2A2"],
)
def test_float64_equals_integers(weight_bits: object, act_bits: object) -> None:
    fields = {"height": 9, "width": 12, "hidden": [24, 16, 12], "weight_bits": weight_bits, "act_bits": act_bits}
    net = make_net(NetworkSpec.model_validate(fields))
    snap_weights(net)
    pixels = make_pixels(net.spec, 500)
    expected = list(reference_layers(net, pixels))
    doubled = net.double()
    x = torch.from_numpy(pixels.reshape(500, -1)).double()
    with torch.no_grad():
        for i, block in enumerate(doubled.blocks):
            x = block(x)
            assert x.dtype == torch.float64
            ints = (x / act_scale(int(net.spec.act_bits_per_layer[i]))).numpy()
            assert len(np.unique(ints)) > 1  # an idle layer would prove nothing
            np.testing.assert_array_equal(ints, expected[i][1])
        np.testing.assert_allclose(doubled.head(x).numpy(), expected[-1][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bits", BITS)
def test_snapped_weights_have_the_same_integers_in_every_precision(bits: int) -> None:
    net = PixelMLP(NetworkSpec(hidden=(256,), weight_bits=bits))
    linear = net.blocks[0].linear
    with torch.no_grad():  # the worst case: weights on rounding edges
        scale = linear.weight.abs().max() / (2 ** (bits - 1) - 1)
        linear.weight[:, ::2] = (torch.floor(linear.weight[:, ::2] / scale) + 0.5).clamp(-1.5, 0.5) * scale
    before = linear.quant_weight().int()
    snap_weights(net)
    assert torch.equal(linear.quant_weight().int(), before)
    assert torch.equal(net.double().blocks[0].linear.quant_weight().int(), before)


def test_predict_logits_leaves_the_network_as_it_was() -> None:
    spec = NetworkSpec(height=8, width=9, hidden=(8,), weight_bits=("float", 3), act_bits="float")
    net = make_net(spec).train()
    pixels = make_pixels(spec, 1500)  # more than one batch
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    single, double = predict_logits(net, pixels), predict_logits(net, pixels, dtype=torch.float64)
    assert single.shape == double.shape == (1500,) and single.dtype == np.float32 and double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4)
    assert net.training and all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert predict_logits(net, pixels[:0]).shape == (0,)
    with pytest.raises(DataError, match=r"found images uint8\(1500, 9, 8\).*uint8 \(N, 8, 9\)"):
        predict_logits(net, pixels.transpose(0, 2, 1))


def test_float_layers_are_plain() -> None:
    net = PixelMLP(NetworkSpec(weight_bits="float", act_bits="float"))
    assert not any(isinstance(module, bnn.QuantLinear | bnn.QuantReLU) for module in net.modules())


def test_a_small_network_answers_on_one_thread_and_leaves_the_others() -> None:
    net = PixelMLP(NetworkSpec(height=8, width=8, hidden=(4,), weight_bits=4, act_bits=4))
    seen, threads = list[int](), torch.get_num_threads()
    net.head.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        torch.set_num_threads(2)
        predict_logits(net, np.zeros((3, 8, 8), np.uint8))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(threads)
