"""Moments of activations from batch norms, and the algebra of repairs on them; pure functions in float64."""

from mmprune.images.noise import noise_like
from mmprune.moments.batch_statistics import batch_statistics
from mmprune.moments.border import tap_coverage
from mmprune.moments.chain import (
    READER_RHO,
    Moments,
    UnknownMomentsError,
    blend,
    branch_moments,
    chain_key,
    reader_taps,
)
from mmprune.moments.check import MomentCheck, check_moments
from mmprune.moments.correlation import fit_rho, tap_correlation
from mmprune.moments.drift import DriftCorrection, correct_drift, norm_statistics, watch_norms
from mmprune.moments.elimination import eliminate, elimination_scores
from mmprune.moments.hermite import HermiteTerms, activation_moments, hermite_coefficients
from mmprune.moments.masked import correct_norm, masked_statistics
from mmprune.moments.measure import RunningMoments, measure_moments, measure_sizes
from mmprune.moments.repair import mixed_weight, output_mean, output_variance, reconstruction
from mmprune.moments.retention import retention_costs

__all__ = [
    'READER_RHO',
    'DriftCorrection',
    'HermiteTerms',
    'MomentCheck',
    'RunningMoments',
    'Moments',
    'UnknownMomentsError',
    'activation_moments',
    'batch_statistics',
    'blend',
    'branch_moments',
    'chain_key',
    'check_moments',
    'correct_drift',
    'correct_norm',
    'eliminate',
    'elimination_scores',
    'fit_rho',
    'hermite_coefficients',
    'masked_statistics',
    'measure_moments',
    'measure_sizes',
    'mixed_weight',
    'noise_like',
    'norm_statistics',
    'output_mean',
    'output_variance',
    'reader_taps',
    'reconstruction',
    'retention_costs',
    'tap_correlation',
    'tap_coverage',
    'watch_norms',
]
