"""Where the parts of GPT-NeoX (Pythia) are, and their sizes; `shape` is its transformers config.

Query, key and value come from one projection whose output is laid out by head: the first head's
query, key and value, then the second's, and so on. Positions are rotary, on a part of each head.
In most checkpoints attention and MLP read the same input (use_parallel_residual).
"""

from torch import nn

TITLE = "GPT-NeoX"
TRUNK = "gpt_neox"  # path in the model of everything below the head
HEAD = "lm_head"  # path in the model
BLOCKS = "layers"  # path in the trunk
LINEAR = nn.Linear  # the class of the projections
PROJECTIONS = {  # name: path in a block
    "query_key_value": "attention.query_key_value",  # fused, by head: d -> 3d
    "dense": "attention.dense",  # d -> d
    "dense_h_to_4h": "mlp.dense_h_to_4h",  # d -> h
    "dense_4h_to_h": "mlp.dense_4h_to_h",  # h -> d
}
PARTS = {"query_key_value": ("q", "k", "v")}  # equal parts of a fused projection's output
BY_HEAD = True  # they alternate: q, k, v of head 1, of head 2, ...
ATTENTION = "attention"  # path in a block
OUTPUTS = {"attn": "dense", "mlp": "dense_4h_to_h"}  # what joins the residual stream
NORMS = ("input_layernorm", "post_attention_layernorm", "final_layer_norm")
DROPOUTS = ("attention_dropout", "hidden_dropout")
CONSTANTS = (".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq")  # old keys
POSITIONS = None  # rotary


def projection_shape(shape, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d, inner = shape.hidden_size, shape.intermediate_size
    return {
        "query_key_value": (d, 3 * d),
        "dense": (d, d),
        "dense_h_to_4h": (d, inner),
        "dense_4h_to_h": (inner, d),
    }[name]


def norm_sizes(shape) -> dict[str, int]:
    """How many parameters the norms of each name have, weights and biases."""
    d, L = shape.hidden_size, shape.num_hidden_layers
    return {
        "input_layernorm": L * 2 * d,
        "post_attention_layernorm": L * 2 * d,
        "final_layer_norm": 2 * d,
    }


def n_parameters(shape) -> int:
    """Embeddings, a head of its own unless it is tied, and per block 4d^2 + 2dh + 2d and biases.

    The last norm has a weight and a bias, d each.
    """
    d, inner = shape.hidden_size, shape.intermediate_size
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size * d
    block = 4 * d * d + 2 * d * inner + 2 * d
    return tables + shape.num_hidden_layers * block + d + n_biases(shape)


def n_biases(shape) -> int:
    """Per block 3d + d (attention, where it has them), h + d (MLP), 2d (norms); d for the last."""
    d = shape.hidden_size
    block = (4 * d if shape.attention_bias else 0) + shape.intermediate_size + d + 2 * d
    return shape.num_hidden_layers * block + d
