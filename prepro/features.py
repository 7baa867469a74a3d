"""Extract features: pictures in, `features.h5` out.

    python -m prepro.features --data data/coco --encoder resnet101 --weights default

Reads the list of pictures from labels.json and writes features.h5 beside it (its format is in
prepro/storage/feature_file.py). Writes encoder.safetensors too unless the weights are published, so
that the folder holds everything that training needs. A stopped run continues when the same command
runs again, and retries the pictures that could not be read.

Under torchrun the processes of one or many machines take pieces of the pictures until all are done.
Machines without torchrun compute one part (a shard) each with --shard I/N; then one of them merges
the shards with --merge.
"""

import os
import sys

from eval import command
from prepro.extraction.options import MOST_REGIONS, Options


def main(options: Options) -> int:
    from prepro.extraction import pipeline, shards
    from prepro.extraction.image_list import read_image_list

    if options.copy and not options.merge:
        raise ValueError("--copy: it copies the shards that --merge joins; give --merge too")
    images = read_image_list(options.data)
    if options.merge:
        from prepro.extraction.merge import merge_shards
        from prepro.extraction.summary import print_summary

        return print_summary(merge_shards(options.data, images, options.copy), images.names)
    if options.batch_size < 1 or options.workers < 0:
        raise ValueError("--batch-size must be at least 1 and --workers at least 0")
    if not 0 <= options.regions <= MOST_REGIONS:
        raise ValueError(f"--regions {options.regions}: it must be from 0 to {MOST_REGIONS}")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1 and not options.shard:
        from prepro.extraction.piecewise import extract_pieces

        return extract_pieces(options, images, rank, world)
    shard = shards.parse_shard(options.shard)
    return pipeline.extract_features(options, images, shard)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
