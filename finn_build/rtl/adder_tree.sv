// finn_build/rtl/adder_tree.sv
// SPDX-License-Identifier: Apache-2.0
// Sum of many numbers, in one enabled cycle per level of the tree.
//   Every level ends in a register. Without, Yosys would merge two levels into one sum of many and build that of full
//   adders in LUTs instead of carry chains. A single term passes as it is, at once.
`default_nettype none
module adder_tree #(
    parameter int unsigned TERMS  = 4,
    parameter int unsigned BITS   = 8, // of a term [bit]
    parameter int unsigned SIGNED = 0, // 1: terms are signed
    localparam int unsigned LEVELS   = $clog2(TERMS),
    localparam int unsigned SUM_BITS = BITS + LEVELS
) (
    input  wire logic                       clk,
    input  wire logic                       en_i,
    input  wire logic [TERMS-1:0][BITS-1:0] terms_i,
    output wire logic [SUM_BITS-1:0]        sum_o
);
    if (TERMS < 1 || TERMS > 2**14) begin : gen_check_terms
        $fatal(1, "adder_tree: TERMS=%0d is outside 1..2**14", TERMS);
    end
    if (BITS < 1 || BITS > 64) begin : gen_check_bits
        $fatal(1, "adder_tree: BITS=%0d is outside 1..64", BITS);
    end
    if (SIGNED > 1) begin : gen_check_signed
        $fatal(1, "adder_tree: SIGNED=%0d is neither 0 nor 1", SIGNED);
    end

    localparam bit NEGATIVE = SIGNED != 0;
    localparam int unsigned LEAVES = TERMS > 2**14 ? 1 : TERMS; // or a tool's own limit would end it, before our words
    for (genvar l = 0; l <= LEVELS; l++) begin : gen_level
        localparam int unsigned NODES = (LEAVES + 2**l - 1) / 2**l;
        localparam int unsigned BELOW = l == 0 ? 0 : (LEAVES + 2**(l-1) - 1) / 2**(l-1);
        localparam int unsigned WIDTH = BITS + l;
        for (genvar n = 0; n < NODES; n++) begin : gen_node
            logic [WIDTH-1:0] value;
            if (l == 0) begin : gen_term
                assign value = terms_i[n];
            end else begin : gen_sum
                wire [WIDTH-2:0] a = gen_level[l-1].gen_node[2*n].value;
                if (2*n + 1 < BELOW) begin : gen_pair
                    wire [WIDTH-2:0] b = gen_level[l-1].gen_node[2*n+1].value;
                    always_ff @(posedge clk) if (en_i)
                        value <= {NEGATIVE && a[WIDTH-2], a} + {NEGATIVE && b[WIDTH-2], b};
                end else begin : gen_single
                    always_ff @(posedge clk) if (en_i) value <= {NEGATIVE && a[WIDTH-2], a};
                end
            end
        end
    end
    assign sum_o = gen_level[LEVELS].gen_node[0].value;
    if (LEVELS == 0) begin : gen_no_register
        wire unused_clock = &{1'b0, clk, en_i};
    end
`ifdef FORMAL_ADDER_TREE
    `include "adder_tree_fv.svh"
`endif
endmodule
`default_nettype wire
