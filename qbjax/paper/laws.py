"""The laws that the paper fits to its data, by least squares on the quantity itself."""

import numpy as np

# The sizes that the fits use, first and last: Fig. 3, and Fig. 7(b, c).
DEFICIT_SIZES = (4, 13)
CHARGING_SIZES = (1, 4)


def within(N: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    """Return the mask of the sizes between two, both included."""
    first, last = sizes
    return (first <= N) & (last >= N)


def deficit(N: np.ndarray, ratio: np.ndarray) -> float:
    """Return a of Eq. (7), ratio = 1 - a/N."""
    return float(np.sum((1 - ratio) / N) / np.sum(1 / N**2))


def prefactor(N: np.ndarray, tau: np.ndarray, exponent: float) -> float:
    """Return c of tau = c N^exponent."""
    power = N**exponent
    return float(power @ tau / (power @ power))


def power_law(N: np.ndarray, tau: np.ndarray) -> tuple[float, float]:
    """Return c and b of tau = c N^b: c is linear, and b is bracketed ever closer."""

    def cost(b: float) -> float:
        return float(np.sum((tau - prefactor(N, tau, b) * N**b) ** 2))

    low, high = 0.0, 20.0
    for _ in range(12):
        exponents = np.linspace(low, high, 41)
        best = int(np.argmin([cost(b) for b in exponents]))
        low, high = exponents[max(best - 1, 0)], exponents[min(best + 1, 40)]
    b = (low + high) / 2
    return prefactor(N, tau, b), float(b)


def deficit_limit(F_over_g: float) -> float:
    r"""Return a_inf = 2 (1 - eta_0), the limit of N (1 - ratio) for N -> infinity.

    The battery becomes an oscillator and its steady state a mixture of displaced number states: in
    terms of p_k = e^{-x} x^k / k! with x = (F/g)^2,

        eta_0 = max(p_0/2 + p_1/4, max_{k >= 1} (p_k + p_{k+1})/4).
    """
    x = F_over_g**2
    k = np.arange(int(x + 20 * np.sqrt(x)) + 20)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(k[1:], 1)))])
    p = np.exp(-x + k * np.log(x) - log_factorial)
    eta_0 = max(p[0] / 2 + p[1] / 4, float(np.max(p[1:-1] + p[2:])) / 4)
    return float(2 * (1 - eta_0))
