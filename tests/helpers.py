"""References that share no code with qbjax: QuTiP, dense numpy, and mpmath at many digits."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import qutip

# The charger is (|g>, |e>) and comes first; the ladder ascends in excitations.
GROUND, EXCITED = qutip.basis(2, 0), qutip.basis(2, 1)


def coupling_operator(N, F, g):
    """K = F + (g / sqrt(N)) J_-, from QuTiP's jmat, whose m descends."""
    lowering = qutip.Qobj(qutip.jmat(N / 2, "-").full()[::-1, ::-1])
    return F * qutip.qeye(N + 1) + g / math.sqrt(N) * lowering


def hamiltonian(N, F, g, delta=0.0):
    """H in the frame of the drive; a charger detuning is written as omega_C = 1 + delta."""
    half = qutip.tensor(EXCITED * GROUND.dag(), coupling_operator(N, F, g))
    return half + half.dag() + delta * qutip.tensor(EXCITED.proj(), qutip.qeye(N + 1))


def jump(N, gamma):
    return math.sqrt(gamma) * qutip.tensor(EXCITED.proj(), qutip.qeye(N + 1))


def spin_lowering(j):
    """J_- of a spin j on the ladder that ascends."""
    return qutip.Qobj(qutip.jmat(j, "-").full()[::-1, ::-1])


LOWERING = {
    "qubit": qutip.destroy(2),
    "cavity": qutip.destroy(4),
    "spin": spin_lowering(1),
    "spin3/2": spin_lowering(1.5),
}


def general_model(
    N,
    F=0.5,
    g=1.0,
    gamma_C=1.0,
    omega_B=1.0,
    omega_C=None,
    omega_d=None,
    kappa=0.0,
    nbar=0.0,
    Gamma_down=0.0,
    Gamma_up=0.0,
    Gamma_z=0.0,
    charger="qubit",
    own=lambda low, c, lower, n: (0, []),
):
    """H in the frame of the drive and all jumps, with every term that the library has.

    F may be a function of time. `own` makes more of both from the operators of charger and battery.
    """
    same, one = qutip.qeye(LOWERING[charger].shape[0]), qutip.qeye(N + 1)
    low, c = (qutip.tensor(x, one) for x in (LOWERING[charger], qutip.num(same.shape[0])))
    lower, n = (qutip.tensor(same, x) for x in (spin_lowering(N / 2), qutip.num(N + 1)))
    omega_d = omega_B if omega_d is None else omega_d
    omega_C = omega_B if omega_C is None else omega_C
    coupling = g / math.sqrt(N) * low.dag() * lower
    more, more_jumps = own(low, c, lower, n)
    H = coupling + coupling.dag() + (omega_C - omega_d) * c + (omega_B - omega_d) * n + more
    drive = low + low.dag()
    jumps = [
        math.sqrt(gamma_C) * c,
        math.sqrt(kappa * (nbar + 1)) * low,
        math.sqrt(kappa * nbar) * low.dag(),
        math.sqrt(Gamma_down) * lower,
        math.sqrt(Gamma_up) * lower.dag(),
        math.sqrt(Gamma_z) * (n - N / 2),
        *more_jumps,
    ]
    return [H, [drive, F]] if callable(F) else H + F * drive, jumps


def qutip_states(N, F, g, gamma, ts, delta=0.0, rho0=None):
    """Solve the master equation of Eq. (2); shape (T, 2, N + 1, 2, N + 1)."""
    if rho0 is None:
        start = qutip.tensor(GROUND, qutip.basis(N + 1, 0)).proj()
    else:
        dims = [[2, N + 1], [2, N + 1]]
        start = qutip.Qobj(rho0.reshape(2 * N + 2, 2 * N + 2), dims=dims)
    options = {"atol": 1e-12, "rtol": 1e-10, "nsteps": 10**6, "method": "vern9"}
    times = np.concatenate([[0.0], ts])
    H = hamiltonian(N, F, g, delta)
    states = qutip.mesolve(H, start, times, [jump(N, gamma)], options=options).states[1:]
    return np.stack([s.full() for s in states]).reshape(-1, 2, N + 1, 2, N + 1)


def reduced(rho):
    """Trace the charger out of (..., 2, N + 1, 2, N + 1)."""
    return rho[..., 0, :, 0, :] + rho[..., 1, :, 1, :]


def mean_excitations(battery):
    return np.einsum("...nn,n->...", battery, np.arange(battery.shape[-1])).real


def liouvillian(N, F, g, gamma, delta=0.0):
    """The dense generator acting on row-major vec(rho)."""
    H, L = hamiltonian(N, F, g, delta).full(), jump(N, gamma).full()
    one = np.eye(len(H))
    damping = L.conj().T @ L / 2
    return (
        -1j * (np.kron(H, one) - np.kron(one, H.T))
        + np.kron(L, L.conj())
        - np.kron(damping, one)
        - np.kron(one, damping.T)
    )


def ergotropy_2N(battery):
    """Ergotropy over all 2^N product states, by embedding the ladder into them."""
    N = battery.shape[0] - 1
    excitations = np.array([bin(i).count("1") for i in range(2**N)])
    columns = [(excitations == n) / math.sqrt(math.comb(N, n)) for n in range(N + 1)]
    vectors = np.stack(columns, axis=1)
    eta = np.linalg.eigvalsh(vectors @ battery @ vectors.T)[::-1]
    return np.diag(battery).real @ np.arange(N + 1) - eta @ np.sort(excitations)


def random_density(N, seed):
    rng = np.random.default_rng(seed)
    d = 2 * N + 2
    a = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    rho = a @ a.conj().T
    return (rho / np.trace(rho).real).reshape(2, N + 1, 2, N + 1)


def random_ket(N, seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=(2, N + 1)) + 1j * rng.normal(size=(2, N + 1))
    return psi / np.linalg.norm(psi)


def pad_state(state, levels):
    """Embed a ket (2, L) or a matrix (2, L, 2, L) into `levels` ladder levels."""
    widths = [(0, levels - size) if axis % 2 else (0, 0) for axis, size in enumerate(state.shape)]
    return np.pad(state, widths)


def _mp_couplings(N, F, g):
    F, g = mpmath.mpf(F), mpmath.mpf(g)
    return F, [g * mpmath.sqrt(mpmath.mpf(n * (N - n + 1)) / N) for n in range(1, N + 1)]


def mp_singular_vectors(N, F, g):
    """Singular values of K and both bases as mpmath matrices, from K^T K at mpmath's precision."""
    F, couplings = _mp_couplings(N, F, g)
    K = mpmath.zeros(N + 1)
    for n in range(N + 1):
        K[n, n] = F
        if n < N:
            K[n, n + 1] = couplings[n]
    squares, v = mpmath.eigsy(K.T * K)
    sigma = [mpmath.sqrt(s) for s in squares]
    u = K * v
    for k in range(N + 1):
        for n in range(N + 1):
            u[n, k] /= sigma[k]
    return sigma, u, v


def mp_largest_eigenvalue(N, F, g, digits=70):
    """eta_0 of the steady battery that the empty one charges to."""
    with mpmath.workdps(digits):
        _, u, v = mp_singular_vectors(N, F, g)
        weighted = mpmath.zeros(N + 1)
        for k in range(N + 1):
            w = v[0, k] ** 2 / 2
            for i in range(N + 1):
                for j in range(N + 1):
                    weighted[i, j] += w * (v[i, k] * v[j, k] + u[i, k] * u[j, k])
    with mpmath.workdps(30):
        return max(mpmath.eigsy(weighted, eigvals_only=True))


def mp_energy(N, F, g, gamma, ts, digits=60):
    """E_B(t)/omega_B from the empty battery at Delta_C = 0, by the damped oscillators of d."""
    with mpmath.workdps(digits):
        sigma, u, v = mp_singular_vectors(N, F, g)
        quarter, half = mpmath.mpf(gamma) / 4, mpmath.mpf(N) / 2
        energies = [half for _ in ts]
        # rho_gg = (s + d)/2 and rho_ee = (s - d)/2 in the singular bases, where s oscillates at
        # sigma_k - sigma_l and d at sigma_k + sigma_l, both from v_k(0) v_l(0).
        for k in range(N + 1):
            for j in range(k + 1):
                in_v = mpmath.fsum((n - half) * v[n, k] * v[n, j] for n in range(N + 1))
                in_u = mpmath.fsum((n - half) * u[n, k] * u[n, j] for n in range(N + 1))
                weight = v[0, k] * v[0, j] / (2 if k == j else 1)
                for i, t in enumerate(ts):
                    s = _mp_damped(sigma[k] - sigma[j], quarter, t)
                    d = _mp_damped(sigma[k] + sigma[j], quarter, t)
                    energies[i] += weight * ((s + d) * in_v + (s - d) * in_u)
        return np.array([float(e) for e in energies])


def _mp_damped(omega, quarter, t):
    nu = mpmath.sqrt(mpmath.mpc(quarter**2 - omega**2))
    decay = mpmath.exp(-quarter * t)
    if nu == 0:
        return decay * (1 + quarter * t)
    return (decay * (mpmath.cosh(nu * t) + quarter / nu * mpmath.sinh(nu * t))).real


def mp_log_smallest(N, F, g, digits=400):
    """ln sigma_min(K), by inverse iteration on K^T K with signed substitution at many digits."""
    with mpmath.workdps(digits):
        F, c = _mp_couplings(N, F, g)
        x = [mpmath.mpf((-1) ** n) for n in range(N + 1)]
        previous = mpmath.mpf(0)
        for _ in range(10_000):
            y = [x[0] / F]  # K^T y = x, downwards
            for n in range(1, N + 1):
                y.append((x[n] - c[n - 1] * y[-1]) / F)
            z = [y[N] / F]  # K z = y, upwards
            for n in range(N - 1, -1, -1):
                z.append((y[n] - c[n] * z[-1]) / F)
            z = z[::-1]
            # x is a unit vector: x.z = x (K^T K)^-1 x is the Rayleigh quotient.
            norm = mpmath.sqrt(mpmath.fsum(a * a for a in x))
            quotient = mpmath.fsum(a * b for a, b in zip(x, z, strict=True)) / norm**2
            scale = mpmath.sqrt(mpmath.fsum(b * b for b in z))
            x = [b / scale for b in z]
            if abs(quotient - previous) < mpmath.mpf(10) ** -24 * quotient:
                return float(-mpmath.log(quotient) / 2)
            previous = quotient
    raise AssertionError("the inverse iteration of the reference did not converge")


def assert_eager_is_jit_is_vmap(summary, models, *, rtol, atol):
    """Compare a batch of models, eager, jitted and mapped over, with each of its members alone."""
    each = [summary(jax.tree.map(lambda leaf, k=k: leaf[k], models)) for k in range(len(models.N))]
    eager = [np.stack(values) for values in zip(*each, strict=True)]
    results = [summary(models), *jax.jit(lambda m: (summary(m), jax.vmap(summary)(m)))(models)]
    for result in results:
        for ours, theirs in zip(result, eager, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def dense(generator, operator):
    """An operator of a generator of qbjax as a matrix, out of the gauge."""
    return generator.matrix(operator.gauged(-1))[0]


def effective_hamiltonian(generator):
    """H - (i/2) sum_k r_k L_k^dagger L_k of a generator of qbjax, shape (d_c L, d_c L)."""
    return 1j * dense(generator, generator.drift)


def superoperator(generator):
    """A generator of qbjax as a matrix on the row-major vec(rho)."""
    drift = dense(generator, generator.drift)
    one = jnp.eye(len(drift))
    matrix = jnp.kron(drift, one) + jnp.kron(one, drift.conj())
    for jump in generator.jumps:
        left, right = (dense(generator, side) for side in (jump.left, jump.right))
        matrix = matrix + jump.rate * jnp.kron(left, right.conj())
    return matrix
