"""What goes with training: hooks, averages, logs, accumulation, penalties, and a run that is killed."""

import csv
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import medkern
from medkern import losses, nn, optim
from medkern.callbacks import AverageWeights, BestWeights, Callback, CSVLog, TensorBoard
from medkern.data import ArrayDataset, DataLoader


def make(lr=0.1, rows=12, batch=4, loss=None, **options):
    medkern.random.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 3)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0], [0.5]]) + 0.3).astype(np.float32)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.Dropout(options.pop("dropout", 0.0)), nn.Linear(4, 1)
    )
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    trainer = medkern.Trainer(model, loss or losses.MSELoss(), optimizer, **options)
    return trainer, DataLoader(ArrayDataset(x, y), batch, shuffle=True, seed=1)


def weights(trainer):
    return {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


class Told(Callback):
    def __init__(self):
        self.calls = []

    def on_epoch_start(self, trainer):
        self.calls.append("start")

    def on_step(self, trainer):
        self.calls.append("step")

    def on_steps_end(self, trainer):
        self.calls.append("steps end")

    def on_epoch_end(self, trainer, record):
        self.calls.append(f"end {'val_loss' in record}")

    def on_fit_end(self, trainer):
        self.calls.append("fit end")


def test_the_order_of_hooks():
    trainer, loader = make()
    told = Told()
    trainer.fit(loader, loader, epochs=2, callbacks=[told], progress=False)
    epoch = ["start", "step", "step", "step", "steps end", "end True"]
    assert told.calls == [*epoch, *epoch, "fit end"]


def test_accumulated_batches_are_one():
    """Steps of three batches of 4, 4 and 3 samples, the last of one alone, are those of 11 and of 1."""
    whole, loader = make(rows=12, batch=11)
    told = Told()
    whole.fit(loader, epochs=1, callbacks=[told], progress=False)
    assert told.calls.count("step") == 2
    order = np.random.default_rng((1, 0)).permutation(12)
    x, y = loader.dataset.x[order], loader.dataset.y[order]
    parts = [(x[a:b], y[a:b]) for a, b in ((0, 4), (4, 8), (8, 11), (11, 12))]
    for accumulate, batches, steps in ((3, parts, 2), (1, [(x[:11], y[:11]), (x[11:], y[11:])], 2)):
        trainer, _ = make(accumulate=accumulate)
        told = Told()
        trainer.fit(batches, epochs=1, callbacks=[told], progress=False)
        assert told.calls.count("step") == steps
        for name, value in weights(whole).items():  # sums in another order
            np.testing.assert_allclose(weights(trainer)[name], value, rtol=1e-5, atol=1e-6)
        assert trainer.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-5)


def test_a_penalty_acts_on_the_weights_and_not_on_the_losses_reported():
    """A step of SGD from w: w - lr (gradient of the loss + 2 l2 w)."""
    plain, loader = make()
    start = weights(plain)
    plain.fit(loader, epochs=1, progress=False)
    penalized, loader = make(penalty=losses.WeightPenalty(l2=0.2))
    first = next(iter(DataLoader(loader.dataset, 12)))
    for trainer in (plain, penalized):
        trainer.model.load_state_dict(start)
        trainer.optimizer = optim.SGD(trainer.model.parameters(), 0.1)
        trainer.history = []
        trainer.fit([first], epochs=1, progress=False)
    expected = weights(plain)["0.weight"] - 0.1 * 0.4 * start["0.weight"]
    np.testing.assert_allclose(weights(penalized)["0.weight"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights(penalized)["0.bias"], weights(plain)["0.bias"])
    assert penalized.history[0]["loss"] == plain.history[0]["loss"]
    with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
        make(accumulate=0)


def test_averaged_weights_are_what_is_validated_kept_and_left():
    seen = []

    class Look(Callback):
        def __init__(self, name):
            self.name = name

        def on_step(self, trainer):
            seen.append((self.name, weights(trainer)))

        def on_epoch_end(self, trainer, record):
            seen.append(("end", weights(trainer)))

    trainer, loader = make(lr=0.3)
    best = BestWeights("val_loss")
    trainer.fit(loader, loader, epochs=3, callbacks=[AverageWeights(0.5), Look("step"), best], progress=False)
    plain, loader = make(lr=0.3)
    steps = []
    plain.fit(loader, loader, epochs=3, callbacks=[Look("plain")], progress=False)
    steps = [value for name, value in seen if name == "step"]
    # Training goes on as without the average.
    for a, b in zip(steps, [value for name, value in seen if name == "plain"], strict=True):
        assert same(a, b)
    ends = [value for name, value in seen if name == "end"][:3]
    expected = None
    for number, step in enumerate(steps):
        d = min(0.5, (1 + number) / (10 + number))
        if expected is None:
            start, _ = make()
            expected = weights(start)
        expected = {name: expected[name] + (1 - d) * (step[name] - expected[name]) for name in step}
        if number % 3 == 2:
            for name, value in ends[number // 3].items():
                np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
    assert same(weights(trainer), ends[best.best_epoch - 1])
    # Added up in another order of batches.
    assert trainer.evaluate(loader)["loss"] == pytest.approx(best.best, rel=1e-5)
    with pytest.raises(ValueError, match="decay must be from 0 to below 1, got 2"):
        AverageWeights(2)


def test_a_csv_log_has_a_row_per_epoch_after_a_resume_too(tmp_path):
    path = tmp_path / "run" / "log.csv"
    for epochs in (2, 3):
        trainer, loader = make()
        trainer.fit(
            loader,
            loader,
            epochs=epochs,
            callbacks=[CSVLog(path)],
            progress=False,
            checkpoint=tmp_path / "c.safetensors",
            resume=True,
        )
        rows = list(csv.DictReader(path.read_text().splitlines()))
        assert [row["epoch"] for row in rows] == [str(i + 1) for i in range(epochs)]
        assert [float(row["val_loss"]) for row in rows] == [r["val_loss"] for r in trainer.history]


def test_tensorboard_gets_every_number(tmp_path, monkeypatch):
    calls = []

    class Writer:
        def __init__(self, folder, purge_step):
            calls.append(("open", folder, purge_step))

        def add_scalar(self, *arguments):
            calls.append(arguments)

        def flush(self):
            pass

        def close(self):
            calls.append(("close",))

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    trainer, loader = make()
    trainer.fit(loader, epochs=2, callbacks=[TensorBoard(tmp_path)], progress=False)
    assert calls[0] == ("open", str(tmp_path), 1) and calls[-1] == ("close",)
    assert ("loss", trainer.history[1]["loss"], 2) in calls
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ModuleNotFoundError, match=r"medkern\[tensorboard\]"):
        TensorBoard(tmp_path)


def test_tensorboard_files_can_be_written(tmp_path):
    pytest.importorskip("tensorboardX")
    trainer, loader = make()
    trainer.fit(loader, epochs=2, callbacks=[TensorBoard(tmp_path)], progress=False)
    (file,) = tmp_path.glob("events*")
    assert b"loss" in file.read_bytes()


KILLED = """
import os, sys
sys.path.insert(0, {folder!r})
from test_callbacks import run, Callback

class Kill(Callback):
    steps = 0

    def on_step(self, trainer):
        Kill.steps += 1
        if Kill.steps == 8:  # in the middle of the third epoch
            os.kill(os.getpid(), 9)

run(4, {path!r}, [Kill()])
"""


def run(epochs, path, more=(), resume=False):
    trainer, loader = make(dropout=0.3, accumulate=2, batch=2, penalty=losses.WeightPenalty(1e-3, 1e-3))
    trainer.schedule = optim.CosineAnnealingLR(trainer.optimizer, 12)
    trainer.fit(
        loader,
        loader,
        epochs=epochs,
        callbacks=[AverageWeights(0.9), BestWeights("val_loss"), *(more or [Callback()])],
        progress=False,
        checkpoint=path,
        resume=resume,
    )
    return trainer


def test_a_run_that_is_killed_and_resumed_gives_the_same_bits(tmp_path):
    """Killed in an epoch: averages, momentum, random numbers and the order of the data go on as they were."""
    whole = run(4, tmp_path / "whole.safetensors")
    path = str(tmp_path / "killed.safetensors")
    code = KILLED.format(folder=str(Path(__file__).parent), path=path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    medkern.random.manual_seed(99)
    resumed = run(4, path, resume=True)
    assert same(weights(whole), weights(resumed))
    timeless = [
        [{key: value for key, value in record.items() if key != "seconds"} for record in trainer.history]
        for trainer in (whole, resumed)
    ]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 4
    json.dumps(resumed.history)
