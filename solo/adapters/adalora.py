"""AdaLoRA (Zhang et al., 2023, arXiv 2303.10512), by the peft library.

The update B diag(E) A with A and B near orthonormal (a penalty in the loss) and E starting at zero,
A and B at normal(0, 0.02). The penalty is that of the authors' code, the mean of norms, where the
paper sums their squares; masked values may grow again until the next allocation, as there.
Singular values are ranked by the running importance of their triplets (gradient times weight,
smoothed, times its uncertainty), and those beyond a budget are set to zero: from `init_rank` per
weight on average, after a warm-up, down to `target_rank` before the final phase. The share of each
weight is what the method finds. Masked values stay parameters, so the count is that of the start.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from solo.adapters.shared.from_peft import ADAPTER, PeftConfig, PeftMethod
from solo.adapters.shared.layers import count_low_rank
from solo.options import check

AVERAGES = ("exp_avg_ipt", "exp_avg_unc")  # importance and its uncertainty, as peft names them


@dataclass(frozen=True)
class Config(PeftConfig):
    """init_rank, target_rank: average ranks per weight at the start and at the end.

    alpha, dropout: the update's scale is alpha / init_rank. warmup, final: shares of the steps in
    which the budget stays as it is at the start and at the end (peft's tinit, tfinal, which are
    numbers of steps). interval: steps between two allocations. beta1, beta2: smoothing of
    importance and uncertainty. orthogonality: weight of the penalty.
    """

    init_rank: int = 6
    target_rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    warmup: float = 0.1
    final: float = 0.5
    interval: int = 100
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.1
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        super().__post_init__()
        check(
            1 <= self.target_rank < self.init_rank,
            f"adapter.target_rank is {self.target_rank} and adapter.init_rank {self.init_rank}; "
            "the first must be at least 1 and below the second",
        )
        check(
            self.warmup >= 0 and self.final >= 0 and self.warmup + self.final < 1,
            f"adapter.warmup is {self.warmup} and adapter.final {self.final}; they are shares of "
            "the steps and must leave some between them",
        )
        check(self.interval >= 1, f"adapter.interval is {self.interval}; it must be at least 1")
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            check(0 < value < 1, f"adapter.{name} is {value}; it must be in (0, 1)")
        check(
            self.orthogonality >= 0,
            f"adapter.orthogonality is {self.orthogonality}; it must be at least 0",
        )


class AdaLora(PeftMethod):
    """LoRA whose budget of rank training shares out among the weights. Step 0 is unchanged."""

    Config = Config
    label = "AdaLoRA"
    trains = "B diag(E) A, rank shared out"
    where = "c_attn"
    count = "L r₀ Σ(n_in+n_out+1)"
    source = "arXiv 2303.10512, peft"
    kind = "ADALORA"
    options = {
        "init_r": "init_rank",
        "target_r": "target_rank",
        "lora_alpha": "alpha",
        "lora_dropout": "dropout",
        "deltaT": "interval",
        "beta1": "beta1",
        "beta2": "beta2",
    }
    settings = {"total_step": 1}  # until `start` knows it

    def __init__(self, model, config: Config, seed: int):
        super().__init__(model, config, seed)
        self.config, self.schedule = config, self.module.peft_config[ADAPTER]
        self.state = _empty_state(self.module)

    def penalty(self) -> Tensor:
        """The mean over all factors of the Frobenius norm of A A' - I, of B' B - I."""
        factors = {name: p for name, p in self.parameters.items() if name[-1] in "AB"}
        # A (r, n_in) and B' (r, n_out): the rows of each should be orthonormal.
        rows = [p.T if name.endswith("lora_B") else p for name, p in factors.items()]
        eye = torch.eye(self.config.init_rank, device=rows[0].device)
        norms = [torch.linalg.norm(row @ row.T - eye) for row in rows]
        return self.config.orthogonality * torch.stack(norms).mean()

    def start(self, total_steps: int) -> None:
        config, schedule = self.config, self.schedule
        final = round(config.final * total_steps)
        check(
            total_steps - final >= 2,
            f"adalora needs at least 2 steps before its final phase; {total_steps} steps with "
            f"adapter.final={config.final} leave {total_steps - final}",
        )
        schedule.total_step, schedule.tfinal = total_steps, final
        schedule.tinit = min(round(config.warmup * total_steps), total_steps - final - 1)

    def after_step(self, step: int) -> None:
        schedule = self.schedule
        if schedule.total_step == 1:
            raise RuntimeError("adalora's schedule was not started: call start(total_steps) first")
        _lend_state(self.module, self.state, final=step > schedule.total_step - schedule.tfinal)
        self.module.update_and_allocate(step)
        _keep_state(self.module, self.state)

    def scalars(self) -> dict[str, float]:
        values = [p for name, p in self.parameters.items() if name[-1] == "E"]
        return {"rank": sum((p != 0).sum().item() for p in values) / len(values)}

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """init_rank (n_in + n_out + 1) per target and block, masked singular values included."""
        factors = count_low_rank(shape, config.targets, config.init_rank)
        return factors + shape.num_hidden_layers * len(config.targets) * config.init_rank


def _factors(tuner) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in tuner.model.named_parameters() if "lora_" in name}


def _empty_state(tuner) -> dict[str, torch.Tensor]:
    """What peft's allocator remembers, as tensors of ours: averages, and which values are kept."""
    state = {}
    for name, p in _factors(tuner).items():
        state |= {f"{average}/{name}": torch.zeros_like(p) for average in AVERAGES}
        if "lora_E" in name:
            state[f"kept/{name}"] = torch.ones_like(p)
    return state


def _lend_state(tuner, state: dict[str, torch.Tensor], final: bool) -> None:
    allocator = tuner.rankallocator
    for name, p in _factors(tuner).items():
        allocator.ipt[name] = p  # peft starts its averages anew where it has no entry here
        for average in AVERAGES:
            state[f"{average}/{name}"] = state[f"{average}/{name}"].to(p.device)
            getattr(allocator, average)[name] = state[f"{average}/{name}"]
    if final:
        tuner.peft_config[ADAPTER].rank_pattern = {
            name.removeprefix("kept/"): kept.flatten().bool().tolist()
            for name, kept in state.items()
            if name.startswith("kept/")
        }


def _keep_state(tuner, state: dict[str, torch.Tensor]) -> None:
    allocator = tuner.rankallocator
    for average in AVERAGES:
        for name, values in getattr(allocator, average).items():
            state[f"{average}/{name}"].copy_(values)
    for name, kept in (tuner.peft_config[ADAPTER].rank_pattern or {}).items():
        state[f"kept/{name}"].copy_(torch.tensor(kept, dtype=torch.float32)[:, None])
