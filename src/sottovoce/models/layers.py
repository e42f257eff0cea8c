"""Layers on values [batch, frames, bins, channels] or [batch, frames, channels]: channels last, causal unless said."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameConv(nn.Conv2d):
    """Convolution [B, T, F, I] -> [B, T, F', O], kernel (frames, bins), causal in time, strided along the bins."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pad: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, (1, stride), (0, pad))

    def forward(self, x: Tensor) -> Tensor:
        # A view: channels last in memory is what the library's convolutions like best on a CPU.
        return super().forward(_after_zeros(x, self.kernel_size[0] - 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class FrameConvTranspose(nn.ConvTranspose2d):
    """Transposed convolution [B, T, F, I] -> [B, T, F', O], kernel (frames, bins), causal in time.

    F' = (F - 1) * stride - 2 * pad + bins + extra.
    """

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, pad: int = 0,
                 extra: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, (1, stride), (0, pad), (0, extra))
        self.extra = extra                               # bins at the end that only some taps reach

    def forward(self, x: Tensor) -> Tensor:              # type: ignore[override]
        # Output bins m * stride + r, for each r, are an ordinary convolution of their own, with every stride-th tap;
        # all are one with stride times as many channels, which channels last lie in the right order already.
        (frames, bins), stride, pad, extra = self.kernel_size, self.stride[1], int(self.padding[1]), self.extra
        taps = -(-(bins + extra) // stride)
        kernel = F.pad(self.weight, (0, taps * stride - bins))                         # [I, O, kt, taps * r]
        kernel = kernel.reshape(*kernel.shape[:3], taps, stride)
        kernel = kernel.flip(2, 3).permute(4, 1, 0, 2, 3).flatten(0, 1)                          # [r * O, I, kt, taps]
        bias = None if self.bias is None else self.bias.repeat(stride)
        image = _after_zeros(x, frames - 1).permute(0, 3, 1, 2)
        phases = F.conv2d(image, kernel, bias, padding=(0, taps - 1)).permute(0, 2, 3, 1)        # [B, T, m, r * O]
        whole = phases.reshape(*x.shape[:2], -1, self.out_channels)
        return whole[:, :, pad : pad + (x.shape[2] - 1) * stride - 2 * pad + bins + extra]


def _after_zeros(x: Tensor, frames: int) -> Tensor:
    """The values [B, T, F, I] with so many frames of zeros before them; no copy of them where there are none."""
    # Not F.pad, which takes four times as long in 16 bits, there and back.
    return torch.cat([x.new_zeros(len(x), frames, *x.shape[2:]), x], 1) if frames else x


class TimeConv(nn.Conv1d):
    """Convolution along time [B, T, I] -> [B, T, O], causal, with dilation and groups."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        (kernel,), (dilation,) = self.kernel_size, self.dilation
        if self.groups == self.in_channels == self.out_channels and self.bias is not None:
            return _Shifts.apply(x, self.weight[:, 0], self.bias, dilation)      # type: ignore[no-any-return,no-untyped-call]
        padded = F.pad(x, (0, 0, (kernel - 1) * dilation, 0))
        return super().forward(padded.transpose(1, 2)).transpose(1, 2)


class _Shifts(torch.autograd.Function):
    """A causal filter for each channel of [B, T, C], weight [C, kernel] and bias [C]: a few shifts, scaled and added.

    Neither there nor back is the tensor padded or turned; sums over frames and utterances are float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        sums = bias.to(x.dtype).expand_as(x).contiguous()
        for tap, read, given in _taps(weight, dilation, x):
            sums[:, given].addcmul_(x[:, read], tap)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), gradient = ctx.saved_tensors, gradients[0].contiguous()
        to_x, to_taps = torch.zeros_like(x), []
        for tap, read, given in _taps(weight, ctx.dilation, x):
            to_x[:, read].addcmul_(gradient[:, given], tap)
            to_taps.append((gradient[:, given] * x[:, read]).sum((0, 1), dtype=weight.dtype))
        return to_x, torch.stack(to_taps, 1), gradient.sum((0, 1), dtype=weight.dtype), None


def _taps(weight: Tensor, dilation: int, x: Tensor) -> Iterator[tuple[Tensor, slice, slice]]:
    """Each tap [C] of a causal filter [C, kernel] over [B, T, C], the frames it reads and those it adds to."""
    frames, kernel = x.shape[1], weight.shape[1]
    for place, tap in enumerate(weight.to(x.dtype).unbind(1)):
        shift = min((kernel - 1 - place) * dilation, frames)
        yield tap, slice(frames - shift), slice(shift, None)


class AroundConv(nn.Conv1d):
    """Convolution along time [B, T, I] -> [B, T, O] that is centred on its frame, zeros before and after all frames.

    `after` is how many frames to come it sees; the kernel is odd. With the numbers of some frames [B, count] it gives
    their values alone.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.after = kernel // 2

    def forward(self, x: Tensor, frames: Tensor | None = None) -> Tensor:
        if frames is None:
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        windows = F.pad(x, (0, 0, self.after, self.after)).unfold(1, 2 * self.after + 1, 1)      # [B, T, I, kernel]
        seen = windows[torch.arange(len(x), device=x.device).unsqueeze(1), frames]
        return F.linear(seen.flatten(2), self.weight.flatten(1), self.bias)


class DepthConv(nn.Conv1d):
    """A filter along time for each channel, [B, T, C] -> [B, T, C], with dilation: causal, or centred on its frame.

    `after` is how many frames to come it sees, zeros after the last.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1, causal: bool = False) -> None:
        super().__init__(channels, channels, kernel, dilation=dilation, groups=channels)
        self.after = 0 if causal else (kernel - 1) // 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        # Frames in rows of as many as the dilation: a kernel without gaps runs down their columns, which the library
        # does many times faster, there and back, than a kernel with gaps.
        frames, (kernel,), (dilation,) = x.shape[1], self.kernel_size, self.dilation
        rows = F.pad(x, (0, 0, 0, -frames % dilation)).reshape(len(x), -1, dilation, self.groups).permute(0, 3, 1, 2)
        past = kernel - 1 - self.after // dilation
        sums = F.conv2d(rows, self.weight.unsqueeze(-1), self.bias, padding=(past, 0), groups=self.groups)
        return sums.permute(0, 2, 3, 1).flatten(1, 2)[:, :frames]


class GlobalNorm(nn.GroupNorm):
    """[B, T, C] with mean 0 and variance 1 over all frames and channels, times a weight plus a bias for each channel.

    Sums are float32 whatever comes in (Luo and Mesgarani 2019, eq. 6).
    """

    def __init__(self, channels: int, eps: float = 1e-8) -> None:
        super().__init__(1, channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        # A view as an image with channels last, on which the library is ten times as fast.
        return super().forward(x.unsqueeze(1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).squeeze(1)


class TimeNorm(nn.Module):
    """[B, T, C] with mean 0 and variance 1 of every channel over all frames; in float32 whatever comes in."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), 1, correction=0, keepdim=True)
        return (x - mean) * (variance + self.eps).rsqrt()


class TimeMean(nn.Module):
    """The mean [B, 1, C] of all frames [B, T, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)


class Concat(nn.Module):
    """Two values [..., C] and [..., D] beside each other: [..., C + D]."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return _Concat.apply(x, y)                       # type: ignore[no-any-return,no-untyped-call]


class _Concat(torch.autograd.Function):
    """Going back, each part's gradient is a tensor of its own: layers before it take many times as long with a view."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.size = x.shape[-1]
        return torch.cat([x, y], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gradient, size = gradients[0], ctx.size
        return gradient[..., :size].contiguous(), gradient[..., size:].contiguous()


class Fold(nn.Module):
    """Every `size` frames side by side as one: [B, T, ..., C] -> [B, T div size, ..., size C], the earliest first.

    Frames that are left over at the end are dropped.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        whole = x[:, : x.shape[1] // self.size * self.size]
        return torch.cat([whole[:, first :: self.size] for first in range(self.size)], -1)


class Take(nn.Module):
    """Channels of [..., C] by their numbers, a zero for -1: [..., as many as there are numbers]."""

    channels: Tensor

    def __init__(self, channels: int, count: int) -> None:
        """The first `count` of so many channels, zeros after the last, until other numbers are loaded."""
        super().__init__()
        self.register_buffer("channels", torch.arange(count).masked_fill(torch.arange(count) >= channels, -1))

    def forward(self, x: Tensor) -> Tensor:
        with_zero = F.pad(x, (0, 1))
        return with_zero.index_select(-1, self.channels % with_zero.shape[-1])


class FrameNorm(nn.LayerNorm):
    """Layer normalization [..., C]; in mixed precision it gives what the layers after it compute in, converted once."""

    def forward(self, x: Tensor) -> Tensor:
        normed, kind = super().forward(x), x.device.type
        return normed.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else normed


class ChannelNorm(nn.LayerNorm):
    """Layer normalization [..., C] that can be narrowed: mean and variance are then those of some channels."""

    open: Tensor | None

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("open", None, persistent=False)

    def narrow(self, kept: Tensor | None) -> None:
        """Take mean and variance over these channels alone, bool [C]; over all of them with None."""
        self.open = None if kept is None else kept.to(self.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        if self.open is None:
            return super().forward(x)
        share = self.open / self.open.sum().clamp(min=1)
        centred = x.float() - (x.float() * share).sum(-1, keepdim=True)
        variance = (centred.square() * share).sum(-1, keepdim=True)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization over all but the last axis, [..., C]; after training one scale and one shift a channel."""

    rounded: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("rounded", torch.tensor(False))     # to 16-bit floats

    def folded(self) -> tuple[Tensor, Tensor]:
        """Scale [C] and shift [C] that it comes to with its running statistics."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return (scale.half().float(), shift.half().float()) if self.rounded else (scale, shift)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            # As an image with channels last: the library's way back from a plain matrix is four times as slow.
            image = x.flatten(1, -2).unsqueeze(1).permute(0, 3, 1, 2)
            return super().forward(image).permute(0, 2, 3, 1).view(x.shape)
        scale, shift = self.folded()
        return x * scale + shift


class Prelu(nn.PReLU):
    """x where it is positive, else weight * x, one weight for all."""

    def forward(self, x: Tensor) -> Tensor:
        return _Slope.apply(x, self.weight)              # type: ignore[no-any-return,no-untyped-call]


class _Slope(torch.autograd.Function):
    """Prelu with its own way back, because the library's is many times slower on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.leaky_relu(x, float(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradients[0], x, 0)
        over_first = (gradients[0] * x.clamp_max(0)).sum(0)      # in 16 bits many times as fast as a sum in 32
        return above.lerp_(gradients[0], float(weight)), over_first.sum(dtype=weight.dtype).view(1)


class Dropout(nn.Dropout):
    """In training each value is 0 with a probability of p, and else divided by 1 - p.

    The library draws a number of 64 bits for each value, which takes longer than the layers around it; four values
    share one here.
    """

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p) if self.training and self.p else x


def dropped(x: Tensor, p: float) -> Tensor:
    """Values of which each is 0 with a probability of p, to 16 bits, and else divided by 1 - p."""
    drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    kept = drawn.view(torch.int16)[: x.numel()].view(x.shape) >= round(p * (2**16 - 1)) - 2**15
    return x * kept.to(x.dtype).div_(1 - p)


class SpecAugment(nn.Module):
    """In training, stripes of bins and of frames of [B, T, F, 1] that are 0, drawn for each utterance.

    `bands` stripes of at most `band` bins, `gaps` stripes of at most the share `gap` of the frames. Source: Park et al.
    2019; widths that grow with the utterance as in Park et al. 2020.
    """

    def __init__(self, bands: int, band: int, gaps: int, gap: float) -> None:
        super().__init__()
        self.bands, self.band, self.gaps, self.gap = bands, band, gaps, gap

    def forward(self, image: Tensor) -> Tensor:
        if not self.training:
            return image
        batch, frames, bins = image.shape[:3]
        silent = _stripes(batch, frames, self.gaps, int(self.gap * frames), image)[:, :, None]
        deaf = _stripes(batch, bins, self.bands, min(self.band, bins), image)[:, None]
        return image.masked_fill((silent | deaf)[..., None], 0.0)


def _stripes(batch: int, size: int, count: int, most: int, like: Tensor) -> Tensor:
    """Places [batch, size] within any of `count` stripes, each 0 to `most` wide and anywhere."""
    widths, starts = torch.rand(2, batch, count, 1, device=like.device)
    widths = (widths * (most + 1)).floor()
    starts = (starts * (size - widths + 1)).floor()
    places = torch.arange(size, device=like.device)
    within: Tensor = ((places >= starts) & (places < starts + widths)).any(1)
    return within
