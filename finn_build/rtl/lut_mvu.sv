// finn_build/rtl/lut_mvu.sv
// SPDX-License-Identifier: Apache-2.0
// Matrix-vector product in LUTs: for 1-bit weights or activations, which FINN's RTL has none for, and for others that
// take fewer LUTs than the DSPs of FINN's RTL are worth.
//   y[r] = START[r] + sum of terms over MW columns, for MH rows; with SIGN the answer is whether y >= 0.
//   A vector is kept and replayed MH / PE times (vector_replay), each beat gives sums of terms (lut_products, which says
//   what a term is), and these are added up per row (row_thresholds). One condition moves all of it: vectors follow each
//   other every MW / SIMD * MH / PE cycles, and a stalled sink stops the unit only when a finished result has nowhere to go.
//   An input beat carries SIMD columns, an output beat PE rows, the first in the low bits.
//   WEIGHT_FILE holds one word of PE * SIMD weights per line, in the order of use: word f * (MW / SIMD) + s has rows
//   f * PE.. and columns s * SIMD.., columns varying fastest.
`default_nettype none
module lut_mvu #(
    parameter int unsigned MW          = 8, // columns, a multiple of SIMD
    parameter int unsigned MH          = 4, // rows, a multiple of PE
    parameter int unsigned PE          = 2, // rows at a time
    parameter int unsigned SIMD        = 4, // columns at a time
    parameter int unsigned WEIGHT_BITS = 1, // of one weight [bit]
    parameter int unsigned ACT_BITS    = 1, // of one activation [bit]
    parameter int unsigned ACT_SIGNED  = 0, // 1: activations wider than 1 bit are signed
    parameter int unsigned ACCU_BITS   = 8, // of one y [bit]; must hold every y, sums on the way there may wrap around
    parameter              START       = {MH*ACCU_BITS{1'b0}}, // what each row's sum starts from, row 0 in the low bits
    parameter int unsigned SIGN        = 0, // 1: answer y >= 0 instead of y
    parameter              NEEDED      = {PE*SIMD{8'(WEIGHT_BITS)}}, // of WEIGHT_BITS, see lut_products
    parameter              WEIGHT_FILE = "./weights.dat", // read by $readmemh
    parameter              RAM_STYLE   = "auto", // of the weights: auto, block or distributed; for synthesis only
    localparam int unsigned S_BITS = (SIMD * ACT_BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
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
    // The modules inside check the other parameters.
    if (MW < 1 || MW > 2**24) begin : gen_check_mw
        $fatal(1, "lut_mvu: MW=%0d is outside 1..2**24", MW);
    end
    if (SIMD < 1 || SIMD > MW || MW % (SIMD > 0 ? SIMD : 1) != 0) begin : gen_check_simd
        $fatal(1, "lut_mvu: SIMD=%0d must divide MW=%0d", SIMD, MW);
    end
    if (PE < 1 || PE > MH || MH % (PE > 0 ? PE : 1) != 0) begin : gen_check_pe
        $fatal(1, "lut_mvu: PE=%0d must divide MH=%0d", PE, MH);
    end

    localparam int unsigned SF        = MW / SIMD; // beats per vector
    localparam int unsigned NF        = MH / PE;   // passes over a vector
    localparam int unsigned WORDS     = SF * NF;
    localparam int unsigned NF_BITS   = NF > 1 ? $clog2(NF) : 1;
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1;

    // One condition moves every stage from the fetch on.
    logic en;

    wire [SIMD*ACT_BITS-1:0] acts;
    wire                     fetch_valid, fetch_first, fetch_last;
    wire [NF_BITS-1:0]       fetch_pass;
    wire [WORD_BITS-1:0]     fetch_word;
    vector_replay #(.BITS(SIMD*ACT_BITS), .BEATS(SF), .PASSES(NF)) u_replay (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_axis_tdata[SIMD*ACT_BITS-1:0]), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
        .m_axis_tdata(acts), .m_axis_tvalid(fetch_valid), .m_axis_tready(en),
        .first_o(fetch_first), .last_o(fetch_last), .pass_o(fetch_pass), .word_o(fetch_word)
    );

    wire                         sums_valid, sums_first, sums_last;
    wire [NF_BITS-1:0]           sums_pass;
    wire [PE-1:0][ACCU_BITS-1:0] sums;
    lut_products #(
        .PE(PE), .SIMD(SIMD), .WEIGHT_BITS(WEIGHT_BITS), .ACT_BITS(ACT_BITS), .ACT_SIGNED(ACT_SIGNED),
        .SUM_BITS(ACCU_BITS), .WORDS(WORDS), .MARK_BITS(NF_BITS + 2), .NEEDED(NEEDED), .WEIGHT_FILE(WEIGHT_FILE),
        .RAM_STYLE(RAM_STYLE)
    ) u_products (
        .clk(clk), .rst(rst), .en_i(en),
        .valid_i(fetch_valid), .acts_i(acts), .word_i(fetch_word), .mark_i({fetch_pass, fetch_last, fetch_first}),
        .valid_o(sums_valid), .sums_o(sums), .mark_o({sums_pass, sums_last, sums_first})
    );

    row_thresholds #(.MH(MH), .PE(PE), .BITS(ACCU_BITS), .SIGN(SIGN), .START(START)) u_rows (
        .clk(clk), .rst(rst),
        .valid_i(sums_valid), .first_i(sums_first), .last_i(sums_last), .pass_i(sums_pass), .sums_i(sums), .ready_o(en),
        .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(m_axis_tready)
    );

    if (S_BITS > SIMD * ACT_BITS) begin : gen_padding
        wire unused_padding = &{1'b0, s_axis_tdata[S_BITS-1:SIMD*ACT_BITS]};
    end
`ifdef FORMAL
    `include "lut_mvu_fv.svh"
`endif
endmodule
`default_nettype wire
