"""Where the parts of OPT are, and their sizes; `shape` is its transformers config.

As GPT-2 with query, key and value apart. Positions have a table with two rows more than it has
positions. opt-350m has narrower token embeddings (word_embed_proj_dim), with a projection on
either side of the blocks, and norms after attention and MLP instead of before them.
"""

from torch import nn

TITLE = "OPT"
TRUNK = "model.decoder"  # path in the model of everything below the head
HEAD = "lm_head"  # path in the model
BLOCKS = "layers"  # path in the trunk
LINEAR = nn.Linear  # the class of the projections
PROJECTIONS = {  # name: path in a block
    "q_proj": "self_attn.q_proj",  # d -> d
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "out_proj": "self_attn.out_proj",
    "fc1": "fc1",  # d -> h
    "fc2": "fc2",  # h -> d
}
PARTS = {"q_proj": ("q",), "k_proj": ("k",), "v_proj": ("v",)}  # nothing is fused
BY_HEAD = False  # whether parts of a fused projection alternate, head by head
ATTENTION = "self_attn"  # path in a block
OUTPUTS = {"attn": "out_proj", "mlp": "fc2"}  # what joins the residual stream
NORMS = ("self_attn_layer_norm", "final_layer_norm")  # of every block; the last has the 2nd's name
DROPOUTS = ("dropout", "attention_dropout", "layerdrop")
CONSTANTS = ()  # ends of keys that old checkpoints hold beside the weights
POSITIONS = None  # its table asks for the mask of the input, too


def projection_shape(shape, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d, inner = shape.hidden_size, shape.ffn_dim
    return {"fc1": (d, inner), "fc2": (inner, d)}.get(name, (d, d))


def norm_sizes(shape) -> dict[str, int]:
    """How many parameters the norms of each name have, weights and biases."""
    each = 2 * shape.hidden_size if shape.layer_norm_elementwise_affine else 0
    L = shape.num_hidden_layers
    return {"self_attn_layer_norm": L * each, "final_layer_norm": (L + _has_last(shape)) * each}


def _has_last(shape) -> bool:
    """Whether there is a norm after the last block."""
    return shape.do_layer_norm_before and not shape._remove_final_layer_norm


def n_parameters(shape) -> int:
    """Tables of tokens and positions, a head of its own unless it is tied, blocks and norms.

    Per block 4d^2 + 2dh and biases; 2dw for the projections around narrower embeddings (w).
    """
    d, w, norms = shape.hidden_size, shape.word_embed_proj_dim, sum(norm_sizes(shape).values())
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size * w
    tables += (shape.max_position_embeddings + 2) * d + (0 if w == d else 2 * d * w)
    block = 4 * d * d + 2 * d * shape.ffn_dim
    biases = n_biases(shape) - norms // 2
    return tables + shape.num_hidden_layers * block + biases + norms


def n_biases(shape) -> int:
    """Per block 4d + h + d (projections, where they have them), and half of what norms have."""
    block = 5 * shape.hidden_size + shape.ffn_dim if shape.enable_bias else 0
    return shape.num_hidden_layers * block + sum(norm_sizes(shape).values()) // 2
