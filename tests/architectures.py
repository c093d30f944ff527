"""A tiny random model of every architecture, with what sets it apart, and tiny tokenizers."""

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models, normalizers, processors
from transformers import CONFIG_MAPPING, PreTrainedTokenizerFast

from solo.backbones import without_dropout
from solo.backbones.shapes import model_class

SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4,
         "max_position_embeddings": 256, "vocab_size": 61, "initializer_range": 0.3,
         "bos_token_id": 1, "eos_token_id": 0}  # fmt: skip
ARCHITECTURES = {  # name: (model_type, what differs from SIZES)
    "gpt2": ("gpt2", {"n_inner": 24}),
    "llama": ("llama", {"intermediate_size": 24, "num_key_value_heads": 2}),  # an untied head
    "llama with biases": (
        "llama",
        {"intermediate_size": 24, "head_dim": 6, "attention_bias": True, "mlp_bias": True,
         "tie_word_embeddings": True},
    ),
    "qwen2": ("qwen2", {"intermediate_size": 24, "num_key_value_heads": 1}),
    "qwen2 with windows": (
        "qwen2",
        {"intermediate_size": 24, "num_key_value_heads": 2, "tie_word_embeddings": True,
         "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
    ),
    "qwen3": (
        "qwen3",
        {"intermediate_size": 24, "num_key_value_heads": 2, "head_dim": 6,
         "tie_word_embeddings": True},
    ),
    "gpt_neox": ("gpt_neox", {"intermediate_size": 24, "rotary_pct": 0.5}),
    "gpt_neox in sequence": (
        "gpt_neox",
        {"intermediate_size": 24, "use_parallel_residual": False, "attention_bias": False},
    ),
    "opt": ("opt", {"ffn_dim": 24, "init_std": 0.3, "pad_token_id": 1}),
    "opt as 350m": (
        "opt",
        {"ffn_dim": 24, "init_std": 0.3, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    ),
}  # fmt: skip
TYPES = ("gpt2", "llama", "qwen2", "qwen3", "gpt_neox", "opt")  # one of each
OTHERS = TYPES[1:]


def make_shape(architecture: str, **sizes):
    """The config of one of ARCHITECTURES, dropout out."""
    model_type, own = ARCHITECTURES[architecture]
    shape = CONFIG_MAPPING[model_type](**SIZES | own | sizes)
    return without_dropout(shape)


def make_backbone(architecture: str, seed: int = 0, dtype=torch.float32, **sizes):
    """A random model of one of ARCHITECTURES, in eval mode; its norms are random, too."""
    torch.manual_seed(seed)
    shape = make_shape(architecture, **sizes)
    model = model_class(shape)(shape)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.to(dtype).eval()


TEXTS = ["name : The Mill | Type : pub", " The Mill is a pub near Old Bridge ."] * 50


def byte_level_tokenizer(vocab_size: int = 300) -> PreTrainedTokenizerFast:
    """As those of Qwen and Pythia: bytes, no token before a text; the end's name is its own."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS, vocab_size, special_tokens=["<|end|>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """As that of the first Llamas: a space and <s> before every text, </s> at its end, bytes for
    what is unknown."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted(set("".join(TEXTS).replace(" ", "▁")) | {"▁"})
    vocab = {token: i for i, token in enumerate([*special, *letters, "▁T", "▁Th", "▁The", "▁M"])}
    merges = [("▁", "T"), ("▁T", "h"), ("▁Th", "e"), ("▁", "M")]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    )
    space = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(space)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
