"""What a training step launches, as the emulator counts it."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from medkern import losses, models, optim

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif("MEDKERN_CUDA_EMULATOR" not in os.environ, reason="the emulator counts"),
]

# Kernels by the beginning of their names, and how often a step takes them.
EXPECTED = {
    "copy_f32_bf16": 2,  # the image and the gradient of the logits; weights come from the optimizer
    "copy_bf16_f32": 1,  # the logits
    "copy_move_2": 3,  # two parts of a concatenation, and once the gradient of the second
    "copy_turn": 0,  # all is channels-last
    "copy_fill": 1,  # the gradient of the loss; batches are counted on the host
    "optim": 1,
}


def launches():
    count = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches
    return {name: count(name.encode()) for name in EXPECTED}


def test_a_step_converts_and_copies_no_more_than_it_must(rng, sooner):
    with medkern.device("cuda"), medkern.autocast():
        model = models.UNet(1, 1, filters=(8, 16), norm="batch", activation=None)
        optimizer, loss_of = optim.Adam(model.parameters()), losses.BCEWithLogitsLoss()
        x = medkern.tensor(rng.standard_normal((2, 1, 16, 16)).astype(np.float32))
        target = medkern.tensor((rng.random((2, 1, 16, 16)) < 0.5).astype(np.float32))
        for _ in range(2):
            before = launches()
            optimizer.zero_grad()
            loss_of(model(x), target).backward()
            optimizer.step()
        assert {name: count - before[name] for name, count in launches().items()} == EXPECTED
        assert model.down[0].norm1.num_batches_tracked.item() == 2
    medkern.cuda.synchronize()
