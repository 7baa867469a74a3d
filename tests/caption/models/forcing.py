"""Teacher forcing without padding, in the shape of the tokens."""

from torch import Tensor

from caption.models import Decoder, Features


def force(decoder: Decoder, features: Features, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """Hidden states (B, K, T, H) and attention (B, K, T, R) or None of `tokens` (B, K, T)."""
    hidden, attention, _ = decoder.teacher_force(features, tokens, need_attention=True)
    shape = tokens.shape
    return hidden.view(*shape, -1), None if attention is None else attention.view(*shape, -1)
