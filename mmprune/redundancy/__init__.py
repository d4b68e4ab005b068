"""Redundancy between filters: hashes of feature maps, their agreement, and what to keep of groups that agree."""

from mmprune.redundancy.closed_form import expect, white_noise_agreement
from mmprune.redundancy.decomposition import decompose, removal_levels
from mmprune.redundancy.hash import hash_basis, hash_signs, is_informative
from mmprune.redundancy.information import load_information, save_information
from mmprune.redundancy.search import search_threshold
from mmprune.redundancy.similarity import SimilarityStream, batch_statistics, collect

__all__ = [
    'SimilarityStream',
    'batch_statistics',
    'collect',
    'decompose',
    'expect',
    'hash_basis',
    'hash_signs',
    'is_informative',
    'load_information',
    'removal_levels',
    'save_information',
    'search_threshold',
    'white_noise_agreement',
]
