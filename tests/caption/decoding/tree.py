"""A decoder small enough to enumerate: any distribution after any prefix, drawn at random.

The "image" is the whole tree of log-probabilities, (B, nodes * classes), so that images differ and
each caption's log-probability can be looked up without the code under test.
"""

import itertools

import torch
from torch import Tensor, nn

from caption.models import Features, State, Step


class Tree(nn.Module):
    """The protocol, over `words` words and captions of up to `length` words."""

    def __init__(self, words: int, length: int) -> None:
        super().__init__()
        self.classes, self.length = words + 1, length
        self.nodes = sum(self.classes**t for t in range(length))
        self.eval()

    def features(self, images: int, seed: int, scale: float = 1.0, levels: int = 0) -> Features:
        """Random images; with `levels`, from that many distinct values only: ties abound."""
        generator = torch.Generator().manual_seed(seed)
        shape = images, self.nodes, self.classes
        logits = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        if levels:
            logits = torch.randint(levels, shape, generator=generator).double()
        return Features(logits.log_softmax(-1).flatten(1))

    def begin(self, features: Features) -> State:
        tree = features.fc.unflatten(1, (self.nodes, self.classes))
        return State((tree,), (torch.full((len(tree), 1), -1),))

    def step(self, words: Tensor, state: State) -> Step:
        (tree,), (node,) = state
        node = torch.where(node < 0, 0, node * self.classes + 1 + words) % self.nodes
        at = node[..., None].expand(-1, -1, self.classes)
        attention = torch.stack([node, node + 1], -1).double()
        return Step(tree.gather(1, at), State((tree,), (node,)), attention)

    def captions(self) -> list[tuple[int, ...]]:
        """Every caption, its end included; one of `length` words has none."""
        words = range(1, self.classes)
        ended = [(*c, 0) for t in range(self.length) for c in itertools.product(words, repeat=t)]
        return ended + list(itertools.product(words, repeat=self.length))

    def log_probs(self, features: Features, image: int, caption: tuple[int, ...]) -> list[float]:
        """Of each word of one caption, from the tree itself."""
        tree = features.fc[image].view(self.nodes, self.classes)
        node, found = 0, []
        for word in caption:
            found.append(float(tree[node, word]))
            node = node * self.classes + 1 + word
        return found
