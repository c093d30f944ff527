"""Pretrain a GPT-2 backbone from text: scripts/pretrain_backbone.py pretrain=demo

Writes a directory in the hub's format (config.json, model.safetensors, tokenizer files) that
`model.path=DIR` takes, with `pretraining.json` (what it was trained on, validation loss) and
`pretrain_log.jsonl` beside them. A directory that holds the same recipe's result is left alone.
"""

import functools
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.cli import command, progress_bar
from solo import backbone, pretrain, record


def prepare(config: dict):
    """The tokenizer and the two token streams of a recipe."""
    corpus = Path(config["corpus_dir"])
    train_files = pretrain.find_files(corpus, config["train_files"])
    valid_files = pretrain.find_files(corpus, config["valid_files"])
    if config["tokenizer"]:
        tokenizer = backbone.load_tokenizer(backbone.resolve(config["tokenizer"]))
    else:
        tokenizer = pretrain.train_tokenizer(train_files, config["vocab_size"])
    cache = record.ROOT / "data" / "cache"
    streams = [pretrain.token_stream(f, tokenizer, cache) for f in (train_files, valid_files)]
    sums = {path.name: record.file_sha256(path) for path in train_files + valid_files}
    return tokenizer, streams, sums


def run(config: dict) -> None:
    out = Path(config["output_dir"])
    done = out / "pretraining.json"
    if done.exists() and record.read_json(done)["config"] == config:
        print(f"{out}: already pretrained by this recipe")
        return
    if done.exists():
        raise ValueError(f"{out} holds a backbone of another recipe; set pretrain.output_dir=DIR")
    tokenizer, (train_stream, valid_stream), sums = prepare(config)
    model = pretrain.new_model(config["shape"], tokenizer, config["seed"], config["stand_in"])
    with progress_bar("pretrain") as report:
        log = out / "pretrain_log.jsonl"
        loss = pretrain.pretrain(model, train_stream, valid_stream, config, log, report)
    model.cpu().save_pretrained(out)
    tokenizer.save_pretrained(out)
    tokens = config["steps"] * config["batch_size"] * config["context"]
    summary = {"config": config, "tokens_seen": tokens, "corpus_tokens": len(train_stream)}
    summary |= {"valid_loss": loss, "sha256": backbone.fingerprint(model), "corpus": sums}
    record.write_json(done, summary | record.environment())
    print(f"{out}: {tokens:,} tokens seen, validation loss {loss:.3f}")


@functools.partial(command, config_name="pretrain_backbone")
def main(cfg: DictConfig) -> None:
    run(OmegaConf.to_container(cfg.pretrain, resolve=True))


if __name__ == "__main__":
    main()
