"""SSL: scale the subspace of the left singular vectors (Si, Yang and Shen, arXiv 2407.05417).

W -> diag(a) W for a weight W of shape (n_in, n_out) and y = x W + c: the paper's D W, eq. 10, and
what its code does (Chongjie-Si/Subspace-Tuning, loralib/loralib/layers_SSL.py, where the weight is
nn.Linear's, the transpose, and its columns are scaled). The scale sits on the input side, the bias
is not scaled. a starts at one.

Which weights the paper scales follows from its counts only: tables II to IV fit two of the square
projections and the first of the MLP. GPT-2 fuses query, key and value; the default here is every
projection.
"""

from solo.adapters.shared.scaling import Scales


class Ssl(Scales):
    """A trained scale on the input side of each weight."""

    label = "SSL"
    trains = "input scale a"
    where = "all four projections"
    count = "L Σ n_in"
    source = "arXiv 2407.05417"
    output_side = False
