"""Intervals that hold at every look: who peeks daily and stops when something shows is wrong no more often."""

import math


def half_width(variance: float, users: int, *, alpha: float, planned_users: int) -> float:
    """Half of the asymptotic confidence sequence around an estimate of variance `variance` from `users` users.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
    sequences" (Annals of Statistics 2024), theorem 2.2: with t users, s^2 the variance of one user's influence on the
    estimate (here t * `variance`) and any fixed rho > 0,

        s * sqrt( 2 (t rho^2 + 1) / (t^2 rho^2) * log( sqrt(t rho^2 + 1) / alpha ) )

    covers the truth at all t at once with probability 1 - alpha, as the t of the first look grows.
    """
    if users < 1 or not variance >= 0:
        raise ValueError(f"needs users and a variance (got {users}, {variance})")
    rho2 = _rho_squared(alpha, planned_users)
    grown = users * rho2 + 1
    scale = math.sqrt(2 * grown / (users * users * rho2) * math.log(math.sqrt(grown) / alpha))
    return math.sqrt(users * variance) * scale


def _rho_squared(alpha: float, planned_users: int) -> float:
    """The rho^2 that makes the sequence narrowest at `planned_users` (ibid., appendix B.2, its closed form)."""
    doubled = -2 * math.log(alpha)
    return (doubled + math.log(doubled) + 1) / planned_users
