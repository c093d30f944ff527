"""SSB: scale the subspaces of both singular vectors (Si, Yang and Shen, arXiv 2407.05417).

W -> diag(a) W diag(b) for a weight W of shape (n_in, n_out) and y = x W + c: the paper's D1 W D2,
eq. 10, and what its code does (Chongjie-Si/Subspace-Tuning, loralib/loralib/layers_SSB.py). a is on
the input side, b on the output side; the bias is not scaled. Both start at one. For the default
targets see ssl.py.
"""

from solo.adapters.shared.scaling import Scales


class Ssb(Scales):
    """Trained scales on both sides of each weight."""

    label = "SSB"
    trains = "scales a and b"
    where = "all four projections"
    count = "L Σ (n_in+n_out)"
    source = "arXiv 2407.05417"
    output_side = True
