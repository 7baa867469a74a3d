"""List the commands of this package: python -m eval"""

from pathlib import Path

from eval.command_list import print_commands

print_commands(Path(__file__).parent)
