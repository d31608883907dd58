"""Learning curves and overlays as PNG files, by matplotlib; nothing is shown on a screen."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern.extras import optional_import
from medkern.io.files import replacing

_TITLE = 44  # letters in a line over an image
_COLORS = ("#4fa3ff", "#ffb000", "#e8413b", "#40c983", "#c07cff", "#f5f06a")  # of class 1, 2, ...


def _figure(width: float, height: float) -> Any:
    """A matplotlib figure that draws to files only, whatever the environment asks for."""
    figure = optional_import("matplotlib.figure", "plot").Figure
    return figure(figsize=(width, height), dpi=110, layout="constrained")


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def learning_curves(
    history: Sequence[dict[str, Any]],
    path: str | os.PathLike[str],
    baseline: dict[str, float] | None = None,
) -> None:
    """Draws loss and Dice over the epochs.

    Args:
        history: as `Trainer` keeps it.
        path: the PNG file.
        baseline: horizontal lines to compare with in the plot of the Dice, by name.
    """
    figure = _figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    names = {"loss": "training", "val_loss": "validation"}
    for key, label in names.items():
        if key in history[0]:
            left.plot(epochs, [record[key] for record in history], marker=".", label=label)
    left.set(xlabel="epoch", ylabel="loss", title="Loss")
    left.legend()
    shown = [key for key in history[0] if key.startswith("val_dice ")]
    for i, key in enumerate(shown):
        values = [record[key] for record in history]
        right.plot(
            epochs, values, marker=".", color=_COLORS[i % len(_COLORS)], label=key.removeprefix("val_dice ")
        )
    for i, (name, value) in enumerate((baseline or {}).items()):
        right.axhline(value, color=_COLORS[i % len(_COLORS)], linestyle="--", linewidth=1, label=name)
    right.set(xlabel="epoch", ylabel="Dice", title="Dice on the validation slices", ylim=(0, 1.02))
    if shown:
        right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def overlays(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
) -> None:
    """Draws a row per image: the image, the true classes on it, the predicted ones, and where they differ.

    Args:
        images: (H, W) each.
        truths: class indices (H, W) each; class 0 stays transparent.
        predictions: likewise.
        classes: a name per class.
        path: the PNG file.
        titles: a name per row.
    """
    rows = len(images)
    heights = [3.1 * image.shape[0] / image.shape[1] for image in images]
    figure = _figure(13, sum(heights) + 0.9)
    grid = figure.subplots(rows, 4, squeeze=False, height_ratios=heights)
    palette = _palette(len(classes))
    for row, (image, truth, prediction) in enumerate(zip(images, truths, predictions, strict=True)):
        low, high = np.percentile(image, (1, 99.5))
        wrong = (truth != prediction).astype(np.int64)
        layers = (None, palette[truth], palette[prediction], _palette(4)[wrong * 3])
        for axes, layer in zip(grid[row], layers, strict=True):
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            if layer is not None:
                axes.imshow(layer, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        if titles is not None:
            grid[row][0].set_ylabel(titles[row])
    for axes, title in zip(grid[0], ("image", "truth", "prediction", "differences"), strict=True):
        axes.set_title(title)
    patch = optional_import("matplotlib.patches", "plot").Patch
    patches = [patch(color=palette[i, :3], label=name) for i, name in enumerate(classes) if i > 0]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 6))
    _save(figure, path)


def heatmaps(
    images: Sequence[np.ndarray],
    maps: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    path: str | os.PathLike[str],
    titles: Sequence[str] | None = None,
) -> None:
    """Draws a row per image: the image, then each of its maps laid over it, such as those of `explain`.

    A map is transparent where it is 0 or below and opaque at its largest value. Of a volume the slice along
    the first axis is shown in which its first map is largest.

    Args:
        images: (H, W) or (D, H, W) each.
        maps: for each image one map per name, shaped like it.
        names: of the maps.
        path: the PNG file.
        titles: a name per row.

    Raises:
        ValueError: there are no images, or a map is missing or of another shape than its image.
    """
    if not len(images) or len(maps) != len(images):
        raise ValueError(
            f"heatmaps: needs images and maps for each of them, got {len(images)} and {len(maps)}"
        )
    for i, (image, heats) in enumerate(zip(images, maps, strict=True)):
        shapes = [np.shape(heat) for heat in heats]
        if shapes != [np.shape(image)] * len(names) or not shapes or np.ndim(image) not in (2, 3):
            raise ValueError(
                f"heatmaps: image {i} must have {len(names)} maps shaped like it, (H, W) or (D, H, W), got "
                f"{np.shape(image)} and {shapes}"
            )
    rows = []
    for image, heats in zip(images, maps, strict=True):
        if image.ndim == 3:
            at = np.unravel_index(np.argmax(heats[0]), image.shape)[0]
            rows.append((image[at], [heat[at] for heat in heats]))
        else:
            rows.append((image, list(heats)))
    width, heights = len(names) + 1, [2.6 * image.shape[0] / image.shape[1] for image, _ in rows]
    figure = _figure(2.6 * width, sum(heights) + 0.5)
    panels = figure.subplots(len(rows), width, squeeze=False, height_ratios=heights)
    for row, (image, heats) in enumerate(rows):
        for axes, heat in zip(panels[row], [None, *heats], strict=True):
            axes.imshow(image, cmap="gray", interpolation="nearest")
            if heat is not None:
                share = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
                axes.imshow(share, cmap="inferno", alpha=0.8 * share, vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        if titles is not None:
            panels[row][0].set_ylabel(titles[row])
    for axes, name in zip(panels[0], ("image", *names), strict=True):
        axes.set_title(name)
    _save(figure, path)


def _palette(count: int) -> np.ndarray:
    """RGBA per class, (count, 4); class 0 is transparent."""
    colors = np.zeros((count, 4))
    for i in range(1, count):
        code = _COLORS[(i - 1) % len(_COLORS)]
        colors[i] = [int(code[j : j + 2], 16) / 255 for j in (1, 3, 5)] + [0.5]
    return colors


def confusion(counts: np.ndarray, classes: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draws a confusion matrix: counts as numbers, their share of the true class as color.

    Args:
        counts: as `medkern.metrics.confusion_matrix` gives them, the truth along the rows.
        classes: a name per class.
        path: the PNG file.

    Raises:
        ValueError: there aren't as many rows and columns as names.
    """
    count = len(classes)
    if np.shape(counts) != (count, count):
        raise ValueError(f"confusion: counts must have shape ({count}, {count}), got {np.shape(counts)}")
    shares = counts / np.maximum(1, np.sum(counts, axis=1, keepdims=True))
    figure = _figure(2.6 + 0.9 * count, 2.2 + 0.8 * count)
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        axes.text(
            column,
            row,
            f"{int(counts[row][column])}",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )
    axes.set(xlabel="predicted", ylabel="truth", title="Confusion matrix")
    axes.set_xticks(range(count), classes)
    axes.set_yticks(range(count), classes)
    figure.colorbar(drawn, ax=axes, label="share of the true class")
    _save(figure, path)


def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, counts: np.ndarray, path: str | os.PathLike[str]
) -> None:
    """Draws a reliability diagram: how often a classifier is right against how sure it is.

    On the diagonal it is as often right as it says; below it says too much. The error bars are intervals of
    95 % (Wilson), the columns beneath the number of samples, each at the mean confidence of its bin.

    Args:
        confidence: as `medkern.metrics.calibration_curve` gives it, likewise the others.
        accuracy: share of right answers per bin, NaN where it has no samples.
        counts: samples per bin.
        path: the PNG file.

    Raises:
        ValueError: the three differ in length, or there are no samples.
    """
    shapes = [np.shape(part) for part in (confidence, accuracy, counts)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1 or not np.sum(counts):
        raise ValueError(
            f"reliability: needs three arrays of one length, and samples, got {shapes[0]}, {shapes[1]}, "
            f"{shapes[2]} and {int(np.sum(counts))} samples"
        )
    filled = np.asarray(counts) > 0
    x, y, n = (np.asarray(part, float)[filled] for part in (confidence, accuracy, counts))
    z = 1.96
    middle = (y + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(y * (1 - y) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    error = np.sum(n * np.abs(y - x)) / n.sum()
    figure = _figure(4.6, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), color="gray", linestyle="--", linewidth=1, label="as sure as right")
    bars = np.maximum(0, [y - (middle - half), middle + half - y])
    upper.errorbar(x, y, bars, color=_COLORS[0], marker="o", capsize=3, label="samples by confidence")
    upper.set(
        ylabel="share that is right",
        title=f"Calibration: expected error {error:.3f}",
        xlim=(0, 1.02),
        ylim=(0, 1.02),
    )
    upper.legend(loc="upper left")
    lower.bar(x, n, width=0.6 / len(counts), color=_COLORS[0])
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="samples")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    _save(figure, path)


def image_rows(
    rows: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    titles: Sequence[Sequence[str]] | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draws rows of gray images.

    Args:
        rows: images (H, W); rows may differ in length.
        names: one per row.
        path: the PNG file.
        titles: a text over each image, or None.
        limits: the values shown as black and white; None for each image's own.

    Raises:
        ValueError: there are no images, or the names aren't as many as the rows.
    """
    if len(rows) != len(names) or not rows or not all(len(row) for row in rows):
        raise ValueError(f"image_rows: needs a name for each row of images, got {len(rows)} and {len(names)}")
    most = max(len(row) for row in rows)
    width = 3.0 if titles is not None else 1.5
    figure = _figure(width * most + 0.5, (width + (0.6 if titles is not None else 0.1)) * len(rows))
    grid = figure.subplots(len(rows), most, squeeze=False)
    low, high = limits if limits is not None else (None, None)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        for axes in grid[i]:
            axes.set(xticks=[], yticks=[])
        for axes in grid[i][len(row) :]:
            axes.set_axis_off()
        for j, image in enumerate(row):
            grid[i][j].imshow(image, cmap="gray", vmin=low, vmax=high)
            if titles is not None:
                grid[i][j].set_title("\n".join(textwrap.wrap(titles[i][j], _TITLE)), fontsize=7)
        grid[i][0].set_ylabel(name)
    _save(figure, path)


def grid(
    images: Sequence[np.ndarray],
    path: str | os.PathLike[str],
    *,
    columns: int = 8,
    low: float | None = None,
    high: float | None = None,
    titles: Sequence[str] | None = None,
) -> None:
    """Draws images side by side, in rows, all in one scale of gray.

    Args:
        images: (H, W) each, all of one shape.
        path: the PNG file.
        columns: images per row.
        low: the value shown black; None takes the least of all.
        high: the value shown white; None takes the largest of all.
        titles: a name per column, above the first row; or None.

    Raises:
        ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("grid: images must hold at least one")
    low = min(float(np.min(image)) for image in images) if low is None else low
    high = max(float(np.max(image)) for image in images) if high is None else high
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = images[0].shape
    gap = max(1, width // 16)
    step = np.array([height + gap, width + gap])
    # One picture: a frame for each image takes seconds to lay out.
    mosaic = np.full((rows * step[0] - gap, columns * step[1] - gap), np.nan)
    for i, image in enumerate(images):
        top, left = step * divmod(i, columns)
        mosaic[top : top + height, left : left + width] = image
    cell = max(1.2, width / 80)  # inches
    figure = _figure(cell * columns, cell * rows * height / width + (0.3 if titles else 0))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.imshow(np.ma.masked_invalid(mosaic), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    for i, title in enumerate(titles or ()):
        axes.text(i * step[1] + width / 2, -2, title, ha="center", va="bottom", fontsize=8)
    _save(figure, path)
