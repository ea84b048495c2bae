// finn_build/rtl/depthwise.sv
// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution behind a window: for each channel the sum of the window's places times weights of its own.
//   y[c] = START[c] + sum of terms over the TAPS places of a window; with SIGN the answer is whether y >= 0. A term is the
//   product with DSP, else what lut_products.sv says. A beat has PE channels of a place: all TAPS places of a window for
//   the first PE channels, then for the next. finn_build.ops.lut_mvau.row_starts makes sums of products of START.
//   Lane p has the channels p, PE + p, ..., and a memory of their weights: WEIGHT_FILE_pppp.dat, p in decimal, has a
//   weight per line, the places of a channel in a row.
//   One condition moves all of it: a beat per cycle, and s_axis_tready, which follows m_axis_tready combinationally, is
//   low only while a finished result has nowhere to go.
`default_nettype none
module depthwise #(
    parameter int unsigned CHANNELS    = 4, // a multiple of PE
    parameter int unsigned TAPS        = 4, // places of a window
    parameter int unsigned PE          = 2, // channels at a time
    parameter int unsigned WEIGHT_BITS = 2, // of one weight [bit]; 1 is bipolar, others are signed
    parameter int unsigned ACT_BITS    = 2, // of one activation [bit]; 1 is bipolar
    parameter int unsigned ACT_SIGNED  = 0, // 1: activations wider than 1 bit are signed
    parameter int unsigned ACCU_BITS   = 8, // of one y [bit]; must hold every y, sums on the way there may wrap around
    parameter              START       = {CHANNELS*ACCU_BITS{1'b0}}, // what each channel's sum starts from, channel 0 in the low bits
    parameter int unsigned SIGN        = 0, // 1: answer y >= 0 instead of y
    parameter int unsigned DSP         = 0, // 1: multiply on DSPs; both widths are 2 or more then
    parameter              NEEDED      = {PE{8'(WEIGHT_BITS)}}, // by the weights of each lane [bit], lane 0 in the low bits
    parameter              WEIGHT_FILE = "./weights", // without what tells the lanes' files apart
    parameter              RAM_STYLE   = "auto", // of the weights: auto, block or distributed; for synthesis only
    localparam int unsigned S_BITS = (PE * ACT_BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned Y_BITS = SIGN != 0 ? 1 : ACCU_BITS, // of one answer
    localparam int unsigned M_BITS = (PE * Y_BITS + 7) / 8 * 8
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
        $fatal(1, "depthwise: CHANNELS=%0d is outside 1..2**14", CHANNELS);
    end
    if (TAPS < 1 || TAPS > 2**12) begin : gen_check_taps
        $fatal(1, "depthwise: TAPS=%0d is outside 1..2**12", TAPS);
    end
    if (PE < 1 || PE > CHANNELS || CHANNELS % (PE > 0 ? PE : 1) != 0) begin : gen_check_pe
        $fatal(1, "depthwise: PE=%0d must divide CHANNELS=%0d", PE, CHANNELS);
    end
    if (WEIGHT_BITS < 1 || WEIGHT_BITS > 32) begin : gen_check_weight_bits
        $fatal(1, "depthwise: WEIGHT_BITS=%0d is outside 1..32", WEIGHT_BITS);
    end
    if (ACT_BITS < 1 || ACT_BITS > 32) begin : gen_check_act_bits
        $fatal(1, "depthwise: ACT_BITS=%0d is outside 1..32", ACT_BITS);
    end
    if (ACT_SIGNED > 1) begin : gen_check_act_signed
        $fatal(1, "depthwise: ACT_SIGNED=%0d is neither 0 nor 1", ACT_SIGNED);
    end
    if (ACCU_BITS < 1 || ACCU_BITS > 64) begin : gen_check_accu_bits
        $fatal(1, "depthwise: ACCU_BITS=%0d is outside 1..64", ACCU_BITS);
    end
    if ($bits(START) != CHANNELS * ACCU_BITS) begin : gen_check_start
        $fatal(1, "depthwise: START has %0d bits, expected CHANNELS * ACCU_BITS = %0d", $bits(START), CHANNELS * ACCU_BITS);
    end
    if (SIGN > 1) begin : gen_check_sign
        $fatal(1, "depthwise: SIGN=%0d is neither 0 nor 1", SIGN);
    end
    if (DSP > 1) begin : gen_check_dsp
        $fatal(1, "depthwise: DSP=%0d is neither 0 nor 1", DSP);
    end
    if (DSP == 1 && (WEIGHT_BITS == 1 || ACT_BITS == 1)) begin : gen_check_bipolar
        $fatal(1, "depthwise: DSP=%0d multiplies no numbers of 1 bit, which are bipolar", DSP);
    end
    if ($bits(NEEDED) != 8 * PE) begin : gen_check_needed
        $fatal(1, "depthwise: NEEDED has %0d bits, expected 8 * PE = %0d", $bits(NEEDED), 8 * PE);
    end
    if (WEIGHT_FILE == "") begin : gen_check_weight_file
        $fatal(1, "depthwise: WEIGHT_FILE is empty: it begins the names of the files of the weights");
    end
    // verilator lint_off WIDTHEXPAND
    if (RAM_STYLE != "auto" && RAM_STYLE != "block" && RAM_STYLE != "distributed") begin : gen_check_ram_style
        $fatal(1, "depthwise: RAM_STYLE=%s is neither auto nor block nor distributed", RAM_STYLE);
    end
    // verilator lint_on WIDTHEXPAND

    localparam int unsigned LANES     = PE > 2**14 ? 1 : PE; // or a tool's own limit would end it, before our words
    localparam int unsigned FOLDS     = CHANNELS / PE; // groups of channels
    localparam int unsigned WORDS     = FOLDS * TAPS;  // of a lane's weights
    localparam int unsigned TAP_BITS  = TAPS > 1 ? $clog2(TAPS) : 1;
    localparam int unsigned FOLD_BITS = FOLDS > 1 ? $clog2(FOLDS) : 1;
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned MARK_BITS = FOLD_BITS + 2;

    // Which beat comes next, of which group.
    wire                  en; // one condition moves everything
    logic [TAP_BITS-1:0]  tap_q;
    logic [FOLD_BITS-1:0] fold_q;
    logic [WORD_BITS-1:0] word_q;
    wire first = tap_q == '0;
    wire last  = tap_q == TAP_BITS'(TAPS - 1);
    wire take  = s_axis_tvalid && s_axis_tready;
    wire [MARK_BITS-1:0] mark = {fold_q, last, first};
    assign s_axis_tready = !rst && en; // low in reset, see PG085
    always_ff @(posedge clk) begin
        if (rst) {tap_q, fold_q, word_q} <= '0;
        else if (take) begin
            tap_q  <= last ? '0 : tap_q + 1'b1;
            word_q <= word_q == WORD_BITS'(WORDS - 1) ? '0 : word_q + 1'b1;
            if (last) fold_q <= fold_q == FOLD_BITS'(FOLDS - 1) ? '0 : fold_q + 1'b1;
        end
    end

    wire                         sums_valid;
    wire [MARK_BITS-1:0]         sums_mark;
    wire [PE-1:0][ACCU_BITS-1:0] sums;
    if (DSP != 0) begin : gen_dsps
        // The beat and its weights, then their products: a multiplier has both registers inside.
        localparam int unsigned X_BITS = ACT_BITS + 1 - ACT_SIGNED; // of an activation, as a signed number
        localparam int unsigned P_BITS = X_BITS + WEIGHT_BITS;      // of a product
        logic [1:0]                valid_q; // bit i: after register i
        logic [1:0][MARK_BITS-1:0] mark_q;
        always_ff @(posedge clk) begin
            if (rst) valid_q <= '0;
            else if (en) valid_q <= {valid_q[0], take};
            if (en) mark_q <= {mark_q[0], mark};
        end
        assign sums_valid = valid_q[1];
        assign sums_mark  = mark_q[1];
        for (genvar p = 0; p < LANES; p++) begin : gen_lane
            (* ram_style = RAM_STYLE *) logic [WEIGHT_BITS-1:0] weights [WORDS];
            initial $readmemh({WEIGHT_FILE, "_", digits(p), ".dat"}, weights);
            logic [ACT_BITS-1:0]      act_q;
            logic [WEIGHT_BITS-1:0]   weight_q;
            logic signed [P_BITS-1:0] product_q;
            wire signed [X_BITS-1:0]  x = X_BITS'({1'b0, act_q}); // signed ones have a sign bit of their own
            (* use_dsp = "yes" *) wire signed [P_BITS-1:0] product = x * $signed(weight_q);
            always_ff @(posedge clk) if (en) begin
                act_q     <= s_axis_tdata[p*ACT_BITS +: ACT_BITS];
                weight_q  <= weights[word_q];
                product_q <= product;
            end
            assign sums[p] = ACCU_BITS'(product_q);
        end
    end else begin : gen_luts
        wire [PE-1:0]                valid;
        wire [PE-1:0][MARK_BITS-1:0] marks; // all alike
        assign sums_valid = valid[0];
        assign sums_mark  = marks[0];
        for (genvar p = 0; p < LANES; p++) begin : gen_lane
            lut_products #(
                .PE(1), .SIMD(1), .WEIGHT_BITS(WEIGHT_BITS), .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED),
                .SUM_BITS(ACCU_BITS), .WORDS(WORDS), .MARK_BITS(MARK_BITS), .NEEDED(NEEDED[8*p +: 8]),
                .WEIGHT_FILE({WEIGHT_FILE, "_", digits(p), ".dat"}), .RAM_STYLE(RAM_STYLE)
            ) u_products (
                .clk(clk), .rst(rst), .en_i(en),
                .valid_i(take), .acts_i(s_axis_tdata[p*ACT_BITS +: ACT_BITS]), .word_i(word_q), .mark_i(mark),
                .valid_o(valid[p]), .sums_o(sums[p]), .mark_o(marks[p])
            );
        end
        wire unused_alike = &{1'b0, valid, marks};
    end

    row_thresholds #(.MH(CHANNELS), .PE(PE), .BITS(ACCU_BITS), .SIGN(SIGN), .START(START)) u_rows (
        .clk(clk), .rst(rst),
        .valid_i(sums_valid), .first_i(sums_mark[0]), .last_i(sums_mark[1]), .pass_i(sums_mark[2 +: FOLD_BITS]),
        .sums_i(sums), .ready_o(en),
        .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(m_axis_tready)
    );

    // Four decimal digits, as text.
    function automatic logic [31:0] digits(input int unsigned number);
        digits = {8'(48 + number / 1000 % 10), 8'(48 + number / 100 % 10), 8'(48 + number / 10 % 10), 8'(48 + number % 10)};
    endfunction
    wire unused_padding = &{1'b0, s_axis_tdata};
`ifdef FORMAL
    `include "depthwise_fv.svh"
`endif
endmodule
`default_nettype wire
