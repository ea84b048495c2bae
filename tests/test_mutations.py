"""Mistakes that we put into the exact parts of our Python, and the test that must fail for each.

The kind of fault: a test that passes whatever the code does. The mutations are those that one makes: one too many, the
other way of rounding, an edge that belongs to the other side, a term that is left out.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DECISION = "tests/contract/test_decision.py::test_integer_threshold_is_its_definition"
CLASSES = "tests/contract/test_decision.py::test_probability_and_class"
CHOICE = "tests/contract/test_decision.py::test_the_class_is_its_definition_in_fractions"
FIGURES = "tests/qnn/test_classes.py::test_weighted_figures_equal_sklearn_on_repeated_images"
ODDS = "tests/qnn/test_classes.py::test_order_is_kept_where_probabilities_are_all_1"
SCALING = "tests/qnn/test_classes.py::test_calibration_finds_the_scale_and_the_biases_that_were_taken_off"
NAMED = "tests/datasets/test_classes.py::test_file_names_divide_the_release_in_the_order_of_the_list"
FRACTIONS = "tests/contract/test_preprocess.py::TestAreaAverage::test_equals_the_definition_in_fractions"
ROUNDED = "tests/contract/test_preprocess.py::TestAreaAverage::test_whole_blocks_are_means_rounded_half_up"
THRESHOLDS = "tests/export/test_integer_network.py::test_thresholds_are_batch_norm_rounded_and_clipped_everywhere"
TIES = "tests/export/test_integer_network.py::test_ties_round_to_even_everywhere"
CANONICAL = "tests/export/test_integer_network.py::test_canonical_keeps_the_function_and_the_original"
NARROW = "tests/contract/test_requantization.py::test_thresholds_count_the_answer_of_every_sum"
WIDE = "tests/contract/test_requantization.py::test_the_definition_and_its_thresholds_are_those_of_unlimited_integers"
WRAPS = "tests/contract/test_requantization.py::test_nothing_wraps_at_the_ends_of_what_is_legal"
EXACT = "tests/export/test_requantization.py::test_layers_of_several_levels_get_integers_and_others_stay"
SHARED = "tests/export/test_requantization.py::test_channels_that_have_the_same_thresholds_get_the_same_integers"
NO_FACTORS = "tests/contract/test_network.py::test_what_is_no_requantization_is_refused"
ANY = "tests/contract/test_network.py::test_any_network_is_its_definition_on_the_cpu_and_back_from_a_file"
FLOATS = "tests/driver/test_reference_fast.py::test_products_around_2_to_the_53"
CHEAPER = "tests/finn_build/test_folding.py::test_no_folding_is_cheaper"
STREAM = "tests/finn_build/test_folding.py::test_it_never_folds_beyond_the_stream"
# module, what is there once, what it becomes, the test that must fail
MUTATIONS: list[tuple[str, str, str, str]] = [
    ("contract.decision", "offset <= operating_point:", "offset < operating_point:", DECISION),
    ("contract.decision", "        threshold += 1\n", "        break\n", DECISION),
    ("contract.decision", "        threshold -= 1\n", "        break\n", DECISION),
    ("contract.decision", "(logits > threshold)", "(logits >= threshold)", CLASSES),
    ("contract.decision", "1 / (1 + np.exp(-np", "1 / (1 + np.exp(np", CLASSES),
    ("contract.decision", "others[:, one.label] = np.iinfo", "others[:, 0] = np.iinfo", CHOICE),
    ("contract.decision", "levels[:, one.label] > others", "levels[:, one.label] >= others", CHOICE),
    ("contract.decision", "return outputs * multipliers + offsets", "return outputs * multipliers", CHOICE),
    ("qnn.class_metrics", "(others - said + right) / others", "(others - said) / others", FIGURES),
    ("qnn.class_metrics", "labels * classes + answers", "answers * classes + labels", FIGURES),
    ("qnn.class_metrics", "(size * said).sum", "(size * size).sum", FIGURES),
    ("contract.decision", "rest = np.delete(values, k, axis=1)", "rest = values", ODDS),
    ("qnn.calibration", "found[1:] - found[1:].mean()", "-found[1:]", SCALING),
    ("datasets.classes", "in enumerate(names)}", "in enumerate(sorted(names))}", NAMED),
    ("contract.preprocess", "(2 * sums + area)", "(2 * sums)", ROUNDED),
    ("contract.preprocess", "(2 * sums + area)", "(2 * sums + area - 1)", ROUNDED),
    ("contract.preprocess", "sums[i] -= pixels[first]", "sums[i] -= pixels[first - 1]", FRACTIONS),
    ("contract.preprocess", ".astype(np.int64) * inside", ".astype(np.int64) * before", FRACTIONS),
    ("contract.preprocess", "        if inside:", "        if False:", FRACTIONS),
    ("export.integer_network", ">= levels\n", "> levels\n", THRESHOLDS),
    ("export.integer_network", "middle + 1, low)", "middle + 2, low)", THRESHOLDS),
    ("export.integer_network", "np.round(y / act_scale(bits))", "np.floor(y / act_scale(bits) + 0.5)", TIES),
    ("export.integer_network", "np.sqrt(var + norm.eps)", "np.sqrt(var)", THRESHOLDS),
    ("export.integer_network", "(least, greatest + 1)", "(least, greatest)", THRESHOLDS),
    ("export.integer_network", "            norm.running_mean[flip] *= -1\n", "", CANONICAL),
    ("contract.requantization", "self.addend) >> self.shift, 0", "self.addend) // 2**self.shift, 1", WIDE),
    ("contract.requantization", "(1 + np.maximum(abs", "(1 + np.minimum(abs", WIDE),
    ("contract.requantization", "-(-needed // np", "(needed // np", NARROW),
    ("contract.requantization", "np.where(needed <= 0,", "np.where(needed < 0,", NARROW),
    ("contract.requantization", "self.factor[:, None] > 0,", "self.factor[:, None] > 1,", NARROW),
    ("contract.requantization", "1, dtype=np.int64)", "1, dtype=np.int32)", WIDE),
    ("contract.requantization", "LARGEST_PRODUCT = 1 << 60", "LARGEST_PRODUCT = 1 << 63", WRAPS),
    ("contract.requantization", "(self.factor < 0) | ", "", NO_FACTORS),
    ("contract.requantization", "(self.addend < -LARGEST_ADDEND) | ", "", NO_FACTORS),
    ("contract.network", "layers[-1].output_shape, layers[-1].reach(*ends)", "layers[-1].output_shape, ends", ANY),
    ("driver.reference", "largest.max() < 2**53", "largest.max() < 2**63", FLOATS),
    ("driver.reference", "np.floor(y, out=np.empty(", "np.rint(y, out=np.empty(", ANY),
    ("export.requantization", " - 1 - self.missed", " - self.missed", EXACT),
    ("export.requantization", "_of_all_channels(layer, low, high) or", "", SHARED),
    ("finn_build.folding", "each <= cycles)", "each < cycles)", CHEAPER),
    ("finn_build.folding", "if budget.holds(cheapest.used):", "if True:", CHEAPER),
    ("finn_build.folding", "b <= bram18 and d <= dsp", "b <= bram18 or d <= dsp", CHEAPER),
    ("finn_build.folding", "None and cycles < problem.stream_cycles:", "None and cycles < 1:", STREAM),
]


def codes(mutations: list[tuple[str, str, str, str]]) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutations"], cwd=ROOT, input=json.dumps(mutations), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_each_mistake_is_found_by_its_test() -> None:
    """With the exit code 1: a test failed, and did not merely not run."""
    found = dict(zip(MUTATIONS, codes(MUTATIONS), strict=True))
    assert {mutation: code for mutation, code in found.items() if code != 1} == {}
