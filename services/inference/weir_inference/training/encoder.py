"""The Transformer of weir-sentiment."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_TOKENS = 128


class Encoder(nn.Module):
    """Pre-norm Transformer; logits [batch, 2] of ids and mask, both int64 [batch, tokens].

    What the mask hides is neither attended to nor counted in the mean over tokens.
    """

    def __init__(self, vocabulary: int, width: int = 80, n_layers: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, width) * 0.02)
        self.layers = nn.ModuleList([Layer(width) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, 2)
        nn.init.normal_(self.tokens.weight, std=0.1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.drop(self.tokens(input_ids) + self.positions[: input_ids.shape[1]])
        hidden = (1.0 - attention_mask[:, None, None, :].float()) * -1e9
        for layer in self.layers:
            x = layer(x, hidden)
        seen = attention_mask[:, :, None].float()
        mean = (self.norm(x) * seen).sum(1) / seen.sum(1).clamp_min(1.0)
        return self.head(self.drop(mean))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention of four heads and two linear layers, each added to what came in."""

    def __init__(self, width: int, n_heads: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        batch, n_tokens, width = x.shape
        heads = self.query_key_value(self.norms[0](x)).view(batch, n_tokens, 3, self.n_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        scale = (width // self.n_heads) ** -0.5
        weights = (query @ key.transpose(2, 3) * scale + hidden).softmax(3)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, n_tokens, width)
        x = x + self.drop(self.out(mixed))
        widened = F.gelu(self.wide(self.norms[1](x)))
        return x + self.drop(self.narrow(widened))  # type: ignore[no-any-return]
