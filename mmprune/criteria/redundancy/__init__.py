"""Redundancy between filters: hashes of feature maps, their agreement, and what to keep of groups that agree."""

from mmprune.criteria.redundancy.closed_form import expect, white_noise_agreement
from mmprune.criteria.redundancy.decomposition import decompose, removal_levels
from mmprune.criteria.redundancy.hash import hash_basis, hash_signs, is_informative
from mmprune.criteria.redundancy.information import load_information, save_information
from mmprune.criteria.redundancy.search import search_threshold
from mmprune.criteria.redundancy.similarity import SimilarityStream, collect

__all__ = [
    'SimilarityStream',
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
