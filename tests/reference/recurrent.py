"""Recurrent networks in float64, one sample and one step at a time, from the formulas."""

import numpy as np

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def step(cell, x, h, c, weight_ih, weight_hh, bias_ih=None, bias_hh=None):
    """The next (h, c) of one sample and the activated gates."""
    a = weight_ih @ x + (0 if bias_ih is None else bias_ih)
    b = weight_hh @ h + (0 if bias_hh is None else bias_hh)
    a, b = (np.split(v, GATES[cell]) for v in (a, b))
    if cell == "lstm":
        i, f, o = (sigmoid(a[k] + b[k]) for k in (0, 1, 3))
        g = np.tanh(a[2] + b[2])
        c = f * c + i * g
        return o * np.tanh(c), c, (i, f, g, o)
    if cell == "gru":
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        n = np.tanh(a[2] + r * b[2])
        return (1 - z) * n + z * h, c, (r, z, n, b[2])
    h = np.tanh(a[0] + b[0]) if cell == "rnn_tanh" else np.maximum(a[0] + b[0], 0)
    return h, c, (h,)


def direction(cell, x, weights, h0, c0, lengths, reverse):
    """One direction over (N, T, I): y, h_n, c_n, and per sample what each step began with and computed."""
    batch, steps, _ = x.shape
    hidden = weights[1].shape[1]
    y = np.zeros((batch, steps, hidden))
    h_n, c_n, tape = np.zeros((batch, hidden)), np.zeros((batch, hidden)), []
    for n in range(batch):
        h, c, visited = h0[n], c0[n], []
        times = range(lengths[n])
        for t in reversed(times) if reverse else times:
            h_next, c_next, gates = step(cell, x[n, t], h, c, *weights)
            visited.append((t, h, c, c_next, gates))
            h, c = h_next, c_next
            y[n, t] = h
        h_n[n], c_n[n] = h, c
        tape.append(visited)
    return y, h_n, c_n, tape


def layer(cell, x, weights, h0=None, c0=None, lengths=None):
    """One layer, a direction per entry of `weights`: y, h_n, c_n."""
    parts = [_direction(cell, x, weights, h0, c0, lengths, d)[:3] for d in range(len(weights))]
    y, h_n, c_n = zip(*parts, strict=True)
    return np.concatenate(y, axis=2), np.stack(h_n), np.stack(c_n)


def stack(cell, x, weights, h0=None, c0=None, lengths=None, num_layers=1, bidirectional=False):
    directions = 2 if bidirectional else 1
    y, h_n, c_n = x, [], []
    for first in range(0, num_layers * directions, directions):
        part = slice(first, first + directions)
        states = [None if s is None else s[part] for s in (h0, c0)]
        y, h, c = layer(cell, y, weights[part], *states, lengths)
        h_n.append(h)
        c_n.append(c)
    return y, np.concatenate(h_n), np.concatenate(c_n)


def layer_backward(cell, dy, dh_n, dc_n, x, weights, h0=None, c0=None, lengths=None):
    """dx, dh0, dc0 and per direction (dweight_ih, dweight_hh, dbias_ih, dbias_hh)."""
    x = np.asarray(x, np.float64)
    hidden = weights[0][1].shape[1]
    dx, dh0, dc0, dweights = np.zeros(x.shape), [], [], []
    for d in range(len(weights)):
        tape = _direction(cell, x, weights, h0, c0, lengths, d)[3]
        weight_ih, weight_hh = (np.asarray(w, np.float64) for w in weights[d][:2])
        dw_ih, dw_hh = np.zeros(weight_ih.shape), np.zeros(weight_hh.shape)
        db_ih, db_hh = np.zeros(len(weight_ih)), np.zeros(len(weight_ih))
        dh_all, dc_all = np.array(dh_n[d], np.float64), np.array(dc_n[d], np.float64)
        for n, visited in enumerate(tape):
            dh, dc = dh_all[n], dc_all[n]
            for t, h, c, c_next, gates in reversed(visited):
                dh = dh + dy[n, t, d * hidden : (d + 1) * hidden]
                da, db, dh_past, dc = _step_backward(cell, dh, dc, h, c, c_next, gates)
                dx[n, t] += da @ weight_ih
                dh = dh_past + db @ weight_hh
                dw_ih += np.outer(da, x[n, t])
                dw_hh += np.outer(db, h)
                db_ih += da
                db_hh += db
            dh_all[n], dc_all[n] = dh, dc
        dh0.append(dh_all)
        dc0.append(dc_all)
        dweights.append((dw_ih, dw_hh, db_ih, db_hh))
    return dx, np.stack(dh0), np.stack(dc0), dweights


def _direction(cell, x, weights, h0, c0, lengths, d):
    x = np.asarray(x, np.float64)
    parameters = [None if w is None else np.asarray(w, np.float64) for w in weights[d]]
    zeros = np.zeros((len(x), parameters[1].shape[1]))
    states = [zeros if s is None else np.asarray(s[d], np.float64) for s in (h0, c0)]
    lengths = [x.shape[1]] * len(x) if lengths is None else lengths
    return direction(cell, x, parameters, *states, lengths, reverse=d == 1)


def _step_backward(cell, dh, dc, h, c, c_next, gates):
    """Gradients of a = W_ih x + b_ih, of b = W_hh h + b_hh, of h other than through b, and of c."""
    if cell == "lstm":
        i, f, g, o = gates
        do = dh * np.tanh(c_next)
        dc = dc + dh * o * (1 - np.tanh(c_next) ** 2)
        da = np.concatenate(
            [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), do * o * (1 - o)]
        )
        return da, da, 0, dc * f
    if cell == "gru":
        r, z, n, b_n = gates
        dn = dh * (1 - z) * (1 - n**2)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * b_n * r * (1 - r)
        return np.concatenate([dr, dz, dn]), np.concatenate([dr, dz, dn * r]), dh * z, dc
    da = dh * (1 - gates[0] ** 2) if cell == "rnn_tanh" else dh * (gates[0] > 0)
    return da, da, 0, dc
