"""How much is pruned when: at once, or in steps between epochs."""

from __future__ import annotations

from dataclasses import dataclass

from mmprune.errors import ConfigError

SHAPES = {
    'one-shot': lambda t: 1.0,
    'linear': lambda t: t,
    'cubic': lambda t: 1 - (1 - t) ** 3,  # Zhu & Gupta 2017: fast while there is redundancy, slow at the end
    'exponential': None,  # RD_PRUNE, LAMP: every step removes the same share of what is left; needs `amount`
}


@dataclass(frozen=True)
class Schedule:
    """Step ``i`` of ``steps`` comes before epoch ``begin + i·interval`` and has removed ``shape((i + 1) / steps)``.

    Attributes:
        type: The shape.
        steps: Number of steps.
        interval: Epochs between them.
        begin: Epoch of the first.
        amount: Only for 'exponential': share of what is left that each step removes, in (0, 1). The allocator's ratio
            should then be ``1 - (1 - amount) ** steps``.
        fresh_optimizer: Whether every step but the first starts with a new optimiser and learning-rate schedule.
    """

    type: str = 'one-shot'
    steps: int = 1
    interval: int = 1
    begin: int = 0
    amount: float | None = None
    fresh_optimizer: bool = False

    @classmethod
    def from_config(cls, cfg: dict | None) -> Schedule:
        """Read ``pruning.schedule``."""
        if cfg is not None and not isinstance(cfg, dict):
            raise ConfigError(f"pruning.schedule: a dict such as dict(type='cubic', steps=5), got {cfg!r}")
        try:
            schedule = cls(**(cfg or {}))
        except TypeError as error:
            raise ConfigError(
                'pruning.schedule: knows type, steps, interval, begin, amount and '
                f'fresh_optimizer; '
                f'{str(error).split("__init__() ")[-1]}'
            ) from error
        if not isinstance(schedule.type, str) or schedule.type not in SHAPES:
            raise ConfigError(f'pruning.schedule.type: one of {", ".join(SHAPES)}, got {schedule.type!r}')
        for key, least in (('steps', 1), ('interval', 1), ('begin', 0)):
            value = getattr(schedule, key)
            if type(value) is not int or value < least:
                raise ConfigError(f'pruning.schedule.{key}: a whole number of at least {least}, got {value!r}')
        amount = schedule.amount
        if (schedule.type == 'exponential') != (isinstance(amount, float) and 0 < amount < 1):
            raise ConfigError(
                f"pruning.schedule.amount: a share in (0, 1) for type='exponential', and only for it, got {amount!r}"
            )
        if schedule.type == 'one-shot' and schedule.steps != 1:
            raise ConfigError(f"pruning.schedule.steps: 'one-shot' has one step, got {schedule.steps}")
        return schedule

    def fraction(self, step: int) -> float:
        """Share of the full removal that is reached with this step, in (0, 1]."""
        if self.type == 'exponential':
            return (1 - (1 - self.amount) ** (step + 1)) / (1 - (1 - self.amount) ** self.steps)
        return SHAPES[self.type]((step + 1) / self.steps)

    def step_at(self, epoch: int) -> int | None:
        """The step that is due before this epoch, or None."""
        step, rest = divmod(epoch - self.begin, self.interval)
        return step if rest == 0 and 0 <= step < self.steps else None
