"""Slice names: what they mean, what they count, and what is said to one that does not exist."""

import math

import pytest

from jaxreason.config import ConfigError
from jaxreason.plan.slices import (
    ALIASES,
    GENERATIONS,
    GIB,
    SLICES,
    TOPOLOGIES,
    find_slice,
    generation_of,
    larger,
)


@pytest.mark.parametrize(
    ("name", "topology", "chips", "devices"),
    [
        ("v4-8", "2x2x1", 4, 4),
        ("v5p-64", "2x4x4", 32, 32),
        ("v5p-128", "4x4x4", 64, 64),
        ("v5e-256", "16x16", 256, 256),
        ("v6e-64", "8x8", 64, 64),
        ("tpu7x-8", "2x2x1", 4, 8),
        ("tpu7x-16", "2x2x2", 8, 16),
        ("h200-8", "", 8, 8),
    ],
)
def test_a_name_gives_topology_chips_and_devices(name, topology, chips, devices):
    found = find_slice(name)
    assert (found.topology, found.chips, found.devices) == (topology, chips, devices)


def test_v4_v5p_and_tpu7x_names_count_cores_and_v5e_and_v6e_names_count_chips():
    for name, found in SLICES.items():
        number = int(name.rsplit("-", 1)[1])
        assert number == found.chips * (2 if found.generation in ("v4", "v5p", "tpu7x") else 1)
        if found.topology:
            assert math.prod(map(int, found.topology.split("x"))) == found.chips


def test_several_slices_multiply_chips_and_keep_the_topology_of_one():
    found = find_slice("2xv5p-64")
    assert (found.num_slices, found.topology, found.chips, found.devices) == (2, "2x4x4", 64, 64)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("v5litepod-16", "v5e-16"), ("V6E-8", "v6e-8"), ("h100", "h100-1"), ("2xh200-8", "2xh200-8")],
)
def test_other_spellings_are_understood(alias, name):
    assert find_slice(alias).name == name


def test_every_alias_names_the_slices_of_its_generation():
    expected = {"v5litepod": "v5e-8", "v5lite": "v5e-8", "v7x": "tpu7x-8", "ironwood": "tpu7x-8"}
    assert {alias: find_slice(f"{alias}-8").name for alias in ALIASES} == expected


def test_every_topology_is_the_slice_of_its_number_of_chips():
    for generation, topologies in TOPOLOGIES.items():
        found = [one for one in SLICES.values() if one.generation == generation]
        assert {one.topology: one.chips for one in found} == {
            topology: math.prod(map(int, topology.split("x"))) for topology in topologies
        }
    assert set(GENERATIONS) == {*TOPOLOGIES, "h100", "h200"}


def test_an_unknown_size_lists_those_of_its_generation_nearest_first():
    with pytest.raises(ConfigError, match="no such slice") as caught:
        find_slice("v5p-96")
    assert "did you mean 'v5p-128'?" in str(caught.value)
    listed = str(caught.value).split("nearest first: ")[1].split(", ")
    assert listed[:3] == ["v5p-128", "v5p-64", "v5p-256"]
    assert {"v4-8", "v6e-64", "tpu7x-8", "h100-1"} <= {name.rstrip(";") for name in listed}


@pytest.mark.parametrize("name", ["v9-8", "", "v5p", "64", "v5p-64-2", "0xv5p-64"])
def test_what_is_no_slice_is_refused_with_those_that_exist(name):
    with pytest.raises(ConfigError, match="v5p-64"):
        find_slice(name)


def test_a_tpu7x_chips_numbers_are_shared_by_its_two_devices():
    # https://cloud.google.com/tpu/docs/tpu7x: 2,307 TFLOP/s, 192 GiB, 7,380 GB/s a chip
    kind = GENERATIONS["tpu7x"]
    assert kind.devices_per_chip * kind.flops == 2307e12
    assert kind.devices_per_chip * kind.hbm_speed == 7380e9
    assert 0.95 * 192 * GIB < kind.devices_per_chip * kind.hbm < 192 * GIB


def test_larger_slices_are_of_the_same_generation_smallest_first():
    names = [found.name for found in larger(find_slice("v6e-32"))]
    assert names == ["v6e-64", "v6e-128", "v6e-256"]


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("NVIDIA H200", "NVIDIA H200 SXM"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"),
        ("TPU v5 lite", "TPU v5e"),
        ("TPU v5", "TPU v5p"),
        ("TPU v6 lite", "TPU v6e"),
    ],
)
def test_a_device_is_found_by_the_name_that_jax_gives_it(kind, label):
    assert generation_of(kind).label == label


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA A100"])
def test_nothing_is_claimed_for_a_device_that_is_not_in_the_table(kind):
    assert generation_of(kind) is None
