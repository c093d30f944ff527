"""Where the parts of GPT-2 are, and their sizes; `shape` is its transformers config.

Its projections are transformers' `Conv1D`: y = x W + b with W of shape (n_in, n_out), the transpose
of `nn.Linear`'s weight. The names of projections and LayerNorms end their path in a block, so the
peft library finds the same modules by them.
"""

from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

TITLE = "GPT-2"
MODEL, CONFIG = GPT2LMHeadModel, GPT2Config
LINEAR = Conv1D  # the class of the projections
INPUTS_FIRST = True  # their weights are (n_in, n_out)
PROJECTIONS = {  # name: path in a block
    "c_attn": "attn.c_attn",  # query, key and value, fused: d -> 3d
    "attn.c_proj": "attn.c_proj",  # d -> d
    "c_fc": "mlp.c_fc",  # d -> h
    "mlp.c_proj": "mlp.c_proj",  # h -> d
}
PARTS = {"c_attn": ("q", "k", "v")}  # equal parts of a fused projection's output, in their order
OUTPUTS = {"attn": "attn.c_proj", "mlp": "mlp.c_proj"}  # what joins the residual stream
NORMS = ("ln_1", "ln_2")  # of every block
FINAL_NORM = "ln_f"
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
CONSTANTS = (".attn.masked_bias",)  # ends of keys that old checkpoints hold beside the weights
FUSED = {"gelu_new": "gelu_pytorch_tanh"}  # one function, in one kernel instead of eight


def as_adapted(shape):
    """`shape` itself, from now on without dropout and with its activation in one kernel."""
    for name in DROPOUTS:
        setattr(shape, name, 0.0)
    shape.activation_function = FUSED.get(shape.activation_function, shape.activation_function)
    return shape


def trunk(model) -> nn.Module:
    """Everything below the head: token ids (B, L) to hidden states (B, L, d)."""
    return model.transformer


def head(model) -> nn.Module:
    """Hidden states (..., d) to logits (..., vocabulary); its weight is (vocabulary, d)."""
    return model.lm_head


def blocks(model) -> nn.ModuleList:
    return model.transformer.h


def token_embeddings(model) -> nn.Embedding:
    return model.transformer.wte


def position_embeddings(model) -> nn.Embedding:
    return model.transformer.wpe


def attention(block: nn.Module) -> nn.Module:
    """The module that transformers hands to its attention function."""
    return block.attn


def projection(block: nn.Module, name: str) -> nn.Module:
    """The projection of a block by its name in PROJECTIONS."""
    return block.get_submodule(PROJECTIONS[name])


def matrix(linear: nn.Module) -> Tensor:
    """W (n_in, n_out) of a projection, to be changed in place."""
    return linear.weight


def projection_shape(shape, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d, inner = shape.n_embd, inner_width(shape)
    return {
        "c_attn": (d, 3 * d),
        "attn.c_proj": (d, d),
        "c_fc": (d, inner),
        "mlp.c_proj": (inner, d),
    }[name]


def inner_width(shape) -> int:
    """h, the width of the MLP."""
    return shape.n_inner or 4 * shape.n_embd


def n_parameters(shape) -> int:
    """Embeddings + per block (attention 4d^2 + 4d, MLP 2dh + d + h, two LayerNorms 4d) + 2d.

    The head is the table of token embeddings and counts once.
    """
    d, inner = shape.n_embd, inner_width(shape)
    block = (4 * d * d + 4 * d) + (2 * d * inner + d + inner) + 4 * d
    return (shape.vocab_size + shape.n_positions) * d + shape.n_layer * block + 2 * d


def n_biases(shape) -> int:
    """Per block 3d + d (attention), h + d (MLP) and 2d (LayerNorms), and d for the last one."""
    return shape.n_layer * (7 * shape.n_embd + inner_width(shape)) + shape.n_embd
