"""Batches: what a training sees, in which order."""

from typing import Any

import numpy as np
import pytest

from malaria.training.batches import Batches, Share

ROWS = np.array([90, 3, 41, 8, 77, 12, 60, 55, 2, 31, 29])
# Images that hold their row in every pixel, and labels without a simple pattern.
ARRAY = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None, None], (100, 4, 4, 3))
LABELS = np.random.default_rng(3).integers(0, 2, 100)


def batches_of(batch_size: int = 4, rows: np.ndarray = ROWS, **given: Any) -> Batches:
    return Batches(ARRAY, rows, batch_size, **{"labels": LABELS} | given)


def epoch_of(batches: Batches, epoch: int) -> tuple[list[int], np.ndarray]:
    """Return the rows of an epoch in their order, and its labels."""
    batches.set_epoch(epoch)
    parts = [batches[index] for index in range(len(batches))]
    rows = [int(row) for part in parts for row in part[0][:, 0, 0, 0]]
    return rows, np.concatenate([part[1] for part in parts])


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_labels_stay_with_their_images(shuffle_seed: int | None) -> None:
    batches = batches_of(shuffle_seed=shuffle_seed)
    for epoch in range(3):
        rows, labels = epoch_of(batches, epoch)
        assert (labels == LABELS[rows][:, None]).all()
        assert labels.dtype == np.float32


def test_the_augmentation_gets_the_rows_of_its_images_and_the_epoch() -> None:
    seen = []

    def augment(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        assert (images[:, 0, 0, 0] == rows).all()
        seen.append(epoch)
        return images + 100

    batches = batches_of(shuffle_seed=5, augment=augment)
    for epoch in (0, 7):
        rows, labels = epoch_of(batches, epoch)
        assert (labels[:, 0] == LABELS[np.array(rows) - 100]).all()
    assert seen == [0, 0, 0, 7, 7, 7]


def test_every_row_comes_once_per_epoch_in_another_order_each_time() -> None:
    batches = batches_of(shuffle_seed=5)
    orders = [tuple(epoch_of(batches, epoch)[0]) for epoch in range(4)]
    assert len({*orders, tuple(ROWS)}) == 5
    assert all(sorted(order) == sorted(ROWS) for order in orders)


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    first = batches_of(shuffle_seed=5)
    expected = [epoch_of(first, epoch)[0] for epoch in range(3)]
    np.random.seed(1)
    again = batches_of(3, shuffle_seed=5)
    assert epoch_of(again, 2)[0] == expected[2]
    assert epoch_of(again, 0)[0] == expected[0]
    assert epoch_of(batches_of(shuffle_seed=6), 0)[0] != expected[0]


def test_without_a_seed_rows_come_as_given_in_every_epoch() -> None:
    batches = batches_of()
    assert [epoch_of(batches, epoch)[0] for epoch in range(2)] == [list(ROWS)] * 2


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 3]), (11, [11]), (64, [11]), (1, [1] * 11)])
def test_the_last_batch_may_be_smaller(size: int, sizes: list[int]) -> None:
    batches = batches_of(size, shuffle_seed=1)
    assert [len(batches[index][0]) for index in range(len(batches))] == sizes


def test_images_stay_uint8_and_features_float32() -> None:
    images, labels = batches_of()[0]
    assert images.dtype == np.uint8
    assert labels.shape == (4, 1)
    (features,) = Batches(ARRAY[:, 0].astype("float32"), ROWS, 4)[0]
    assert features.dtype == np.float32


@pytest.mark.parametrize(("devices", "processes"), [(2, 1), (2, 2), (4, 2), (6, 3)])
def test_processes_share_each_batch_equally(devices: int, processes: int) -> None:
    rows = np.random.default_rng(0).permutation(100)[:77]  # five left over
    whole, *parts = (
        batches_of(12, rows, shuffle_seed=5, share=share)
        for share in (Share(), *(Share(devices, processes, n) for n in range(processes)))
    )
    for batches in (whole, *parts):
        batches.set_epoch(2)
    assert len({len(part) for part in parts}) == 1
    for index in range(len(parts[0])):
        shares = [part[index] for part in parts]
        assert len({len(share[0]) for share in shares}) == 1
        images, labels = (np.concatenate(item) for item in zip(*shares, strict=True))
        count = len(whole[index][0]) // devices * devices
        assert (images == whole[index][0][:count]).all()
        assert (labels == whole[index][1][:count]).all()


def test_an_epoch_on_several_devices_skips_other_rows_each_time() -> None:
    batches = batches_of(shuffle_seed=5, share=Share(devices=4))
    assert len(batches) == 2  # eleven rows: no third batch of three
    skipped = [set(ROWS) - set(epoch_of(batches, epoch)[0]) for epoch in range(6)]
    assert all(len(rows) == 3 for rows in skipped)
    assert len(set.union(*skipped)) > 3


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_that_pad_a_batch_weigh_nothing(processes: int) -> None:
    parts = [batches_of(share=Share(4, processes, process)) for process in range(processes)]
    rows, weights = [], []
    for index in range(3):
        for part in parts:
            images, labels, weight = part[index]
            assert len(images) == len(labels) == len(weight) == 4 // processes
            rows += images[:, 0, 0, 0].tolist()
            weights += weight.tolist()
    assert [row for row, weight in zip(rows, weights, strict=True) if weight] == ROWS.tolist()
    assert set(weights) == {0, 1}
