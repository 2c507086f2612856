"""Batches: what a training sees, in which order."""

import numpy as np
import pytest

from malaria.batches import Batches, Share

# Batches of an array whose pixels tell their row.
ROWS = np.array([90, 3, 41, 8, 77, 12, 60, 55, 2, 31, 29])


def encoded(count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return images that hold their row in every pixel, and labels with no simple pattern."""
    array = np.empty((count, 4, 4, 3), dtype=np.uint8)
    array[:] = np.arange(count)[:, None, None, None]
    return array, np.random.default_rng(3).integers(0, 2, count)


def epoch_of(batches: Batches, epoch: int) -> tuple[list[int], list[np.ndarray]]:
    """Return the rows of an epoch in the order they come in, and its batches of labels."""
    batches.set_epoch(epoch)
    parts = [batches[index] for index in range(len(batches))]
    rows = [int(row) for part in parts for row in part[0][:, 0, 0, 0]]
    return rows, [part[1] for part in parts if len(part) > 1]


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_labels_stay_with_their_images(shuffle_seed: int | None) -> None:
    array, labels = encoded()
    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=shuffle_seed)
    for epoch in range(3):
        rows, parts = epoch_of(batches, epoch)
        assert (np.concatenate(parts)[:, 0] == labels[rows]).all()
        assert all(part.dtype == np.float32 and part.shape[1:] == (1,) for part in parts)


def test_the_augmentation_is_told_the_rows_of_its_images_and_the_epoch() -> None:
    array, labels = encoded()
    seen = []

    def augment(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        assert (images[:, 0, 0, 0] == rows).all()
        seen.append(epoch)
        return images + 100

    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5, augment=augment)
    for epoch in (0, 7):
        rows, parts = epoch_of(batches, epoch)
        assert (np.concatenate(parts)[:, 0] == labels[np.array(rows) - 100]).all()
    assert seen == [0, 0, 0, 7, 7, 7]


def test_every_row_comes_once_an_epoch_in_another_order_each_time() -> None:
    array, labels = encoded()
    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5)
    orders = [tuple(epoch_of(batches, epoch)[0]) for epoch in range(4)]
    assert len({*orders, tuple(ROWS)}) == 5
    assert all(sorted(order) == sorted(ROWS) for order in orders)


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    array, labels = encoded()
    first = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5)
    expected = [epoch_of(first, epoch)[0] for epoch in range(3)]
    np.random.seed(1)
    again = Batches(array, ROWS, 3, labels=labels, shuffle_seed=5)
    assert epoch_of(again, 2)[0] == expected[2]
    assert epoch_of(again, 0)[0] == expected[0]
    assert epoch_of(Batches(array, ROWS, 4, shuffle_seed=6), 0)[0] != expected[0]


def test_without_a_seed_rows_come_as_given_in_every_epoch() -> None:
    array, _ = encoded()
    batches = Batches(array, ROWS, 4)
    assert [epoch_of(batches, epoch)[0] for epoch in range(2)] == [list(ROWS)] * 2


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 3]), (11, [11]), (64, [11]), (1, [1] * 11)])
def test_the_last_batch_may_be_smaller(size: int, sizes: list[int]) -> None:
    array, _ = encoded()
    batches = Batches(array, ROWS, size, shuffle_seed=1)
    assert [len(batches[index][0]) for index in range(len(batches))] == sizes


def test_images_stay_uint8_and_features_float32() -> None:
    array, labels = encoded()
    batch = Batches(array, ROWS, 4, labels=labels)[0]
    assert batch[0].dtype == np.uint8
    assert len(batch) == 2
    features = Batches(array[:, 0].astype("float32"), ROWS, 4)[0]
    assert features[0].dtype == np.float32
    assert len(features) == 1


@pytest.mark.parametrize(("devices", "processes"), [(2, 1), (2, 2), (4, 2), (6, 3)])
def test_processes_share_each_batch_equally(devices: int, processes: int) -> None:
    array, labels = encoded()
    size = 12
    rows = np.random.default_rng(0).permutation(100)[:77]  # five left over
    whole = Batches(array, rows, size, labels=labels, shuffle_seed=5)
    whole.set_epoch(2)
    parts = [
        Batches(
            array,
            rows,
            size,
            labels=labels,
            shuffle_seed=5,
            share=Share(devices, processes, process),
        )
        for process in range(processes)
    ]
    for part in parts:
        part.set_epoch(2)
    assert len({len(part) for part in parts}) == 1
    for index in range(len(parts[0])):
        batches = [part[index] for part in parts]
        assert len({len(batch[0]) for batch in batches}) == 1
        images, labels_ = (np.concatenate(item) for item in zip(*batches, strict=True))
        count = len(whole[index][0]) // devices * devices
        assert (images == whole[index][0][:count]).all()
        assert (labels_ == whole[index][1][:count]).all()


def test_an_epoch_on_several_devices_leaves_out_other_rows_each_time() -> None:
    array, _ = encoded()
    batches = Batches(array, ROWS, 4, shuffle_seed=5, share=Share(devices=4))
    assert len(batches) == 2  # eleven rows: no third batch of three
    left_out = [set(ROWS) - set(epoch_of(batches, epoch)[0]) for epoch in range(6)]
    assert all(len(rows) == 3 for rows in left_out)
    assert len(set.union(*left_out)) > 3


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_that_fill_up_a_batch_weigh_nothing(processes: int) -> None:
    array, labels = encoded()
    parts = [
        Batches(array, ROWS, 4, labels=labels, share=Share(4, processes, process))
        for process in range(processes)
    ]
    rows, weights = [], []
    for index in range(3):
        for part in parts:
            images, y, weight = part[index]
            assert len(images) == len(y) == len(weight) == 4 // processes
            rows += images[:, 0, 0, 0].tolist()
            weights += weight.tolist()
    counted = [row for row, weight in zip(rows, weights, strict=True) if weight]
    assert counted == ROWS.tolist()
    assert set(weights) == {0, 1}
