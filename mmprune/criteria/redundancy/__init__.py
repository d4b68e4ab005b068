"""Redundancy between filters: hashes of feature maps, their agreement, and what to keep of groups that agree."""

from mmprune.criteria.redundancy.closed_form import expect, white_noise_agreement
from mmprune.criteria.redundancy.decomposition import decompose, removal_levels
from mmprune.criteria.redundancy.hash import hash_basis, hash_signs, is_informative
from mmprune.criteria.redundancy.information import check_information, load_information, save_information
from mmprune.criteria.redundancy.search import search_threshold
from mmprune.criteria.redundancy.similarity import HashAgreement, collect
from mmprune.criteria.redundancy.voting import voting_members

__all__ = [
    'HashAgreement',
    'check_information',
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
    'voting_members',
    'white_noise_agreement',
]
