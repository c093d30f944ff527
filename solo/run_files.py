"""What the files of a run are called, in its directory and in decode/NAME below it.

The scorer shares this file with the rest: training writes these files, eval/records.py reads them.
"""

CONFIG, IDENTITY, ENVIRONMENT = "config.yaml", "identity.json", "environment.json"
ROWS, LOG = "rows.json", "train_log.jsonl"
ADAPTER = "adapter.json"  # how to build again what its weights belong to
WEIGHTS = "adapter.safetensors"
DIVERGED = "diverged.json"  # in the directory of a run that would only diverge again
STATE = "training_state.safetensors"
NEXT = "training_state.next.safetensors"  # of a run together with others, until all have theirs
FOUND = "found.jsonl"  # by a decoding that is under way
PREDICTIONS, SCORES, STATISTICS = "predictions.tsv", "metrics.json", "statistics.json"
