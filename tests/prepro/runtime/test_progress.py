"""Where no one looks, progress is a line now and then."""

from prepro.runtime import progress


def test_a_line_says_how_far_how_fast_and_how_long(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with progress.Progress(8000) as bar:
        for second in range(1, 61):
            now[0] = 100.0 + second
            bar.add(39, bad=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # one in 30 seconds
    assert lines[0] == (
        "features: 1,200 of 8,000 pictures, 40.0 a second, 170 s left, 30 bad"
    )  # 6,800 left at 40 a second
