"""TSV files of captions: either order of columns, addresses that are counted, one record a run."""

from tests.prepro.annotations.test_tar_shards import convert, picture


def test_rows(tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(picture(1))
    lines = [
        "a dog\ta.png", "two dogs\ta.png", "b.png\ta cat", "a cat\thttp://x.org/y.jpg", "", "alone",
        "gone\tgone.png", "out\t../a.png", "a bird\tc.png\tmore", "again\ta.png",
    ]  # fmt: skip
    (tmp_path / "cc.tsv").write_bytes("\n".join(lines).encode() + b"\n\xff\tb.png")
    found = convert(tmp_path, tmp_path / "cc.tsv", tmp_path)
    assert [(r.id, r.path, r.captions) for r in found.records] == [
        ("cc.tsv:1", "a.png", ("a dog", "two dogs")),
        ("cc.tsv:3", "b.png", ("a cat",)),
        ("cc.tsv:9", "c.png", ("a bird",)),
        ("cc.tsv:10", "a.png", ("again",)),
    ]
    out, error = capsys.readouterr()
    assert "out: 4 pictures (2 train, 1 val, 1 test), 5 captions, 1 word; " in out
    assert "(img2dataset fetches them), which are left out: 1 (http://x.org/y.jpg)" in error
    assert "lines without a caption and a picture, which are left out: 1 (cc.tsv, line 6)" in error
    assert f"rows whose picture is not in {tmp_path}, which are left out: 2 (cc.tsv" in error
    assert "lines that are not UTF-8, which are left out: 1 (cc.tsv, line 11)" in error


def test_a_table_with_a_header_stays_what_it_was(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(picture(1))
    rows = "image\tcaption\na.png\ta dog\nb.png\ta cat\nc.png\tone\n"
    (tmp_path / "captions.tsv").write_text(rows)
    assert [r.id for r in convert(tmp_path, tmp_path / "captions.tsv", tmp_path).records] == [
        "a.png", "b.png", "c.png"
    ]  # fmt: skip
