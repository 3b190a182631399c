"""The decoder's stages: how blocks are grouped, how they drop out, how maps grow."""

import pytest
import torch

from mambaad.models.decoder import GridDecoder, MambaDecoder, PatchExpand


def blocks_of_modules(decoder: MambaDecoder) -> list[list[int]]:
    return [[len(lss.hss_blocks) for lss in stage.lss_modules] for stage in decoder.stages]


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ((3, 4, 6, 3), [[3], [2, 2], [3, 3], [3]]),
        ((1, 2, 5, 8), [[1], [2], [1] * 5, [2] * 4]),
        ((2, 1, 9, 7), [[2], [1], [3] * 3, [1] * 7]),
    ],
)
def test_blocks_are_grouped_in_modules(depths, expected):
    assert blocks_of_modules(MambaDecoder((4, 4, 4), depths, directions=1)) == expected


def test_blocks_of_a_module_can_be_chosen():
    decoder = MambaDecoder((4, 4, 4), (3, 6, 6, 3), directions=1, blocks=1)
    assert blocks_of_modules(decoder) == [[1] * 3, [1] * 6, [1] * 6, [1] * 3]


@torch.inference_mode()
def test_without_local_branches_a_module_is_its_blocks_alone():
    decoder = MambaDecoder((4, 4, 4), (2, 2, 2, 2), "sweep", 1, kernels=()).eval()
    module = decoder.stages[1].lss_modules[0]
    assert not [name for name, _ in module.named_parameters() if "hss_blocks" not in name]
    x = torch.randn(1, 4, 6, 4)
    assert torch.equal(module(x), module.hss_blocks(x))


def rates(decoder: MambaDecoder) -> list[list[list[float]]]:
    return [
        [[block.drop_path.rate for block in lss.hss_blocks] for lss in stage.lss_modules]
        for stage in decoder.stages
    ]


def test_drop_path_rates():
    # The k-th of the 16 blocks, coarse to fine, is due 0.2 (15 - k) / 15. All blocks of a stage's
    # j-th module take what its j-th block is due.
    due = [0.2 * (15 - k) / 15 for k in range(16)]
    expected = [
        [[due[0]] * 3],
        [[due[3]] * 2, [due[4]] * 2],
        [[due[7]] * 3, [due[8]] * 3],
        [[due[13]] * 3],
    ]
    for stage, stage_expected in zip(rates(MambaDecoder((4, 4, 4))), expected, strict=True):
        assert stage == [pytest.approx(module, abs=1e-7) for module in stage_expected]


def test_drop_path_can_be_turned_off():
    decoder = MambaDecoder((4, 4, 4), (1, 1, 1, 1), drop_path=0.0)
    assert rates(decoder) == [[[0.0]]] * 4


def test_every_scan_gets_the_settings():
    decoder = MambaDecoder((4, 4, 4), (1, 2, 1, 3), "zigzag", 2)
    scans = [b.ss2d for s in decoder.stages for lss in s.lss_modules for b in lss.hss_blocks]
    assert [(scan.scan, scan.directions) for scan in scans] == [("zigzag", 2)] * 7


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 5)])
def test_maps_have_the_encoders_sizes(height, width):
    decoder = MambaDecoder((4, 6, 10), (1, 1, 2, 1), directions=2).eval()
    maps = decoder(torch.randn(2, 20, height, width))
    expected = [(2, c, s * height, s * width) for c, s in ((4, 8), (6, 4), (10, 2))]
    assert [tuple(m.shape) for m in maps] == expected
    # As the encoder's, so that the loss need not copy them.
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@torch.inference_mode()
def test_patch_expand_puts_quarters_of_the_channels_side_by_side():
    expand = PatchExpand(8, 2)
    expand.expand.weight.copy_(torch.eye(8))
    x = torch.randn(1, 2, 3, 8)
    y = expand(x)
    assert y.shape == (1, 4, 6, 2)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        quarter = torch.nn.functional.layer_norm(x[..., 2 * place : 2 * place + 2], (2,))
        torch.testing.assert_close(y[:, row::2, column::2], quarter)


def test_initialisation():
    expand = PatchExpand(32, 16)
    assert expand.expand.bias is None
    assert expand.expand.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert (expand.norm.weight == 1).all()
    assert (expand.norm.bias == 0).all()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("maps", "stages"),
    [
        (1, [[0, 1, 2, 3]]),
        (2, [[2, 3], [0, 1]]),
        (3, [[2, 3], [1], [0]]),
        (4, [[3], [2], [1], [0]]),
    ],
)
def test_stages_on_one_grid_are_dealt_out_to_the_maps_the_deepest_first(maps, stages):
    decoder = GridDecoder(6, maps, 8, (1, 2, 1, 1), directions=2, states=2).eval()
    of_stages = []
    for stage in decoder.stages:
        stage.register_forward_hook(lambda *given: of_stages.append(given[2]))
    fused = torch.randn(2, 8, 3, 5)
    rebuilt = decoder(fused)
    assert [tuple(m.shape) for m in rebuilt] == [(2, 6, 3, 5)] * maps
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in rebuilt)
    for found, mine, head in zip(rebuilt, stages, list(decoder.heads)[::-1], strict=True):
        mean = torch.stack([of_stages[i] for i in mine]).mean(dim=0)
        normalised = torch.nn.functional.layer_norm(mean, (8,))
        expected = torch.einsum("bhwc,oc->bohw", normalised, head.linear.weight)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_decoder_on_one_grid_has_the_blocks_and_rates_of_the_pyramids():
    grid, pyramid = GridDecoder(4, 2, 4), MambaDecoder((4, 4, 4))
    assert blocks_of_modules(grid) == blocks_of_modules(pyramid)
    assert rates(grid) == rates(pyramid)
