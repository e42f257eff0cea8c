"""Layers with channels last against those of torch with channels first."""

import pytest
import torch
import torch.nn.functional as F

from sottovoce.models.layers import (
    AroundConv,
    BatchNorm,
    ChannelNorm,
    Concat,
    DepthConv,
    Dropout,
    FrameConv,
    FrameConvTranspose,
    GlobalNorm,
    Prelu,
    SpecAugment,
    Take,
    TimeConv,
    TimeNorm,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("kernel", "stride", "pad", "extra", "bins"), [
    ((1, 3), 2, 0, 0, 4), ((1, 3), 2, 0, 1, 19), ((2, 5), 2, 1, 0, 9), ((2, 5), 2, 1, 1, 79), ((2, 5), 1, 2, 0, 20),
    ((3, 2), 3, 0, 2, 5), ((1, 1), 1, 0, 0, 3),
])
def test_a_transposed_convolution_is_torchs_cut_to_its_frames(
    kernel: tuple[int, int], stride: int, pad: int, extra: int, bins: int
) -> None:
    layer, x = FrameConvTranspose(5, 4, kernel, stride, pad, extra), torch.randn(2, 7, bins, 5)
    wanted = F.conv_transpose2d(x.permute(0, 3, 1, 2), layer.weight, layer.bias, (1, stride), (0, pad), (0, extra))
    assert torch.allclose(layer(x), wanted[:, :, :7].permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "pad"), [((1, 3), 2, 0), ((2, 5), 2, 2), ((3, 1), 1, 0)])
def test_a_convolution_sees_the_past_only(kernel: tuple[int, int], stride: int, pad: int) -> None:
    layer, x = FrameConv(3, 4, kernel, stride, pad), torch.randn(1, 6, 11, 3)
    wanted = F.conv2d(F.pad(x.permute(0, 3, 1, 2), (0, 0, kernel[0] - 1, 0)), layer.weight, layer.bias, (1, stride),
                      (0, pad))
    assert torch.allclose(layer(x), wanted.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("frames", [30, 5])
@pytest.mark.parametrize(("outputs", "dilation", "groups"), [(6, 4, 6), (6, 1, 1), (8, 2, 2)])
def test_a_convolution_along_time_and_its_gradients_are_torchs(outputs: int, dilation: int, groups: int, frames: int,
                                                              ) -> None:
    layer, x = TimeConv(6, outputs, 3, dilation, groups), torch.randn(2, frames, 6, requires_grad=True)
    padded = F.pad(x.transpose(1, 2), (2 * dilation, 0))
    wanted = F.conv1d(padded, layer.weight, layer.bias, dilation=dilation, groups=groups).transpose(1, 2)
    assert torch.allclose(layer(x), wanted, atol=1e-5)
    learned, toward = (x, *layer.parameters()), torch.randn(wanted.shape)
    for ours, theirs in zip(*(torch.autograd.grad(y, learned, toward) for y in (layer(x), wanted)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_each_of_two_beside_each_other_gets_its_own_gradient() -> None:
    (x, y), toward = (torch.randn(2, 7, size, requires_grad=True) for size in (3, 4)), torch.randn(2, 7, 7)
    assert torch.equal(Concat()(x, y), torch.cat([x, y], -1))
    Concat()(x, y).backward(toward)
    assert torch.equal(x.grad, toward[..., :3]) and torch.equal(y.grad, toward[..., 3:])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("frames", "dilation"), [(30, 1), (32, 8), (30, 8), (3, 16)])
def test_a_filter_for_each_channel_is_torchs(frames: int, dilation: int, causal: bool) -> None:
    layer, x = DepthConv(6, 3, dilation, causal), torch.randn(2, frames, 6)
    padded = F.pad(x.transpose(1, 2), (2 * dilation, 0) if causal else (dilation, dilation))
    wanted = F.conv1d(padded, layer.weight, layer.bias, dilation=dilation, groups=6)
    assert torch.allclose(layer(x), wanted.transpose(1, 2), atol=1e-6)


def test_a_convolution_around_its_frame_is_a_matrix_over_the_frames_side_by_side() -> None:
    layer, x = AroundConv(3, 4, 5), torch.randn(2, 7, 3)
    assert layer.after == 2
    beside = F.pad(x, (0, 0, 2, 2)).unfold(1, 5, 1).flatten(2)                  # [2, 7, 3 * 5]
    assert torch.allclose(layer(x), F.linear(beside, layer.weight.flatten(1), layer.bias), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_over_time_hears_no_level_and_no_colour(dtype: torch.dtype) -> None:
    x = (torch.randn(2, 50, 3) * torch.tensor([0.1, 1, 30]) + torch.tensor([-9, 0, 5])).to(dtype)
    normed = TimeNorm(1e-8)(x)
    assert normed.dtype == torch.float32
    assert torch.allclose(normed.mean(1), torch.zeros(2, 3), atol=1e-5)
    assert torch.allclose(normed.var(1, correction=0), torch.ones(2, 3), atol=1e-4)


def test_a_global_norm_and_its_gradients_are_those_of_its_formula() -> None:
    layer, x = GlobalNorm(6), (torch.randn(2, 30, 6) * 3 + 1).requires_grad_()
    torch.nn.init.normal_(layer.weight)
    exact = x.detach().double().requires_grad_()
    centred = exact - exact.mean((1, 2), keepdim=True)
    wanted = centred / (centred.square().mean((1, 2), keepdim=True) + 1e-8).sqrt() * layer.weight + layer.bias
    toward = torch.randn(2, 30, 6)
    (layer(x) * toward).sum().backward()
    (wanted * toward).sum().backward()
    assert torch.allclose(layer(x).double(), wanted, atol=1e-5) and exact.grad is not None and x.grad is not None
    assert torch.allclose(x.grad.double(), exact.grad, atol=1e-5)


def test_a_narrowed_norm_is_that_of_its_channels_alone() -> None:
    layer, x = ChannelNorm(6), torch.randn(2, 7, 6) * 3 + 1
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    entries, kept = layer.state_dict().keys(), torch.tensor([True, False, True, True, False, True])
    layer.narrow(kept)
    wanted = F.layer_norm(x[..., kept], (4,), layer.weight[kept], layer.bias[kept])
    assert torch.allclose(layer(x)[..., kept], wanted, atol=1e-6) and layer.state_dict().keys() == entries
    layer.narrow(None)
    assert torch.equal(layer(x), F.layer_norm(x, (6,), layer.weight, layer.bias))


def test_what_is_taken_and_put_back_leaves_zeros_between() -> None:
    take, put, x = Take(5, 2), Take(2, 5), torch.randn(2, 7, 5)
    assert torch.equal(put(take(x)), F.pad(x[..., :2], (0, 3)))
    take.load_state_dict({"channels": torch.tensor([4, 1])})
    put.load_state_dict({"channels": torch.tensor([-1, 1, -1, -1, 0])})
    assert torch.equal(put(take(x)), x * torch.tensor([0, 1, 0, 0, 1]))


@pytest.mark.parametrize("shape", [(4, 9, 5, 3), (4, 9, 3)])
def test_a_batch_norm_is_torchs_in_training_and_after(shape: tuple[int, ...]) -> None:
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm1d(3)
    for _ in range(5):
        x = torch.randn(shape) * 3 + 1
        assert torch.allclose(ours(x), theirs(x.flatten(0, -2)).view(shape), atol=1e-5)
    ours.eval(), theirs.eval()
    assert torch.allclose(ours(x), theirs(x.flatten(0, -2)).view(shape), atol=1e-5)


def test_a_prelu_and_its_gradients_are_torchs() -> None:
    ours, theirs = Prelu(), torch.nn.PReLU()
    one, two = (torch.linspace(-2, 2, 11).requires_grad_() for _ in range(2))
    for layer, x in ((ours, one), (theirs, two)):
        layer(x).square().sum().backward()
    assert torch.equal(ours(one), theirs(two)) and torch.allclose(one.grad, two.grad)
    assert torch.allclose(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_out_that_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    layer, x = Dropout(p), torch.ones(7, 143, 301, dtype=dtype, requires_grad=True)      # not a multiple of four
    y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(gradient, y)
    assert torch.allclose(y[y != 0].float(), torch.tensor(1 / (1 - p)), rtol=2**-8)
    for axis in range(3):                                # each place by its own chance, so also along each axis
        rest = [other for other in range(3) if other != axis]
        share = (y == 0).float().mean(rest)
        assert torch.allclose(share, torch.tensor(p), atol=6 * (p * (1 - p) * share.numel() / y.numel()) ** 0.5)
    neighbours = ((y[..., 1:] == 0) & (y[..., :-1] == 0)).float().mean()
    assert abs(neighbours - p * p) < 0.005
    torch.manual_seed(0)
    assert torch.equal(layer(x), y)
    assert layer.eval()(x) is x


@pytest.mark.parametrize(("bands", "band", "gaps", "gap"),
                         [(2, 27, 10, 0.05), (1, 80, 0, 0.0), (0, 0, 3, 0.5), (0, 9, 0, 0.1)])
def test_training_hides_whole_stripes_and_nothing_else(bands: int, band: int, gaps: int, gap: float) -> None:
    layer, image = SpecAugment(bands, band, gaps, gap), 1 + torch.rand(20, 90, 80, 1)
    seen = layer(image)
    hidden = seen[..., 0] == 0
    frames, bins = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, frames[:, :, None] | bins[:, None])
    assert torch.equal(seen[~hidden], image[~hidden])
    assert frames.sum(1).max() <= gaps * int(gap * 90) or bins.all(1).any()
    assert bins.sum(1).max() <= bands * band
    assert hidden.any() == bool(bands * band or gaps * gap)
    assert torch.equal(layer.eval()(image), image)
