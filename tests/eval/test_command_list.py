"""eval.command_list: the commands of a folder of modules, found without importing them."""

from eval.command_list import FORMER_NAMES, commands, print_commands

GUARD = 'raise SystemExit(9)\nif __name__ == "__main__":\n    pass\n'


def test_commands_are_the_modules_that_can_be_run(tmp_path, capsys):
    package = tmp_path / "zoo"
    (package / "cats").mkdir(parents=True)
    files = {
        "lion.py": f'"""Feed a lion\nof the zoo. It eats.\n\nMore: of it."""\n{GUARD}',
        "cats/__main__.py": f'"""Count the cats:\n\n    1, 2. 3"""\n{GUARD}',
        "cats/tiger.py": f"x = 1\n{GUARD}",
        "keeper.py": '"""Keep."""\nraise SystemExit(9)\n',
    }
    for name, text in files.items():
        (package / name).write_text(text, encoding="utf-8")
    assert commands(package) == {
        "zoo.cats": "Count the cats",
        "zoo.cats.tiger": "",
        "zoo.lion": "Feed a lion of the zoo",
    }
    print_commands(package)
    assert capsys.readouterr().out.splitlines() == [
        "python -m zoo.cats        Count the cats",
        "python -m zoo.cats.tiger  ",
        "python -m zoo.lion        Feed a lion of the zoo",
        "",
        "Each command explains its options with --help.",
    ]


def test_a_former_name_is_not_listed(tmp_path):
    for name in FORMER_NAMES:
        package, module = name.split(".")
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"{module}.py").write_text(GUARD)
        assert commands(tmp_path / package) == {}
