"""What decoders are built from: packed captions, recurrent cells, attention and its kernels."""
