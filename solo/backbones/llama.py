"""Where the parts of Llama, Qwen2 and Qwen3 are, and their sizes; `shape` is a config.

The three name their modules alike. They differ in biases (Qwen2 has them on query, key and value,
the others where their config says so) and in Qwen3's norms of every query's and key's head.
Positions are rotary: there is no table of them. Query heads may share key heads (grouped-query
attention), which makes k_proj and v_proj narrower than q_proj.
"""

from torch import nn

TITLE = "Llama or Qwen"
TRUNK = "model"  # path in the model of everything below the head
HEAD = "lm_head"  # path in the model
BLOCKS = "layers"  # path in the trunk
LINEAR = nn.Linear  # the class of the projections
PROJECTIONS = {  # name: path in a block
    "q_proj": "self_attn.q_proj",  # d -> heads of the queries
    "k_proj": "self_attn.k_proj",  # d -> heads of the keys
    "v_proj": "self_attn.v_proj",
    "o_proj": "self_attn.o_proj",  # heads of the queries -> d
    "gate_proj": "mlp.gate_proj",  # d -> h
    "up_proj": "mlp.up_proj",  # d -> h
    "down_proj": "mlp.down_proj",  # h -> d
}
PARTS = {"q_proj": ("q",), "k_proj": ("k",), "v_proj": ("v",)}  # nothing is fused
BY_HEAD = False  # whether parts of a fused projection alternate, head by head
ATTENTION = "self_attn"  # path in a block
OUTPUTS = {"attn": "o_proj", "mlp": "down_proj"}  # what joins the residual stream
NORMS = ("input_layernorm", "post_attention_layernorm", "norm")  # two of every block, the last
DROPOUTS = ("attention_dropout",)
CONSTANTS = (".rotary_emb.inv_freq",)  # ends of keys that old checkpoints hold beside the weights
POSITIONS = None  # rotary


def projection_shape(shape, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d, inner = shape.hidden_size, shape.intermediate_size
    width = getattr(shape, "head_dim", None) or d // shape.num_attention_heads
    queries, keys = (
        width * heads for heads in (shape.num_attention_heads, shape.num_key_value_heads)
    )
    return {
        "q_proj": (d, queries),
        "k_proj": (d, keys),
        "v_proj": (d, keys),
        "o_proj": (queries, d),
        "gate_proj": (d, inner),
        "up_proj": (d, inner),
        "down_proj": (inner, d),
    }[name]


def _has_bias(shape, name: str) -> bool:
    """Whether a projection has a bias."""
    if shape.model_type == "qwen2":
        return name in ("q_proj", "k_proj", "v_proj")
    if PROJECTIONS[name].startswith("mlp."):
        return getattr(shape, "mlp_bias", False)
    return shape.attention_bias


def norm_sizes(shape) -> dict[str, int]:
    """How many parameters the norms of each name have: a weight, no bias."""
    d, L = shape.hidden_size, shape.num_hidden_layers
    return {"input_layernorm": L * d, "post_attention_layernorm": L * d, "norm": d}


def n_parameters(shape) -> int:
    """Embeddings, a head of its own unless it is tied, projections, norms.

    Per block (d queries + d keys) 2 + 3dh + biases + 2d, in Qwen3 twice the width of a head for
    the norms of queries and keys; d for the last norm.
    """
    tables = (1 if shape.tie_word_embeddings else 2) * shape.vocab_size * shape.hidden_size
    sizes = [projection_shape(shape, name) for name in PROJECTIONS]
    block = sum(n_in * n_out for n_in, n_out in sizes)
    block += 2 * shape.head_dim if shape.model_type == "qwen3" else 0
    weights = tables + shape.num_hidden_layers * block + sum(norm_sizes(shape).values())
    return weights + n_biases(shape)


def n_biases(shape) -> int:
    """Of the projections that have one."""
    biased = [name for name in PROJECTIONS if _has_bias(shape, name)]
    return shape.num_hidden_layers * sum(projection_shape(shape, name)[1] for name in biased)
