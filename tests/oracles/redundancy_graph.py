"""Redundancy-graph decomposition written down literally: one DCT per map, one XOR per pair and image, networkx."""

import networkx as nx
import numpy as np
from scipy.fft import dct


def hash_bits(image: np.ndarray, size: int = 8, dc: bool = True) -> np.ndarray:
    """Bits of one map of shape (H, W)."""
    spectrum = dct(dct(image.astype(np.float64), axis=0), axis=1)[:size, :size].flatten()
    spectrum = spectrum if dc else spectrum[1:]
    return spectrum >= spectrum.mean()


def similarity(maps: np.ndarray, size: int = 8, dc: bool = True) -> np.ndarray:
    """Share of equal bits of all pairs of channels, from maps of shape (N, C, H, W)."""
    images, channels = maps.shape[:2]
    result = np.ones((channels, channels))
    for i in range(channels):
        for j in range(i + 1, channels):
            different = total = 0
            for image in range(images):
                a, b = hash_bits(maps[image, i], size, dc), hash_bits(maps[image, j], size, dc)
                different += np.count_nonzero(a ^ b)
                total += len(a)
            result[i, j] = result[j, i] = 1 - different / total
    return result


def graph_of(similarities: np.ndarray, threshold: float) -> nx.Graph:
    """The τ-graph."""
    channels = len(similarities)
    graph = nx.Graph()
    graph.add_nodes_from(range(channels))
    graph.add_edges_from(
        (i, j) for i in range(channels) for j in range(i + 1, channels) if similarities[i, j] >= threshold
    )
    return graph


def decompose(similarities: np.ndarray, threshold: float, l1: np.ndarray) -> list[int]:
    """Kept channels."""
    graph = graph_of(similarities, threshold)
    while graph.number_of_edges():
        core = nx.k_core(graph)
        for piece in list(nx.connected_components(core)):
            stays = max(sorted(piece), key=lambda channel: l1[channel])
            graph.remove_nodes_from(piece - {stays})
    return sorted(graph.nodes)
