"""Bytes of collectives: small programs on eight virtual devices against counts made by hand, and TPU text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxreason.plan.collectives import _groups, read_collectives
from jaxreason.sharding import AXES


@pytest.fixture
def mesh():
    devices = np.array(jax.devices()[:8]).reshape(2, 2, 2, 1)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * 4)


def moved(mesh, function, out, *specs_and_shapes):
    args = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec)))
        for spec, shape in specs_and_shapes
    ]
    sharding = NamedSharding(mesh, PartitionSpec(*out))
    text = jax.jit(function, out_shardings=sharding).lower(*args).compile().as_text()
    return read_collectives(text, dict(mesh.shape))


def test_gathering_an_array_brings_each_device_the_parts_it_does_not_have(mesh):
    found = moved(mesh, lambda x: x * 2, (), (("fsdp",), (64, 16)))
    assert found.by_axis == {"fsdp": 64 * 16 * 4 / 2}
    assert found.open_loops == 0


def test_a_sum_over_an_axis_counts_twice_the_share_of_the_others(mesh):
    found = moved(mesh, lambda x, y: x @ y, (), ((None, "tensor"), (8, 64)), (("tensor",), (64, 4)))
    assert found.by_axis == pytest.approx({"tensor": 2 * (8 * 4 * 4) / 2})
    assert set(found.by_kind) == {"all-reduce"}


def test_two_axes_together_are_named_together(mesh):
    found = moved(mesh, lambda x: x + 1, (), ((("data", "fsdp"),), (64, 16)))
    assert found.by_axis == {"data+fsdp": 64 * 16 * 4 * 3 / 4}


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_runs(mesh):
    whole = NamedSharding(mesh, PartitionSpec())

    def stacked(weights, x):
        def layer(x, weight):
            weight = jax.lax.with_sharding_constraint(weight, whole)
            return jnp.tanh(x @ weight), None

        return jax.lax.scan(layer, x, weights)[0]

    found = moved(
        mesh, stacked, ("data",), ((None, "fsdp"), (5, 64, 64)), (("data", None), (8, 64))
    )
    assert found.by_axis == {"fsdp": 5 * 64 * 64 * 4 / 2}


def test_a_loop_whose_length_depends_on_data_counts_once_and_is_reported(mesh):
    def until_small(x, y):
        return jax.lax.while_loop(lambda x: x[0, 0] > 1, lambda x: x @ y / 64, x)

    split = (None, ("data", "fsdp", "tensor"))
    found = moved(mesh, until_small, split, (split, (8, 64)), (split, (64, 64)))
    assert found.open_loops == 1
    # one body: the rows are gathered for the product, and one element for the condition
    assert found.by_axis["data+fsdp+tensor"] >= 8 * 64 * 4 * 7 / 8


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}, x", [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ("replica_groups=[2,4]<=[8], x", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=[4,2]<=[2,4]T(1,0), x", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        (
            "replica_groups=mesh['data'=2,'fsdp'=2,'tensor'=2,'context'=1] {'fsdp'}, x",
            [[0, 2], [1, 3], [4, 6], [5, 7]],
        ),
        ("replica_groups=mesh['a'=8] {'a':(2)2}, x", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        (
            "replica_groups=mesh['a'=2,'b'=1,'c'=4], device_ids=([2,2,2]T(1,0,2)) {'a'}, x",
            [[0, 2], [1, 3], [4, 6], [5, 7]],
        ),
        ("source_target_pairs={{0,1},{1,0}}, x", [[0, 1], [1, 0]]),
        ("replica_groups={}, x", [[0, 1, 2, 3, 4, 5, 6, 7]]),
    ],
)
def test_every_way_to_write_groups_is_read(text, groups):
    found = _groups(text, {"data": 2, "fsdp": 2, "tensor": 2, "context": 1})
    assert found.tolist() == groups


TPU_TEXT = """\
HloModule jit_step, is_scheduled=true

%cond (p: (u32[], bf16[4,8])) -> pred[] {
  %constant.1 = u32[]{:T(128)} constant(16)
  %p = (u32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %get-tuple-element.1 = u32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %compare.1 = pred[]{:T(512)} compare(%get-tuple-element.1, %constant.1), direction=LT
}

%body (p.1: (u32[], bf16[4,8])) -> (u32[], bf16[4,8]) {
  %p.1 = (u32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) parameter(0)
  %collective-permute-start.1 = (bf16[4,8]{1,0:T(8,128)(2,1)}, bf16[4,8]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}, \
u32[]{:S(2)}) collective-permute-start(%p.1), channel_id=4, source_target_pairs={{0,1},{1,0},{2,3},{3,2}}
  ROOT %t = (u32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) tuple(%p.1)
}

ENTRY %main (a: bf16[4,8]) -> bf16[4,8] {
  %a = bf16[4,8]{1,0:T(8,128)(2,1)} parameter(0)
  %while.1 = (u32[]{:T(128)}, bf16[4,8]{1,0:T(8,128)(2,1)}) while(%a), condition=%cond, body=%body
  %recv = (f32[1,8,128]{2,1,0:T(8,128)}, u32[]{:S(2)}, token[]) recv(%after-all), channel_id=1, \
is_host_transfer=true, frontend_attributes={_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %all-reduce.81 = (bf16[10]{0:T(1024)(128)(2,1)}, bf16[6]{0:T(1024)}) all-reduce(%a, %a), \
replica_groups=mesh['fsdp'=2,'tensor'=2] {'fsdp'}, to_apply=%add.8
}
"""


def test_the_text_of_a_tpu_program_is_read():
    found = read_collectives(TPU_TEXT, {"fsdp": 2, "tensor": 2})
    from_other_slices = 8 * 128 * 4
    assert found.by_axis == {"tensor": 16 * 4 * 8 * 2, "fsdp": 32, "data": from_other_slices}
    assert found.by_kind == {
        "collective-permute": 16 * 64,
        "all-reduce": 2 * (10 + 6) * 2 / 2,
        "all_reduce across slices": from_other_slices,
    }
