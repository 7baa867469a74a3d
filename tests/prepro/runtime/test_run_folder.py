"""The folder of a run: its lock, the name of an earlier run, and the link to the latest."""

import fcntl

import pytest

from prepro.runtime import run_folder
from prepro.runtime.run_folder import archive_existing, link_latest, lock_run, require_resumable


def test_one_training_writes_into_a_folder(tmp_path):
    run = tmp_path / "runs" / "a"
    for _ in range(2):
        with lock_run(run):
            with pytest.raises(RuntimeError, match=f"{run}: another training"), lock_run(run):
                pass
            with lock_run(tmp_path / "runs" / "b"):
                pass
    assert (run / ".lock").read_bytes() == b""
    (tmp_path / "file").touch()
    with (
        pytest.raises(NotADirectoryError, match="file: this is a file"),
        lock_run(tmp_path / "file"),
    ):
        pass


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", fail)
    with lock_run(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_what_can_be_resumed_has_a_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: nothing to resume"):
        require_resumable(tmp_path)
    (tmp_path / "config.json").touch()
    require_resumable(tmp_path)


def test_a_finished_run_gets_the_first_free_number(tmp_path, capsys):
    run = tmp_path / "run"
    archive_existing(run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and not capsys.readouterr().err
    for number in (1, 2):
        run.mkdir(exist_ok=True)
        (run / "last.json").write_text(str(number))
        archive_existing(run)
        assert not run.exists()
        assert (tmp_path / f"run.{number}" / "last.json").read_text() == str(number)
        assert capsys.readouterr().err == f"{run}: renamed the earlier run to {run}.{number}\n"


def test_latest_is_a_relative_link_that_never_replaces_a_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        link_latest(tmp_path / "runs" / name)
        link = tmp_path / "runs" / run_folder.LATEST
        assert link.is_symlink() and str(link.readlink()) == name
    (tmp_path / "runs" / "b").rmdir()
    link_latest(tmp_path / "runs" / "a")  # the link led nowhere
    assert link.resolve() == (tmp_path / "runs" / "a").resolve()
    link.unlink()
    link.mkdir()
    link_latest(tmp_path / "runs" / "a")
    assert not link.is_symlink()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a", "latest"}
