"""Loss and schedule of a training step."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sterna.train.config import TrainingSection  # noqa: E402
from sterna.train.loss import next_token_loss  # noqa: E402
from sterna.train.schedule import learning_rate_factor, weight_decay  # noqa: E402

TRAINING = TrainingSection(
    steps=100, batch_size=1, learning_rate=1.0, embedding_learning_rate=1.0, warmup_steps=10, decay_fraction=0.4
)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    assert [learning_rate_factor(step, TRAINING) for step in (0, 9, 10, 60)] == [0.1, 1.0, 1.0, 1.0]
    assert [learning_rate_factor(step, TRAINING) for step in (80, 99)] == pytest.approx([0.5, 1 / 40])


def test_weight_decay_stops_where_the_learning_rate_begins_to_fall() -> None:
    assert [weight_decay(step, TRAINING) for step in (0, 60, 61, 99)] == [0.1, 0.1, 0.0, 0.0]


def test_z_loss_adds_the_squared_log_of_the_normaliser() -> None:
    logits = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]])
    targets = torch.tensor([[2, 0]])
    log_z = logits.exp().sum(-1).log()
    plain = (log_z - torch.tensor([[3.0, 0.0]])).mean()
    assert next_token_loss(logits, targets, 0.0).item() == pytest.approx(plain.item())
    expected = plain + 0.1 * (log_z**2).mean()
    assert next_token_loss(logits, targets, 0.1).item() == pytest.approx(expected.item())
