"""Pictures in, `features.h5` out: what a frozen encoder sees, once and for all.

    python -m prepro.features --data data/coco --encoder resnet101 --weights default

Reads labels.json for the list of pictures, writes features.h5 beside it (prepro/feature_file.py
says what is in it) and, unless the weights are public, encoder.safetensors, so that the folder
holds all that training needs. Stopped in whatever way, it goes on where it was when the same
command runs again; pictures that were bad are tried again.

Many machines: each runs the same command with its own --shard I/N (or under torchrun), then one
runs it with --merge.
"""

import sys

from eval import command
from prepro.extraction.options import Options


def main(options: Options) -> int:
    from prepro.extraction import pipeline, shards
    from prepro.extraction.image_list import read_image_list

    listing = read_image_list(options.data)
    if options.merge:
        from prepro.extraction.merge import merge

        return pipeline.report(merge(options.data, listing), listing.names)
    if options.batch_size < 1 or options.workers < 0:
        raise ValueError("--batch-size must be at least 1 and --workers at least 0")
    shard = shards.parse(options.shard)
    return pipeline.run(options, listing, shard)


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
