"""The account of pages: no page has two owners, shared ones stay until the last holder, and none is lost."""

import numpy as np
import pytest

from jaxreason.sampling.block_manager import BlockManager, prefix_keys


def test_keys_stand_for_all_tokens_up_to_a_pages_end():
    keys = prefix_keys(range(11), 4)
    assert len(keys) == 2
    assert prefix_keys(range(8), 4) == keys
    other = prefix_keys([9, 1, 2, 3, 4, 5, 6, 7], 4)
    assert other[0] != keys[0] and other[1] != keys[1]
    assert prefix_keys([], 4) == ()


def test_pages_are_given_once_and_page_zero_never():
    pool = BlockManager(6)
    first = pool.take(3)
    assert pool.take(3) is None
    second = pool.take(2)
    assert sorted(first + second) == [1, 2, 3, 4, 5]
    assert pool.available == 0 and pool.held == 5
    pool.release(first)
    assert pool.available == 3
    assert sorted(pool.take(3)) == sorted(first)


def test_a_shared_page_is_free_when_its_last_holder_has_let_go():
    pool = BlockManager(3)
    pages = pool.take(2)
    pool.share(pages[:1])
    pool.release(pages)
    assert pool.available == 1
    pool.release(pages[:1])
    assert pool.available == 2 and pool.held == 0


def test_known_pages_are_found_until_their_place_is_needed():
    pool = BlockManager(5)
    keys = prefix_keys(range(12), 4)
    pages = pool.take(3)
    for key, page in zip(keys, pages, strict=True):
        pool.know(key, page)
    pool.release(pages)
    assert pool.available == 4
    assert pool.find(keys) == pages
    assert pool.find(prefix_keys([0, 1, 2, 3, 9, 9, 9, 9], 4)) == pages[:1]
    pool.share(pages[:1])  # in use again: not given away
    assert pages[0] not in pool.take(3)
    assert pool.find(keys) == pages[:1]


def test_the_longest_unused_page_goes_first():
    pool = BlockManager(4)
    keys = [bytes([i]) for i in range(3)]
    for key in keys:
        (page,) = pool.take(1)
        pool.know(key, page)
        pool.release([page])
    pool.share(pool.find(keys[:1]))
    pool.release(pool.find(keys[:1]))
    pool.take(1)
    assert [len(pool.find([key])) for key in keys] == [1, 0, 1]


def test_suspect_pages_are_not_found_again_and_return_by_way_of_clearing():
    pool = BlockManager(4)
    pages = pool.take(2)
    pool.know(b"a", pages[0])
    pool.share(pages[:1])
    pool.release(pages, suspect=True)
    assert pool.find([b"a"]) == []
    assert pool.take_dirty() == pages[1:]
    pool.release(pages[:1])  # the last holder ended well; the page is still suspect
    assert pool.available == 2
    assert pool.take_dirty() == pages[:1]
    assert pool.available == 3 and pool.take_dirty() == []


@pytest.mark.parametrize("seed", range(3))
def test_nothing_leaks_in_ten_thousand_random_uses(seed):
    rng, pool, holders = np.random.default_rng(seed), BlockManager(40), []
    for number in range(10_000):
        action = rng.integers(3)
        if action == 0:
            keys = prefix_keys([int(rng.integers(4))] * 4 + [number] * 4, 4)
            found = pool.find(keys)
            pool.share(found)
            taken = pool.take(2 - len(found) + int(rng.integers(5)))
            if taken is None:
                pool.release(found)
                continue
            for key, page in zip(keys, found + taken, strict=False):
                pool.know(key, page)
            holders.append(found + taken)
        elif action == 1 and holders:
            pool.release(holders.pop(rng.integers(len(holders))), bool(rng.integers(8) == 0))
        else:
            pool.take_dirty()
        assert pool.held == len({page for pages in holders for page in pages})
    for pages in holders:
        pool.release(pages)
    pool.take_dirty()
    assert pool.held == 0 and pool.available == 39
