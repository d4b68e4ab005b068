"""The interface of all synthesizers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated

from mmengine.dist import barrier, broadcast_object_list, get_dist_info
from torch import Tensor

from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope, pixel_statistics
from mmprune.images.store import MOST_IMAGES, ImageStore
from mmprune.options import Bounds, Checked, Count

#: Images of a set.
ImageCount = Annotated[int, Bounds(at_least=1, at_most=MOST_IMAGES)]


class Synthesizer(Checked, ABC):
    """Makes images for a network whose training data nobody has, and keeps them on disk."""

    def __init__(
        self, num_images: ImageCount, batch_size: Count, seed: int = 0, root: str | Path | None = None
    ) -> None:
        """Say how many images, and where they are kept.

        Args:
            num_images: How many images.
            batch_size: Images per batch.
            seed: Seeds the images, and nothing else.
            root: Folder that holds the stores, so that runs can share images; None: ``synthetic`` in the work dir.
        """
        self.num_images, self.batch_size, self.seed, self.root = num_images, batch_size, seed, root

    @abstractmethod
    def prepare(self, scope: Scope, work_dir: str | Path) -> ImageStore:
        """Make the images, or those that are missing, or find them all on disk.

        Called by every rank of a distributed run, all of which must see the same folder.

        Args:
            scope: The network and an example of its input; left exactly as it was.
            work_dir: The run's folder.

        Returns:
            The complete set, with batches on the device of the scope's example.
        """

    def _open(self, scope: Scope, work_dir: str | Path, content: str, about: dict) -> tuple[ImageStore, list[int]]:
        """The store for that content, and the numbers of the batches that this rank has to make."""
        rank, world = get_dist_info()
        root = Path(work_dir) / 'synthetic' if self.root is None else Path(self.root)
        holder = [None, None]
        if rank == 0:
            mean, std = pixel_statistics(scope.model) or (None, None)  # for pictures
            store = ImageStore.create(root, content, {**about, 'mean': mean, 'std': std})
            holder = [str(store.folder), store.missing()]
        broadcast_object_list(holder)  # only one rank looks at the folder: all must share the work alike
        folder, missing = holder
        return ImageStore(folder), missing[rank::world]

    def _finish(self, store: ImageStore, scope: Scope) -> ImageStore:
        """Wait for the other ranks; the store with batches on the example's device."""
        barrier()
        store.check()
        return store.to(scope.example.device)

    def _example(self, scope: Scope) -> Tensor:
        if not (isinstance(scope.example, Tensor) and scope.example.dim() == 4):
            shape = f' of shape {tuple(scope.example.shape)}' if isinstance(scope.example, Tensor) else ''
            raise ConfigError(
                f'{type(self).__name__}: makes images (N, C, H, W), but the example input of this '
                f'network is a {type(scope.example).__name__}{shape}'
            )
        return scope.example
