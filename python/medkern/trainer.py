"""`Trainer`: the loop over epochs and batches."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medkern import functional, optim, random
from medkern.autograd import no_grad, widened
from medkern.callbacks import Callback
from medkern.inference import Predictor
from medkern.io.files import DataError
from medkern.io.state import load_state, save_state
from medkern.kernels._precision import BY_TYPE, mixed_precision
from medkern.nn import Module
from medkern.nn.module import device_of
from medkern.tensor import Tensor, tensor

Batches = Iterable[tuple[Any, np.ndarray]]  # x is an array, or a tuple of what the model takes
Record = dict[str, Any]


class Metrics(Protocol):
    """Measures that add up over the batches of a pass, such as `SegmentationMetrics`."""

    def reset(self) -> None:
        """Before the first batch."""

    def update(self, output: np.ndarray, target: np.ndarray) -> None:
        """Adds a batch: the model's output and the truth."""

    def compute(self) -> dict[str, float]:
        """The measures by name."""
        ...


class Trainer:
    """Trains, evaluates and applies a model.

    Args:
        model: maps a batch x to an output; where x is a tuple, such as frames and their lengths, its parts.
        loss: `loss(output, y)`, a tensor with one element, averaged over the batch.
        optimizer: holds the model's parameters.
        metrics: measures beside the loss, for evaluation; or None.
        schedule: changes the learning rate after every batch, `ReduceLROnPlateau` after every epoch by the
            validation loss (or the training loss); or None.
        max_grad_norm: scale the gradients of a step down to this norm; or None.
        accumulate: how many batches a step of the optimizer takes; their gradients are averaged over samples,
            as for one batch of all of them (batch norm still sees each for itself).
        penalty: `penalty(model)`, added to what is minimized but not to the losses reported, such as
            `medkern.losses.WeightPenalty`; or None.
        device: where model and batches go ("cuda", say); None leaves the model where it is. On a CUDA device
            losses are read now and then only, so that the device needn't be waited for.
        precision: how a CUDA device computes while this trainer works: "float32", "tf32" or "bf16", or None,
            which leaves it as it is set. Matrix products and convolutions multiply as with
            `set_float32_matmul_precision`'s "highest", "high" and "medium"; with "bf16" layers also keep what
            they compute in bfloat16, as `medkern.autocast` says, and so do predictions. Weights, their
            gradients, optimizer state, sums, statistics of norms and losses are float32 always, and so is
            all the CPU computes.

    Attributes:
        history: one record per epoch: "epoch", "loss", "lr", "seconds" and, with validation data, "val_loss"
            and each measure as "val_..."
        stop: set by a callback to end training after this epoch.

    Example:
        >>> trainer = medkern.Trainer(model, medkern.losses.CrossEntropyLoss(), optimizer)
        >>> trainer.fit(DataLoader(train, 4, shuffle=True), DataLoader(validation, 4), epochs=10)
        >>> trainer.evaluate(DataLoader(test, 4))["loss"]
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: optim.Optimizer,
        *,
        metrics: Metrics | None = None,
        schedule: Any = None,
        max_grad_norm: float | None = None,
        accumulate: int = 1,
        penalty: Callable[[Module], Tensor] | None = None,
        device: Any = None,
        precision: str | None = None,
    ):
        if precision is not None and precision not in BY_TYPE:
            raise ValueError(f"Trainer: precision must be 'float32', 'tf32' or 'bf16', got {precision!r}")
        if accumulate < 1:
            raise ValueError(f"Trainer: accumulate must be at least 1, got {accumulate}")
        self.precision = precision
        self.accumulate = accumulate
        self.penalty = penalty
        self.model = model if device is None else model.to(device)
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = metrics
        self.schedule = schedule
        self.max_grad_norm = max_grad_norm
        self.history: list[Record] = []
        self.stop = False
        self._callbacks: tuple[Callback, ...] = ()
        self._epoch = _Epoch()
        self._resumed = False  # whether a checkpoint left off within `_epoch`
        self._save: Callable[[], None] | None = None
        self._save_steps = 0
        self._predictor = Predictor(model, precision)
        self._plateau = isinstance(schedule, optim.ReduceLROnPlateau)

    def fit(
        self,
        train: Batches,
        validation: Batches | None = None,
        *,
        epochs: int,
        callbacks: Sequence[Callback] = (),
        progress: bool | Callable[[Record], None] = True,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_steps: int | None = None,
        resume: bool = False,
    ) -> list[Record]:
        """Trains until `epochs` epochs are done in all, those before included.

        Args:
            train: gives (x, y) batches anew on every iteration, such as a `DataLoader`.
            validation: likewise, evaluated after each epoch; or None.
            epochs: the number of epochs in all.
            callbacks: called in this order, each time.
            progress: True for a bar per epoch, False for none, or a function that gets each record.
            checkpoint: a file ending in `.safetensors` that gets everything a run needs to go on, in one
                step after each epoch; or None.
            checkpoint_steps: write it after every that many steps of an epoch, too; or None.
            resume: go on from `checkpoint` if that file is there. The run then gives the same bits as one
                that was never interrupted, if model, data and options are the same. Within an epoch the
                batches that were done are loaded once more and left out.

        Returns:
            The history.

        Raises:
            ValueError: an argument doesn't fit, or there are no batches.
            DataError: the checkpoint can't be read or belongs to another model.
            FloatingPointError: the loss is no longer finite.
        """
        self._predictor.forget()  # its memory is better used for training
        if epochs < 1:
            raise ValueError(f"fit: epochs must be at least 1, got {epochs}")
        if resume and checkpoint is None:
            raise ValueError("fit: resume needs the path of a checkpoint")
        if checkpoint_steps is not None and (checkpoint is None or checkpoint_steps < 1):
            raise ValueError(
                "fit: checkpoint_steps must be at least 1 and needs the path of a checkpoint, got "
                f"{checkpoint_steps} and {checkpoint}"
            )
        self._callbacks = tuple(callbacks)
        self._resumed = False
        if checkpoint is not None:
            checkpoint = Path(checkpoint)
            if resume and checkpoint.exists():
                self._load(checkpoint, train)
        self._save, self._save_steps = None, checkpoint_steps or 0
        if checkpoint is not None:
            self._save = lambda: save_state(checkpoint, self._state(train))
        while len(self.history) < epochs and (self._resumed or not self.stop):
            start = time.perf_counter()
            if not self._resumed:
                self._epoch = _Epoch(self._lr(), train.state_dict() if hasattr(train, "state_dict") else None)
            record: Record = {"epoch": len(self.history) + 1, "loss": 0.0, "lr": self._epoch.lr}
            for callback in callbacks:
                callback.on_epoch_start(self)
            record |= self._train_epoch(train, f"epoch {record['epoch']}/{epochs}", progress is True)
            for callback in callbacks:
                callback.on_steps_end(self)
            if validation is not None:
                record |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
            if self._plateau:
                self.schedule.step(record.get("val_loss", record["loss"]))
            record["seconds"] = time.perf_counter() - start
            self.history.append(record)
            for callback in callbacks:
                callback.on_epoch_end(self, record)
            self._epoch = _Epoch()
            if self._save is not None:
                self._save()
            if callable(progress):
                progress(record)
            elif progress:
                print(_line(record), file=sys.stderr)
        for callback in callbacks:
            callback.on_fit_end(self)
        return self.history

    def evaluate(self, data: Batches) -> dict[str, float]:
        """The mean loss, as "loss", and the measures over all samples, in evaluation mode.

        Raises:
            ValueError: there are no batches.
        """
        losses, device = Losses("evaluate"), self.device
        if self.metrics is not None:
            self.metrics.reset()
        self.model.eval()
        with no_grad(), mixed_precision(self.precision):
            for x, y in data:
                output = widened(self.model(*_inputs(x, device)))
                losses.add(self.loss(output, tensor(y, device=device)), len(y))
                if self.metrics is not None:
                    self.metrics.update(output.numpy(), y)
        if losses.count == 0:
            raise ValueError("evaluate: data must give at least one sample")
        return {"loss": losses.mean(), **(self.metrics.compute() if self.metrics is not None else {})}

    def predict(self, x: Any, batch_size: int = 8) -> np.ndarray:
        """The model's output for the samples x (N, ...), in evaluation mode, some at a time.

        With one array the model is compiled; with a tuple of arrays of N samples each it runs as it is.
        """
        if isinstance(x, tuple):
            return self._predict_parts(x, batch_size)
        if len(x) == 0 or batch_size < 1:
            raise ValueError(f"predict: needs samples and batch_size >= 1, got {len(x)} and {batch_size}")
        if self._predictor.model is not self.model or self._predictor.precision != self.precision:
            self._predictor = Predictor(self.model, self.precision)
        return np.concatenate(
            [self._predictor(x[i : i + batch_size]).numpy() for i in range(0, len(x), batch_size)]
        )

    def _predict_parts(self, x: tuple[np.ndarray, ...], batch_size: int) -> np.ndarray:
        counts = {len(part) for part in x}
        if len(counts) != 1 or 0 in counts or batch_size < 1:
            raise ValueError(
                f"predict: needs parts of one length, at least 1, and batch_size >= 1, got {sorted(counts)} "
                f"and {batch_size}"
            )
        self.model.eval()
        results = []
        with no_grad(), mixed_precision(self.precision):
            for i in range(0, counts.pop(), batch_size):
                batch = tuple(part[i : i + batch_size] for part in x)
                results.append(widened(self.model(*_inputs(batch, self.device))).numpy())
        return np.concatenate(results)

    def _train_epoch(self, batches: Batches, title: str, bar: bool) -> dict[str, float]:
        """Takes the steps of an epoch; gives its "loss" and what else goes into the record."""
        from tqdm import tqdm

        shown = tqdm(batches, desc=title, unit="batch", leave=False, dynamic_ncols=True, disable=not bar)
        losses, device = Losses(title, finite=True), self.device
        self.model.train()
        for group in _groups(self._rest(shown, losses), self.accumulate):
            samples = sum(len(y) for _, y in group)
            self.optimizer.zero_grad()
            for x, y in group:
                with mixed_precision(self.precision):
                    loss = self.loss(self.model(*_inputs(x, device)), tensor(y, device=device))
                    losses.add(loss, len(y))
                    (loss if len(group) == 1 else functional.mul(loss, len(y) / samples)).backward()
            with mixed_precision(self.precision):
                self._step()
            self._stepped(len(group), losses)
            if bar and losses.is_read:
                shown.set_postfix(loss=f"{losses.mean():.4f}", refresh=False)
        if losses.count == 0:
            raise ValueError("fit: train must give at least one batch")
        return {"loss": losses.mean()}

    def _step(self) -> None:
        """Changes the weights by their gradients."""
        if self.penalty is not None:
            self.penalty(self.model).backward()
        if self.max_grad_norm is not None:
            optim.clip_grad_norm_(list(self.model.parameters()), self.max_grad_norm)
        self.optimizer.step()
        if self.schedule is not None and not self._plateau:
            self.schedule.step()

    def _rest(self, batches: Batches, *losses: Losses) -> Iterator[tuple[Any, np.ndarray]]:
        """The batches of an epoch, without those that a resumed run had; the losses go on from theirs."""
        rest = iter(batches)
        if self._resumed:
            self._resumed = False
            for _ in itertools.islice(rest, self._epoch.batches):
                pass
            for part, kept in zip(losses, self._epoch.losses, strict=True):
                part.load_state_dict(kept)
            random.set_state(self._epoch.random)
        return rest

    def _stepped(self, batches: int, *losses: Losses) -> None:
        """After each step, with how many batches it took: callbacks, and the checkpoint when it is due."""
        for callback in self._callbacks:
            callback.on_step(self)
        self._epoch.batches += batches
        self._epoch.steps += 1
        if self._save is not None and self._save_steps and self._epoch.steps % self._save_steps == 0:
            self._epoch.losses = [part.state_dict() for part in losses]
            self._epoch.random = random.get_state()
            self._save()

    @property
    def device(self) -> str | None:
        """Where the model is, which is where batches go; None for one without parameters or buffers."""
        return device_of(self.model)

    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _stateful(self, train: Batches) -> dict[str, Any]:
        """What has a state of its own."""
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule, "data": train}
        return {name: part for name, part in parts.items() if hasattr(part, "state_dict")}

    def _state(self, train: Batches) -> dict[str, Any]:
        state = {
            **{name: part.state_dict() for name, part in self._stateful(train).items()},
            "callbacks": [callback.state_dict() for callback in self._callbacks],
            "random": random.get_state(),
            "history": self.history,
            "stop": self.stop,
            "epoch": vars(self._epoch),
        }
        if self._epoch.steps and "data" in state:  # from the first batch of this epoch on
            state["data"] = self._epoch.data
        return state

    def _load(self, path: Path, train: Batches) -> None:
        state = load_state(path)
        parts = self._stateful(train)
        try:
            if len(state["callbacks"]) != len(self._callbacks):
                raise ValueError(f"{len(state['callbacks'])} callbacks expected, got {len(self._callbacks)}")
            for name, part in parts.items():
                part.load_state_dict(state[name])
            for callback, kept in zip(self._callbacks, state["callbacks"], strict=True):
                callback.load_state_dict(kept)
            random.set_state(state["random"])
            self.history = list(state["history"])
            self.stop = bool(state["stop"])
            self._epoch = _Epoch(**state["epoch"])
            self._resumed = self._epoch.steps > 0
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: doesn't fit this run: {' '.join(str(error).split())}") from error


@dataclass
class _Epoch:
    """How far an epoch has come, for a checkpoint within it.

    Attributes:
        lr: the learning rate at its start.
        data: the state of the training data then; it may have loaded ahead since.
        batches, steps: how many are done.
        losses: the state of its means when the checkpoint was written.
        random: likewise of the random numbers.
    """

    lr: float = 0.0
    data: dict[str, Any] | None = None
    batches: int = 0
    steps: int = 0
    losses: list[dict[str, Any]] = field(default_factory=list)
    random: tuple[int, int] = (0, 0)


def _groups(batches: Batches, size: int) -> Iterator[list[tuple[Any, np.ndarray]]]:
    """Lists of `size` batches; the last may be shorter."""
    rest = iter(batches)
    while group := list(itertools.islice(rest, size)):
        yield group


_MOST_UNREAD = 32  # losses of a CUDA device


def _inputs(x: Any, device: Any) -> list[Tensor]:
    """What the model gets of a batch."""
    return [tensor(part, device=device) for part in (x if isinstance(x, tuple) else (x,))]


class Losses:
    """The mean loss over samples.

    Args:
        title: what is going on, for the message.
        finite: whether a loss that is not is an error.

    Attributes:
        count: the number of samples.
    """

    def __init__(self, title: str, finite: bool = False):
        self.title = title
        self.finite = finite
        self.count = 0
        self._batches = 0
        self._total = 0.0
        self._unread: list[tuple[Tensor, int]] = []

    def add(self, loss: Tensor, samples: int) -> None:
        """Takes the mean over a batch, and reads it at once unless it has to be waited for."""
        self.count += samples
        self._unread.append((loss.detach(), samples))
        if not loss.is_cuda or len(self._unread) == _MOST_UNREAD:
            self._read()

    @property
    def is_read(self) -> bool:
        """Whether `mean` needn't wait."""
        return not self._unread

    def mean(self) -> float:
        """The mean loss so far."""
        self._read()
        return self._total / self.count

    def state_dict(self) -> dict[str, Any]:
        """The sum so far, for a checkpoint."""
        self._read()
        return {"count": self.count, "batches": self._batches, "total": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        self.count, self._batches = int(state["count"]), int(state["batches"])
        self._total = float(state["total"])

    def _read(self) -> None:
        for loss, samples in self._unread:
            value = float(loss.item())
            self._batches += 1
            if self.finite and not math.isfinite(value):
                raise FloatingPointError(
                    f"fit: the loss became {value} in batch {self._batches} of {self.title}; a lower "
                    "learning rate may help, or the data hold NaN"
                )
            self._total += value * samples
        self._unread.clear()


def _line(record: Record) -> str:
    """A record as one line of text."""
    parts = [f"epoch {record['epoch']}"]
    for name, value in record.items():
        if name not in ("epoch", "lr"):
            parts.append(f"{name} {value:.1f}" if name == "seconds" else f"{name} {value:.4f}")
    return "  ".join(parts)
