"""A captioner without PyTorch: ONNX graphs, and their search in numpy.

`graphs` and `export` write a folder with torch; `folder`, `session` and `search` read it without.
"""
