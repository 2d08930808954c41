"""Compiled sums against PyTorch's kernels in float64, the path that other devices take."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from growthpath.recording import attention, streams, weights  # noqa: E402


def mask(b, t, s):
    allowed = torch.rand(b, 1, t, s) > 0.3
    allowed[0, 0, 5] = False  # a row that sees nothing
    return allowed


@pytest.mark.parametrize("t, s", [(37, 37), (19, 40)])
@pytest.mark.parametrize("kind", ["causal", "all", "mask"])
@pytest.mark.parametrize("storage", [torch.float32, torch.bfloat16])
def test_logits(kind, t, s, storage):
    torch.manual_seed(0)
    b, heads, shared, d = 3, 4, 2, 16
    # As attention lays them out: heads inside tokens.
    make = lambda n, h: torch.randn(b, n, h, d).to(storage).transpose(1, 2)
    q, k, v, g = make(t, heads), make(s, shared), make(s, shared), make(t, heads)
    call = attention.Call(q, k, v, 0.5, kind == "causal", mask(b, t, s) if kind == "mask" else None, 0.0)
    logits, gradient = call.logits(0, b), call.weights_gradient(g, 0, b)
    wide = lambda x: x.repeat_interleave(heads // shared, 1).double()
    assert torch.allclose(logits.double(), q.double() @ wide(k).mT * 0.5, atol=1e-5)
    assert torch.allclose(gradient.double(), g.double() @ wide(v).mT, atol=1e-5)
    allowed = call.allowed(0, b)
    one = attention.logit_sums(logits, None if call.causal else allowed, call.causal, gradient, q, k)
    totals, maxima = attention.by_kernels(logits.double(), allowed, gradient.double(), q.double(), k.double())
    for at, name in enumerate(attention.TOTALS):
        have = one.totals["logits"][:, at]
        if name == "distance" and t != s:
            assert have.isnan().all()
            continue
        # Sums of float32 terms in lanes.
        assert torch.allclose(have, totals[name], rtol=2e-6, atol=2e-6 * float(totals["pairs"].max())), name
    for at, name in enumerate(attention.MAXIMA):
        assert torch.allclose(one.maxima["logits"][:, at], maxima[name], atol=2e-6), name


def test_a_diverged_logit_is_not_hidden():
    s = torch.zeros(1, 2, 4, 4)
    s[0, 1, 2, 1] = torch.nan
    one = attention.logit_sums(s, None, causal=True)
    top = one.maxima["logits"][:, 0]
    assert float(top[0]) == 0.0 and bool(top[1].isnan())


def test_blocks():
    torch.manual_seed(0)
    for rows, width, hidden in ((100, 70, 130), (9000, 40, 50)):
        x = [torch.randn(rows, width) for _ in range(3)]
        h = torch.randn(rows, hidden)
        one = streams.block_sums(*x, h).totals
        scalars, sums = streams.by_kernels(*(v.double() for v in x), h.double())
        assert torch.allclose(one["block"], scalars, rtol=2e-6, atol=2e-6 * float(scalars.max()))
        for name, want in zip(("sum0", "sum1", "hidden_sum"), sums):
            assert torch.allclose(one[name], want, atol=1e-7 * rows), name
        assert streams.block_sums(*x, None).totals["hidden_sum"].numel() == 0


@pytest.mark.parametrize("columns", [1, 8, 70])
def test_products(columns):
    torch.manual_seed(0)
    w, g, d = (torch.randn(4, 16, columns) for _ in range(3))
    n = w + 1e-3 * d
    from growthpath import _native

    have = _native.weight_products([(w.numpy(), g.numpy(), n.numpy()), (w.numpy(), None, n.numpy())], 0.5)
    # The update is taken in float32, as the weights are stored: so does the reference.
    want = weights.by_kernels([(w.double(), g.double(), w.double() + (n - w).double()), (w.double(), None, w.double() + (n - w).double())], 0.5)
    for a, b in zip(have, want):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-12)
    dots = _native.head_dots(w.numpy()[None], g.numpy()[None])
    assert np.allclose(dots, (w.double() * g.double()).sum((1, 2)), rtol=1e-6, atol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    from growthpath import _native

    one = np.zeros((1, 2, 3, 3), np.float32)
    with pytest.raises(ValueError, match="weights_gradient of shape"):
        _native.logit_sums(one, True, None, np.zeros((1, 2, 3, 4), np.float32))
    with pytest.raises(ValueError, match="differ in shape"):
        _native.weight_products([(one[0], None, one[0, :1])], 1.0)
