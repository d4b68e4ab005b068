"""Every place that gives images: all are an ImageSource, and those that make images are Synthesizers."""

from mmprune.images.deep_inversion import DeepInversion
from mmprune.images.given import as_source
from mmprune.images.noise import GaussianNoise, Noise, PinkNoise
from mmprune.images.source import ImageSource
from mmprune.images.store import ImageStore
from mmprune.images.synthesizer import Synthesizer

__all__ = [
    'DeepInversion',
    'GaussianNoise',
    'ImageSource',
    'ImageStore',
    'Noise',
    'PinkNoise',
    'Synthesizer',
    'as_source',
]
