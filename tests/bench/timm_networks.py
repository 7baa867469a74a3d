"""timm's architectures as encoders: the smallest network of each family, with random weights.

    python -m tests.bench.timm_networks [--part I/N] [--names NAME ...] [--list]

A family is the letters with which a name begins. Prints a line for each network: pass, or what
fails and why. A network passes if

    map     features() is what forward_features returns, with dim channels
    extract the extractor of prepro.features gives the map's mean and its cells
    file    it is the same after save and load
    stages  timm's groups are disjoint and complete, and the last one alone is trained
    freeze  frozen BatchNorms change nothing
"""

import argparse
import copy
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from caption.training.caption_model import FinetunedEncoder
from prepro import encoders
from prepro.encoders import Encoder
from prepro.encoders.memory import freeze_norms
from prepro.encoders.pooling import pool
from prepro.encoders.pretrained import torchvision
from prepro.extraction.extractor import Extractor
from prepro.runtime.meta_device import meta_device

MUST = (
    "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224",
    "resnet50_clip", "swin_tiny_patch4_window7_224", "efficientnet_b0", "tf_efficientnet_b0",
    "vit_small_patch16_dinov3", "convnextv2_atto", "mobilenetv3_small_100",
)  # fmt: skip
"""networks that people use, beside the smallest ones"""


def smallest() -> list[str]:
    """The name of the smallest network of each family, and those of MUST."""
    import timm

    best: dict[str, tuple[int, str]] = {}
    for name in timm.list_models():
        family = re.match(r"[a-z]+", name)[0]
        with meta_device():
            size = sum(p.numel() for p in timm.create_model(name).parameters())
        best[family] = min(best.get(family, (size, name)), (size, name))
    return sorted({name for _, name in best.values()} | {*MUST})


def pixels_of(encoder: Encoder) -> Tensor:
    """(2, 3, S, S) uint8 of the network's own size."""
    side = encoder.transform.crop
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """The last summand is two steps of float16 next to zero, where random weights may lead."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max() + 1.2e-7)


def check_map(encoder: Encoder, x: Tensor, grid: Tensor) -> str:
    with torch.inference_mode():
        expected = encoder.network.model.forward_features(x)
    if grid.dim() != 4 or grid.shape[1] != encoder.dim:
        return f"a map of {tuple(grid.shape)}, dim is {encoder.dim}"
    if expected.dim() == 3:  # tokens: those of the patches come last
        same = torch.equal(grid.flatten(2).mT, expected[:, -grid[0, 0].numel() :])
    else:
        same = torch.equal(grid, expected) or torch.equal(grid.permute(0, 2, 3, 1), expected)
    return "" if same else "the map is not forward_features"


def check_extraction(encoder: Encoder, x: Tensor, grid: Tensor) -> str:
    extractor = Extractor(encoder, torch.device("cpu"), 7)
    with torch.inference_mode():
        found = extractor.network(x.contiguous(memory_format=torch.channels_last))
    if not close(found, grid, 1e-3):
        return "the extractor computes another map"
    expected = pool(grid, 7, torch.float32)
    if max(t.abs().max() for t in expected) > 65_504:  # random weights, beyond float16
        return ""
    pairs = zip(extractor(pixels_of(encoder)), expected, strict=True)
    good = all(close(half.float(), single, 5e-3) for half, single in pairs)
    return "" if good else "the extractor pools something else"


def check_file(encoder: Encoder, x: Tensor, grid: Tensor) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        encoders.save(encoder, path)
        again = encoders.load(path)
    if again.sha256 != encoder.sha256 or again.transform != encoder.transform:
        return "other weights after save and load"
    with torch.inference_mode():
        return "" if close(again.network.features(x), grid, 1e-5) else "another map after load"


def check_stages(encoder: Encoder, x: Tensor, grid: Tensor) -> str:
    network = copy.deepcopy(encoder.network)
    stages, head = network.stages(), {id(p) for p in network.head_parameters()}
    parts = [{id(p) for p in stage.parameters()} for stage in stages]
    if len(stages) < 2:
        return f"{len(stages)} stage"
    every = {id(p) for p in network.parameters()} - head
    if sum(map(len, parts)) != len(every) or set().union(*parts) != every:
        return "the stages do not share out the parameters"
    tuned = FinetunedEncoder(copy.copy(encoder), 0, 1, True)
    tuned(pixels_of(encoder)).fc.square().sum().backward()
    trained = [p for p in tuned.network.parameters() if p.requires_grad]
    if not trained or len(trained) > len(parts[-1]):
        return f"{len(trained)} parameters are trained, the last stage has {len(parts[-1])}"
    return "" if all(p.grad is not None for p in trained) else "a parameter without a gradient"


def check_freezing(encoder: Encoder, x: Tensor, grid: Tensor) -> str:
    frozen = freeze_norms(copy.deepcopy(encoder.network))
    with torch.inference_mode():
        return "" if close(frozen.features(x), grid, 1e-3) else "frozen BatchNorms change the map"


CHECKS: dict[str, Callable[[Encoder, Tensor, Tensor], str]] = {
    "map": check_map, "extract": check_extraction, "file": check_file, "freeze": check_freezing,
    "stages": check_stages,
}  # fmt: skip


def check(name: str) -> str:
    """ "pass", or the name of the check that fails and the reason."""
    step = "build"
    try:
        encoder = encoders.create_encoder(f"timm:{name}")
        _draw_statistics(encoder.network)
        x = encoder.transform.normalise(pixels_of(encoder))
        step = "map"
        with torch.inference_mode():
            grid = encoder.network.features(x)
        for step, run in CHECKS.items():
            if reason := run(encoder, x, grid):
                return f"{step}: {reason}"
    except Exception as error:
        return f"{step}: {(str(error).splitlines() or [type(error).__name__])[0][:160]}"
    return "pass"


def _draw_statistics(network: torch.nn.Module) -> None:
    """Statistics of BatchNorms that are not those of the identity."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.8, 1.2, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="1/1")
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    torchvision()
    names = options.names or smallest()
    if options.list:
        print(*names)
        return
    number, parts = map(int, options.part.split("/"))
    results = []
    for name in names[number - 1 :: parts]:
        results.append(check(name))
        print(f"{name:40s} {results[-1]}", flush=True)
    passed = results.count("pass")
    print(f"{passed} of {len(results)} networks pass")


if __name__ == "__main__":
    main()
