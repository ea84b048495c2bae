// finn_build/rtl/formal/lut_products_model.sv
// SPDX-License-Identifier: Apache-2.0
// What lut_products.sby proves of lut_products, as a module of its name and ports: for proofs of what stands around it.
//   Sums leave STAGES enabled cycles after their activations, with their mark, and are those of lut_terms_fv.svh.
`default_nettype none
module lut_products #(
    parameter int unsigned PE          = 2,
    parameter int unsigned SIMD        = 4,
    parameter int unsigned WEIGHT_BITS = 1,
    parameter int unsigned ACT_BITS    = 1,
    parameter int unsigned ACT_SIGNED  = 0,
    parameter int unsigned SUM_BITS    = 8,
    parameter int unsigned WORDS       = 4,
    parameter int unsigned MARK_BITS   = 1,
    parameter              NEEDED      = {PE*SIMD{8'(WEIGHT_BITS)}},
    parameter              WEIGHT_FILE = "./weights.dat",
    parameter              RAM_STYLE   = "auto",
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  wire logic                        clk,
    input  wire logic                        rst,
    input  wire logic                        en_i,
    input  wire logic                        valid_i,
    input  wire logic [SIMD*ACT_BITS-1:0]    acts_i,
    input  wire logic [WORD_BITS-1:0]        word_i,
    input  wire logic [MARK_BITS-1:0]        mark_i,
    output wire logic                        valid_o,
    output wire logic [PE-1:0][SUM_BITS-1:0] sums_o,
    output wire logic [MARK_BITS-1:0]        mark_o
);
    localparam bit          AGREE     = WEIGHT_BITS == 1 && ACT_BITS == 1;
    localparam bit          PAIRS     = ACT_BITS > 1;
    localparam int unsigned PLANES    = PAIRS ? WEIGHT_BITS : 1;
    localparam int unsigned GROUP     = AGREE ? (SIMD < 18 ? SIMD : 18) : PAIRS && SIMD > 1 ? 2 : 1;
    localparam int unsigned GROUPS    = (SIMD + GROUP - 1) / GROUP;
    localparam int unsigned LEAVES    = GROUPS * PLANES;
    localparam int unsigned PAIR_BITS = ACT_BITS + GROUP - 1;
    localparam int unsigned LEAF_BITS = AGREE ? $clog2(GROUP + 1) : PAIRS ? PAIR_BITS + PLANES - 1 : WEIGHT_BITS + 1;
    localparam int unsigned LEVELS    = $clog2(LEAVES);
    localparam int unsigned STAGES    = (AGREE ? 4 : PAIRS ? 2 : 1) + LEVELS;
    localparam int unsigned WIDE_BITS = (LEAF_BITS + LEVELS > SUM_BITS ? LEAF_BITS + LEVELS : SUM_BITS) + 1;
    `include "lut_terms_fv.svh"
    logic [PE*SIMD*WEIGHT_BITS-1:0] weights [WORDS]; // any
    initial $readmemh(WEIGHT_FILE, weights);
    logic [STAGES-1:0]                    valid_q;
    logic [STAGES-1:0][SIMD*ACT_BITS-1:0] act_q;
    logic [STAGES-1:0][WORD_BITS-1:0]     word_q;
    logic [STAGES-1:0][MARK_BITS-1:0]     mark_q;
    always_ff @(posedge clk) begin
        if (rst) valid_q <= '0;
        else if (en_i) valid_q <= STAGES'({valid_q, valid_i});
        if (en_i) begin
            act_q  <= (STAGES*SIMD*ACT_BITS)'({act_q, acts_i});
            word_q <= (STAGES*WORD_BITS)'({word_q, word_i});
            mark_q <= (STAGES*MARK_BITS)'({mark_q, mark_i});
        end
    end
    assign valid_o = valid_q[STAGES-1];
    assign mark_o  = mark_q[STAGES-1];
    wire [PE*SIMD*WEIGHT_BITS-1:0] weight = weights[word_q[STAGES-1]];
    for (genvar p = 0; p < PE; p++) begin : gen_pe
        wire fv_number terms = fv_columns(act_q[STAGES-1], weight, 0, SIMD, p);
        assign sums_o[p] = SUM_BITS'(terms) << AGREE; // agreements count double
    end
endmodule
`default_nettype wire
