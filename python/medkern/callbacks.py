"""What may happen between the steps and epochs of training."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkern.extras import optional_import
from medkern.io.files import write_text
from medkern.io.weights import save_model
from medkern.optim import ExponentialMovingAverage

if TYPE_CHECKING:
    from medkern.trainer import Trainer


class Callback:
    """Called by `Trainer.fit`; a subclass defines what it needs.

    `state_dict` and `load_state_dict` carry over what a resumed run must know.
    """

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Before the first step of each epoch, and of the rest of one within which a run is resumed."""

    def on_step(self, trainer: Trainer) -> None:
        """After each change of the weights."""

    def on_steps_end(self, trainer: Trainer) -> None:
        """After the last step of each epoch, before the validation."""

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """After each epoch; `record` holds its number and measures. May set `trainer.stop`."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""


class _Monitor(Callback):
    """Watches one measure for its best value."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("min", "max"):
            raise ValueError(f"{type(self).__name__}: mode must be 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = min_delta
        self.best = math.inf if mode == "min" else -math.inf
        self.best_epoch = 0

    def improved(self, record: dict[str, Any]) -> bool:
        """Whether this epoch's value is the best so far, by more than `min_delta`."""
        if self.monitor not in record:
            raise ValueError(
                f"{type(self).__name__}: monitor must be one of {', '.join(record)}, got {self.monitor!r}"
            )
        value = record[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if not gain > self.min_delta:  # NaN is never better
            return False
        self.best, self.best_epoch = float(value), record["epoch"]
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class EarlyStopping(_Monitor):
    """Ends training when a measure has not become better for `patience` epochs.

    `BestWeights` beside it puts the weights of the best epoch back.

    Args:
        monitor: name of the measure in the history, such as "val_loss".
        mode: "min" if less is better, or "max".
        patience: epochs to wait.
        min_delta: what counts as better.
    """

    def __init__(
        self, monitor: str = "val_loss", mode: str = "min", patience: int = 10, min_delta: float = 0.0
    ):
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1, got {patience}")
        super().__init__(monitor, mode, min_delta)
        self.patience = patience

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Sets `trainer.stop` when the patience is over."""
        if not self.improved(record) and record["epoch"] - self.best_epoch >= self.patience:
            trainer.stop = True


class BestWeights(_Monitor):
    """Keeps the weights of the epoch with the best measure and puts them back at the end of `fit`.

    Args:
        monitor: name of the measure in the history, such as "val_dice".
        mode: "min" if less is better, or "max".
        path: also write each best model there with `medkern.io.weights.save_model`, or None.
        metadata: goes with it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "min",
        path: str | os.PathLike[str] | None = None,
        metadata: dict[str, Any] | None = None,
    ):
        super().__init__(monitor, mode)
        self.path = path
        self.metadata = metadata
        self._weights: dict[str, Any] | None = None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Keeps the weights if they are the best so far."""
        if self.improved(record):
            state = trainer.model.state_dict()
            self._weights = {name: value.numpy().copy(order="C") for name, value in state.items()}
            if self.path is not None:
                save_model(trainer.model, self.path, self.metadata)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Puts the best weights back."""
        if self._weights is not None:
            trainer.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its weights."""
        return {**super().state_dict(), "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        super().load_state_dict(state)
        self._weights = state["weights"]


class AverageWeights(Callback):
    """Evaluates, keeps and ends with an exponential moving average of the weights; training goes on without.

    The averages are in the model from the last step of an epoch to the first of the next, so that validation,
    checkpoints and callbacks see them; list this one before `BestWeights`.

    Args:
        decay: as in `medkern.optim.ExponentialMovingAverage`.
    """

    def __init__(self, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"AverageWeights: decay must be from 0 to below 1, got {decay}")
        self.decay = decay
        self._average: ExponentialMovingAverage | None = None
        self._state: dict[str, Any] = {}  # loaded, for the average that is not there yet

    def on_epoch_start(self, trainer: Trainer) -> None:
        """Puts the weights back."""
        if self._average is None or self._average.model is not trainer.model:
            self._average = ExponentialMovingAverage(trainer.model, self.decay)
            if self._state:
                self._average.load_state_dict(self._state)
                self._state = {}
        if self._average.applied:
            self._average.swap()

    def on_step(self, trainer: Trainer) -> None:
        """Takes in the new weights."""
        assert self._average is not None
        self._average.update()

    def on_steps_end(self, trainer: Trainer) -> None:
        """Puts the averages into the model."""
        assert self._average is not None
        self._average.swap()

    def state_dict(self) -> dict[str, Any]:
        """The weights that training goes on with; the averages are the model's."""
        return self._state if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        self._average, self._state = None, dict(state)


class CSVLog(Callback):
    """Writes the history as a table with a row per epoch, anew after each epoch, in one step.

    A resumed run has all epochs in it. Put callbacks that add measures before this one.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Writes the table."""
        columns = list(dict.fromkeys(name for row in trainer.history for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(trainer.history)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, text.getvalue())


class TensorBoard(Callback):
    """Writes every number of the history as a scalar for TensorBoard, by tensorboardX.

    Args:
        folder: of the event files.

    Raises:
        ModuleNotFoundError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = os.fspath(folder)
        self._write = optional_import("tensorboardX", "tensorboard").SummaryWriter
        self._writer: Any = None

    def on_epoch_end(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Adds this epoch."""
        if self._writer is None:  # after a kill the epochs that are done again replace those in the files
            self._writer = self._write(self.folder, purge_step=record["epoch"])
        for name, value in record.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
