import numpy as np
import pytest

import medkern
from medkern import losses
from medkern.testing import gradcheck

REDUCTIONS = ["none", "sum", "mean"]

# A handful of roundings per element, and pairwise or float64 sums: a few units of 2^-24 of the largest term.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


# The formulas, element by element, in float64.


def reduced_of(loss, reduction):
    return {"none": loss, "sum": loss.sum(), "mean": loss.mean()}[reduction]


def bce_of(p, t):
    with np.errstate(divide="ignore"):
        return -(t * np.maximum(np.log(p), -100) + (1 - t) * np.maximum(np.log(1 - p), -100))


def bce_with_logits_of(x, t, pos_weight=1.0):
    # log1p and the absolute value keep both terms exact for any x.
    log_p = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))  # log sigmoid(x)
    log_q = np.minimum(-x, 0) - np.log1p(np.exp(-np.abs(x)))  # log sigmoid(-x)
    return -(pos_weight * t * log_p + (1 - t) * log_q)


def dice_of(p, t, smooth):
    loss = np.empty(p.shape[:2])
    for n in range(p.shape[0]):
        for c in range(p.shape[1]):
            overlap = sum(a * b for a, b in zip(p[n, c].ravel(), t[n, c].ravel(), strict=True))
            loss[n, c] = 1 - (2 * overlap + smooth) / (p[n, c].sum() + t[n, c].sum() + smooth)
    return loss


def softmax_of(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_hot_of(labels, classes):
    result = np.zeros((labels.shape[0], classes, *labels.shape[1:]))
    for index in np.ndindex(labels.shape):
        result[(index[0], labels[index], *index[1:])] = 1
    return result


def cross_entropy_of(x, labels):
    """Unweighted, none ignored; the loss of each element."""
    return -(np.log(softmax_of(x)) * one_hot_of(labels, x.shape[1])).sum(1)


def check(loss, expected, dtype=np.float64):
    assert loss.dtype == dtype
    assert loss.shape == np.shape(expected)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_and_l1(rng, reduction, dtype):
    x, t = rng.normal(size=(2, 3, 17)).astype(dtype), rng.normal(size=(2, 3, 17)).astype(dtype)
    difference = x.astype(np.float64) - t
    mse, l1 = (reduced_of(d, reduction) for d in (difference**2, np.abs(difference)))
    check(losses.mse_loss(medkern.tensor(x), medkern.tensor(t), reduction), mse, dtype)
    check(losses.l1_loss(medkern.tensor(x), t, reduction), l1, dtype)
    check(losses.MSELoss(reduction)(medkern.tensor(x), t), mse, dtype)
    check(losses.L1Loss(reduction)(medkern.tensor(x), t), l1, dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_mse_and_l1_reach_both_sides(rng, reduction):
    x, t = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    gradcheck(lambda a, b: losses.mse_loss(a, b, reduction), [x, t])
    gradcheck(lambda a, b: losses.l1_loss(a, b, reduction), [x, t])


def test_cross_entropy_with_its_options(rng):
    x = rng.normal(size=(2, 4, 5))
    labels = rng.integers(0, 4, (2, 5))
    check(losses.cross_entropy(medkern.tensor(x), labels), cross_entropy_of(x, labels).mean())
    weight = np.array([0.5, 1.0, 2.0, 3.0])
    labels[0, :2] = 9
    kept = labels != 9
    w = np.where(kept, weight[np.where(kept, labels, 0)], 0)
    probabilities = np.log(softmax_of(x))
    target = 0.8 * one_hot_of(np.where(kept, labels, 0), 4) + 0.2 / 4
    each = -(probabilities * target * weight[:, None]).sum(1) * kept
    options = {"weight": weight, "ignore_index": 9, "label_smoothing": 0.2}
    logits = medkern.tensor(x)
    check(losses.CrossEntropyLoss(**options)(logits, labels), each.sum() / w.sum())
    check(losses.CrossEntropyLoss(reduction="none", **options)(logits, labels), each)
    gradcheck(lambda a: losses.cross_entropy(a, labels, **options), [x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(rng, reduction, dtype):
    p = rng.uniform(0.05, 0.95, (2, 1, 9)).astype(dtype)
    p[0, 0, :2] = 0, 1
    t = rng.uniform(size=p.shape).astype(dtype)
    weight = rng.uniform(size=9).astype(dtype)
    p64, t64 = p.astype(np.float64), t.astype(np.float64)
    expected = reduced_of(bce_of(p64, t64), reduction)
    check(losses.binary_cross_entropy(medkern.tensor(p), t, reduction=reduction), expected, dtype)
    weighted = reduced_of(bce_of(p64, t64) * weight, reduction)
    check(losses.BCELoss(weight, reduction)(medkern.tensor(p), t), weighted, dtype)


def test_gradient_of_binary_cross_entropy(rng):
    p = rng.uniform(0.1, 0.9, (3, 4))
    t = rng.uniform(size=(3, 4))
    gradcheck(lambda a: losses.binary_cross_entropy(a, t), [p], create_graph=True)


def test_binary_cross_entropy_stays_finite_at_its_ends():
    p = medkern.tensor(np.array([0, 1, 0, 1], np.float32), requires_grad=True)
    loss = losses.binary_cross_entropy(p, np.array([0, 1, 1, 0]), reduction="sum")
    assert loss.item() == 200
    loss.backward()
    assert np.isfinite(p.grad.numpy()).all()
    np.testing.assert_array_equal(np.sign(p.grad.numpy()), [0, 0, -1, 1])


def test_binary_cross_entropy_passes_nan_on():
    p = medkern.tensor(np.array([np.nan, 0.5]))
    assert np.isnan(losses.binary_cross_entropy(p, np.zeros(2)).item())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy_with_logits(rng, reduction, dtype):
    x = (20 * rng.normal(size=(2, 3, 9))).astype(dtype)
    t = (rng.uniform(size=x.shape) > 0.5).astype(np.uint8)
    weight, pos_weight = rng.uniform(size=9).astype(dtype), np.array([[1.0], [2.0], [5.0]], dtype)
    expected = bce_with_logits_of(x.astype(np.float64), t)
    got = losses.binary_cross_entropy_with_logits(medkern.tensor(x), t, reduction=reduction)
    check(got, reduced_of(expected, reduction), dtype)
    expected = weight * bce_with_logits_of(x.astype(np.float64), t, pos_weight)
    got = losses.BCEWithLogitsLoss(weight, reduction, pos_weight)(medkern.tensor(x), t)
    check(got, reduced_of(expected, reduction), dtype)


def test_gradient_of_binary_cross_entropy_with_logits(rng):
    x, t = rng.normal(size=(3, 4)), rng.uniform(size=(3, 4))
    pos_weight = np.arange(1.0, 5)
    gradcheck(lambda a: losses.binary_cross_entropy_with_logits(a, t, pos_weight=pos_weight), [x])


def test_binary_cross_entropy_with_logits_keeps_small_losses():
    # exp(-80) is lost wherever the loss is a difference of larger numbers.
    x = medkern.tensor(np.array([80, -80, 1000, -1000], np.float32), requires_grad=True)
    loss = losses.binary_cross_entropy_with_logits(x, np.array([1, 0, 0, 1]), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [np.exp(-80.0)] * 2 + [1000] * 2, rtol=1e-5)
    loss.backward(medkern.tensor(np.ones(4, np.float32)))
    np.testing.assert_allclose(x.grad.numpy()[2:], [1, -1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (1, 2, 2, 3, 4)])
def test_dice(rng, shape, include_background, dtype):
    x = rng.normal(size=shape).astype(dtype)
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    t = one_hot_of(labels, shape[1])
    first = 0 if include_background else 1
    p = softmax_of(x.astype(np.float64))
    expected = dice_of(p[:, first:], t[:, first:], 0.5)
    options = {"activation": "softmax", "include_background": include_background, "smooth": 0.5}
    for target in (labels, t, medkern.tensor(t), t.astype(bool)):
        got = losses.dice_loss(medkern.tensor(x), target, reduction="none", **options)
        check(got, expected, dtype)
    check(losses.DiceLoss(**options)(medkern.tensor(x), labels), expected.mean(), dtype)
    check(losses.DiceLoss(reduction="sum", **options)(medkern.tensor(x), labels), expected.sum(), dtype)
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    options["activation"] = "sigmoid"
    check(losses.dice_loss(medkern.tensor(x), t, **options), dice_of(p, t, 0.5)[:, first:].mean(), dtype)
    options["activation"] = None
    got = losses.dice_loss(medkern.tensor(p.astype(dtype)), t, **options)
    check(got, dice_of(p, t, 0.5)[:, first:].mean(), dtype)


@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax"])
def test_gradient_of_dice(rng, activation):
    x = rng.uniform(0.1, 0.9, (2, 3, 2, 3))
    labels = rng.integers(0, 3, (2, 2, 3))
    gradcheck(lambda a: losses.dice_loss(a, labels, activation=activation), [x])
    gradcheck(lambda a: losses.dice_loss(a, labels, include_background=False), [x])


def test_dice_of_a_class_that_is_nowhere():
    x = np.zeros((1, 2, 4), np.float32)
    x[:, 0] = 1
    loss = losses.dice_loss(medkern.tensor(x), np.zeros((1, 4), np.int64), reduction="none")
    np.testing.assert_array_equal(loss.numpy(), [[0, 0]])


def test_dice_and_cross_entropy(rng):
    x, labels = rng.normal(size=(2, 3, 4, 2)), rng.integers(0, 3, (2, 4, 2))
    dice = dice_of(softmax_of(x), one_hot_of(labels, 3), 1.0).mean()
    entropy = cross_entropy_of(x, labels).mean()
    check(losses.DiceCELoss()(medkern.tensor(x), labels), dice + entropy)
    loss = losses.DiceCELoss(dice_weight=2.0, ce_weight=0.25, include_background=False)
    dice = dice_of(softmax_of(x), one_hot_of(labels, 3), 1.0)[:, 1:].mean()
    check(loss(medkern.tensor(x), labels), 2 * dice + 0.25 * entropy)
    gradcheck(lambda a: loss(a, labels), [x])


def test_inputs_are_not_modified(rng):
    x, labels = rng.uniform(0.1, 0.9, (2, 3, 5)), rng.integers(0, 3, (2, 5))
    t = one_hot_of(labels, 3)
    kept = x.copy(), labels.copy(), t.copy()
    a = medkern.tensor(x, requires_grad=True)
    total = losses.dice_loss(a, labels).item() + losses.DiceCELoss()(a, labels).item()
    for loss in (losses.mse_loss, losses.l1_loss, losses.binary_cross_entropy):
        total += loss(a, t).item()
    losses.binary_cross_entropy_with_logits(a, t).backward()
    assert np.isfinite(total)
    for before, after in zip(kept, (a.numpy(), labels, t), strict=True):
        np.testing.assert_array_equal(before, after)


ELEMENTWISE = [
    losses.mse_loss,
    losses.l1_loss,
    losses.binary_cross_entropy,
    losses.binary_cross_entropy_with_logits,
]


@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_shapes_must_agree_and_never_broadcast(loss):
    x = medkern.tensor(np.zeros((2, 1), np.float32))
    name = loss.__name__
    with pytest.raises(
        ValueError, match=rf"{name}: target must have the shape of input \(2, 1\), got \(2,\)"
    ):
        loss(x, np.zeros(2))


@pytest.mark.parametrize("loss", [*ELEMENTWISE, losses.dice_loss])
def test_an_unknown_reduction_is_refused(loss):
    x = medkern.tensor(np.zeros((2, 1, 3), np.float32))
    with pytest.raises(
        ValueError, match=f"{loss.__name__}: reduction must be 'none', 'sum' or 'mean', got 'a'"
    ):
        loss(x, np.zeros((2, 1, 3)), reduction="a")


def test_binary_cross_entropy_wants_probabilities_and_a_constant_target():
    x = medkern.tensor(np.array([0.5, 1.5]))
    if x.is_cuda:  # nobody waits there to look at them
        assert np.isnan(losses.binary_cross_entropy(x, np.zeros(2)).item())
    else:
        with pytest.raises(ValueError, match=r"input must lie in \[0, 1\], got \[0.5, 1.5\]"):
            losses.binary_cross_entropy(x, np.zeros(2))
    target = medkern.tensor(np.zeros(2), requires_grad=True)
    with pytest.raises(ValueError, match="target must not require a gradient"):
        losses.binary_cross_entropy(medkern.tensor(np.full(2, 0.5)), target)


def test_a_target_of_another_type_must_not_require_a_gradient():
    target = medkern.tensor(np.zeros(2), requires_grad=True)
    with pytest.raises(TypeError, match="mse_loss: target must be float32 like input to get a gradient"):
        losses.mse_loss(medkern.tensor(np.zeros(2, np.float32)), target)


def test_dice_checks_its_target_and_options():
    x = medkern.tensor(np.zeros((2, 3, 4), np.float32))
    labels = np.zeros((2, 4), np.int64)
    with pytest.raises(ValueError, match=r"dice_loss: input must be \(N, C, spatial...\), got \(2, 3\)"):
        losses.dice_loss(x[:, :, 0], labels)
    with pytest.raises(ValueError, match=r"target must have shape \(2, 3, 4\) or \(2, 4\), got \(2, 5\)"):
        losses.dice_loss(x, np.zeros((2, 5), np.int64))
    with pytest.raises(ValueError, match=r"target must have the shape of input \(2, 3, 4\), got \(2, 2, 4\)"):
        losses.dice_loss(x, np.zeros((2, 2, 4)))
    with pytest.raises(TypeError, match="a target of classes must hold integers, got float64"):
        losses.dice_loss(x, labels.astype(float))
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"target must hold classes in \[0, 3\), got {wrong}"):
            losses.dice_loss(x, labels + wrong)
    with pytest.raises(ValueError, match="activation must be None, 'sigmoid' or 'softmax', got 'relu'"):
        losses.dice_loss(x, labels, activation="relu")
    with pytest.raises(ValueError, match="include_background=False needs at least 2 classes, got 1"):
        losses.dice_loss(x[:, :1], labels, include_background=False)


def test_losses_show_their_options():
    assert repr(losses.MSELoss("sum")) == "MSELoss(reduction='sum')"
    assert repr(losses.DiceCELoss()).startswith(
        "DiceCELoss(dice_weight=1.0, ce_weight=1.0\n  (dice): DiceLoss("
    )
