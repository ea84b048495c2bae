"""Mistakes that we put into our modules, and who finds each: the proofs, the cocotb bench, or both."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rtl import test_axis_image_last, test_lut_mvu, test_reductions, test_requantizer
from tests.rtl.proofs import copy_with, prove
from tests.rtl.verilator_env import RTL, Program


@dataclass(frozen=True)
class Mistake:
    """`old` is a piece of the module and `new` what it becomes, where MISTAKEN is 1 if the mistake is on."""

    name: str
    old: str
    new: str
    task: str  # of the .sby file: the parameters with which a search from reset on finds it in a few cycles
    breaks: str  # the property of the module's contract that fails
    bench: bool = True  # whether the bench finds it as well


MISTAKES: dict[str, tuple[Mistake, ...]] = {
    "axis_image_last": (
        Mistake(
            "the newest flag instead of the oldest",
            "if (fill_q == FILL_BITS'(i + 1)) oldest",
            "if (MISTAKEN ? i == 0 : fill_q == FILL_BITS'(i + 1)) oldest",
            "results",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake("no limit", "!(in_end && full)", "(MISTAKEN || !(in_end && full))", "one_beat", "a_in_waits"),
        Mistake(
            "TLAST on every beat of a result",
            "out_end && oldest;",
            "(out_end || MISTAKEN) && oldest;",
            "results",
            "a_last_only_at_the_end",
        ),
        Mistake(
            "TLAST one beat early",
            "OUT_BEATS - 1)",
            "OUT_BEATS - (MISTAKEN ? 2 : 1))",
            "results",
            "a_last_only_at_the_end",
        ),
        Mistake(
            "reset keeps the beat counter",
            "            in_beat_q  <=",
            "            if (!MISTAKEN) in_beat_q <=",
            "results",
            "a_out_waits",
        ),
        Mistake(
            "a TLAST in mid-image is queued",
            "if (push) flags",
            "if (push || (MISTAKEN && in_beat && s_axis_tlast)) flags",
            "results",
            "a_the_tracked_image_keeps_its_last",
        ),
        Mistake(
            "a result leaves before its image",
            "s_axis_core_tvalid && !empty",
            "s_axis_core_tvalid && (MISTAKEN || !empty)",
            "results",
            "a_no_result_before_its_image",
            bench=False,
        ),
        Mistake(
            "data moves in reset",
            "s_axis_tready      = m_axis_core_tready && pass",
            "s_axis_tready = m_axis_core_tready && (pass || (MISTAKEN && rst))",
            "results",
            "a_reset",
        ),
    ),
    "count_ones": tuple(
        Mistake(name, old, new, "count", "a_ones")
        for name, old, new in (
            ("it goes on while it should wait", "if (en_i) ones_q", "if (en_i || MISTAKEN) ones_q"),
            ("two of three carry nothing", "{(three[0] & three[1]) |", "{(three[0] & three[1] & !MISTAKEN) |"),
            ("three of three are none", "^three}", "(MISTAKEN ? ^three & !(&three) : ^three)}"),
            ("a carry is lost", "low[0] & high[0]}", "low[0] & high[0] & !MISTAKEN}"),
            ("half a sum", "low[0] ^ high[0]}", "low[0] ^ (high[0] & !MISTAKEN)}"),
            ("carries count once", "{1'b0, high_q, 1'b0}", "(MISTAKEN ? {2'b0, high_q} : {1'b0, high_q, 1'b0})"),
            (
                "carries are one cycle older",
                "{high_q, low_q} <= {of_six(",
                "{high_q, low_q} <= {MISTAKEN ? low_q : of_six(",
            ),
        )
    ),
    "vector_replay": (
        Mistake(
            "a full buffer takes a beat",
            "fill_q != FILL_BITS'(DEPTH)",
            "(MISTAKEN || fill_q != FILL_BITS'(DEPTH))",
            "one_beat",
            "a_comes_where_there_is_room",
        ),
        Mistake(
            "a pass is freed too early",
            "fetch && last_pass;",
            "fetch && (MISTAKEN || last_pass);",
            "one_beat",
            "a_comes_where_there_is_room",
        ),
        Mistake(
            "the last pass is left out",
            "PASS_BITS'(PASSES - 1)",
            "PASS_BITS'(PASSES - (MISTAKEN && PASSES > 1 ? 2 : 1))",
            "replay",
            "a_place",
        ),
        Mistake(
            "a pass begins with the second beat",
            "read_q - PTR_BITS'(BEATS - 1)",
            "read_q - PTR_BITS'(BEATS - (MISTAKEN ? 2 : 1))",
            "replay",
            "a_every_beat_is_as_it_came",
        ),
        Mistake(
            "reset keeps the beat counter",
            "ahead_q, beat_q, pass_q, word_q} <= '0;",
            "ahead_q, pass_q, word_q} <= '0;\n            if (!MISTAKEN) beat_q <= '0;",
            "one_beat",
            "a_place",
        ),
        Mistake(
            "a bubble before every pass",
            "    assign m_axis_tvalid = ahead_q != '0;",
            """\
    logic paused_q;
    always_ff @(posedge clk) paused_q <= beat_q == '0 && !paused_q && !rst;
    assign m_axis_tvalid = ahead_q != '0 && !(MISTAKEN && beat_q == '0 && !paused_q);""",
            "replay",
            "a_leaves_as_soon_as_it_is_there",
        ),
    ),
    "adder_tree": (
        Mistake(
            "sums lose their sign",
            "value <= {NEGATIVE && a[WIDTH-2], a} +",
            "value <= {!MISTAKEN && NEGATIVE && a[WIDTH-2], a} +",
            "signed",
            "a_sum",
        ),
        Mistake(
            "sums move on while they should wait",
            "always_ff @(posedge clk) if (en_i)\n",
            "always_ff @(posedge clk) if (en_i || MISTAKEN)\n",
            "unsigned",
            "a_sum",
        ),
    ),
    "lut_products": (
        Mistake(
            "the highest bit of a weight is not worth less than nothing",
            "{PAIR_BITS{PLANE == BITS - 1}}",
            "{PAIR_BITS{!MISTAKEN && PLANE == BITS - 1}}",
            "w2a2",
            "a_every_sum",
        ),
        Mistake(
            "all bits of a weight are worth the same",
            "BITS - 1}}) << PLANE",
            "BITS - 1}}) << (MISTAKEN ? 0 : PLANE)",
            "w2a2",
            "a_every_sum",
        ),
        Mistake(
            "the first of a pair for the second",
            "!of_b}} & a | {PAIR_BITS{!of_a && of_b}} & b",
            "!of_b}} & a | {PAIR_BITS{!of_a && of_b}} & (MISTAKEN ? a : b)",
            "w2a2",
            "a_every_sum",
        ),
        Mistake(
            "what repeats the sign is added as well",
            "PLANE < BITS ?",
            "PLANE < BITS || MISTAKEN ?",
            "w4a2_needed",
            "a_every_sum",
        ),
        Mistake("weights lose their sign", "weight = {w[n][", "weight = {!MISTAKEN && w[n][", "w2a1", "a_every_sum"),
        Mistake(
            "signed activations are taken as unsigned",
            "ACT_BITS'(INVERT)",
            "ACT_BITS'(INVERT && !MISTAKEN)",
            "w1a3_single",
            "a_every_sum",
        ),
        Mistake(
            "a pair of different weights is taken as equal",
            "wire other = BOTH",
            "wire other = !MISTAKEN && BOTH",
            "w1a2",
            "a_every_sum",
        ),
        Mistake(
            "weights are a beat early",
            "assign word = word_late_q;",
            "assign word = MISTAKEN ? word_i : word_late_q;",
            "w1a2",
            "a_every_sum",
        ),
        Mistake("reset keeps the pipeline", "if (rst) valid_q", "if (rst && !MISTAKEN) valid_q", "w1a2", "a_valid"),
        Mistake(
            "a mark is a beat late",
            "assign mark_o  = mark_q[STAGES-1];",
            "logic [MARK_BITS-1:0] late_q;\n    always_ff @(posedge clk) if (en_i) late_q <= mark_q[STAGES-1];\n"
            "    assign mark_o = MISTAKEN ? late_q : mark_q[STAGES-1];",
            "w3a2_single",
            "a_mark",
        ),
    ),
    "requantizer": (
        Mistake(
            "a result is overwritten while the sink stalls",
            "assign en = m_axis_tready ||",
            "assign en = MISTAKEN || m_axis_tready ||",
            "whole",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "valid is dropped while the sink stalls",
            "(m_valid_q && !m_axis_tready);",
            "(m_valid_q && !m_axis_tready && !MISTAKEN);",
            "whole",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "reset keeps a beat",
            "if (rst) {busy_q,",
            "if (rst && !MISTAKEN) {busy_q,",
            "digits",
            "a_no_result_too_many",
        ),
        *(
            Mistake(name, old, new, task, "a_every_result_is_the_definition")
            for name, old, new, task in (
                (
                    "a beat is taken while its factor has digits left",
                    "en && (!busy_q || last_step);",
                    "en && (MISTAKEN || !busy_q || last_step);",
                    "digits",
                ),
                ("every digit adds", "first[STAGES] ? addend", "first[STAGES] || MISTAKEN ? addend", "digits"),
                ("digits are worth the same", ": r_q >>> DIGIT", ": r_q >>> (MISTAKEN ? 0 : DIGIT)", "digits"),
                ("a sum below 0 is not 0", "whole[R_BITS-1] ?", "whole[R_BITS-1] && !MISTAKEN ?", "whole"),
                ("no greatest answer", "over ? OUT", "over && !MISTAKEN ? OUT", "odd"),
                (
                    "unsigned sums have a sign",
                    "ACC_SIGNED != 0 && acc_q[",
                    "(MISTAKEN || ACC_SIGNED != 0) && acc_q[",
                    "unsigned",
                ),
                (
                    "reset keeps the place in the factors",
                    "if (rst) {word_q, row_q} <= '0;",
                    "if (rst && MISTAKEN) row_q <= '0;\n        else if (rst) {word_q, row_q} <= '0;",
                    "whole",
                ),
                ("three times is twice", "(coming <<< 1)", "(MISTAKEN ? coming : coming <<< 1)", "whole"),
                ("sums of neighbours at one place", "(low >>> PLACE)", "(MISTAKEN ? low : low >>> PLACE)", "whole"),
                (
                    "the highest bit of a factor is a sign",
                    "{1'b0, digit[17*i",
                    "{MISTAKEN && digit[DIGIT-1], digit[17*i",
                    "dsp",
                ),
                (
                    "parts of a factor are worth the same",
                    "(P_BITS'($signed(part_q[i])) << (17 * i))",
                    "(P_BITS'($signed(part_q[i])) << (MISTAKEN ? 0 : 17 * i))",
                    "parts",
                ),
                ("bits below the point are lost", "<<< KEPT) + base", "<<< (MISTAKEN ? 0 : KEPT)) + base", "bits"),
            )
        ),
    ),
    "row_thresholds": (
        Mistake(
            "a result is overwritten while the sink stalls",
            "assign ready_o = m_axis_tready ||",
            "assign ready_o = MISTAKEN || m_axis_tready ||",
            "sums",
            "a_stops_only_for_a_result",
        ),
        Mistake(
            "a sum goes on from the one before",
            "(first_i ?",
            "(first_i && !MISTAKEN ?",
            "sums",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "every row starts as the first",
            "starts[pass_i]",
            "starts[MISTAKEN ? '0 : pass_i]",
            "sums",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "the sign is not inverted",
            "BITS'(SIGN)",
            "BITS'(SIGN != 0 && !MISTAKEN)",
            "signs",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "valid is dropped while the sink stalls",
            "else if (m_axis_tready) m_valid",
            "else if (m_axis_tready || MISTAKEN) m_valid",
            "sums",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "the result register ignores the stall",
            "if (ready_o && result) m_data_q",
            "if ((ready_o || MISTAKEN) && result) m_data_q",
            "sums",
            "u_rules_m.gen_assert.a_held",
        ),
    ),
    "lut_mvu": (
        Mistake(
            "sums begin with the last beat",
            "fetch_last, fetch_first})",
            "fetch_last, MISTAKEN ? fetch_last : fetch_first})",
            "w1a1",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "every result is of the first pass",
            ".pass_i(sums_pass)",
            ".pass_i(MISTAKEN ? '0 : sums_pass)",
            "w2a1",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "a beat is fetched while a result stalls",
            ".m_axis_tready(en)",
            ".m_axis_tready(en || MISTAKEN)",
            "w2a1",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "reset misses the products",
            ") u_products (\n        .clk(clk), .rst(rst)",
            ") u_products (\n        .clk(clk), .rst(rst && !MISTAKEN)",
            "w1a1_one",
            "a_no_result_too_many",
        ),
    ),
    "max_pool": (
        Mistake(
            "the first number of a window is compared with the last window's",
            "first || as_new",
            "(first && !MISTAKEN) || as_new",
            "unsigned",
            "a_every_result_is_the_largest",
        ),
        Mistake(
            "half of a comparison is unsigned",
            "x ^ (BITS'(INVERT)",
            "x ^ (BITS'(INVERT && !MISTAKEN)",
            "signed",
            "a_every_result_is_the_largest",
        ),
        Mistake(
            "the last number is left out",
            "m_data_q[p] <= best;",
            "m_data_q[p] <= MISTAKEN ? best_q[p] : best;",
            "unsigned",
            "a_every_result_is_the_largest",
        ),
        Mistake(
            "it takes a beat that has nowhere to go",
            "!m_axis_tready); // low",
            "!m_axis_tready && !MISTAKEN); // low",
            "one",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "it waits where it need not",
            "!rst && !(last &&",
            "!rst && !((last || MISTAKEN) &&",
            "unsigned",
            "a_waits_only_for_a_result",
            False,
        ),
        Mistake(
            "reset keeps the beat counter",
            "{beat_q, m_valid_q} <= '0;",
            "{beat_q, m_valid_q} <= {MISTAKEN ? beat_q : '0, 1'b0};",
            "unsigned",
            "a_a_result_for_every_window",
        ),
    ),
    "global_sum": (
        Mistake(
            "a sum goes on from the image before",
            "{SUM_BITS{!first}}",
            "{SUM_BITS{!first || MISTAKEN}}",
            "one",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "the sign of a number is lost",
            "SIGNED != 0 && x[BITS-1]}}, x}",
            "SIGNED != 0 && x[BITS-1] && !MISTAKEN}}, x}",
            "signed",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "-1 counts as 0",
            "{{SUM_BITS{!x}}} | SUM_BITS'(1)",
            "MISTAKEN ? SUM_BITS'(x) : {{SUM_BITS{!x}}} | SUM_BITS'(1)",
            "bipolar",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "all groups of channels add up in one",
            "sums[fold_q] <= now;",
            "sums[MISTAKEN ? '0 : fold_q] <= now;",
            "signed",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "it takes a beat that has nowhere to go",
            "!m_axis_tready); // low",
            "!m_axis_tready && !MISTAKEN); // low",
            "one",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "reset keeps the place",
            "{fold_q, place_q, m_valid_q} <= '0;",
            "{fold_q, place_q, m_valid_q} <= {FOLD_BITS'(0), MISTAKEN ? place_q : '0, 1'b0};",
            "bipolar",
            "a_a_result_for_every_channel",
        ),
    ),
    "depthwise": (
        Mistake(
            "every channel has the weights of the first",
            "word_q == WORD_BITS'(WORDS - 1)",
            "word_q == WORD_BITS'((MISTAKEN ? TAPS : WORDS) - 1)",
            "w1a2_sign",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "every result starts as those of the first channels",
            "mark = {fold_q,",
            "mark = {fold_q & {FOLD_BITS{!MISTAKEN}},",
            "w1a2_sign",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "a beat that was not taken counts",
            ".valid_i(take)",
            ".valid_i(take || MISTAKEN)",
            "w2a1_one",
            "a_no_result_too_many",
        ),
        Mistake(
            "lanes see each other's activations",
            "act_q     <= s_axis_tdata[p*ACT_BITS",
            "act_q     <= s_axis_tdata[(MISTAKEN ? 0 : p)*ACT_BITS",
            "dsp_once",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "weights lose their sign",
            "x * $signed(weight_q)",
            "x * $signed({!MISTAKEN && weight_q[WEIGHT_BITS-1], weight_q})",
            "dsp_once",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "products move on while a result stalls",
            "always_ff @(posedge clk) if (en) begin",
            "always_ff @(posedge clk) if (en || MISTAKEN) begin",
            "dsp",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "it takes a beat that has nowhere to go",
            "!rst && en;",
            "!rst && (en || MISTAKEN);",
            "w2a1_one",
            "a_every_result_is_the_sum",
        ),
        Mistake(
            "it takes a beat every other cycle",
            "    assign s_axis_tready =",
            "    logic was_q;\n    always_ff @(posedge clk) was_q <= take;\n"
            "    assign s_axis_tready = !(MISTAKEN && was_q) &&",
            "w2a1_one",
            "a_waits_only_for_a_result",
        ),
        Mistake(
            "reset keeps the place in the window",
            "{tap_q, fold_q, word_q} <= '0;",
            "{tap_q, fold_q, word_q} <= {MISTAKEN ? tap_q : '0, FOLD_BITS'(0), WORD_BITS'(0)};",
            "w1a2_sign",
            "a_every_result_is_the_sum",
        ),
    ),
    "pixel_window": (
        Mistake(
            "rows do not move up",
            "lines[word_q] <= arrived[ROWS-1:1];",
            "lines[word_q] <= MISTAKEN ? arrived[ROWS-2:0] : arrived[ROWS-1:1];",
            "halves",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "columns wait in one place",
            "if (push) write_q <=",
            "if (push && !MISTAKEN) write_q <=",
            "whole",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "it takes a beat that has nowhere to go",
            "fill_q == FILL_BITS'(DEPTH)); // low",
            "fill_q == FILL_BITS'(DEPTH) && !MISTAKEN); // low",
            "whole",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "it waits where it need not",
            "!rst && !(kept &&",
            "!rst && !((kept || MISTAKEN) &&",
            "halves",
            "a_waits_only_for_windows",
            False,
        ),
        Mistake(
            "the register moves while a window waits",
            "(!m_valid_q || m_axis_tready) &&",
            "(!m_valid_q || m_axis_tready || MISTAKEN) &&",
            "whole",
            "u_rules_m.gen_assert.a_held",
        ),
        Mistake(
            "a row begins with half a window",
            "wait_q <= last ? WAIT_BITS'(FIRST)",
            "wait_q <= last ? WAIT_BITS'(MISTAKEN ? 0 : FIRST)",
            "one_row",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "a new word does not come into the middle",
            "load ? waited",
            "load && !MISTAKEN ? waited",
            "halves",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "the first rows of the next image count as those of this one",
            "last_row ? ROW_BITS'(ROWS - 1)",
            "last_row && !MISTAKEN ? ROW_BITS'(ROWS - 1)",
            "whole",
            "a_no_window_before_its_last",
        ),
        Mistake(
            "columns behind the last window stay",
            "skip_q == '0 && 32'(word_q) < USED;",
            "skip_q == '0 && (MISTAKEN || 32'(word_q) < USED);",
            "over",
            "a_every_pixel_at_its_place",
        ),
        Mistake(
            "reset keeps the place in the image",
            "{word_q, row_q} <= '0;",
            "{word_q, row_q} <= {MISTAKEN ? word_q : '0, ROW_BITS'(0)};",
            "whole",
            "a_every_pixel_at_its_place",
        ),
    ),
}
REDUCTIONS = ("max_pool", "global_sum", "depthwise", "pixel_window")  # what their bench has
ENOUGH_CONSTANTS = ("small", "no shift", "point inside a factor", "unsigned", "three multipliers")
ENOUGH_LAYERS = ("W1A1 in groups of 18", "W1A2 signed, signs", "W4A1", "W4A2 signs", "W4A3 signed, narrow")
CASES = [(module, mistake) for module, mistakes in MISTAKES.items() for mistake in mistakes]
names = pytest.mark.parametrize(
    ("module", "mistake"), CASES, ids=[f"{module}-{mistake.name}" for module, mistake in CASES]
)


def text_with(module: str, on: Mistake) -> str:
    text = (RTL / f"{module}.sv").read_text(encoding="utf-8")
    assert text.count(on.old) == 1, on.old
    return text.replace(on.old, on.new.replace("MISTAKEN", "1'b1"))


@names
def test_a_proof_finds(module: str, mistake: Mistake, tmp_path: Path) -> None:
    """By the property that forbids it, alone, with a run from reset on, not merely by failing to prove."""
    formal = copy_with(RTL / f"{module}.sv", text_with(module, mistake), tmp_path / "copy")
    status, log = prove(module, mistake.task, tmp_path / "sby", formal=formal, depth=14, only=mistake.breaks)
    broken = {re.sub(r"gen_fv_lane\[\d+\]\.", "", name) for name in re.findall(r"Assert failed in \S+: (\S+)", log)}
    assert status == "FAIL" and mistake.breaks in broken, log


def text_with_switch(module: str) -> str:
    """Return the module with every mistake in it; +MODULE=NUMBER turns one on, so that one compilation serves all."""
    text = (RTL / f"{module}.sv").read_text(encoding="utf-8")
    for number, mistake in enumerate(MISTAKES[module], start=1):
        assert text.count(mistake.old) == 1, mistake.old
        text = text.replace(mistake.old, mistake.new.replace("MISTAKEN", f"(mistake == {number})"))
    ports, body = text.split("\n);\n", 1)
    switch = f'    int mistake;\n    initial if (!$value$plusargs("{module}=%d", mistake)) mistake = 0;\n'
    return f"{ports}\n);\n{switch}{body}"


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Program]:
    folder = tmp_path_factory.mktemp("mistaken")
    for module in MISTAKES:
        (folder / f"{module}.sv").write_text(text_with_switch(module), encoding="utf-8")
    last = test_axis_image_last.PARAMETERS[2]
    mvu = test_lut_mvu.compiled(folder / "lut_mvu.sv", ENOUGH_LAYERS, folder / "mvu")  # with the modules inside it
    image_last = test_axis_image_last.compiled(folder / "axis_image_last.sv", last, folder / "image_last")
    requantizer = test_requantizer.compiled(folder / "requantizer.sv", ENOUGH_CONSTANTS, folder / "requantize")
    reductions = test_reductions.compiled(folder / "reduce", test_reductions.LAYERS, folder)
    others = {"axis_image_last": image_last, "requantizer": requantizer}
    return {module: mvu for module in MISTAKES} | others | dict.fromkeys(REDUCTIONS, reductions)


@pytest.mark.slow
@names
def test_the_bench_finds(module: str, mistake: Mistake, mistaken: dict[str, Program]) -> None:
    failed = mistaken[module].failures(f"+{module}={MISTAKES[module].index(mistake) + 1}")
    assert bool(failed) == mistake.bench


@pytest.mark.slow
@pytest.mark.parametrize("module", ["axis_image_last", "lut_mvu", "requantizer"])
def test_without_a_mistake_the_bench_passes(module: str, mistaken: dict[str, Program]) -> None:
    assert mistaken[module].failures() == 0
