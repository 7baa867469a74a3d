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
    """The groups of `model` without the parameters named in `head`. ValueError without groups."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        raise ValueError("timm gives it no groups of layers, so single stages cannot be trained")
    matcher = model.group_matcher(coarse=True)
    groups = group_parameters(model, group_matcher=matcher)
    head = frozenset(head)
    stages = [_stage(model, frozenset(groups[key]) - head) for key in sorted(groups)]
    return [stage for stage in stages if stage.modules or stage.loose]


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
