"""Where the parts of GPT-2 are, and their sizes; `shape` is its transformers config.

Its projections are transformers' `Conv1D`: y = x W + b with W of shape (n_in, n_out), the transpose
of `nn.Linear`'s weight. The names of projections and LayerNorms end their path in a block, so the
peft library finds the same modules by them.
"""

from transformers.pytorch_utils import Conv1D

TITLE = "GPT-2"
TRUNK = "transformer"  # path in the model of everything below the head
HEAD = "lm_head"  # path in the model
BLOCKS = "h"  # path in the trunk
LINEAR = Conv1D  # the class of the projections
PROJECTIONS = {  # name: path in a block
    "c_attn": "attn.c_attn",  # query, key and value, fused: d -> 3d
    "attn.c_proj": "attn.c_proj",  # d -> d
    "c_fc": "mlp.c_fc",  # d -> h
    "mlp.c_proj": "mlp.c_proj",  # h -> d
}
PARTS = {"c_attn": ("q", "k", "v")}  # equal parts of a fused projection's output, in their order
BY_HEAD = False  # they do not alternate head by head, as in gpt_neox.py
ATTENTION = "attn"  # path in a block
OUTPUTS = {"attn": "attn.c_proj", "mlp": "mlp.c_proj"}  # what joins the residual stream
NORMS = ("ln_1", "ln_2", "ln_f")  # two of every block, the last
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
CONSTANTS = (".attn.masked_bias",)  # ends of keys that old checkpoints hold beside the weights
POSITIONS = "wpe"  # path in the trunk of the table that takes position ids alone; or None


def projection_shape(shape, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d, inner = shape.n_embd, _inner_width(shape)
    return {
        "c_attn": (d, 3 * d),
        "attn.c_proj": (d, d),
        "c_fc": (d, inner),
        "mlp.c_proj": (inner, d),
    }[name]


def _inner_width(shape) -> int:
    """h, the width of the MLP."""
    return shape.n_inner or 4 * shape.n_embd


def norm_sizes(shape) -> dict[str, int]:
    """How many parameters the norms of each name have, weights and biases."""
    d, L = shape.n_embd, shape.n_layer
    return {"ln_1": L * 2 * d, "ln_2": L * 2 * d, "ln_f": 2 * d}


def n_parameters(shape) -> int:
    """Embeddings + per block (attention 4d^2 + 4d, MLP 2dh + d + h, two LayerNorms 4d) + 2d.

    The head is the table of token embeddings and counts once, unless it is one of its own.
    """
    d, inner = shape.n_embd, _inner_width(shape)
    block = (4 * d * d + 4 * d) + (2 * d * inner + d + inner) + 4 * d
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size
    return (tables + shape.n_positions) * d + shape.n_layer * block + 2 * d


def n_biases(shape) -> int:
    """Per block 3d + d (attention), h + d (MLP) and 2d (LayerNorms), and d for the last one."""
    return shape.n_layer * (7 * shape.n_embd + _inner_width(shape)) + shape.n_embd
