"""Images for those who have none."""

from mmprune.images.base import Synthesizer
from mmprune.images.deep_inversion import DeepInversion
from mmprune.images.noise import GaussianNoise, Noise, PinkNoise
from mmprune.images.store import ImageStore

__all__ = ['DeepInversion', 'GaussianNoise', 'ImageStore', 'Noise', 'PinkNoise', 'Synthesizer']
