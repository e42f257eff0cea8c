"""The recognizer: its published size, its frames, what it may see, and settings that cannot be."""

from typing import Any

import pytest
import torch
import toy
from torch import nn

from sottovoce.models import build
from sottovoce.models.attention import Attention
from sottovoce.models.conformer import Block, Conformer, ConformerConfig, frames_of

TINY = toy.RECOGNIZER_SETTINGS["conformer"][0]
WHOLE = {"heads": 8, "before": 1024, "after": 1024, "convolution": True, "local": 512}


def tiny(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return build("conformer", **{**TINY, **settings}).eval()


def noise(samples: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def test_a_block_has_the_published_size() -> None:
    with torch.device("meta"):
        model = Conformer(ConformerConfig())
    counts = [sum(parameter.numel() for parameter in block.parameters()) for block in model.blocks]
    assert counts == [4_210_176] * 18


@pytest.mark.parametrize("samples", [560, 1199, 1200, 4000])
def test_log_probabilities_for_every_fourth_frame(samples: int) -> None:
    outputs = tiny()(noise(samples, batch=2))
    assert outputs.shape == (2, frames_of(samples), 5)
    torch.testing.assert_close(outputs.exp().sum(-1), torch.ones(2, frames_of(samples)))


@pytest.mark.parametrize("settings", [{}, {"left": 3, "right": 1}, {"chunk": 2, "left": 3},
                                      {"left": 0, "right": 0, "kernel": 1}])
def test_it_learns_in_mixed_precision_too(settings: dict[str, Any]) -> None:
    model = tiny(**settings).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(noise(4000, batch=2))
    outputs[..., 1].sum().backward()
    assert outputs.dtype == torch.float32
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_attention_scores_are_those_of_transformer_xl() -> None:
    torch.manual_seed(0)
    heads, size, frames = 2, 4, 5
    layer = Attention(heads * size, heads)
    for bias in (layer.content_bias, layer.position_bias):
        nn.init.normal_(bias)
    query, key, value = torch.randn(3, 1, frames, heads * size)
    outputs = layer(query, key, value)[0]
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.empty(frames, frames)
        for t in range(frames):
            for s in range(frames):
                angles = (t - s) * 10_000 ** (-torch.arange(0, heads * size, 2) / (heads * size))
                place = layer.position[part] @ torch.stack([angles.sin(), angles.cos()], 1).flatten()
                by_content = (query[0, t, part] + layer.content_bias[part]) @ key[0, s, part]
                scores[t, s] = (by_content + (query[0, t, part] + layer.position_bias[part]) @ place) / size**0.5
        torch.testing.assert_close(outputs[:, part], scores.softmax(-1) @ value[0, :, part])


@pytest.mark.parametrize(("left", "right"), [(-1, -1), (2, -1), (-1, 0), (1, 2), (0, 0)])
def test_attention_sees_so_many_frames_before_and_after(left: int, right: int) -> None:
    layer, frames, middle = Attention(4, 2, left, right), 9, 4
    query, key = torch.randn(2, 1, frames, 4)
    value = torch.randn(1, frames, 4, requires_grad=True)
    layer(query, key, value)[0, middle].sum().backward()
    assert value.grad is not None
    seen = [number for number in range(frames) if value.grad[0, number].any()]
    first, last = 0 if left < 0 else middle - left, frames - 1 if right < 0 else middle + right
    assert seen == [*range(first, last + 1)]


@pytest.mark.parametrize(("chunk", "left"), [(1, 0), (3, 0), (3, 2), (4, 99)])
def test_with_chunks_a_block_sees_its_own_and_so_many_frames_before_it(chunk: int, left: int) -> None:
    config = ConformerConfig(**{**TINY, "kernel": 1}, chunk=chunk, left=left)
    block, frame = Block(config, config.sizes(0)).eval(), 7
    x = torch.randn(1, 11, 8, requires_grad=True)
    block(x)[0, frame].square().sum().backward()
    assert x.grad is not None
    first = frame // chunk * chunk
    expected = [*range(max(first - left, 0), min(first + chunk, 11))]
    assert [number for number in range(11) if x.grad[0, number].any()] == expected


def test_chunks_change_no_parameter() -> None:
    whole, chunked = tiny().state_dict(), tiny(chunk=4, left=8).state_dict()
    assert whole.keys() == chunked.keys() and all(torch.equal(whole[name], chunked[name]) for name in whole)


def test_a_causal_block_without_a_right_context_sees_nothing_to_come() -> None:
    config = ConformerConfig(**TINY, causal=True, right=0)
    block = Block(config, config.sizes(0)).eval()
    x = torch.randn(1, 9, 8, requires_grad=True)
    block(x)[0, 4].square().sum().backward()
    assert x.grad is not None
    assert x.grad[0, :5].any(-1).all() and not x.grad[0, 5:].any()


@pytest.mark.parametrize(("settings", "message"), [
    ({"layers": 0}, "layers must be 1..64, got 0"),
    ({"channels": 10, "heads": 4}, "channels must be even and a multiple of 4 heads, got 10"),
    ({"kernel": 4}, "kernel must be odd, got 4"),
    ({"left": -2}, "left must be -1..65536, got -2"),
    ({"chunk": 4}, "left and right must be at least 0 and -1 where there is a chunk, got -1 and -1"),
    ({"chunk": 4, "left": 8, "right": 0}, "where there is a chunk, got 8 and 0"),
    ({"dropout": 1.0}, "dropout and gap must be at least 0 and below 1"),
    ({"stream": 513}, "stream must be 1..512, got 513"),
    ({"layers": 3, "blocks": [WHOLE] * 2}, "blocks must be one for each of 3 layers, got 2"),
    ({"layers": 2, "blocks": [WHOLE, WHOLE | {"heads": 9}]}, r"blocks\[1\]: heads must be 0..8, got 9"),
    ({"layers": 1, "stream": 300, "blocks": [WHOLE]}, r"blocks\[0\]: local must be 0..300, got 512"),
])
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConformerConfig(**settings)
