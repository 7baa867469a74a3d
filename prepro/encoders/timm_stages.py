"""The stages of a timm model, for fine-tuning the last ones: timm's own coarse groups of layers.

In: a timm model. Out: a Stage for each group that makes the last map, from the input on.
"""

from collections.abc import Collection, Iterator, Sequence

from torch import nn


class Stage:
    """Modules and single parameters of a network that are trained or frozen together."""

    def __init__(self, modules: Sequence[nn.Module], loose: Sequence[nn.Parameter]) -> None:
        """`loose`: parameters of modules that belong to several stages, such as a class token."""
        self.modules, self.loose = list(modules), list(loose)

    def parameters(self) -> Iterator[nn.Parameter]:
        for module in self.modules:
            yield from module.parameters()
        yield from self.loose

    def requires_grad_(self, flag: bool = True) -> "Stage":
        for parameter in self.parameters():
            parameter.requires_grad_(flag)
        return self

    def train(self, mode: bool = True) -> "Stage":
        for module in self.modules:
            module.train(mode)
        return self

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.modules)


def find_stages(model: nn.Module, head: Collection[str]) -> list[Stage]:
    """The groups of `model` without the parameters named in `head`.

    A model that timm gives no groups has those of its children, the members of lists apart.
    """
    from timm.models import group_parameters

    try:
        matcher = model.group_matcher(coarse=True)
        groups = group_parameters(model, group_matcher=matcher)
    except (AttributeError, AssertionError):  # without groups, or without coarse ones
        groups = _children(model)
    head = frozenset(head)
    found: list[frozenset[str]] = []
    shapes = {name: parameter.dim() for name, parameter in model.named_parameters()}
    for key in sorted(groups):
        names = frozenset(groups[key]) - head
        if found and all(shapes[name] < 2 for name in names):  # a norm belongs to what it follows
            found[-1] |= names
        elif names:
            found.append(names)
    return [_stage(model, names) for names in found]


def _children(model: nn.Module) -> dict[int, list[str]]:
    """The parameters of each child, in order, after those of the model itself."""
    prefixes = []
    for name, child in model.named_children():
        is_list = isinstance(child, nn.Sequential | nn.ModuleList)
        parts = [part for part, _ in child.named_children()] if is_list else []
        prefixes += [f"{name}.{part}." for part in parts] or [f"{name}."]
    groups: dict[int, list[str]] = {}
    for name, _ in model.named_parameters():
        number = next((i for i, prefix in enumerate(prefixes, 1) if name.startswith(prefix)), 0)
        groups.setdefault(number, []).append(name)
    return groups


def _stage(model: nn.Module, names: frozenset[str]) -> Stage:
    """The largest modules whose parameters all are in `names`, and what is left of these."""
    modules: list[nn.Module] = []
    loose: list[nn.Parameter] = []

    def visit(module: nn.Module, prefix: str) -> None:
        own = {f"{prefix}{name}" for name, _ in module.named_parameters()}
        if own and own <= names:
            modules.append(module)
            return
        if not own & names:
            return
        for name, parameter in module.named_parameters(recurse=False):
            if f"{prefix}{name}" in names:
                loose.append(parameter)
        for name, child in module.named_children():
            visit(child, f"{prefix}{name}.")

    visit(model, "")
    return Stage(modules, loose)
