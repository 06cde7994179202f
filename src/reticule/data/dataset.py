"""Data: what a network is given, images with their preprocessing or arrays that need none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reticule.data.arrays import RESIZED, write_npz
from reticule.data.classes import check_names, missing, numbers_meant, renumbered
from reticule.data.faults import told
from reticule.data.fitting import PREFIX, check_image, image_shape, matched
from reticule.data.geometry import Sides
from reticule.data.preprocessing import WHITE, Colour, Preprocessing
from reticule.data.readers import read
from reticule.data.splitting import held_out
from reticule.data.store import Faults, Images, Store, View
from reticule.errors import DataError


class Data:
    """Images, decoded when first asked for, or arrays; with labels or without.

    ``source`` is one of

    * a path: a parquet file in the Hugging Face image layout (needs the extra ``data``),
      a folder with one sub-folder per class or with images alone, an ``.npz``, or one file of an
      idx pair;
    * ``(images, labels)``: arrays with pixels in 0..255 (floats are rounded), laid out
      (N, H, W), (N, H, W, C) or (N, C, H, W); labels may be None;
    * a mapping of names to arrays, as an ``.npz`` has them: ``images`` and ``labels``, or one
      array for each input of the network, the samples on its first axis;
    * a data set with ``len()`` and ``[i]``, such as a torch ``Dataset``, or an iterable, giving
      one sample after the other: an image, an array, a tuple of arrays, a mapping of names to
      arrays, each with a whole number as its label or without; float images beside a label are
      taken as pixel/255.

    A network's input is (pixel / scale - mean) / std, after ``resize`` and ``crop`` (see
    :class:`Preprocessing`); arrays that are no images are inputs as they are, in float32.
    Decoded images stay in memory when all of them take less than 2 GiB.  With ``skip_bad``,
    images that cannot be used are left out by :meth:`fitted` and :meth:`check`, and
    ``remarks`` says how many.  ``role`` (train, val, test) is named in errors.  Raises DataError,
    in one line that names the file, for whatever is wrong with a source.
    """

    def __init__(
        self,
        source: Any,
        *,
        scale: float = 255.0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        resize: Sides = None,
        crop: Sides = None,
        interpolation: str = "bilinear",
        background: Colour = WHITE,
        skip_bad: bool = False,
        role: str = "",
    ) -> None:
        self.preprocessing = Preprocessing(
            scale,
            mean,  # type: ignore[arg-type]
            std,  # type: ignore[arg-type]
            resize,
            crop,
            interpolation,
            background,
        )
        self.role = role
        self.skip_bad = skip_bad
        with self._named():
            self._store: Store = read(source, role)
            check_names(self._store.classes, self.name)
        count = len(next(iter(self._store.arrays.values()), ()))
        images = self._store.images
        self._index = np.arange(len(images) if images is not None else count)
        self._arrays = self._store.arrays
        self._labels = self._store.labels
        self.classes: tuple[str, ...] = self._store.classes
        self._remarks = self._store.remarks
        self._numbering = (*self._store.order, *self._missing(self._labels, self.classes))
        self._shape: tuple[int, int, int] | None = None  # that of the network, once fitted
        self._checked: View | None = None  # how all images are known to decode

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Data({self.name!r}, {len(self)} {'images' if self.holds_images else 'samples'})"

    @property
    def name(self) -> str:
        """Name of the file or folder, without its path."""
        return self._store.name

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self._labels is not None

    @property
    def holds_images(self) -> bool:
        """False for arrays that are prepared already, one for each input of the network."""
        return self._store.images is not None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know: plain sentences, each once."""
        return tuple(dict.fromkeys((*self._remarks, *self._numbering)))

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (n,); DataError where there are none."""
        if self._labels is None:
            with self._named():
                raise DataError(
                    f"{self.name}: has no labels; give a folder with one sub-folder for each "
                    "class, or an .npz with images and labels"
                )
        return self._labels[self._index]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) that images have when resized and cropped; C is 3 where some are coloured."""
        if self._shape is not None:
            return self._shape
        images = self._images
        with self._named():
            return (images.channels, *self._first()[1][1:])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs of one sample: that of the image, or those of the arrays."""
        if self.holds_images:
            return (self.shape,)
        return tuple(array.shape[1:] for array in self._arrays.values())

    def images(self, indices: Any) -> NDArray[np.uint8]:
        """Pixels of the images at the given positions, resized and cropped: uint8 (n, C, H, W).

        DataError for images that cannot be used: all of the data, not only those asked for.
        """
        images, chosen = self._images, self._index[self._positions(indices)]
        with self._named():
            view = self._view()
            try:
                return images.take(chosen, view)
            except DataError as problem:
                self._refuse(images.faults(self._index, view))
                raise problem

    def batch(self, indices: Any) -> NDArray[np.float32]:
        """Network input for the images at the given positions: float32 (n, C, H, W).

        For arrays, the only one; DataError where there are several.
        """
        inputs = self.inputs(indices)
        if len(inputs) != 1:
            raise DataError(f"{self.name}: has {len(inputs)} arrays, not images; ask for inputs")
        return inputs[0]

    def inputs(self, indices: Any) -> tuple[NDArray[np.float32], ...]:
        """One array (n, ...) for each input of the network, in its order once fitted."""
        if self.holds_images:
            return (self.preprocessing.apply(self.images(indices)),)
        chosen = self._index[self._positions(indices)]
        return tuple(array[chosen] for array in self._arrays.values())

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """All images in order as (float32 batch, labels); the last batch may be smaller."""
        labels = self.labels
        for chosen in self._parts(size):
            yield self.batch(chosen), labels[chosen]

    def input_batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], ...]]:
        """All samples in order, each batch as :meth:`inputs` gives it; labels are not needed."""
        for chosen in self._parts(size):
            yield self.inputs(chosen)

    def subset(self, indices: Any) -> Data:
        """The samples at the given positions, in the given order."""
        index = self._index[self._positions(indices)]
        if not len(index):
            raise DataError(f"{self.name}: a subset needs at least one image")
        return self._changed(_index=index)

    def split(self, fraction: float = 0.1, seed: int = 0) -> tuple[Data, Data]:
        """(rest, held out): a split that depends on the labels and the seed only.

        About ``fraction`` of every class is held out, and at least one image of a class is
        in each part when it has two or more; without labels, or where no class has two images,
        about ``fraction`` of all.  Both parts keep the order of the data.  DataError for a
        single image.
        """
        labels = self.labels if self.labelled else None
        with self._named():
            held = held_out(len(self), labels, fraction, seed, self.name)
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))

    def fitted(
        self,
        inputs: Mapping[str, Sequence[int]],
        classes: int | None = None,
        labels: Sequence[str] = (),
        *,
        anyway: bool = False,
    ) -> Data:
        """This data for a network with these inputs (shapes without the batch) and classes.

        Grey images are repeated for a network that takes three channels, and colour becomes grey
        for one that takes one.  ``labels`` are the names of the network's classes: where the
        data has names too, they decide its numbers.  DataError, with the true reason, for
        inputs that do not fit, classes that the network does not know, and labels that are too
        large; what is merely odd goes to ``remarks``.  With ``anyway``, class folders are taken to
        be the network's first classes if nothing says which ones they are.
        """
        with self._named():
            if self.holds_images:
                fitted = self._for_images(image_shape(inputs, self.name))
            else:
                arrays, remarks = matched(self._arrays, inputs, self.name)
                fitted = self._changed(_arrays=arrays, _remarks=(*self._remarks, *remarks))
            names = tuple(labels)
            if not names and self._store.ordered and not anyway and classes is not None:
                names = numbers_meant(self.classes, classes, self.name)
            fitted = fitted._numbered(names)
            fitted._check_labels(classes)
            return fitted.check() if self.skip_bad else fitted

    def check(self) -> Data:
        """This data, all images of it decoded once and kept where they fit into memory.

        Images that cannot be used raise one DataError that lists them, or are left out with
        ``skip_bad``.
        """
        images = self._store.images
        if images is None:
            return self
        with self._named():
            view = self._view()
            faults = {} if view == self._checked else images.faults(self._index, view)
            if not faults:
                return self._changed(_checked=view)
            good = ~np.isin(self._index, list(faults))
            if not self.skip_bad or not good.any():
                self._refuse(faults)
            remark = told(faults, len(self), self.name, skipped=True)
            remarks = (*self._remarks, remark)
            return self._changed(_index=self._index[good], _remarks=remarks, _checked=view)

    def with_preprocessing(self, preprocessing: Preprocessing) -> Data:
        """The same images, prepared in another way."""
        return self._changed(preprocessing=preprocessing)

    def digest(self) -> str:
        """SHA-256 of all that a network is given: content, order, preprocessing, labels."""
        digest = hashlib.sha256()
        labels = self.labels.tobytes() if self.labelled else b""
        digest.update(repr((len(self), self.labelled)).encode() + labels)
        images = self._store.images
        if images is not None:
            prepared = json.dumps(self.preprocessing.to_json(), sort_keys=True)
            digest.update(repr((prepared, self._shape)).encode())
            with self._named():
                images.feed(self._index, digest)
        for name, array in self._arrays.items():
            digest.update(repr((name, array.shape[1:])).encode())
            for index in self._index.tolist():
                digest.update(np.ascontiguousarray(array[index]).data)
        return digest.hexdigest()

    def save_npz(self, path: str | PathLike[str]) -> None:
        """Write pixels or arrays, labels and class names as an ``.npz`` that ``Data`` reads.

        Pixels are written resized and cropped, with a mark that they are.
        """
        everything = np.arange(len(self))
        members: dict[str, NDArray[Any]] = {}
        if self.labelled:
            members |= {"labels": self.labels, "classes": np.array(self.classes, str)}
        if self.holds_images:
            members["images"] = self.images(everything)
            if self.preprocessing.geometry.changes:
                members[RESIZED] = np.array(True)
        else:
            arrays = zip(self._arrays, self.inputs(everything), strict=True)
            members |= {PREFIX + name.removeprefix(PREFIX): array for name, array in arrays}
        write_npz(path, members)

    @property
    def _images(self) -> Images:
        if self._store.images is None:
            raise DataError(f"{self.name}: holds arrays, not images; ask for inputs")
        return self._store.images

    def _view(self) -> View:
        """How images are wanted: as the network takes them, else as the first one is."""
        prepare = self.preprocessing
        channels, *size = self.shape
        whose = "the first is" if self._shape is None else "the network takes"
        height, width = size
        return View(channels, (height, width), prepare.geometry, prepare.background, whose)

    def _first(self) -> tuple[int, tuple[int, int, int]]:
        """The first image that can be decoded: its index, and (C, H, W) resized and cropped."""
        images, prepare = self._images, self.preprocessing
        faults: Faults = {}
        for index in self._index.tolist():
            try:
                return index, images.shape(index, prepare.geometry, prepare.background)
            except DataError as problem:
                faults[index] = str(problem)
        raise DataError(told(faults, len(self), self.name))

    def _for_images(self, shape: tuple[int, int, int]) -> Data:
        if self.preprocessing.channels not in (1, shape[0]):
            raise DataError(
                f"preprocessing: mean and std are for {self.preprocessing.channels} channels, "
                f"the network takes {shape[0]}"
            )
        if not self.skip_bad:  # a first look; the rest is seen when it is needed, or by check
            index, first = self._first()
            where, geometry = self._images.where(index), self.preprocessing.geometry
            check_image(first, shape, where, geometry.changes)
        return self._changed(_shape=shape)

    def _numbered(self, names: tuple[str, ...]) -> Data:
        """With labels that number the classes of the network."""
        if self._labels is None or not names or not self.classes:
            return self
        labels = renumbered(self.labels, self.classes, names, self.name)
        all_labels = self._labels.copy()
        all_labels[self._index] = labels
        order = self._store.order if names == self._store.classes else ()
        numbering = (*order, *self._missing(labels, names))
        return self._changed(_labels=all_labels, classes=names, _numbering=numbering)

    def _missing(
        self, labels: NDArray[np.int64] | None, classes: tuple[str, ...]
    ) -> tuple[str, ...]:
        return () if labels is None or not classes else missing(labels, classes, self.name)

    def _check_labels(self, classes: int | None) -> None:
        if self._labels is None or classes is None or self.labels.max() < classes:
            return
        labels = self.labels
        odd = int(np.flatnonzero(labels >= classes)[0])
        images = self._store.images
        where = f"{self.name}: sample {odd}"
        if images is not None:
            where = images.where(int(self._index[odd]))
        raise DataError(
            f"{where} has label {labels[odd]}, but the network has {classes} classes: "
            "give the data it was trained for"
        )

    def _refuse(self, faults: Faults) -> None:
        if faults:
            raise DataError(told(faults, len(self), self.name))

    def _parts(self, size: int) -> Iterator[NDArray[np.int64]]:
        if size < 1:
            raise DataError(f"{self.name}: a batch of {size} images is too small, give 1 or more")
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    def _positions(self, indices: Any) -> NDArray[np.int64]:
        positions = np.asarray(indices)
        if not positions.size:
            return np.zeros(0, np.int64)
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise DataError(f"{self.name}: images are chosen by a list of integers")
        if positions.min() < 0 or positions.max() >= len(self):
            raise DataError(f"{self.name}: an index is outside of its {len(self)} images")
        return positions

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Puts the role of this data in front of its errors."""
        try:
            yield
        except DataError as problem:
            if not self.role or str(problem).startswith(f"{self.role}: "):
                raise
            raise DataError(f"{self.role}: {problem}") from problem.__cause__

    def _changed(self, **fields: Any) -> Data:
        other = object.__new__(Data)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(fields)
        return other
