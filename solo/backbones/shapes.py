"""Shapes of the hub's GPT-2 checkpoints, by model.path: counting and timing need no weights."""

from transformers import GPT2Config

SHAPES = {
    "openai-community/gpt2": GPT2Config(n_layer=12, n_embd=768, n_head=12),
    "openai-community/gpt2-medium": GPT2Config(n_layer=24, n_embd=1024, n_head=16),
}
