"""prepro.features against torchvision's feature extractor; shards, batches and fusing."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from prepro import encoders, features
from prepro.annotations.records import ImageRecord
from prepro.encoders.pretrained import torchvision
from prepro.extraction import batching, image_loader, shards
from prepro.extraction.fuse_batchnorm import fuse_conv_bn
from prepro.images import open_rgb
from prepro.storage.feature_file import FeatureFile
from prepro.storage.label_file import read_labels, write_labels
from prepro.transform import Transform
from prepro.vocabulary import Vocabulary

SIZES = [(64, 48), (48, 64), (64, 48), (90, 61), (64, 48), (33, 47), (48, 64)]


def data_folder(folder, sizes=SIZES, names=None):
    """A data folder with noise images of the given sizes."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    records = []
    for i, (width, height) in enumerate(sizes):
        name = names[i] if names else f"{i}.png"
        records.append(ImageRecord(100 + i, name, "train", ("a b",)))
        low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(low).resize((width, height)).save(folder / name)
    encoded = [[1, 2]] * len(records)
    write_labels(folder, records, Vocabulary(("a", "b")), encoded, 4, {"image_root": ""})
    return folder


def options(folder, **changes):
    changes = {"encoder": "resnet18", "weights": "none", "workers": 0, "device": "cpu"} | changes
    return features.Options(data=folder, **changes)


def read(folder, name="features.h5"):
    found = FeatureFile(folder / name)
    rows = np.arange(len(found))
    att = found.att(rows).astype(float) if found.provenance.regions else None
    return found.fc(rows).astype(float), att


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return data_folder(tmp_path_factory.mktemp("features"))


def expected(folder, transform, side):
    """fc and att of torchvision's ResNet-18 with the same weights, image by image, in float32."""
    torchvision()
    from torchvision.models import resnet18
    from torchvision.models.feature_extraction import create_feature_extractor

    network = resnet18()
    network.load_state_dict(encoders.load(folder / "encoder.safetensors").network.state_dict())
    nodes = create_feature_extractor(network.eval(), {"layer4": "att", "flatten": "fc"})
    fc, att = [], []
    for i in range(len(SIZES)):
        pixels = transform.pixels(open_rgb(folder / f"{i}.png"))
        with torch.no_grad():
            out = nodes(transform.normalise(torch.from_numpy(pixels)[None]))
        fc.append(out["fc"][0].numpy())
        grid = torch.nn.AdaptiveAvgPool2d(side)(out["att"])[0]
        att.append(grid.reshape(512, -1).T.numpy())
    return np.stack(fc), np.stack(att)


@pytest.mark.parametrize(
    ("changes", "transform", "side"),
    [
        ({"batch_size": 3}, Transform(), 7),
        ({"batch_size": 16, "regions": 14, "workers": 2}, Transform(), 14),
        ({"mode": "square"}, Transform(mode="square"), 7),
        ({"mode": "full"}, Transform(mode="full", resize=640), 7),
        ({"mode": "full", "resize": 50, "workers": 1}, Transform(mode="full", resize=50), 7),
        ({"resize": 96, "crop": 64}, Transform(resize=96, crop=64), 7),
    ],
)
def test_features_equal_those_of_torchvision(folder, changes, transform, side):
    (folder / "features.h5").unlink(missing_ok=True)
    assert features.main(options(folder, **changes)) == 0
    fc, att = read(folder)
    references = expected(folder, transform, side)
    assert att.shape == (len(SIZES), side * side, 512)
    for block, reference in zip((fc, att), references, strict=True):
        assert np.allclose(block, reference, rtol=1e-3, atol=1e-3 * abs(reference).max())
    found = FeatureFile(folder / "features.h5")
    assert found.transform == transform.to_dict()
    assert not found.has_boxes  # a grid's regions need none


def test_regions_0_stores_only_pooled_vectors(folder, capsys):
    (folder / "features.h5").unlink(missing_ok=True)
    assert features.main(options(folder, regions=0)) == 0
    out, messages = capsys.readouterr()
    assert "7 pictures, a vector of 512 each" in out
    assert "allocating space for 7 pictures, 0.00 GB" in messages
    fc, att = read(folder)
    assert att is None and fc.shape == (7, 512)
    assert features.main(options(folder, regions=0)) == 0  # nothing left to do


def test_another_encoder_or_transform_is_refused(folder):
    (folder / "features.h5").unlink(missing_ok=True)
    features.main(options(folder, regions=0))
    with pytest.raises(ValueError, match="made with encoder resnet18, but asked for resnet10"):
        features.main(options(folder, regions=0, encoder="resnet10"))
    with pytest.raises(ValueError, match=r'"resize": 256.*asked for.*"resize": 300'):
        features.main(options(folder, regions=0, resize=300))
    with pytest.raises(ValueError, match="made with regions 0, but asked for 49"):
        features.main(options(folder, regions=7))
    with pytest.raises(ValueError, match="made with precision float32, but asked for bfloat16"):
        features.main(options(folder, regions=0, precision="bfloat16"))


def test_the_saved_encoder_matches_the_features(folder):
    (folder / "features.h5").unlink(missing_ok=True)
    features.main(options(folder))
    encoder = encoders.create_encoder("resnet18", str(folder / "encoder.safetensors"))
    found = FeatureFile(folder / "features.h5")
    assert encoder.sha256 == found.provenance.weights_sha256
    assert encoder.transform.to_dict() == found.transform
    found.require(read_labels(folder).images_sha256)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("mode", ["default", "full"])
def test_merged_shards_equal_the_file_of_one_run(tmp_path, mode, copy, capsys):
    folder = data_folder(tmp_path / "data")
    features.main(options(folder, mode=mode))
    whole = read(folder)
    (folder / "features.h5").rename(folder / "whole.h5")
    for shard in ("1/3", "3/3"):
        assert features.main(options(folder, mode=mode, shard=shard)) == 0
    with pytest.raises(ValueError, match="shard 2/3 is missing; make it with --shard 2/3"):
        features.main(options(folder, merge=True))
    features.main(options(folder, mode=mode, shard="2/3"))
    with pytest.raises(ValueError, match="join the shards"):
        FeatureFile(folder / "features.2-of-3.h5").require(read_labels(folder).images_sha256)
    assert features.main(options(folder, merge=True, copy=copy)) == 0
    for merged, single in zip(read(folder), whole, strict=True):
        assert np.allclose(merged, single, rtol=2e-3, atol=2e-3)
    with h5py.File(folder / "features.h5") as file, h5py.File(folder / "whole.h5") as other:
        assert np.array_equal(file["id"][:], other["id"][:])
        assert dict(file.attrs) == dict(other.attrs)


@pytest.mark.parametrize("count", [1, 7, 10, 123_287])
@pytest.mark.parametrize("total", [1, 3, 64])
def test_shards_hold_every_row_once(count, total):
    ranges = [shards.Shard(i, total).rows(count) for i in range(1, total + 1)]
    assert [row for rows in ranges for row in rows] == list(range(count))
    sizes = [len(rows) for rows in ranges]
    assert max(sizes) - min(sizes) <= 1


def test_parsing_a_shard():
    assert shards.parse_shard("2/8") == shards.Shard(2, 8)
    assert shards.parse_shard("") == shards.Shard(1, 1)
    for text in ("0/4", "5/4", "4", "a/b", "1/", "-1/4"):
        with pytest.raises(ValueError, match="I/N"):
            shards.parse_shard(text)


def test_fixed_size_batches_do_not_depend_on_finished_rows():
    whole = batching.fixed_size_batches(10, 4, 224, [True] * 10)
    assert [batch.rows for batch in whole] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    wanted = [row in (2, 9) for row in range(10)]
    some = batching.fixed_size_batches(10, 4, 224, wanted)
    assert [(b.rows, b.slots, b.size) for b in some] == [((2,), (2,), 4), ((9,), (1,), 2)]


def test_same_size_batches_have_one_shape_and_bounded_pixels():
    rng = np.random.default_rng(0)
    sides = [(480, 640), (640, 480), (100, 100), (2000, 3000)]
    shapes = [sides[i] for i in rng.integers(0, 4, 300)]
    shapes[17] = None
    plan = batching.same_size_batches(shapes, 16, [True] * 300)
    assert sorted(row for batch in plan for row in batch.rows) == [r for r in range(300) if r != 17]
    for batch in plan:
        assert {shapes[row] for row in batch.rows} == {(batch.height, batch.width)}
        assert batch.size == 1 or batch.size * batch.height * batch.width <= 16 * 224 * 224
    assert {len(batch.rows) for batch in plan if batch.height == 480} == {2, 1}
    slot_of = {
        row: (batch.size, slot)
        for batch in plan
        for row, slot in zip(batch.rows, batch.slots, strict=True)
    }
    some = batching.same_size_batches(shapes, 16, [row % 7 == 0 for row in range(300)])
    for batch in some:
        for row, slot in zip(batch.rows, batch.slots, strict=True):
            assert slot_of[row] == (batch.size, slot)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "preresnet18", "resnext29_8x64d", "resnet10-A"]
)
def test_fused_batchnorm_gives_the_same_feature_map(name):
    network = encoders.create_encoder(name).network
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that fusing must respect
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, after = network.features(x), fuse_conv_bn(network)(x)
        repeated = network.features(x)
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    assert torch.equal(before, repeated)  # the encoder is unchanged


def test_features_of_a_deep_untrained_network_are_bounded(tmp_path):
    folder = data_folder(tmp_path / "data", SIZES[:1])
    assert features.main(options(folder, encoder="resnet101", crop=64, resize=64)) == 0
    assert 0 < read(folder)[0].max() < 100


def test_features_that_overflow_float16_are_refused(tmp_path):
    folder = data_folder(tmp_path / "data", SIZES[:1])
    encoder = encoders.create_encoder("resnet8")
    encoder.network.layer3[-1].bn2.weight.data.fill_(1e9)
    encoders.save(encoder, tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match=r"0\.png: its features are not finite"):
        weights = str(tmp_path / "e.safetensors")
        features.main(options(folder, encoder="resnet8", weights=weights))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_load_images_with_every_start_method(folder, method):
    reader = image_loader.ImageFolderReader(folder, [f"{i}.png" for i in range(7)], Transform())
    plan = batching.fixed_size_batches(7, 4, 224, [True] * 7)
    loader = image_loader.make_loader(image_loader.BatchDataset(reader, plan), 1)
    loader.multiprocessing_context = method
    batches = [pixels for _, pixels, *_ in loader]
    direct = [image_loader.BatchDataset(reader, plan)[i][1] for i in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(batches, direct, strict=True))


def test_invalid_options_are_refused(folder):
    with pytest.raises(ValueError, match="--batch-size"):
        features.main(options(folder, batch_size=0))
    with pytest.raises(ValueError, match="more shards than"):
        features.main(options(folder, shard="1/9999"))


def test_options_change_the_transform(folder):
    (folder / "features.h5").unlink(missing_ok=True)
    features.main(options(folder, mode="square", resize=100, crop=64, regions=0))
    made = json.loads(FeatureFile(folder / "features.h5").provenance.transform)
    wanted = dataclasses.replace(Transform(), mode="square", resize=100, crop=64)
    assert made == wanted.to_dict()
