// finn_build/rtl/row_thresholds.sv
// SPDX-License-Identifier: Apache-2.0
// Add up what the beats of a vector come to, row by row, and answer with the sum or with whether a threshold is reached.
//   y[r] = START[r] + the sums of row r, from a first to a last beat. START makes the true sum of the sum of terms, and may
//   subtract a threshold from it as well: with SIGN an answer is one bit per row, 1 where y >= 0, a binary activation
//   without a comparator. finn_build.ops.lut_mvau.row_starts knows it. PE rows at a time; pass f has the rows f * PE..
//   ready_o is low only while a finished result has nowhere to go.
`default_nettype none
module row_thresholds #(
    parameter int unsigned MH   = 4, // rows, a multiple of PE
    parameter int unsigned PE   = 2, // rows at a time
    parameter int unsigned BITS = 8, // of one y [bit]; must hold every y, sums on the way there may wrap around
    parameter int unsigned SIGN = 0, // 1: answer y >= 0 instead of y
    parameter              START = {MH*BITS{1'b0}}, // what each row's sum starts from, row 0 in the low bits
    localparam int unsigned PASS_BITS = MH / PE > 1 ? $clog2(MH / PE) : 1,
    localparam int unsigned Y_BITS    = SIGN != 0 ? 1 : BITS, // of one answer
    localparam int unsigned M_BITS    = (PE * Y_BITS + 7) / 8 * 8 // TDATA is whole bytes, zero-padded
) (
    input  wire logic                    clk,
    input  wire logic                    rst, // synchronous, active high
    input  wire logic                    valid_i,
    input  wire logic                    first_i, // of a vector in this pass
    input  wire logic                    last_i,
    input  wire logic [PASS_BITS-1:0]    pass_i,
    input  wire logic [PE-1:0][BITS-1:0] sums_i,
    output wire logic                    ready_o,
    output wire logic [M_BITS-1:0]       m_axis_tdata,
    output wire logic                    m_axis_tvalid,
    input  wire logic                    m_axis_tready
);
    if (MH < 1 || MH > 2**14) begin : gen_check_mh
        $fatal(1, "row_thresholds: MH=%0d is outside 1..2**14", MH);
    end
    if (PE < 1 || PE > MH || MH % (PE > 0 ? PE : 1) != 0) begin : gen_check_pe
        $fatal(1, "row_thresholds: PE=%0d must divide MH=%0d", PE, MH);
    end
    if (BITS < 1 || BITS > 64) begin : gen_check_bits
        $fatal(1, "row_thresholds: BITS=%0d is outside 1..64", BITS);
    end
    if (SIGN > 1) begin : gen_check_sign
        $fatal(1, "row_thresholds: SIGN=%0d is neither 0 nor 1", SIGN);
    end
    if ($bits(START) != MH * BITS) begin : gen_check_start
        $fatal(1, "row_thresholds: START has %0d bits, expected MH * BITS = %0d", $bits(START), MH * BITS);
    end

    localparam int unsigned PASSES = MH > 2**14 ? 1 : MH / PE; // or a tool's own limit would end it, before our words
    logic                      m_valid_q;
    logic [PE-1:0][Y_BITS-1:0] m_data_q;
    wire result = valid_i && last_i;
    assign ready_o = m_axis_tready || !(result && m_valid_q); // no inverter at its end, or Yosys makes one for each register
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = M_BITS'(m_data_q);
    always_ff @(posedge clk) begin
        if (rst) m_valid_q <= 1'b0;
        else if (ready_o && result) m_valid_q <= 1'b1;
        else if (m_axis_tready) m_valid_q <= 1'b0;
    end

    for (genvar p = 0; p < PE; p++) begin : gen_pe
        // START of the row that this PE is at.
        wire [PASSES-1:0][BITS-1:0] starts;
        for (genvar f = 0; f < PASSES; f++) begin : gen_start
            assign starts[f] = START[(f*PE+p)*BITS +: BITS];
        end
        logic [BITS-1:0] accu_q;
        wire [BITS-1:0]  accu = sums_i[p] + (first_i ? starts[pass_i] : accu_q);
        wire [BITS-1:0]  flipped = accu ^ (BITS'(SIGN) << (BITS - 1)); // the sign bit: y >= 0
        wire unused_rest = &{1'b0, flipped};
        always_ff @(posedge clk) begin
            if (ready_o && valid_i) accu_q <= accu; // no reset: not looked at before a first beat
            if (ready_o && result) m_data_q[p] <= flipped[BITS-1 -: Y_BITS];
        end
    end
`ifdef FORMAL_ROW_THRESHOLDS
    `include "row_thresholds_fv.svh"
`endif
endmodule
`default_nettype wire
