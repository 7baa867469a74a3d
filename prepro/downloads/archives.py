"""The table of what prepro.download knows: addresses, sizes and hashes of public archives.

Sizes are those that the servers state. The MD5 sums are COCO's, as torchvision, GluonCV and others
list them; Karpathy's archive has no published sum, and the SHA-256 is that of a copy.
"""

from dataclasses import dataclass

COCO = "http://images.cocodataset.org"
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"


@dataclass(frozen=True)
class Archive:
    """A ZIP file at a public address."""

    url: str
    size: int
    """bytes"""
    hash: str
    """algorithm:hexadecimal digits, of the whole file"""
    members: tuple[str, ...]
    """what is unpacked: names, or folders that end with /"""
    unpacked: int
    """bytes of these members, about"""

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DataSet:
    """Archives that belong together, and what to do with them."""

    archives: tuple[Archive, ...]
    terms: str
    """one sentence"""
    next_command: str
    """{out} is the folder"""


def _karpathy(*members: str, unpacked: int) -> Archive:
    return Archive(
        f"{KARPATHY}/caption_datasets.zip", 36_745_453,
        "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
        members, unpacked,
    )  # fmt: skip


DATA_SETS = {
    "coco": DataSet(
        (
            Archive(
                f"{COCO}/annotations/annotations_trainval2014.zip", 252_872_794,
                "md5:0a379cfc70b0e71301e0f377548639bd",
                ("annotations/captions_train2014.json", "annotations/captions_val2014.json",
                 "annotations/instances_val2014.json"), 260_000_000,
            ),
            Archive(
                f"{COCO}/zips/val2014.zip", 6_645_013_297,
                "md5:a3d79f5ed8d289b7a7554ce06a5782b3", ("val2014/",), 6_660_000_000,
            ),
            Archive(
                f"{COCO}/zips/train2014.zip", 13_510_573_713,
                "md5:0da8c0bd3d6becc4dcb32757491aca88", ("train2014/",), 13_540_000_000,
            ),
            _karpathy("dataset_coco.json", unpacked=144_186_139),
        ),
        "The annotations are under CC BY 4.0, the pictures under the terms of Flickr.",
        "python -m prepro.labels --annotations {out}/dataset_coco.json --images {out} --out {out}",
    ),
    "karpathy": DataSet(
        (_karpathy("dataset_coco.json", "dataset_flickr8k.json", "dataset_flickr30k.json",
                   unpacked=192_000_000),),
        "Captions and splits of COCO, Flickr8k and Flickr30k, for research; no pictures.",
        "python -m prepro.labels --annotations {out}/dataset_coco.json --images coco --out {out}",
    ),
    "flickr8k-splits": DataSet(
        (_karpathy("dataset_flickr8k.json", unpacked=9_035_673),),
        "Captions and splits of Flickr8k, for research; no pictures.",
        "python -m prepro.labels --annotations {out}/dataset_flickr8k.json --images Images"
        " --out {out}",
    ),
}  # fmt: skip

BY_REQUEST = {
    "flickr8k": "a form at https://forms.illinois.edu/sec/1713398",
    "flickr30k": "a form at https://shannon.cs.illinois.edu/DenotationGraph",
    "conceptual-captions": "a list of addresses, from which the program img2dataset makes tar "
    "files, at https://ai.google.com/research/ConceptualCaptions/download",
}
"""pictures that their owners give to those who ask, and where"""
