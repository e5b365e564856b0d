"""The kinds of networks, losses and inputs that a file may name."""

from typing import Literal

NetworkKind = Literal["mlp-tanh", "mlp-relu", "llama", "qwen2"]
TeacherLoss = Literal["cross-entropy", "mse", "trait"]
InputKind = Literal["noise", "numbers", "text"]
