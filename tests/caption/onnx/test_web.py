"""The page of an export, with a runtime that lies beside it."""

import base64
import hashlib

import pytest

from caption.onnx.web import PARTS, write_page


@pytest.mark.parametrize("inside", ["", "dist"])
def test_the_runtime_is_copied_and_its_hash_is_in_the_page(tmp_path, inside):
    package, folder = tmp_path / "package", tmp_path / "out"
    (package / inside).mkdir(parents=True)
    folder.mkdir()
    (folder / "README.md").touch()
    for name in PARTS.values():
        (package / inside / name).write_bytes(name.encode())
    write_page(folder, package)
    page = (folder / "index.html").read_text("utf-8")
    for name in PARTS.values():
        assert (folder / "runtime" / name).read_bytes() == name.encode()
        digest = base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
        assert f"sha256-{digest}" in page and f"runtime/{name}" in page
