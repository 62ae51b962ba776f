"""Designs the polynomials of `inverse_root_schedules.h` and prints that header. Needs numpy and scipy.

    python inverse_root_schedules.py > inverse_root_schedules.h

One chain of steps per root p. A step maps an interval [low, high] that holds the spectrum of M to the next one by
m -> m q(m)^p; X picks up the factor q(M). The coefficients of q come from a linear program: with t = m^(1/p) q(m),
linear in q, bounds on m q(m)^p are bounds on t. While the interval is wide the smallest eigenvalue is raised as far as
possible, under the condition that everything above the cushion stays above it and everything stays below TOP; once low
is near the cushion, q is the minimax approximation of m^(-1/p). A plain minimax step would throw eigenvalues from the
top down to the lower end, and their accuracy is lost there (2e-4 instead of 1e-6 at a condition of 100).
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from scipy.optimize import linprog

TOP = 1.98  # M must stay below 2: the identity is attracted from there, whatever rounding does
LOWEST = 1e-17  # where the chains begin: beyond what float64 resolves
NARROW = 1e-8  # a wider interval changes nothing in the coefficients: q is then led by its value at 0
WIDTH = 2e-7  # of the last interval: float32 resolves no more; float64 takes one more step
DESIGNS = {2: (4, 0.3), 3: (4, 0.4), 4: (4, 0.4), 6: (4, 0.4), 8: (4, 0.4)}  # p: degree of q, cushion
# Of those tried (degrees 3 and 4, cushions 0.2 to 0.6) the fewest products at conditions of 1e3 to 1e7, the larger
# cushion on ties.


def grid(low: float, high: float, count: int) -> np.ndarray:
    return np.unique(np.concatenate([np.geomspace(low, high, count), np.linspace(low, high, count)]))


def design(low: float, high: float, p: int, degree: int, cushion: float) -> np.ndarray:
    """The coefficients of q in the Chebyshev basis T_k(2 m / high - 1)."""
    inside = low >= 0.9 * cushion
    m = grid(low, high, 1200)
    t = chebyshev.chebvander(2 * m / high - 1, degree) * (m ** (1 / p))[:, None]
    ceiling = (1.0 if inside else TOP) ** (1 / p)
    zero = np.zeros((len(m), 1))
    rows, bounds = [np.hstack([t, zero])], [np.full(len(m), ceiling)]  # t ≤ ceiling
    raised = np.ones(len(m), bool) if inside else m < cushion
    rows.append(np.hstack([-t, zero + 1])[raised])  # t ≥ floor, which is maximised
    bounds.append(np.zeros(raised.sum()))
    if not inside:
        rows.append(np.hstack([-t, zero])[~raised])  # t ≥ cushion^(1/p)
        bounds.append(np.full((~raised).sum(), -(cushion ** (1 / p))))
    objective = np.r_[np.zeros(degree + 1), -1]
    found = linprog(objective, np.vstack(rows), np.concatenate(bounds), bounds=[(None, None)] * (degree + 2))
    if found.status != 0:
        raise RuntimeError(f"p = {p}, [{low:g}, {high:g}]: {found.message}")
    return found.x[:-1]


def image(coefficients: np.ndarray, low: float, high: float, p: int) -> tuple[float, float]:
    m = grid(low, high, 20000)
    f = m * chebyshev.chebval(2 * m / high - 1, coefficients) ** p
    return f.min(), f.max()


def closing_step(p: int, degree: int) -> np.ndarray:
    """Taylor's polynomial of m^(-1/p) at 1, in T_k(m - 1): for float64, where the interval is 1 ± WIDTH."""
    series = [1.0]
    for k in range(degree):
        series.append(series[-1] * (-1 / p - k) / (k + 1))
    return chebyshev.poly2cheb(polynomial.Polynomial(series).coef)


def chain(p: int) -> list[tuple[float, float, np.ndarray]]:
    """[(low, high, coefficients)] from [LOWEST, TOP] down to 1 ± WIDTH / 2, and the closing step."""
    degree, cushion = DESIGNS[p]
    low, high, steps = LOWEST, TOP, []
    while high - low > WIDTH:
        c = design(max(low, NARROW), high, p, degree, cushion)
        new_low, new_high = image(c, low, high, p)
        if low >= 0.9 * cushion:  # centre the image on 1
            scale = 2 / (new_low + new_high)
            c, new_low, new_high = c * scale ** (1 / p), new_low * scale, new_high * scale
        steps.append((low, high, c))
        low, high = new_low, new_high
    steps.append((low, 2.0, closing_step(p, degree)))
    return steps


def products(p: int, steps: int) -> int:
    """Products of that many steps: two to evaluate q, one for X (free in the first), q^p M (free in the last)."""
    power = {2: 1, 3: 2, 4: 2, 6: 3, 8: 3}[p]
    return steps * (2 + 1 + power + 1) - 1 - (power + 1)


def main() -> None:
    print("// Made by inverse_root_schedules.py, which explains it; do not edit.")
    print("#pragma once\n\nnamespace kronla {\n")
    print("// A step of a chain: q(m) = Σ_k c[k] T_k(2 m / high - 1), for a spectrum in [low, high]. Each chain may be")
    print("// entered at any step whose `low` is a lower bound of the spectrum scaled to at most `high`. The last step")
    print("// is for float64 alone.")
    print("struct RootStep {\n  double low, high, c[5];\n};\n")
    for p in DESIGNS:
        steps = chain(p)
        print(f"inline constexpr RootStep kRootSteps{p}[] = {{")
        for low, high, c in steps:
            print(f"    {{{low:.17g}, {high:.17g}, {{{', '.join(f'{v:.17g}' for v in c)}}}}},")
        print("};")
    print("\n}  // namespace kronla")


if __name__ == "__main__":
    main()
