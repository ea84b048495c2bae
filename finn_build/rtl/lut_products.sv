// finn_build/rtl/lut_products.sv
// SPDX-License-Identifier: Apache-2.0
// Sums of products in LUTs: SIMD activations times the weights of PE rows, and the memory of these weights.
//   A width of 1 means bipolar: bit 0 is -1, bit 1 is +1. What is added up is not the product but the cheapest term that
//   differs from it by what only the weights decide:
//     both bipolar: a column adds 2 where weight and activation agree, so W.x = sum - MW.
//     bipolar weights: two columns a, b of a beat add a+b or a+~b where the first weight is 1, ~(a+b) or ~(a+~b) where it
//       is not; a last odd one adds a or ~a. All are unsigned, and what that is too much depends on the weights alone.
//     bipolar activations: a column adds w or -w, signed, so W.x = sum.
//     neither: bit i of the weights of two columns takes none, one or both of a and b, times 2**i. The highest bit is
//       worth -2**i, so what it takes is inverted: all are unsigned, and too much by a constant. Bits above those that
//       all weights of these two columns in this row of PE need (NEEDED) repeat the sign, and are no terms.
//   Activations of several bits are unsigned, or signed with ACT_SIGNED: inverting a sign bit adds 2**(ACT_BITS-1).
//   Sums leave a fixed number of enabled cycles later, with the mark that came with their activations.
//   WEIGHT_FILE holds one word of PE * SIMD weights per line, row 0 and its column 0 in the low bits.
`default_nettype none
module lut_products #(
    parameter int unsigned PE          = 2, // rows at a time
    parameter int unsigned SIMD        = 4, // columns at a time
    parameter int unsigned WEIGHT_BITS = 1, // of one weight [bit]
    parameter int unsigned ACT_BITS    = 1, // of one activation [bit]
    parameter int unsigned ACT_SIGNED  = 0, // 1: activations wider than 1 bit are signed
    parameter int unsigned SUM_BITS    = 8, // of one sum [bit]; it may wrap around
    parameter int unsigned WORDS       = 4, // of weights
    parameter int unsigned MARK_BITS   = 1, // of what travels with a beat [bit]
    parameter              NEEDED      = {PE*SIMD{8'(WEIGHT_BITS)}}, // by the weights of each row and column [bit], as in a word
    parameter              WEIGHT_FILE = "./weights.dat", // read by $readmemh
    // verilator lint_off UNUSEDPARAM
    parameter              RAM_STYLE   = "auto", // of the weights: auto, block or distributed; for synthesis only
    // verilator lint_on UNUSEDPARAM
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  wire logic                        clk,
    input  wire logic                        rst, // synchronous, active high
    input  wire logic                        en_i, // everything moves, or nothing
    input  wire logic                        valid_i,
    input  wire logic [SIMD*ACT_BITS-1:0]    acts_i,
    input  wire logic [WORD_BITS-1:0]        word_i, // which weights
    input  wire logic [MARK_BITS-1:0]        mark_i,
    output wire logic                        valid_o,
    output wire logic [PE-1:0][SUM_BITS-1:0] sums_o,
    output wire logic [MARK_BITS-1:0]        mark_o
);
    if (PE < 1 || PE > 2**14) begin : gen_check_pe
        $fatal(1, "lut_products: PE=%0d is outside 1..2**14", PE);
    end
    if (SIMD < 1 || SIMD > 2**14) begin : gen_check_simd
        $fatal(1, "lut_products: SIMD=%0d is outside 1..2**14", SIMD);
    end
    if (WEIGHT_BITS < 1 || WEIGHT_BITS > 32) begin : gen_check_weight_bits
        $fatal(1, "lut_products: WEIGHT_BITS=%0d is outside 1..32", WEIGHT_BITS);
    end
    if (ACT_BITS < 1 || ACT_BITS > 32) begin : gen_check_act_bits
        $fatal(1, "lut_products: ACT_BITS=%0d is outside 1..32", ACT_BITS);
    end
    if (ACT_SIGNED > 1) begin : gen_check_act_signed
        $fatal(1, "lut_products: ACT_SIGNED=%0d is neither 0 nor 1", ACT_SIGNED);
    end
    if (SUM_BITS < 1 || SUM_BITS > 64) begin : gen_check_sum_bits
        $fatal(1, "lut_products: SUM_BITS=%0d is outside 1..64", SUM_BITS);
    end
    if (WORDS < 1 || WORDS > 2**30) begin : gen_check_words
        $fatal(1, "lut_products: WORDS=%0d is outside 1..2**30", WORDS);
    end
    if (MARK_BITS < 1 || MARK_BITS > 64) begin : gen_check_mark_bits
        $fatal(1, "lut_products: MARK_BITS=%0d is outside 1..64", MARK_BITS);
    end
    if ($bits(NEEDED) != 8 * PE * SIMD) begin : gen_check_needed
        $fatal(1, "lut_products: NEEDED has %0d bits, expected 8 * PE * SIMD = %0d", $bits(NEEDED), 8 * PE * SIMD);
    end
    if (WEIGHT_FILE == "") begin : gen_check_weight_file
        $fatal(1, "lut_products: WEIGHT_FILE is empty: it names the file of the weights");
    end
    // verilator lint_off WIDTHEXPAND
    if (RAM_STYLE != "auto" && RAM_STYLE != "block" && RAM_STYLE != "distributed") begin : gen_check_ram_style
        $fatal(1, "lut_products: RAM_STYLE=%s is neither auto nor block nor distributed", RAM_STYLE);
    end
    // verilator lint_on WIDTHEXPAND

    // What is generated of too many would end in a tool's own limit, before our words.
    localparam int unsigned ROWS    = PE > 2**14 ? 1 : PE;
    localparam int unsigned COLUMNS = SIMD > 2**14 ? 1 : SIMD;
    (* ram_style = RAM_STYLE *) logic [PE*SIMD*WEIGHT_BITS-1:0] weights [WORDS];
    initial $readmemh(WEIGHT_FILE, weights);

    // What the adder tree starts from, its leaves:
    //   both bipolar: counts of agreements in groups of 18, in 22 LUTs of 6 inputs each;
    //   activations of several bits: pairs of columns. What a row chooses from, the pair's sum and difference for bipolar
    //   weights, each alone and their sum for others, is the same for all rows. Choosing takes 4 or 5 inputs of a LUT per
    //   bit, and so goes into the LUTs of the adder behind it. All pairs of the weights' lowest bit come first, so that
    //   the tree adds numbers of the same place;
    //   bipolar activations: single terms.
    localparam bit          AGREE     = WEIGHT_BITS == 1 && ACT_BITS == 1;
    localparam bit          PAIRS     = ACT_BITS > 1;
    localparam int unsigned PLANES    = PAIRS ? WEIGHT_BITS : 1; // bits of a weight that are terms of their own
    localparam int unsigned MOST      = AGREE ? 18 : PAIRS ? 2 : 1;
    localparam int unsigned GROUP     = COLUMNS < MOST ? COLUMNS : MOST; // columns per leaf
    localparam int unsigned GROUPS    = (COLUMNS + GROUP - 1) / GROUP;
    localparam int unsigned LEAVES    = GROUPS * PLANES;
    localparam int unsigned PAIR_BITS = ACT_BITS + GROUP - 1;
    localparam int unsigned LEAF_BITS = AGREE ? $clog2(GROUP + 1) : PAIRS ? PAIR_BITS + PLANES - 1 : WEIGHT_BITS + 1;
    localparam bit          NEGATIVE  = !AGREE && !PAIRS; // whether terms are signed

    // The pipeline: the beat, leaves, the adder tree.
    localparam int unsigned LEVELS = $clog2(LEAVES);
    localparam int unsigned STAGES = (AGREE ? 4 : PAIRS ? 2 : 1) + LEVELS; // registers
    logic [SIMD*ACT_BITS-1:0]         acts_q;
    logic [PE*SIMD*WEIGHT_BITS-1:0]   weight_q;
    logic [STAGES-1:0]                valid_q; // bit i: after register i
    logic [STAGES-1:0][MARK_BITS-1:0] mark_q;
    wire [WORD_BITS-1:0] word;
    always_ff @(posedge clk) begin
        if (rst) valid_q <= '0;
        else if (en_i) valid_q <= STAGES'({valid_q, valid_i});
        if (en_i) begin
            acts_q   <= acts_i;
            weight_q <= weights[word];
            mark_q   <= (STAGES*MARK_BITS)'({mark_q, mark_i});
        end
    end
    assign valid_o = valid_q[STAGES-1];
    assign mark_o  = mark_q[STAGES-1];

    // Activations as unsigned numbers, or as bits.
    wire [SIMD-1:0][ACT_BITS-1:0] x;
    for (genvar s = 0; s < COLUMNS; s++) begin : gen_unsigned
        localparam bit INVERT = ACT_SIGNED != 0 && ACT_BITS > 1;
        assign x[s] = acts_q[s*ACT_BITS +: ACT_BITS] ^ (ACT_BITS'(INVERT) << (ACT_BITS - 1));
    end
    // What rows choose from: the columns of a pair alone, their sum and their difference.
    if (PAIRS) begin : gen_pairs
        logic [WORD_BITS-1:0] word_late_q; // weights are needed one register later
        for (genvar n = 0; n < GROUPS; n++) begin : gen_pair
            wire [ACT_BITS-1:0]   a = x[GROUP*n];
            logic [ACT_BITS-1:0]  a_q, b_q;
            logic [PAIR_BITS-1:0] same_q, differ_q;
            if (GROUP*n + 1 < SIMD) begin : gen_both
                wire [ACT_BITS-1:0] b = x[GROUP*n+1];
                always_ff @(posedge clk) if (en_i)
                    {a_q, b_q, same_q, differ_q} <= {a, b, {1'b0, a} + {1'b0, b}, {1'b0, a} + {1'b0, ~b}};
            end else begin : gen_one
                always_ff @(posedge clk) if (en_i)
                    {a_q, b_q, same_q, differ_q} <= {a, ACT_BITS'(0), PAIR_BITS'(a), PAIR_BITS'(a)};
            end
        end
        always_ff @(posedge clk) if (en_i) word_late_q <= word_i;
        assign word = word_late_q;
    end else begin : gen_no_pairs
        assign word = word_i;
    end

    localparam int unsigned TOTAL_BITS = LEAF_BITS + LEVELS;
    localparam int unsigned WIDE_BITS  = (TOTAL_BITS > SUM_BITS ? TOTAL_BITS : SUM_BITS) + 1;
    for (genvar p = 0; p < ROWS; p++) begin : gen_pe
        wire [SIMD-1:0][WEIGHT_BITS-1:0]  w = weight_q[p*SIMD*WEIGHT_BITS +: SIMD*WEIGHT_BITS];
        wire [LEAVES-1:0][LEAF_BITS-1:0]  leaves;
        for (genvar n = 0; n < LEAVES; n++) begin : gen_leaf
            if (AGREE) begin : gen_agreements
                localparam int unsigned COUNT = SIMD - GROUP * n < GROUP ? SIMD - GROUP * n : GROUP;
                wire [COUNT-1:0] agree = x[GROUP*n +: COUNT] ~^ w[GROUP*n +: COUNT];
                wire [4:0]       ones;
                count_ones u_ones (.clk(clk), .en_i(en_i), .bits_i(18'(agree)), .ones_o(ones));
                assign leaves[n] = ones[LEAF_BITS-1:0];
                if (LEAF_BITS < 5) begin : gen_unused
                    wire unused_ones = &{1'b0, ones[4:LEAF_BITS]};
                end
            end else if (PAIRS) begin : gen_select
                localparam int unsigned PLANE = n / GROUPS;
                localparam int unsigned PAIR  = n % GROUPS;
                localparam int unsigned A     = PAIR * GROUP;
                localparam bit          BOTH  = A + 1 < SIMD; // the last pair may be a single column
                wire of_a = w[A][PLANE];
                wire of_b = BOTH && w[A + 32'(BOTH)][PLANE];
                wire [PAIR_BITS-1:0] same   = gen_pairs.gen_pair[PAIR].same_q;
                wire [PAIR_BITS-1:0] differ = gen_pairs.gen_pair[PAIR].differ_q;
                wire [PAIR_BITS-1:0] a      = PAIR_BITS'(gen_pairs.gen_pair[PAIR].a_q);
                wire [PAIR_BITS-1:0] b      = PAIR_BITS'(gen_pairs.gen_pair[PAIR].b_q);
                // With masks, not `?:`: the same LUTs, and a simulator has no branch to mispredict.
                if (PLANES == 1) begin : gen_bipolar
                    wire other = BOTH && of_a != of_b;
                    assign leaves[n] = ({PAIR_BITS{other}} & differ | {PAIR_BITS{!other}} & same) ^ {PAIR_BITS{!of_a}};
                    wire unused_alone = &{1'b0, a, b};
                end else begin : gen_taken
                    localparam int unsigned OF_A = 32'(NEEDED[(p*SIMD + A)*8 +: 8]);
                    localparam int unsigned OF_B = 32'(NEEDED[(p*SIMD + A + 32'(BOTH))*8 +: 8]);
                    localparam int unsigned BITS = OF_A > OF_B ? OF_A : OF_B;
                    if (OF_A < 1 || OF_B < 1 || BITS > WEIGHT_BITS) begin : gen_check_of_pair
                        $fatal(1, "lut_products: NEEDED has %0d and %0d, outside 1..WEIGHT_BITS=%0d", OF_A, OF_B, WEIGHT_BITS);
                    end
                    wire [PAIR_BITS-1:0] taken = {PAIR_BITS{of_a && of_b}} & same
                        | {PAIR_BITS{of_a && !of_b}} & a | {PAIR_BITS{!of_a && of_b}} & b;
                    assign leaves[n] = PLANE < BITS ? LEAF_BITS'(taken ^ {PAIR_BITS{PLANE == BITS - 1}}) << PLANE : '0;
                    wire unused_differ = &{1'b0, differ, taken};
                end
            end else begin : gen_plus_or_minus
                wire [LEAF_BITS-1:0] weight = {w[n][WEIGHT_BITS-1], w[n]};
                assign leaves[n] = x[n][0] ? weight : -weight;
            end
        end

        wire [TOTAL_BITS-1:0] total;
        adder_tree #(.TERMS(LEAVES), .BITS(LEAF_BITS), .SIGNED(32'(NEGATIVE))) u_tree (
            .clk(clk), .en_i(en_i), .terms_i(leaves), .sum_o(total)
        );
        wire [WIDE_BITS-1:0] wide = AGREE ? {{WIDE_BITS-TOTAL_BITS-1{1'b0}}, total, 1'b0}
                                          : {{WIDE_BITS-TOTAL_BITS{NEGATIVE && total[TOTAL_BITS-1]}}, total};
        assign sums_o[p] = wide[SUM_BITS-1:0];
        wire unused_sign = &{1'b0, wide[WIDE_BITS-1:SUM_BITS]};
    end
`ifdef FORMAL_LUT_PRODUCTS
    `include "lut_products_fv.svh"
`endif
endmodule
`default_nettype wire
