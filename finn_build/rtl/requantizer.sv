// finn_build/rtl/requantizer.sv
// SPDX-License-Identifier: Apache-2.0
// Quantized activation by a multiplication, an addition and a shift: what thresholds would count, from far less memory.
//   y = clip((acc * factor[c] + addend[c]) >> SHIFT, 0, LEVELS), all in integers, >> rounds down.
//   A beat carries the accumulators of PE channels; pass f has the channels f * PE... A factor is taken DIGIT bits at a
//   time, the lowest first, so that a beat takes FACTOR_BITS / DIGIT cycles: what is below the binary point by then is
//   shifted out on the way. With DSP the products are on multipliers, else in LUTs.
//   FACTOR_FILE has one word per pass and digit, the digits of a pass in a row; ADDEND_FILE one per pass; lane 0 in the
//   low bits. Python reference: contract.requantization. Everything moves, or nothing: s_axis_tready follows
//   m_axis_tready combinationally, and is low only while a result has nowhere to go or a factor has digits left.
`default_nettype none
module requantizer #(
    parameter int unsigned CHANNELS    = 4,  // a multiple of PE
    parameter int unsigned PE          = 2,  // channels at a time
    parameter int unsigned ACC_BITS    = 8,  // of an accumulator [bit]
    parameter int unsigned ACC_SIGNED  = 1,  // whether it is signed
    parameter int unsigned FACTOR_BITS = 4,  // of an unsigned factor [bit], a multiple of DIGIT
    parameter int unsigned DIGIT       = 4,  // bits of a factor at a time
    parameter int unsigned DSP         = 0,  // 1: multiply on DSPs
    parameter int unsigned ADDEND_BITS = 8,  // of a signed addend [bit]
    parameter int unsigned SHIFT       = 4,
    parameter int unsigned OUT_BITS    = 2,  // of an unsigned y [bit]
    parameter int unsigned LEVELS      = 3,  // the largest y
    parameter              FACTOR_FILE = "./factors.dat", // both are read by $readmemh
    parameter              ADDEND_FILE = "./addends.dat",
    // verilator lint_off UNUSEDPARAM
    parameter              RAM_STYLE   = "auto", // of both memories: auto, block or distributed; for synthesis only
    // verilator lint_on UNUSEDPARAM
    localparam int unsigned S_BITS = (PE * ACC_BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned M_BITS = (PE * OUT_BITS + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst, // synchronous, active high
    input  wire logic [S_BITS-1:0] s_axis_tdata,
    input  wire logic              s_axis_tvalid,
    output wire logic              s_axis_tready,
    output wire logic [M_BITS-1:0] m_axis_tdata,
    output wire logic              m_axis_tvalid,
    input  wire logic              m_axis_tready
);
    if (CHANNELS < 1 || CHANNELS > 2**14) begin : gen_check_channels
        $fatal(1, "requantizer: CHANNELS=%0d is outside 1..2**14", CHANNELS);
    end
    if (PE < 1 || PE > CHANNELS || CHANNELS % (PE > 0 ? PE : 1) != 0) begin : gen_check_pe
        $fatal(1, "requantizer: PE=%0d must divide CHANNELS=%0d", PE, CHANNELS);
    end
    if (ACC_BITS < 1 || ACC_BITS > 48) begin : gen_check_acc_bits
        $fatal(1, "requantizer: ACC_BITS=%0d is outside 1..48", ACC_BITS);
    end
    if (ACC_SIGNED > 1) begin : gen_check_acc_signed
        $fatal(1, "requantizer: ACC_SIGNED=%0d is neither 0 nor 1", ACC_SIGNED);
    end
    if (FACTOR_BITS < 1 || FACTOR_BITS > 64) begin : gen_check_factor_bits
        $fatal(1, "requantizer: FACTOR_BITS=%0d is outside 1..64", FACTOR_BITS);
    end
    if (DIGIT < 1 || DIGIT > FACTOR_BITS || FACTOR_BITS % (DIGIT > 0 ? DIGIT : 1) != 0) begin : gen_check_digit
        $fatal(1, "requantizer: DIGIT=%0d must divide FACTOR_BITS=%0d", DIGIT, FACTOR_BITS);
    end
    if (DSP > 1) begin : gen_check_dsp
        $fatal(1, "requantizer: DSP=%0d is neither 0 nor 1", DSP);
    end
    if (ADDEND_BITS < 1 || ADDEND_BITS > 64) begin : gen_check_addend_bits
        $fatal(1, "requantizer: ADDEND_BITS=%0d is outside 1..64", ADDEND_BITS);
    end
    if (SHIFT > 63) begin : gen_check_shift
        $fatal(1, "requantizer: SHIFT=%0d is outside 0..63", SHIFT);
    end
    if (OUT_BITS < 1 || OUT_BITS > 16) begin : gen_check_out_bits
        $fatal(1, "requantizer: OUT_BITS=%0d is outside 1..16", OUT_BITS);
    end
    if (LEVELS < 1 || LEVELS >= 2**OUT_BITS) begin : gen_check_levels
        $fatal(1, "requantizer: LEVELS=%0d does not fit OUT_BITS=%0d", LEVELS, OUT_BITS);
    end
    if (FACTOR_FILE == "") begin : gen_check_factor_file
        $fatal(1, "requantizer: FACTOR_FILE is empty: it names the file of the factors");
    end
    if (ADDEND_FILE == "") begin : gen_check_addend_file
        $fatal(1, "requantizer: ADDEND_FILE is empty: it names the file of the addends");
    end
    // verilator lint_off WIDTHEXPAND
    if (RAM_STYLE != "auto" && RAM_STYLE != "block" && RAM_STYLE != "distributed") begin : gen_check_ram_style
        $fatal(1, "requantizer: RAM_STYLE=%s is neither auto nor block nor distributed", RAM_STYLE);
    end
    // verilator lint_on WIDTHEXPAND

    localparam int unsigned PASSES    = CHANNELS / PE;
    localparam int unsigned STEPS     = FACTOR_BITS / DIGIT;
    localparam int unsigned WORDS     = PASSES * STEPS;
    localparam int unsigned STEP_BITS = STEPS > 1 ? $clog2(STEPS) : 1;
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned ROW_BITS  = PASSES > 1 ? $clog2(PASSES) : 1;
    localparam int unsigned X_BITS    = ACC_BITS + 1 - ACC_SIGNED;  // of an accumulator, as a signed number
    localparam int unsigned P_BITS    = X_BITS + DIGIT;             // of its product with a digit
    localparam int unsigned GONE      = (STEPS - 1) * DIGIT;        // bits that are shifted out on the way,
    localparam int unsigned KEPT      = GONE > SHIFT ? GONE - SHIFT : 0; // of which so many come from below the point
    localparam int unsigned LAST      = SHIFT + KEPT - GONE;        // what is still to be shifted out at the end
    localparam int unsigned R_BITS    = (ADDEND_BITS > P_BITS ? ADDEND_BITS : P_BITS) + KEPT + 1; // of any partial result
    // Registers of a product: two on DSPs; in LUTs one per level of its adders, none where there is one adder at most.
    localparam int unsigned PAIRS     = (DIGIT + 1) / 2;
    localparam int unsigned LEVELS_IN = $clog2(PAIRS);
    localparam int unsigned STAGES    = DSP != 0 ? 2 : PAIRS == 1 ? 0 : LEVELS_IN + 1;

    // A beat stays for as many cycles as its factor has digits.
    logic                      busy_q;
    logic [STEP_BITS-1:0]      step_q;
    logic [PE*ACC_BITS-1:0]    acc_q;
    logic [STAGES:0]           valid, first, last; // [i]: a digit is i registers behind the accumulator
    wire                       en; // no inverter at its end, or Yosys makes one for each register
    wire last_step = step_q == STEP_BITS'(STEPS - 1);
    wire take      = s_axis_tvalid && s_axis_tready;
    wire fetch     = take || (en && busy_q && !last_step); // the digit that is multiplied in the next cycle
    assign s_axis_tready = !rst && en && (!busy_q || last_step); // low in reset, see PG085
    always_ff @(posedge clk) begin
        if (rst) {busy_q, step_q} <= '0;
        else if (en) begin
            busy_q <= fetch;
            step_q <= take || last_step ? '0 : step_q + STEP_BITS'(busy_q);
        end
        if (take) acc_q <= s_axis_tdata[PE*ACC_BITS-1:0];
    end
    assign valid[0] = busy_q;
    assign first[0] = step_q == '0;
    assign last[0]  = last_step;
    for (genvar i = 0; i < STAGES; i++) begin : gen_stage
        logic valid_q, first_q, last_q;
        always_ff @(posedge clk) begin
            if (rst) valid_q <= 1'b0;
            else if (en) valid_q <= valid[i];
            if (en) {first_q, last_q} <= {first[i], last[i]};
        end
        assign valid[i+1] = valid_q;
        assign first[i+1] = first_q;
        assign last[i+1]  = last_q;
    end

    // The memories are read in their order, for ever. An addend comes with the product of its first digit.
    (* ram_style = RAM_STYLE *) logic [PE*DIGIT-1:0]       factors [WORDS];
    (* ram_style = RAM_STYLE *) logic [PE*ADDEND_BITS-1:0] addends [PASSES];
    initial $readmemh(FACTOR_FILE, factors);
    initial $readmemh(ADDEND_FILE, addends);
    logic [WORD_BITS-1:0]      word_q;
    logic [ROW_BITS-1:0]       row_q;
    logic [PE*DIGIT-1:0]       digits_q;
    logic [PE*ADDEND_BITS-1:0] addends_q;
    wire add;
    if (STAGES == 0) begin : gen_addend_with_the_beat
        assign add = take;
    end else begin : gen_addend_later
        assign add = en && valid[STAGES-1] && first[STAGES-1];
    end
    always_ff @(posedge clk) begin
        if (rst) {word_q, row_q} <= '0;
        else begin
            if (fetch) word_q <= word_q == WORD_BITS'(WORDS - 1) ? '0 : word_q + 1'b1;
            if (add) row_q <= row_q == ROW_BITS'(PASSES - 1) ? '0 : row_q + 1'b1;
        end
        if (fetch) digits_q <= factors[word_q];
        if (add) addends_q <= addends[row_q];
    end

    // The sum of the last digit is a result. It stops everything while the one before has not left.
    logic                   done_q, m_valid_q;
    logic [PE*OUT_BITS-1:0] m_data_q;
    assign en = m_axis_tready || !(done_q && m_valid_q);
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = M_BITS'(m_data_q);
    always_ff @(posedge clk) begin
        if (rst) {done_q, m_valid_q} <= '0;
        else begin
            if (en) done_q <= valid[STAGES] && last[STAGES];
            m_valid_q <= done_q || (m_valid_q && !m_axis_tready);
        end
    end

    for (genvar p = 0; p < PE; p++) begin : gen_lane
        wire signed [X_BITS-1:0] x = X_BITS'({ACC_SIGNED != 0 && acc_q[(p+1)*ACC_BITS-1], acc_q[p*ACC_BITS +: ACC_BITS]});
        wire [DIGIT-1:0] digit = digits_q[p*DIGIT +: DIGIT];
        wire signed [P_BITS-1:0] product;
        if (DSP != 0) begin : gen_dsp
            // 17 bits of a factor fill the narrower input of a multiplier, whose sign is 0.
            localparam int unsigned PARTS = (DIGIT + 16) / 17;
            logic signed [PARTS-1:0][X_BITS+16:0] part_q;
            logic signed [P_BITS-1:0]             sum_d, sum_q;
            for (genvar i = 0; i < PARTS; i++) begin : gen_part
                localparam int unsigned BITS = DIGIT - 17 * i < 17 ? DIGIT - 17 * i : 17;
                (* use_dsp = "yes" *) wire signed [X_BITS+16:0] part = x * $signed({1'b0, digit[17*i +: BITS]});
                always_ff @(posedge clk) if (en) part_q[i] <= part;
            end
            always_comb begin
                sum_d = '0;
                for (int unsigned i = 0; i < PARTS; i++) sum_d = sum_d + (P_BITS'($signed(part_q[i])) << (17 * i));
            end
            always_ff @(posedge clk) if (en) sum_q <= sum_d;
            assign product = sum_q;
        end else begin : gen_luts
            // x times two bits each, one of four numbers, then sums of neighbours, whose low bits pass by. Node n of level
            // l is x times bits 2*n*2**l to 2*(n+1)*2**l - 1 of the digit.
            logic signed [X_BITS+1:0] x3_q; // three times x
            if (DIGIT > 1) begin : gen_three
                wire signed [X_BITS+1:0] coming = (X_BITS + 2)'($signed({ACC_SIGNED != 0 && s_axis_tdata[(p+1)*ACC_BITS-1], s_axis_tdata[p*ACC_BITS +: ACC_BITS]}));
                always_ff @(posedge clk) if (take) x3_q <= coming + (coming <<< 1);
            end else begin : gen_no_three
                assign x3_q = '0;
            end
            for (genvar l = 0; l <= LEVELS_IN; l++) begin : gen_level
                localparam int unsigned WIDE = X_BITS + 2 * 2**l;
                for (genvar n = 0; n < (PAIRS + 2**l - 1) / 2**l; n++) begin : gen_node
                    wire signed [WIDE-1:0] d;
                    wire signed [WIDE-1:0] value;
                    if (l == 0) begin : gen_pair
                        wire two = 2*n + 1 < DIGIT && digit[2*n + 32'(2*n + 1 < DIGIT)];
                        assign d = two ? (digit[2*n] ? x3_q : WIDE'(x) <<< 1) : (digit[2*n] ? WIDE'(x) : '0);
                    end else if (2*n + 1 < (PAIRS + 2**(l-1) - 1) / 2**(l-1)) begin : gen_sum
                        localparam int unsigned PLACE = 2 * 2**(l-1);
                        wire signed [WIDE-PLACE-1:0] low = gen_level[l-1].gen_node[2*n].value;
                        wire signed [WIDE-PLACE-1:0] high = gen_level[l-1].gen_node[2*n+1].value;
                        wire signed [WIDE-PLACE-1:0] sum = high + (low >>> PLACE);
                        assign d = {sum, low[PLACE-1:0]};
                    end else begin : gen_alone
                        assign d = WIDE'(gen_level[l-1].gen_node[2*n].value);
                    end
                    if (STAGES == 0) begin : gen_wire
                        assign value = d;
                    end else begin : gen_register
                        logic signed [WIDE-1:0] value_q;
                        always_ff @(posedge clk) if (en) value_q <= d;
                        assign value = value_q;
                    end
                end
            end
            wire signed [X_BITS+2*2**LEVELS_IN-1:0] root = gen_level[LEVELS_IN].gen_node[0].value;
            assign product = P_BITS'(root);
            wire unused_top = &{1'b0, root};
        end

        logic signed [R_BITS-1:0] r_q;
        wire signed [R_BITS-1:0] addend = R_BITS'($signed(addends_q[p*ADDEND_BITS +: ADDEND_BITS])) <<< KEPT;
        wire signed [R_BITS-1:0] base   = first[STAGES] ? addend : r_q >>> DIGIT;
        wire signed [R_BITS-1:0] whole  = r_q >>> LAST;
        wire over = {32'b0, whole} >= (R_BITS + 32)'(LEVELS + 1);
        always_ff @(posedge clk) begin
            if (en && valid[STAGES]) r_q <= (R_BITS'(product) <<< KEPT) + base; // no reset: not looked at before
            if (en && done_q)
                m_data_q[p*OUT_BITS +: OUT_BITS] <= whole[R_BITS-1] ? '0 : over ? OUT_BITS'(LEVELS) : OUT_BITS'(whole);
        end
    end
`ifdef FORMAL
    `include "requantizer_fv.svh"
`endif
endmodule
`default_nettype wire
