"""Command lines that must be refused, each with what its one line has to say.

  python scripts/checks/refusals.py     all of them, in this process; a line for each that is not

None needs a file to be there; scripts/checks/bad_inputs.py damages files.
"""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from solo.files import ROOT

WHOLE, NUMBER, BOOL, LIST = "a whole number", "a number", "true or false", "must be a list"
# script | what stands before each argument | a line for each: argument, then what the line says
TRAIN = f"""
train.lr=x | train.lr is x; it must be {NUMBER}
train.lr= | train.lr is ; it must be {NUMBER}
train.lr=[1] | train.lr is [1]; it must be {NUMBER}
train.lr={{a: 1}} | train.lr is {{'a': 1}}; it must be {NUMBER}
train.lr=true | train.lr is True; it must be {NUMBER}
train.lr=null | train.lr is null; it needs a value
train.lr=nan | train.lr is nan; it must be a finite number
train.lr=inf | train.lr is inf; it must be a finite number
train.lr=-inf | train.lr is -inf; it must be a finite number
train.lr=1e400 | train.lr is inf; it must be a finite number
train.lr=0 | train.lr is 0.0; it must be above 0
train.lr=-1 | train.lr is -1.0; it must be above 0
train.lr=1,2 | train.lr=1,2 names several values; give one, or add -m
train.lr=range(1,3) | names several values; give one, or add -m
train.lr=${{nope}} | train.lr
~train.lr | train.lr cannot be removed; give it another value
train.batch_size=0 | train.batch_size is 0; at least 1
train.batch_size=-4 | train.batch_size is -4; at least 1
train.batch_size=1.5 | train.batch_size is 1.5; it must be {WHOLE}
train.batch_size=x | train.batch_size is x; it must be {WHOLE}
train.batch_size=true | train.batch_size is True; it must be {WHOLE}
train.batch_size=null | train.batch_size is null; it needs a value
train.batch_size=99999999999 | train.batch_size is 99999999999; training takes at least
train.epochs=0 | train.epochs is 0; at least 1
train.epochs=-1 | train.epochs is -1; at least 1
train.epochs=0.5 | train.epochs is 0.5; it must be {WHOLE}
train.max_steps=0 | train.max_steps is 0; at least 1, or null
train.max_steps=-1 | train.max_steps is -1; at least 1, or null
train.max_steps=x | train.max_steps is x; it must be {WHOLE}
train.warmup_steps=-1 | train.warmup_steps is -1; at least 0
train.warmup_steps=x | train.warmup_steps is x; it must be {WHOLE}
train.weight_decay=-1 | train.weight_decay is -1.0; at least 0
train.weight_decay=x | train.weight_decay is x; it must be {NUMBER}
train.weight_decay=nan | train.weight_decay is nan; it must be a finite number
train.eps=-1 | train.eps is -1.0; at least 0
train.eps=x | train.eps is x; it must be {NUMBER}
train.betas=1 | train.betas {LIST}
train.betas=x | train.betas {LIST}
train.betas=null | train.betas is null; it needs a value
train.betas=[0.9] | train.betas is [0.9]; it must have 2 entries
train.betas=[] | train.betas is []; it must have 2 entries
train.betas=[0.9,0.9,0.9] | it must have 2 entries
train.betas=[0.9,1] | train.betas is [0.9, 1.0]; both must be in [0, 1)
train.betas=[-1,0.9] | train.betas is [-1.0, 0.9]; both must be in [0, 1)
train.betas=[a,b] | train.betas[0] is a; it must be {NUMBER}
train.label_smoothing=1 | train.label_smoothing is 1.0; it must be in [0, 1)
train.label_smoothing=-0.1 | train.label_smoothing is -0.1; it must be in [0, 1)
train.precision=fp16 | train.precision is 'fp16'; known: fp32, bf16
train.precision=null | train.precision is null; it needs a value
train.precision=[fp32] | train.precision
train.packed=maybe | train.packed is maybe; it must be {BOOL}
train.packed=null | train.packed is null; it needs a value
train.compile=maybe | train.compile is maybe; it must be {BOOL}
train.valid_batch_size=0 | train.valid_batch_size is 0; at least 1
train.log_every=0 | train.log_every is 0; at least 1
train.save_every=0 | train.save_every is 0; at least 1
train.save_every=x | train.save_every is x; it must be {WHOLE}
train.nope=1 | train.nope is no option
+train.nope=1 | train.nope is no option
++train.nope=1 | train.nope is no option
train=nope | train is 'nope'; known: default
train=null | train is None; it must be the name of a file in configs/train
train=[default,demo] | it must be the name of a file in configs/train
train=5 | train is 5; it must be the name of a file in configs/train
seed=-1 | seed is -1; it must be from 0 to 4294967295
seed=4294967296 | seed is 4294967296; it must be from 0 to 4294967295
seed=99999999999999999999 | it must be from 0 to 4294967295
seed=1.5 | seed is 1.5; it must be {WHOLE}
seed=x | seed is x; it must be {WHOLE}
seed=null | seed is null; it needs a value
seed=[1,2] | seed is [1, 2]; it must be {WHOLE}
seed=1,2 | seed=1,2 names several values; give one, or add -m
seed= | seed is ; it must be {WHOLE}
seed=${{nope}} | 'nope' not found
seed=${{oc.env:NO_SUCH_VARIABLE}} | NO_SUCH_VARIABLE
seed=${{nope:1}} | Unsupported interpolation type nope
sede=1 | sede is no option
+sede=1 | sede is no option
adapter=nope | adapter is 'nope'; known: adalora
adapter=null | adapter is None; it must be the name of a file in configs/adapter
adapter=5 | adapter is 5; it must be the name of a file in configs/adapter
adapter={{name: lora}} | it must be the name of a file in configs/adapter
adapter=solo,lora | adapter=solo,lora names several values; give one, or add -m
adapter.name=nope | unknown adapter 'nope'; known: adalora
adapter.rank=0 | adapter.rank is 0; it must be at least 1
adapter.rank=-1 | adapter.rank is -1; it must be at least 1
adapter.rank=x | adapter.rank is x; it must be {WHOLE}
adapter.rank=1.5 | adapter.rank is 1.5; it must be {WHOLE}
adapter.rank=1000000000 | adapter.rank is 1000000000; training takes at least
adapter.rank=${{adapter.rank}} | adapter.rank
adapter.nope=1 | adapter.nope is no option
+adapter.nope=1 | adapter
~adapter | adapter
adapter.sparsity=1 | adapter.sparsity
adapter.sparsity=-1 | adapter.sparsity
adapter.sparsity=x | adapter.sparsity is x; it must be {NUMBER}
adapter.span=0 | adapter.span
adapter.stride=0 | adapter.stride
adapter.dropout=1.5 | adapter.dropout
adapter.variant=nope | adapter.variant
adapter.mask=nope | adapter.mask
adapter.weight_init=nope | adapter.weight_init
adapter.bias=maybe | adapter.bias is maybe; it must be {BOOL}
model=nope | model is 'nope'; known: 
model=null | model is None; it must be the name of a file in configs/model
model.path=null | model.path is null; it needs a value
model.path= | model.path is empty
model.nope=1 | model.nope is no option
model.revision=[1] | model.revision has a value of the wrong kind
data=nope | data is 'nope'; known: 
data.name=nope | data.name is 'nope'; known: e2e, e2e_raw, e2e_clean, own
data.name=null | data.name is null; it needs a value
data.nope=1 | data.nope is no option
data.train_path=nowhere/train.txt | nowhere/train.txt
data.valid_path=nowhere/valid.txt | is missing
data.dir=nowhere | nowhere/lora_format/train.txt is missing
data.dir=null | data.dir is null; it needs a value
data.sha256=5 | data.sha256 has a value of the wrong kind
data.sha256=null | data.sha256
evaluate=5 | evaluate is 5; it must be the name of a file in configs/evaluate
evaluate.nope=1 | evaluate.nope is no option
evaluate.references=null | evaluate.references is null; it needs a value
decode.beam=0 | beam=0: give a whole number of at least 1
decode.beam=-1 | beam=-1: give a whole number of at least 1
decode.beam=x | decode.beam is x; it must be {WHOLE}
decode.beam=1.5 | decode.beam is 1.5; it must be {WHOLE}
decode.beam=1000000000 | decode.beam is 1000000000; decoding takes at least
decode.length_penalty=-1 | length_penalty=-1.0: give a number of at least 0
decode.length_penalty=x | decode.length_penalty is x; it must be {NUMBER}
decode.length_penalty=inf | decode.length_penalty is inf
decode.no_repeat_ngram=-1 | no_repeat_ngram=-1: give a whole number of at least 0
decode.max_new_tokens=0 | max_new_tokens=0: give a whole number of at least 1
decode.max_new_tokens=1023 | the backbone has 1024 positions, so at most 1022 can be new
decode.max_new_tokens=99999999999 | the backbone has 1024 positions
decode.batch_size=0 | batch_size=0: give a whole number of at least 1
decode=nope | decode is 'nope'; known: default
decode.nope=1 | decode.nope is no option
experiment=nope | unknown experiment 'nope'; known: demo/full
experiment=../x | unknown experiment '../x'; known: demo/full
experiment= | unknown experiment ''; known: demo/full
experiment=[a,b] | it must be the name of a file in configs/experiment
experiment=null | experiment is None; it must be the name of a file in configs/experiment
sweep=nope | sweep is 'nope'; known: lr
row=[1] | row has a value of the wrong kind
runs_dir=null | runs_dir is null; it needs a value
runs_dir=[a] | data/
together=maybe | together is maybe; it must be {BOOL}
run=somewhere | run=somewhere is for what is trained; leave it out
mr=name[A] | mr=name[A] is for what is trained; leave it out
hydra/launcher=nope | hydra/launcher is 'nope'; known: basic
hydra.nope=1 | hydra.nope is no option
hydra.run.dir=/dev/null/x | /dev/null/x: Not a directory
--config-name=nope | Cannot find primary config 'nope'
--config-dir=/nowhere | '/nowhere' not found
--nope | unrecognized arguments: --nope
nope | 'nope' is no override that Hydra can read; write KEY=VALUE
=1 | '=1' names no option; write KEY=VALUE
a=b=c | 'a=b=c' is no override that Hydra can read; quote the value: "a='b=c'"
train.lr=' | is no override that Hydra can read; quote the value
train.lr=( | is no override that Hydra can read; quote the value
row=a#b | is no override that Hydra can read; quote the value: "row='a#b'"
row=a (b) | is no override that Hydra can read; quote the value: "row='a (b)'"
${{seed}}=1 | is no override that Hydra can read
"""
SWEPT = f"""
seed=1,x | seed is x; it must be {WHOLE}
seed=1,-1 | seed is -1; it must be from 0 to 4294967295
seed=range( | is no override that Hydra can read
seed= | seed is ; it must be {WHOLE}
adapter.rank=8,0 | adapter.rank is 0; it must be at least 1
adapter.rank=8,1000000000 | adapter.rank is 1000000000; training takes at least
adapter=solo,nope | adapter is 'nope'; known: adalora
train.betas=3,4 | train.betas {LIST}
train.lr=1e-3,0 | train.lr is 0.0; it must be above 0
train.lr=1e-3,nan | train.lr is nan; it must be a finite number
experiment=table1/solo_s,nope | unknown experiment 'nope'; known: demo/full
experiment=choice(table1/solo_s,nope) | unknown experiment 'nope'; known: demo/full
decode.beam=10,0 | beam=0: give a whole number of at least 1
decode.max_new_tokens=64,1023 | the backbone has 1024 positions
hydra/launcher=nope | hydra/launcher is 'nope'; known: basic
"""
USE = f"""
run=nowhere | nowhere holds no trained run; train it first
run=/dev/null | /dev/null holds no trained run; train it first
run=no where (2), x=1#2 | holds no trained run; train it first
run='nowhere' | nowhere holds no trained run; train it first
run=[a] | [a] holds no trained run; train it first
run= | . holds no trained run; train it first
decode.beam=0 | beam=0: give a whole number of at least 1
decode.beam=x | decode.beam is x; it must be {WHOLE}
seed=x | seed is x; it must be {WHOLE}
nope=1 | nope is no option
data.dir=nowhere | nowhere/lora_format/train.txt is missing
"""
TABLE = f"""
nope=1 | nope is no option
adapter.nope=1 | adapter.nope is no option
train.lr=x | train.lr is x; it must be {NUMBER}
train.epochs=0 | train.epochs is 0; at least 1
a=b=c | is no override that Hydra can read; quote the value
seed=1,x | seed is x; it must be {WHOLE}
"""
LISTS = [
    ("scripts/train.py", [], TRAIN),
    ("scripts/run_row.py", ["-m"], SWEPT),
    ("scripts/decode.py", [], USE),
    ("scripts/evaluate.py", [], USE),
    ("scripts/generate.py", ["mr=name[A]"], USE),
    ("scripts/plan.py", ["table1"], TABLE),
    ("scripts/reproduce.py", ["table1"], TABLE),
]
OTHERS = [
    ("scripts/generate.py", [], "no MR given; add mr="),
    ("scripts/generate.py", ["mr="], "no MR given; add mr="),
    ("scripts/plan.py", ["nope"], "unknown table 'nope'; known: table1"),
    ("scripts/plan.py", ["table1", "--rows", "nope"], "unknown row 'nope'; known: table1/full_m"),
    ("scripts/plan.py", ["--nope"], "unrecognized arguments: --nope"),
    ("scripts/reproduce.py", ["nope"], "invalid choice: 'nope'"),
    ("scripts/reproduce.py", [], "the following arguments are required: table"),
    ("scripts/reproduce.py", ["demo", "--rows", "nope"], "unknown row 'nope'; known: demo/none"),
    ("scripts/tables.py", ["nope"], "invalid choice: 'nope'"),
    ("scripts/tables.py", ["table1", "--runs", "nowhere"], "--runs nowhere is no directory"),
    ("scripts/tables.py", ["table1", "--out", "/dev/null/x"], "/dev/null/x: Not a directory"),
    ("scripts/tables.py", ["--nope"], "unrecognized arguments: --nope"),
    ("scripts/figures.py", ["nope"], "invalid choice: 'nope'"),
    ("scripts/figures.py", ["table1", "--runs", "nowhere"], "--runs nowhere is no directory"),
    ("scripts/tune.py", ["--runs", "nowhere"], "no two finished runs in nowhere differ"),
    ("scripts/tune.py", ["--nope"], "unrecognized arguments: --nope"),
    ("scripts/params.py", ["--out", "/dev/null/x"], "/dev/null/x: Not a directory"),
    ("scripts/pack_run.py", [], "the following arguments are required: RUN, --out"),
    ("scripts/pack_run.py", ["nowhere", "--out", "x"], "nowhere cannot be packed: unfinished"),
    ("scripts/pretrain_backbone.py", ["pretrain=nope"], "pretrain is 'nope'; known: "),
    ("scripts/pretrain_backbone.py", ["pretrain.steps=x"], "pretrain.steps is "),
    ("scripts/pretrain_backbone.py", ["pretrain.nope=1"], "pretrain.nope is no option"),
    ("eval.score", [], "the following arguments are required: --refs, --hyps"),
    ("eval.score", ["--refs", "nowhere", "--hyps", "nowhere"], "nowhere"),
    ("eval.score", ["--refs", "/dev/null", "--hyps", "/dev/null"], "/dev/null"),
    ("eval.score", ["--refs", "eval", "--hyps", "eval"], "eval"),
    ("eval.score", ["--nope"], "--refs"),
    ("eval.score", ["--refs", "a", "--hyps", "b", "--refs-format", "c"], "invalid choice: 'c'"),
    ("eval.score", ["--refs", "a", "--hyps", "b", "c", "--segments", "d"], "--segments takes one"),
    (
        "eval.score",
        ["--refs", "a", "--hyps", "b", "--json", "eval"],
        "is no regular file, and is not replaced",
    ),
    ("eval.compare", ["nowhere", "nowhere"], "nowhere"),
]


def cases() -> list[tuple[str, list[str], str]]:
    """(script or module, arguments, what the one line says) of every command line."""
    listed = [
        (script, [*before, argument], text)
        for script, before, lines in LISTS
        for argument, text in (line.split(" | ") for line in lines.strip().splitlines())
    ]
    return listed + OTHERS


def outcome(script: str, arguments: list[str]) -> tuple[int, str]:
    """(exit code, standard error) of a script, or of a module of `python -m`, in this process.

    An exception that comes through is raised: a user would see its trace.
    """
    before = sys.argv, os.getcwd(), dict(os.environ)
    errors, code = io.StringIO(), 0
    sys.argv = [script, *arguments]
    os.chdir(ROOT)
    try:
        with redirect_stderr(errors), redirect_stdout(io.StringIO()):
            if script.endswith(".py"):
                runpy.run_path(script, run_name="__main__")
            else:
                runpy.run_module(script, run_name="__main__")
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
        os.environ.clear()
        os.environ.update(before[2])
    return code, errors.getvalue()


def main() -> int:
    wrong = 0
    for script, arguments, text in cases():
        try:
            code, errors = outcome(script, arguments)
        except Exception as error:
            code, errors = 0, f"a trace: {type(error).__name__}: {error}"
        line = errors.strip().splitlines()[-1:] or [""]
        if code not in (1, 2) or text not in line[0]:
            wrong += 1
            print(
                f"{script} {arguments}: exit code {code}, {line[0][-300:]!r}, not {text!r}",
                flush=True,
            )
    print(f"{len(cases())} command lines, {wrong} not refused as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
