"""Images for those who have none."""

from mmprune.synthesis.base import Synthesizer
from mmprune.synthesis.deep_inversion import DeepInversion
from mmprune.synthesis.noise import GaussianNoise, Noise, PinkNoise
from mmprune.synthesis.store import ImageStore

__all__ = ['DeepInversion', 'GaussianNoise', 'ImageStore', 'Noise', 'PinkNoise', 'Synthesizer']
