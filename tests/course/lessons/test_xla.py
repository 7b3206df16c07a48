"""Lesson 08's claims fail when the library is broken in the way that they speak of."""

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.course.lessons import xla, xla_figures
from nnunet_lib.model import InstanceNormalization, network
from nnunet_lib.model.network import FEW_CASES

FEATURES = xla.random((1, 4, 4, 4, 3), 0)
MANY = xla.random((FEW_CASES + 1, 4, 4, 4, 3), 0)
IMPORT = "from nnunet_lib.course.lessons import xla; "
HLO = """HloModule m

%fused (p: f32[2,3]) -> f32[2,3] {
  ROOT %add.1 = f32[2,3]{1,0} add(f32[2,3]{1,0} %p, f32[2,3]{1,0} %p)
}

ENTRY %m (a: f32[2,3]) -> (f32[2,3], pred[4]) {
  %a = f32[2,3]{1,0} parameter(0), parameter_replication={false}, metadata={op_name="XLA_Args"}
  %constant.6 = f32[] constant(0)
  %reduce.1 = bf16[3]{0} reduce(f32[2,3]{1,0} %a, f32[] %constant.6), to_apply=%sum
  %call = (f32[2,3]{1,0}, pred[4]{0}) custom-call(f32[2,3]{1,0} %a), custom_call_target="f"
  ROOT %fusion = f32[2,3]{1,0} fusion(f32[2,3]{1,0} %a), kind=kLoop, calls=%fused
}
"""


@pytest.fixture(scope="module")
def model():
    return xla.small_network()


@pytest.fixture(scope="module")
def patches():
    return xla.patches_of(xla.SMALL_PLAN, 3)


def test_only_what_computes_in_the_entry_counts():
    assert xla.entry_instructions(HLO) == ["reduce", "custom-call", "fusion"]
    text = xla.readable(HLO)
    assert text.startswith("ENTRY")
    assert "metadata" not in text
    assert "{1,0}" not in text


def test_bytes_are_those_of_results_and_operands():
    lines = HLO.splitlines()
    (reduce,) = (line for line in lines if "%reduce.1 =" in line)
    (call,) = (line for line in lines if "%call =" in line)
    assert xla._bytes_in(reduce) == 3 * 2 + 6 * 4 + 4
    assert xla._bytes_in(call) == 6 * 4 + 4 + 6 * 4


def test_a_chain_is_one_fusion_and_right():
    names = ["Sub", "RealDiv", "Minimum", "Maximum", "Mul", "AddV2", "LeakyRelu"]
    assert xla.graph_operations(xla.chain, FEATURES) == names
    assert xla.instructions(xla.compiled(xla.chain), FEATURES) == ["fusion"]
    values = np.random.default_rng(0).normal(2, 9, (20, 30))
    assert xla.chain_error(values) < 1e-6


def test_a_chain_that_is_not_compiled_launches_every_operation():
    assert len(xla.instructions(tf.function(xla.chain), FEATURES)) == 7


def test_what_needs_all_values_at_once_breaks_the_chain():
    found = xla.instructions(xla.compiled(xla.sorted_chain), FEATURES)
    assert "sort" in found
    assert len(found) >= 3


def test_a_chain_that_clips_elsewhere_is_noticed(monkeypatch):
    real = xla.chain
    monkeypatch.setattr(xla, "chain", lambda values: tf.minimum(real(values), 4.0))
    assert xla.chain_error(np.random.default_rng(0).normal(2, 9, (20, 30))) > 1e-6


def block_kernels():
    block = xla.norm_and_activation(3)
    return len(xla.instructions(xla.compiled(block), MANY))


def test_the_library_s_norm_and_activation_are_five_kernels():
    assert block_kernels() <= 5
    assert len(xla.graph_operations(xla.norm_and_activation(3), MANY)) == 11


def test_a_norm_that_cannot_be_fused_is_noticed(monkeypatch):
    real = InstanceNormalization.call
    monkeypatch.setattr(
        InstanceNormalization, "call", lambda self, inputs: tf.sort(real(self, tf.sort(inputs)))
    )
    assert block_kernels() > 5


def test_fusion_saves_the_chain_s_memory_traffic_and_not_the_convolution_s():
    assert xla.traffic_saved(xla.chain, FEATURES) > 6.5
    assert xla.traffic_saved(xla.sorted_chain, FEATURES) < 6.5
    assert xla.traffic_saved(xla.convolution(3), FEATURES) < 1.05


def share_of_kernels(model, patches):
    plain, with_xla = xla.forward_kernels(model, np.repeat(patches, 4, axis=0))
    return with_xla / plain


@pytest.mark.slow
def test_the_library_s_network_launches_fewer_kernels_and_answers_alike(model, patches):
    assert share_of_kernels(model, patches) < 0.6
    assert xla.prediction_difference(model, patches, batch_size=2) < 1e-4
    assert xla.gradient_difference(model, patches) < 1e-4


def test_a_network_that_is_not_compiled_is_noticed(monkeypatch, model, patches):
    real = tf.function
    monkeypatch.setattr(tf, "function", lambda f, jit_compile=False, **rest: real(f, **rest))
    assert share_of_kernels(model, patches) > 0.9


def test_batches_filled_up_at_the_wrong_end_are_noticed(monkeypatch, model, patches):
    def in_front(size, inner):
        def filled(given):
            missing = np.zeros((size - len(given), *given.shape[1:]), given.dtype)
            return inner(np.concatenate([missing, given]))[: len(given)]

        return filled

    monkeypatch.setattr(network, "_filled_up_to", in_front)
    assert xla.prediction_difference(model, patches, batch_size=2) > 1e-4


def test_a_compiled_pass_in_lower_precision_is_noticed(monkeypatch, model, patches):
    real = xla.training_forward

    def rounding(model, xla=False):
        forward = real(model)
        if not xla:
            return forward
        return lambda values: forward(tf.cast(tf.cast(values, tf.bfloat16), tf.float32))

    monkeypatch.setattr(xla, "training_forward", rounding)
    assert xla.gradient_difference(model, patches) > 1e-4


def test_the_network_is_traced_for_each_number_and_each_python_number():
    assert xla.network_traces((1, 2, 3, 2)) == 3
    assert xla.factor_traces((1.0, 2.0, 3.0)) == 3
    assert xla.factor_traces([tf.constant(value) for value in (1.0, 2.0, 3.0)]) == 1


def test_a_network_with_an_open_signature_is_traced_once(monkeypatch):
    monkeypatch.setattr(network, "FEW_CASES", 0)
    monkeypatch.setattr(network, "is_cpu", lambda: False)
    assert xla.network_traces((1, 2, 3, 2)) == 1


def test_traces_do_not_show_what_is_compiled_anew():
    assert xla.predict_as_they_come((2, 1)) == 1


UNFIXED = """
import tensorflow as tf
from nnunet_lib.model import network
function = tf.function
network._filled_up_to = lambda size, inner: inner
tf.function = lambda *given, input_signature=None, **rest: function(*given, **rest)
"""
NOT_COMPILED = """
import tensorflow as tf
function = tf.function
tf.function = lambda *given, jit_compile=False, **rest: function(*given, **rest)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "work", "expected"),
    [
        ("", "predict_as_they_come", 2),
        ("", "predict_filled_up", 1),
        (UNFIXED, "predict_filled_up", 2),
        (NOT_COMPILED, "predict_filled_up", 0),
    ],
    ids=["as they come", "filled up", "without the fixed batch", "not compiled"],
)
def test_modules_are_counted_from_outside(fault, work, expected):
    assert xla.modules(f"{fault}\n{IMPORT}xla.{work}((2, 1, 2))") == expected


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no such thing"):
        xla.modules("raise SystemExit('no such thing')")


def test_a_comparison_times_both_and_counts_both():
    found = xla.compare(xla.Work("a chain", xla.chain, FEATURES), calls=1)
    assert (found.name, found.operations, found.instructions) == ("a chain", 7, 1)
    assert found.speed > 0
    assert found.compilation > 0


def test_the_figure_has_a_row_a_kind_of_work_and_bars_from_one():
    helps = xla.Comparison("chain", 7, 1, speed=4.0, compilation=5.0)
    hurts = xla.Comparison("convolution", 2, 2, speed=0.1, compilation=9.0)
    left, right = xla_figures.comparison_figure([helps, hurts]).axes
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["chain", "convolution"]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in right.patches)
    np.testing.assert_allclose(edges, [(1, 0.1), (1, 4)])
