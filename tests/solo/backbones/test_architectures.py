"""Every architecture against transformers' own forward pass, loss and search."""

import pytest
import torch
from transformers import AttentionInterface

from solo.backbones import (
    backbone_of,
    blocks_of,
    head_of,
    join_parts,
    key_width,
    matrix_of,
    projection_of,
    trunk_of,
    window_of,
)
from solo.backbones.attention import attention
from solo.backbones.loading import load_backbone
from solo.backbones.products import can_pack, frozen_products
from solo.datasets.data import Example
from solo.training.batches import collate, pack, pad
from solo.training.loss import summed_loss
from tests.architectures import ARCHITECTURES, make_backbone, make_shape

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
LENGTHS = (12, 5, 9, 7)  # some longer than the sliding window


def examples_of(vocab_size: int) -> list[Example]:
    ids = torch.randint(2, vocab_size, (4, 12), generator=torch.Generator().manual_seed(2))
    return [Example(row[:n], 3) for row, n in zip(ids.tolist(), LENGTHS, strict=True)]


@every_architecture
def test_sizes_are_those_of_the_model(architecture):
    model = make_backbone(architecture)
    shape, backbone = model.config, backbone_of(model.config)
    assert len(blocks_of(model)) == shape.num_hidden_layers
    for block in blocks_of(model):
        for name in backbone.PROJECTIONS:
            linear = projection_of(model, block, name)
            assert isinstance(linear, backbone.LINEAR)
            assert matrix_of(linear).shape == backbone.projection_shape(shape, name)
    named = dict(model.named_parameters())
    assert backbone.n_parameters(shape) == sum(p.numel() for p in named.values())
    biases = [p.numel() for name, p in named.items() if name.endswith(".bias")]
    assert backbone.n_biases(shape) == sum(biases)
    for name, size in backbone.norm_sizes(shape).items():
        of_norm = [p.numel() for n, p in named.items() if n.split(".")[-2] == name]
        assert sum(of_norm) == size, name
    assert set(backbone.norm_sizes(shape)) == set(backbone.NORMS)


@every_architecture
def test_head_on_trunk_is_the_model(architecture, ids):
    model = make_backbone(architecture)
    with torch.no_grad():
        hidden = trunk_of(model)(ids, use_cache=False).last_hidden_state
        assert torch.equal(head_of(model)(hidden), model(ids).logits)
        keys = model(ids, use_cache=True).past_key_values.layers[0].keys
    assert keys.shape[1] * keys.shape[3] == key_width(model.config)


@every_architecture
def test_parts_of_a_projection_are_query_key_and_value(architecture, ids):
    """What LoRA adds to q, k or v arrives in the queries, keys or values of the attention alone."""
    model = make_backbone(architecture)
    backbone, shape = backbone_of(model.config), model.config
    block, seen = blocks_of(model)[0], []

    def attend(module, query, key, value, mask, **rest):
        seen.append({"q": query.detach(), "k": key.detach(), "v": value.detach()})
        return torch.zeros_like(query.transpose(1, 2)), None

    AttentionInterface.register("of this test", attend)
    model.config._attn_implementation = "of this test"

    def states() -> dict:
        """Of the first block: those of the others follow from what it gives."""
        seen.clear()
        with torch.no_grad():
            model(ids)
        return seen[0]

    before = states()
    for whole, parts in backbone.PARTS.items():
        linear = projection_of(model, block, whole)
        n_out = backbone.projection_shape(shape, whole)[1] // len(parts)
        for part in parts:
            added = [torch.ones(n_out) * (part == other) for other in parts]
            change = join_parts(shape, added)
            handle = linear.register_forward_hook(lambda m, x, y, change=change: y + change)
            after = states()
            handle.remove()
            moved = {name for name in "qkv" if not torch.equal(after[name], before[name])}
            assert moved == {part}
            if part == "v":  # neither normed nor rotated: the change itself arrives
                torch.testing.assert_close(after["v"], before["v"] + 1)


@every_architecture
def test_loss_and_gradients_are_those_of_transformers(architecture):
    """The plain path, the padded and the packed one, against `labels=` on the plain padded batch.

    With an attention mask, as transformers' users pad on the right.
    """
    model = make_backbone(architecture)
    examples = examples_of(model.config.vocab_size)
    plain = collate([examples])
    mask = torch.arange(plain.input_ids.shape[1]) < torch.tensor(LENGTHS)[:, None]
    table = model.get_input_embeddings().weight
    n_targets = sum(example.n_targets for example in examples)
    theirs = model(plain.input_ids, attention_mask=mask.long(), labels=plain.labels).loss
    theirs.backward()
    wanted, table.grad = table.grad.clone(), None
    for batch in (plain, pad([examples], 8), pack([examples])):
        ours = summed_loss(model, batch, 1, 0.0) / n_targets
        ours.sum().backward()
        torch.testing.assert_close(ours[0], theirs, rtol=1e-5, atol=1e-5)
        atol = 1e-4 * wanted.abs().max().item()
        torch.testing.assert_close(table.grad, wanted, rtol=1e-4, atol=atol)
        table.grad = None


@every_architecture
def test_packed_products_are_the_plain_ones(architecture):
    """All projections of a frozen model and its head, with gradients to the embeddings."""
    model = make_backbone(architecture)
    model.requires_grad_(False)
    backbone = backbone_of(model.config)
    batch = pack([examples_of(model.config.vocab_size)])
    shift = torch.zeros(model.get_input_embeddings().embedding_dim, requires_grad=True)
    model.get_input_embeddings().register_forward_hook(lambda m, x, y: y + shift)

    def gradient():
        loss = summed_loss(model, batch, 1, 0.1)
        loss.sum().backward()
        found, shift.grad = shift.grad, None
        return loss.detach(), found

    plain = gradient()
    with frozen_products(model, torch.float32):
        if can_pack(model.device, torch.float32):
            per_block = len(backbone.PROJECTIONS) * model.config.num_hidden_layers
            packed = sum("forward" in vars(module) for module in model.modules())
            assert packed >= per_block + 1
        fast = gradient()
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-3)


@every_architecture
def test_padding_on_either_side_changes_nothing(architecture, ids):
    """With transformers' own mask and positions, as `generate()` pads on the left."""
    model, fill = make_backbone(architecture), torch.zeros(len(ids), 3, dtype=torch.long)
    ones = torch.ones_like(ids)
    with torch.no_grad():
        whole = model(ids).logits
        right = model(torch.cat([ids, fill], 1), attention_mask=torch.cat([ones, fill], 1)).logits
        places = torch.cat([fill, ones.cumsum(1) - 1], 1)
        mask = torch.cat([fill, ones], 1)
        left = model(torch.cat([fill, ids], 1), attention_mask=mask, position_ids=places).logits
    torch.testing.assert_close(right[:, : ids.shape[1]], whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(left[:, 3:], whole, rtol=1e-4, atol=1e-4)


@every_architecture
def test_a_checkpoint_comes_back_without_dropout(architecture, tmp_path):
    model = make_backbone(architecture)
    backbone = backbone_of(model.config)
    for name in backbone.DROPOUTS:
        setattr(model.config, name, 0.1)
    model.save_pretrained(tmp_path)
    loaded = load_backbone(tmp_path)
    assert type(loaded) is type(model) and not loaded.training
    assert all(getattr(loaded.config, name) == 0 for name in backbone.DROPOUTS)
    assert all(m.p == 0 for m in loaded.modules() if isinstance(m, torch.nn.Dropout))
    for (name, ours), theirs in zip(loaded.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_only_some_layers_have_a_window():
    assert window_of(make_shape("qwen2 with windows")) == 4
    assert {window_of(make_shape(name)) for name in ("gpt2", "llama", "qwen2", "opt")} == {None}


def test_packed_attention_keeps_to_the_window():
    """By hand: with a window of 2 and equal scores a token gets the mean of its own value and the
    one before; two query heads share a key head."""
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])  # an example of three tokens, one of two
    query = torch.zeros(1, 2, 5, 1)
    key, value = torch.zeros(1, 1, 5, 1), values.view(1, 1, 5, 1)
    places = torch.tensor([[0, 1, 2], [3, 4, 3]])
    origin = torch.tensor([0, 1, 2, 3, 4])
    for window, wanted in ((2, [1, 1.5, 3, 8, 12]), (None, [1, 1.5, 7 / 3, 8, 12]), (1, values)):
        out, _ = attention(
            None, query, key, value, None, sliding_window=window, places=places, origin=origin
        )
        for head in range(2):
            torch.testing.assert_close(out[0, :, head, 0], torch.as_tensor(wanted))


def test_no_dropout_draws_are_left(ids):
    """In training mode two passes are the same, of every architecture."""
    for architecture in ARCHITECTURES:
        model = make_backbone(architecture).train()
        with torch.no_grad():
            assert torch.equal(model(ids).logits, model(ids).logits), architecture
