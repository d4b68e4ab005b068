"""Images for those who have none."""

from mmprune.synthesis.noise import GaussianNoise, Noise, PinkNoise

__all__ = ['GaussianNoise', 'Noise', 'PinkNoise']
