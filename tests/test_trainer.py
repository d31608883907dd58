import numpy as np
import pytest

import medkern
from medkern import functional, losses, metrics, models, nn, optim
from medkern.callbacks import AverageWeights, BestWeights, Callback, EarlyStopping
from medkern.data import ArrayDataset, Augment, DataLoader
from medkern.io import DataError
from medkern.io.state import load_state
from medkern.io.weights import load_model
from medkern.trainer import Trainer


class Dropped(nn.Module):
    """A small U-Net behind dropout, so that random state matters."""

    def __init__(self):
        super().__init__()
        self.net = models.UNet(1, 2, filters=(4, 8), norm="batch", activation=None)

    def forward(self, x):
        return self.net(functional.dropout(x, 0.1, training=self.training))


def squares(count, seed=0):
    """Bright squares on noise, and where they are."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.3, (count, 1, 16, 16)).astype(np.float32)
    y = np.zeros((count, 16, 16), np.int64)
    for i in range(count):
        a, b = rng.integers(0, 9, 2)
        y[i, a : a + 7, b : b + 7] = 1
    x[:, 0] += y
    return ArrayDataset(x, y)


def make(seed=0, dropout=True, count=None):
    medkern.random.manual_seed(seed)
    model = Dropped() if dropout else models.UNet(1, 2, filters=(4, 8), norm="batch", activation=None)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    trainer = Trainer(
        model,
        losses.DiceCELoss(),
        optimizer,
        metrics=metrics.SegmentationMetrics(["background", "square"]),
        schedule=optim.CosineAnnealingLR(optimizer, 24),
        max_grad_norm=10.0,
    )
    if count is None:
        count = 10 if medkern.get_default_device() == "cpu" else 5  # an emulated device is slow
    loader = DataLoader(squares(count), 4, shuffle=True, seed=3, augment=Augment(flip=(0, 1), gain=0.1))
    return trainer, loader


def weights(trainer):
    return {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def timeless(history):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


def test_training_learns_and_keeps_a_history():
    trainer, loader = make(dropout=False, count=10)
    records = []
    validation = DataLoader(squares(6, seed=1), 4)
    history = trainer.fit(loader, validation, epochs=8, progress=records.append)
    assert history is trainer.history and records == history
    assert list(history[0]) == [
        "epoch",
        "loss",
        "lr",
        "val_loss",
        "val_dice",
        "val_dice square",
        "seconds",
    ]
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["val_dice"] > 0.9
    assert history[0]["lr"] == 0.02 and history[-1]["lr"] < 0.01
    again = trainer.evaluate(validation)
    assert again["loss"] == history[-1]["val_loss"]
    output = trainer.predict(validation.dataset.x, batch_size=4)
    assert output.shape == (6, 2, 16, 16)
    np.testing.assert_array_equal(output, trainer.predict(validation.dataset.x, batch_size=5))


def test_the_same_run_twice_and_with_one_thread_gives_the_same_bits():
    results = []
    threads = medkern.get_num_threads()
    for count in (threads, threads, 1):
        medkern.set_num_threads(count)
        try:
            trainer, loader = make()
            trainer.fit(loader, epochs=2, progress=False)
        finally:
            medkern.set_num_threads(threads)
        results.append(weights(trainer))
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_a_resumed_run_gives_the_same_bits(tmp_path):
    def run(epochs, path, resume=False):
        trainer, loader = make(seed=5 if resume else 0)  # a resumed run must not depend on its own start
        callbacks = [BestWeights("val_loss"), EarlyStopping(patience=50)]
        trainer.fit(
            loader,
            DataLoader(squares(4, seed=1), 4),
            epochs=epochs,
            callbacks=callbacks,
            progress=False,
            checkpoint=path,
            resume=resume,
        )
        return trainer, callbacks

    whole, whole_callbacks = run(4, tmp_path / "a.safetensors")
    run(2, tmp_path / "b.safetensors")
    resumed, resumed_callbacks = run(4, tmp_path / "b.safetensors", resume=True)
    assert same(weights(whole), weights(resumed))
    assert timeless(whole.history) == timeless(resumed.history)
    assert whole_callbacks[0].best == resumed_callbacks[0].best
    assert whole_callbacks[1].best_epoch == resumed_callbacks[1].best_epoch
    again, _ = run(4, tmp_path / "b.safetensors", resume=True)  # nothing left to do
    assert same(weights(whole), weights(again))


class Interrupt(Callback):
    """Ends a run after some steps."""

    def __init__(self, steps):
        self.left = steps

    def on_step(self, trainer):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("step", "every"), [(8, 1), (10, 2), (5, 4)])
def test_a_run_resumed_within_an_epoch_gives_the_same_bits(tmp_path, step, every):
    """Five batches in an epoch, of which two or four were kept, made by threads that load ahead."""

    def run(path, resume=False, interrupt=0):
        trainer, loader = make(seed=5 if resume else 0, count=10)
        loader.batch_size, loader.workers = 2, 2
        trainer.fit(
            loader,
            DataLoader(squares(4, seed=1), 4),
            epochs=3,
            callbacks=[AverageWeights(0.9), Interrupt(interrupt)],
            progress=False,
            checkpoint=path,
            checkpoint_steps=every,
            resume=resume,
        )
        return trainer

    path = tmp_path / "b.safetensors"
    whole = run(tmp_path / "a.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(path, interrupt=step)
    kept = load_state(path)
    # The interrupted step was not kept, nor those before it that were not due.
    assert 5 * len(kept["history"]) + kept["epoch"]["steps"] == {8: 7, 10: 9, 5: 4}[step]
    resumed = run(path, resume=True)
    assert same(weights(whole), weights(resumed))
    assert timeless(whole.history) == timeless(resumed.history)


def test_a_kill_while_the_checkpoint_is_written_leaves_the_last_one(tmp_path, monkeypatch):
    from medkern.io import files

    path = tmp_path / "c.safetensors"
    trainer, loader = make()
    trainer.fit(loader, epochs=1, progress=False, checkpoint=path)
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(loader, epochs=2, progress=False, checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    resumed, loader = make()
    resumed.fit(loader, epochs=1, progress=False, checkpoint=path, resume=True)
    assert len(resumed.history) == 1


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    trainer, loader = make()
    trainer.fit(loader, epochs=1, progress=False, checkpoint=tmp_path / "c.safetensors")
    other, loader = make(dropout=False)
    with pytest.raises(DataError, match=r"c\.safetensors: doesn't fit this run"):
        other.fit(loader, epochs=2, progress=False, checkpoint=tmp_path / "c.safetensors", resume=True)


class Script(Callback):
    """Sets a measure to given values, epoch by epoch."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, trainer, record):
        record["score"] = self.values[record["epoch"] - 1]


def test_early_stopping_waits_for_its_patience():
    trainer, loader = make(dropout=False)
    script = Script([0.5, 0.6, 0.6, float("nan"), 0.55, 0.9])
    stopping = EarlyStopping("score", "max", patience=2)
    history = trainer.fit(loader, epochs=6, callbacks=[script, stopping], progress=False)
    assert len(history) == 4 and stopping.best_epoch == 2


def test_best_weights_come_back_at_the_end(tmp_path):
    trainer, loader = make(dropout=False)
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, trainer, record):
            kept.append(weights(trainer))

    best = BestWeights("score", "min", tmp_path / "run" / "model.safetensors", {"classes": ["a", "b"]})
    callbacks = [Script([0.5, 0.2, 0.3]), best, Keep()]
    trainer.fit(loader, epochs=3, callbacks=callbacks, progress=False)
    assert best.best_epoch == 2 and not same(kept[1], kept[2])
    assert same(weights(trainer), kept[1])
    model, metadata = load_model(tmp_path / "run")
    assert metadata == {"classes": ["a", "b"]}
    assert same({name: value.numpy() for name, value in model.state_dict().items()}, kept[1])


class Watched(nn.Module):
    """Tells how float32 numbers are multiplied while it computes."""

    def __init__(self, tell):
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.tell = tell

    def forward(self, x):
        self.tell(medkern.get_float32_matmul_precision())
        return self.net(x)


@pytest.mark.parametrize(
    ("precision", "name"), [("float32", "highest"), ("tf32", "high"), ("bf16", "medium"), (None, "high")]
)
def test_precision_holds_while_the_trainer_computes(precision, name):
    seen = []
    model = Watched(seen.append)
    trainer = Trainer(model, losses.MSELoss(), optim.SGD(model.parameters(), 0.1), precision=precision)
    data = DataLoader(ArrayDataset(np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)), 2)

    class After(Callback):
        def on_epoch_end(self, trainer, record):
            seen.append("after " + medkern.get_float32_matmul_precision())

    medkern.set_float32_matmul_precision("high")
    try:
        trainer.fit(data, data, epochs=1, callbacks=[After()], progress=False)
        trainer.predict(np.ones((2, 3), np.float32))
        assert set(seen) == {name, "after high"} and len(seen) >= 6
        data.dataset.x[0] = np.nan
        with pytest.raises(FloatingPointError):
            trainer.fit(data, epochs=2, progress=False)
        assert medkern.get_float32_matmul_precision() == "high"
    finally:
        medkern.set_float32_matmul_precision("highest")


@pytest.mark.cuda
def test_a_cuda_device_multiplies_in_the_precision_of_the_trainer(rng):
    if not medkern.cuda.is_available():
        pytest.skip("no CUDA device")
    x = rng.standard_normal((6, 40)).astype(np.float32)
    outputs = {}
    for precision in ("float32", "bf16"):
        medkern.random.manual_seed(0)
        model = nn.Linear(40, 30)
        optimizer = optim.SGD(model.parameters(), 0.1)
        trainer = Trainer(model, losses.MSELoss(), optimizer, device="cuda", precision=precision)
        outputs[precision] = trainer.predict(x)
        trainer.fit([(x, np.zeros((6, 30), np.float32))], epochs=1, progress=False)
        assert all(parameter.dtype == np.float32 for parameter in model.parameters())
    # Each of 40 products is off by at most 2^-7 of |x w|; |w| is at most 40^-1/2.
    difference = np.abs(outputs["bf16"] - outputs["float32"]).max()
    assert 2.0**-15 < difference < 2.0**-7 * np.abs(x).sum(1).max() * 40**-0.5


def test_a_plateau_schedule_steps_once_per_epoch():
    trainer, loader = make(dropout=False)
    schedule = optim.ReduceLROnPlateau(trainer.optimizer, "max", factor=0.5, patience=0)  # loss falls: worse
    trainer = Trainer(trainer.model, trainer.loss, trainer.optimizer, schedule=schedule)
    history = trainer.fit(loader, epochs=3, progress=False)
    assert [record["lr"] for record in history] == [0.02, 0.02, 0.01]


def test_progress_goes_to_standard_error(capsys):
    trainer, loader = make(dropout=False)
    trainer.fit(loader, epochs=1, progress=True)
    captured = capsys.readouterr()
    assert captured.out == "" and "epoch 1  loss" in captured.err


def test_bad_arguments_are_named(tmp_path):
    trainer, loader = make(dropout=False)
    with pytest.raises(ValueError, match="precision must be 'float32', 'tf32' or 'bf16', got 'half'"):
        Trainer(trainer.model, trainer.loss, trainer.optimizer, precision="half")
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        trainer.fit(loader, epochs=0)
    with pytest.raises(ValueError, match="resume needs the path"):
        trainer.fit(loader, epochs=1, resume=True)
    with pytest.raises(ValueError, match=r"checkpoint_steps must be at least 1 .* got 0"):
        trainer.fit(loader, epochs=1, checkpoint=tmp_path / "c.safetensors", checkpoint_steps=0)
    with pytest.raises(ValueError, match="needs the path of a checkpoint, got 5 and None"):
        trainer.fit(loader, epochs=1, checkpoint_steps=5)
    with pytest.raises(ValueError, match="at least one batch"):
        trainer.fit([], epochs=1, progress=False)
    with pytest.raises(ValueError, match="at least one sample"):
        trainer.evaluate([])
    with pytest.raises(ValueError, match="batch_size >= 1, got 2 and 0"):
        trainer.predict(np.zeros((2, 1, 16, 16), np.float32), 0)
    with pytest.raises(ValueError, match=r"EarlyStopping: monitor must be one of epoch, loss, .*'val_loss'"):
        trainer.fit(loader, epochs=1, callbacks=[EarlyStopping()], progress=False)
    with pytest.raises(ValueError, match="mode must be 'min' or 'max', got 'best'"):
        EarlyStopping(mode="best")
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        EarlyStopping(patience=0)


def test_a_loss_that_is_not_finite_stops_the_run():
    trainer, _ = make(dropout=False)
    data = squares(4)
    data.x[2, 0, 3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="the loss became nan in batch 2 of epoch 1/1"):
        trainer.fit(DataLoader(data, 2), epochs=1, progress=False)


def test_a_model_of_several_inputs_gets_the_parts_of_x(rng):
    """Sums of sequences of which only a part counts: learnt only if the lengths reach the model."""

    class Shares(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x, lengths):
            total = functional.sum(x * functional.unsqueeze(lengths, 1), 2)
            return self.linear(total)

    medkern.random.manual_seed(0)
    x = np.abs(rng.standard_normal((64, 2, 3))).astype(np.float32)
    sign = rng.choice(np.float32([-1, 1]), (64, 1))
    y = (sign[:, 0] > 0).astype(np.int64)
    batches = [((x[i : i + 16], sign[i : i + 16]), y[i : i + 16]) for i in range(0, 64, 16)]
    model = Shares()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    trainer = Trainer(
        model, losses.CrossEntropyLoss(), optimizer, metrics=metrics.ClassificationMetrics(["a", "b"])
    )
    history = trainer.fit(batches, batches, epochs=10, progress=False)
    assert history[-1]["val_accuracy"] == 1 and history[-1]["loss"] < 0.2
    found = trainer.predict((x, sign), 10)
    np.testing.assert_array_equal(found.argmax(axis=1), y)
    np.testing.assert_array_equal(found[20:30], trainer.predict((x[20:30], sign[20:30]), 10))
    with pytest.raises(ValueError, match=r"predict: needs parts of one length, .* got \[63, 64\]"):
        trainer.predict((x, sign[1:]))
