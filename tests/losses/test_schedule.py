import pytest

from vqkit.errors import ConfigError
from vqkit.losses import AdversarialSchedule


def test_jump_without_ramp():
    schedule = AdversarialSchedule(start_step=5)
    assert [schedule.weight(step) for step in (0, 4, 5, 6)] == [0.0, 0.0, 1.0, 1.0]
    assert [schedule.trains_discriminator(step) for step in (4, 5)] == [False, True]


def test_default_is_the_full_weight_from_the_first_step():
    assert AdversarialSchedule().weight(0) == 1.0
    assert AdversarialSchedule().trains_discriminator(0)


def test_ramp_is_a_line():
    schedule = AdversarialSchedule(start_step=10, ramp_steps=4)
    weights = [schedule.weight(step) for step in range(9, 17)]
    assert weights == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_discriminator_may_start_earlier():
    schedule = AdversarialSchedule(start_step=10, discriminator_start_step=7)
    assert [schedule.trains_discriminator(step) for step in (6, 7, 10)] == [False, True, True]
    assert schedule.weight(9) == 0.0


@pytest.mark.parametrize(
    "setting",
    [{"start_step": -1}, {"ramp_steps": -1}, {"discriminator_start_step": -1}],
)
def test_refuses_negative_steps(setting):
    with pytest.raises(ConfigError, match="steps >= 0"):
        AdversarialSchedule(**setting)


def test_refuses_a_discriminator_that_comes_too_late():
    with pytest.raises(ConfigError, match="11 > 10"):
        AdversarialSchedule(start_step=10, discriminator_start_step=11)


def test_the_discriminator_trains_at_a_share_of_the_steps():
    schedule = AdversarialSchedule(
        start_step=100, discriminator_start_step=50, update_probability=2 / 3
    )
    trains = [schedule.trains_discriminator(step) for step in range(3050)]
    assert not any(trains[:50])
    # Within three standard deviations of 3,000 draws.
    assert abs(sum(trains[50:]) / 3000 - 2 / 3) < 3 * (2 / 9 / 3000) ** 0.5
    assert trains == [schedule.trains_discriminator(step) for step in range(3050)]
    other = AdversarialSchedule(50, update_probability=2 / 3, seed=1)
    assert trains != [other.trains_discriminator(step) for step in range(3050)]
    # Runs in progress rest on these draws.
    assert [step for step in range(50, 60) if trains[step]] == [50, 52, 53, 54, 55, 56, 57, 58]


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.1])
def test_refuses_probabilities(probability):
    with pytest.raises(ConfigError, match="0 < update_probability <= 1"):
        AdversarialSchedule(update_probability=probability)
