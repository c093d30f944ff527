"""Tiny random models of the architectures that Solo Connection was tried on."""

import torch
import transformers
from transformers import PreTrainedModel

BLOCKS, WIDTH, VOCABULARY = 5, 16, 61
PAD = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": VOCABULARY}
LIKE_LLAMA = PAD | {
    "num_hidden_layers": BLOCKS,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
LIKE_GPT2 = PAD | {
    "n_layer": BLOCKS, "n_embd": WIDTH, "n_head": 4, "n_positions": 64, "initializer_range": 0.3,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip
LIKE_BERT = {
    "num_hidden_layers": BLOCKS, "hidden_size": WIDTH, "intermediate_size": 24,
    "num_attention_heads": 4, "initializer_range": 0.3, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
WITHOUT_KV = {k: v for k, v in LIKE_LLAMA.items() if k not in ("num_key_value_heads", "head_dim")}
FITTING = {  # model_type: (class of the model, options of its config, path of its blocks)
    "gpt2": ("GPT2LMHeadModel", LIKE_GPT2, "transformer.h"),
    "llama": ("LlamaForCausalLM", LIKE_LLAMA, "model.layers"),
    "mistral": ("MistralForCausalLM", LIKE_LLAMA, "model.layers"),
    "qwen2": ("Qwen2ForCausalLM", LIKE_LLAMA, "model.layers"),
    "qwen3": ("Qwen3ForCausalLM", LIKE_LLAMA, "model.layers"),
    "gemma": ("GemmaForCausalLM", LIKE_LLAMA, "model.layers"),
    "gemma2": ("Gemma2ForCausalLM", LIKE_LLAMA, "model.layers"),
    "phi": ("PhiForCausalLM", WITHOUT_KV, "model.layers"),
    "gpt_neox": ("GPTNeoXForCausalLM", WITHOUT_KV, "gpt_neox.layers"),
    "gptj": ("GPTJForCausalLM", LIKE_GPT2 | {"rotary_dim": 4}, "transformer.h"),
    "opt": (
        "OPTForCausalLM",
        PAD | {
            "num_hidden_layers": BLOCKS, "hidden_size": WIDTH, "word_embed_proj_dim": WIDTH,
            "ffn_dim": 24, "num_attention_heads": 4, "max_position_embeddings": 64,
            "dropout": 0.0, "init_std": 0.3,
        },
        "model.decoder.layers",
    ),
    "bloom": (
        "BloomForCausalLM",
        PAD | {
            "n_layer": BLOCKS, "hidden_size": WIDTH, "n_head": 4, "initializer_range": 0.3,
            "hidden_dropout": 0.0, "attention_dropout": 0.0,
        },
        "transformer.h",
    ),
    "t5": (
        "T5ForConditionalGeneration",
        {
            "num_layers": BLOCKS, "num_decoder_layers": BLOCKS, "d_model": WIDTH, "d_kv": 4,
            "d_ff": 24, "num_heads": 4, "vocab_size": VOCABULARY, "dropout_rate": 0.0,
            "decoder_start_token_id": 0,
        },
        "decoder.block",
    ),
    "bart": (
        "BartForConditionalGeneration",
        PAD | {
            "encoder_layers": 2, "decoder_layers": BLOCKS, "d_model": WIDTH, "init_std": 0.3,
            "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "max_position_embeddings": 64, "dropout": 0.0,
            "decoder_start_token_id": 2, "forced_eos_token_id": None,
        },
        "model.decoder.layers",
    ),
    "bert": (
        "BertForMaskedLM",
        LIKE_BERT | {"vocab_size": VOCABULARY, "max_position_embeddings": 64},
        "bert.encoder.layer",
    ),
    "vit": ("ViTForImageClassification", LIKE_BERT | {"image_size": 8, "patch_size": 4}, None),
}  # fmt: skip
SMALL = {"r": 4, "sparsity": 0.4, "lambda_init": 0.5, "task_type": "CAUSAL_LM"}
OTHER = {"r": 7, "span": 2, "lambda_init": 0.9, "seed": 1, "task_type": "CAUSAL_LM"}
NOT_CAUSAL = ("t5", "bart", "bert", "vit")


def make(kind: str) -> PreTrainedModel:
    """A random model of an architecture, the same at each call, in eval mode."""
    torch.manual_seed(0)
    name, options, _ = FITTING[kind]
    model_class = getattr(transformers, name)
    return model_class(model_class.config_class(**options)).eval()


def inputs(kind: str) -> dict:
    """A batch of two for it."""
    if kind == "vit":
        return {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))}
    ids = torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return mask | {"decoder_input_ids": ids[:, :4]} if kind in ("t5", "bart") else mask
