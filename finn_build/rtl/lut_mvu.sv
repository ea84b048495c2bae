// finn_build/rtl/lut_mvu.sv
// SPDX-License-Identifier: Apache-2.0
// Matrix-vector product in LUTs: for 1-bit weights or activations, which FINN's RTL has none for, and for others that
// take fewer LUTs than the DSPs of FINN's RTL are worth.
//   y[r] = START[r] + sum of terms over MW columns, for MH rows. A width of 1 means bipolar: bit 0 is -1, bit 1 is +1.
//     both bipolar: a column adds 2 where weight and activation agree, so W.x = sum - MW.
//     bipolar weights: two columns a, b of a beat add a+b or a+~b where the first weight is 1, ~(a+b) or ~(a+~b) where it
//       is not; a last odd one adds a or ~a. All are unsigned, and what that is too much depends on the weights alone.
//     bipolar activations: a column adds w or -w, signed, so W.x = sum.
//     neither: bit i of the weights of two columns takes none, one or both of a and b, times 2**i. The highest bit is
//       worth -2**i, so what it takes is inverted: all are unsigned, and too much by a constant.
//   Activations of several bits are unsigned, or signed with ACT_SIGNED: inverting a sign bit adds 2**(ACT_BITS-1).
//   START makes the true sum of the sum of terms, and may subtract a threshold from it as well: with SIGN an answer is
//   one bit per row, 1 where y >= 0, a binary activation without a comparator. finn_build.lut_mvau.row_starts knows it.
//   An input beat carries SIMD columns, an output beat PE rows, the first in the low bits. The vector is kept and
//   replayed MH / PE times while the next one arrives, so vectors follow each other every MW / SIMD * MH / PE cycles.
//   WEIGHT_FILE holds one word of PE * SIMD weights per line, in the order of use: word f * (MW / SIMD) + s has rows
//   f * PE.. and columns s * SIMD.., columns varying fastest.
//   Every level of the adder tree ends in a register. Without, Yosys would merge two levels into one sum of many and build
//   that of full adders in LUTs instead of carry chains.
//   A stalled sink stops the unit only when a finished result has nowhere to go.
`default_nettype none
module lut_mvu #(
    parameter int unsigned MW          = 8, // columns, a multiple of SIMD
    parameter int unsigned MH          = 4, // rows, a multiple of PE
    parameter int unsigned PE          = 2, // rows at a time
    parameter int unsigned SIMD        = 4, // columns at a time
    parameter int unsigned WEIGHT_BITS = 1, // of one weight [bit]
    parameter int unsigned ACT_BITS    = 1, // of one activation [bit]
    parameter bit          ACT_SIGNED  = 1'b0, // of activations wider than 1 bit
    parameter int unsigned ACCU_BITS   = 8, // of one y [bit]; must hold every y, sums on the way there may wrap around
    parameter logic [MH*ACCU_BITS-1:0] START = '0, // what each row's sum starts from, row 0 in the low bits
    parameter bit          SIGN        = 1'b0, // answer y >= 0 instead of y
    parameter              WEIGHT_FILE = "./weights.dat", // read by $readmemh
    // verilator lint_off UNUSEDPARAM
    parameter              RAM_STYLE   = "auto", // of the weights: auto, block or distributed; for synthesis only
    // verilator lint_on UNUSEDPARAM
    localparam int unsigned S_BITS = (SIMD * ACT_BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned Y_BITS = SIGN ? 1 : ACCU_BITS, // of one answer
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
    if (MW % SIMD != 0 || MH % PE != 0) begin : gen_check_folding
        $fatal(1, "lut_mvu: SIMD=%0d must divide MW=%0d and PE=%0d must divide MH=%0d", SIMD, MW, PE, MH);
    end

    localparam int unsigned SF        = MW / SIMD; // beats per vector
    localparam int unsigned NF        = MH / PE;   // passes over a vector
    localparam int unsigned WORDS     = SF * NF;
    localparam int unsigned DEPTH     = NF == 1 ? 2 : 2 * SF; // beats kept: two vectors, if they are kept at all
    localparam int unsigned SF_BITS   = SF > 1 ? $clog2(SF) : 1;
    localparam int unsigned NF_BITS   = NF > 1 ? $clog2(NF) : 1;
    localparam int unsigned WORD_BITS = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned PTR_BITS  = $clog2(DEPTH);
    localparam int unsigned FILL_BITS = $clog2(DEPTH + 1);

    // One condition moves every stage from the fetch on.
    logic en;

    // Kept beats. A word is free again when the last pass has read it; `ahead_q` words are still to be read in this
    // pass, of `fill_q` words kept.
    logic [SIMD*ACT_BITS-1:0] kept [DEPTH];
    logic [PTR_BITS-1:0]      write_q, read_q;
    logic [FILL_BITS-1:0]     fill_q, ahead_q;
    logic [SF_BITS-1:0]       beat_q;
    logic [NF_BITS-1:0]       pass_q;
    logic [WORD_BITS-1:0]     word_q;
    assign s_axis_tready = !rst && fill_q != FILL_BITS'(DEPTH); // low in reset, see PG085
    wire push      = s_axis_tvalid && s_axis_tready;
    wire fetch     = en && ahead_q != '0;
    wire end_beat  = beat_q == SF_BITS'(SF - 1);
    wire last_pass = pass_q == NF_BITS'(NF - 1);
    wire free      = fetch && last_pass;
    wire rewind    = fetch && end_beat && !last_pass;

    always_ff @(posedge clk) begin
        if (rst) begin
            {write_q, read_q, fill_q, ahead_q, beat_q, pass_q, word_q} <= '0;
        end else begin
            fill_q  <= fill_q + FILL_BITS'(push) - FILL_BITS'(free);
            ahead_q <= ahead_q + FILL_BITS'(push) - FILL_BITS'(fetch) + (rewind ? FILL_BITS'(SF) : '0);
            if (push) write_q <= write_q == PTR_BITS'(DEPTH - 1) ? '0 : write_q + 1'b1;
            if (fetch) begin
                beat_q <= end_beat ? '0 : beat_q + 1'b1;
                word_q <= word_q == WORD_BITS'(WORDS - 1) ? '0 : word_q + 1'b1;
                if (end_beat) pass_q <= last_pass ? '0 : pass_q + 1'b1;
                if (rewind) read_q <= read_q - PTR_BITS'(SF - 1);
                else        read_q <= read_q == PTR_BITS'(DEPTH - 1) ? '0 : read_q + 1'b1;
            end
        end
        if (push) kept[write_q] <= s_axis_tdata[SIMD*ACT_BITS-1:0];
    end

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
    localparam int unsigned GROUP     = AGREE ? (SIMD < 18 ? SIMD : 18) : PAIRS && SIMD > 1 ? 2 : 1; // columns per leaf
    localparam int unsigned GROUPS    = (SIMD + GROUP - 1) / GROUP;
    localparam int unsigned LEAVES    = GROUPS * PLANES;
    localparam int unsigned PAIR_BITS = ACT_BITS + GROUP - 1;
    localparam int unsigned LEAF_BITS = AGREE ? $clog2(GROUP + 1) : PAIRS ? PAIR_BITS + PLANES - 1 : WEIGHT_BITS + 1;
    localparam bit          NEGATIVE  = !AGREE && !PAIRS; // whether terms are signed

    // The pipeline: the beat, leaves, the adder tree, the accumulator.
    localparam int unsigned LEVELS = $clog2(LEAVES);
    localparam int unsigned STAGES = (AGREE ? 4 : PAIRS ? 2 : 1) + LEVELS; // registers before the accumulator
    logic [SIMD*ACT_BITS-1:0]        act_q;
    logic [PE*SIMD*WEIGHT_BITS-1:0]  weight_q;
    logic [STAGES-1:0]               valid_q, first_q, last_q; // bit i: after register i
    logic [STAGES-1:0][NF_BITS-1:0]  row_q; // which PE rows
    wire [WORD_BITS-1:0] word;
    always_ff @(posedge clk) begin
        if (rst) valid_q <= '0;
        else if (en) valid_q <= STAGES'({valid_q, fetch});
        if (en) begin
            act_q    <= kept[read_q];
            weight_q <= weights[word];
            first_q  <= STAGES'({first_q, beat_q == '0});
            last_q   <= STAGES'({last_q, end_beat});
            row_q    <= (STAGES*NF_BITS)'({row_q, pass_q});
        end
    end

    // Activations as unsigned numbers, or as bits.
    wire [SIMD-1:0][ACT_BITS-1:0] x;
    for (genvar s = 0; s < SIMD; s++) begin : gen_unsigned
        localparam bit INVERT = ACT_SIGNED && ACT_BITS > 1;
        assign x[s] = act_q[s*ACT_BITS +: ACT_BITS] ^ (ACT_BITS'(INVERT) << (ACT_BITS - 1));
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
                always_ff @(posedge clk) if (en)
                    {a_q, b_q, same_q, differ_q} <= {a, b, {1'b0, a} + {1'b0, b}, {1'b0, a} + {1'b0, ~b}};
            end else begin : gen_one
                always_ff @(posedge clk) if (en)
                    {a_q, b_q, same_q, differ_q} <= {a, ACT_BITS'(0), PAIR_BITS'(a), PAIR_BITS'(a)};
            end
        end
        always_ff @(posedge clk) if (en) word_late_q <= word_q;
        assign word = word_late_q;
    end else begin : gen_no_pairs
        assign word = word_q;
    end

    localparam int unsigned SUM_BITS  = LEAF_BITS + LEVELS;
    localparam int unsigned WIDE_BITS = (SUM_BITS > ACCU_BITS ? SUM_BITS : ACCU_BITS) + 1;
    logic                      m_valid_q;
    logic [PE-1:0][Y_BITS-1:0] m_data_q;
    wire result = valid_q[STAGES-1] && last_q[STAGES-1];
    assign en = !(result && m_valid_q && !m_axis_tready);
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = M_BITS'(m_data_q);
    always_ff @(posedge clk) begin
        if (rst) m_valid_q <= 1'b0;
        else if (en && result) m_valid_q <= 1'b1;
        else if (m_axis_tready) m_valid_q <= 1'b0;
    end

    for (genvar p = 0; p < PE; p++) begin : gen_pe
        wire [SIMD-1:0][WEIGHT_BITS-1:0] w = weight_q[p*SIMD*WEIGHT_BITS +: SIMD*WEIGHT_BITS];
        for (genvar l = 0; l <= LEVELS; l++) begin : gen_level
            localparam int unsigned NODES = (LEAVES + 2**l - 1) / 2**l;
            localparam int unsigned BELOW = l == 0 ? 0 : (LEAVES + 2**(l-1) - 1) / 2**(l-1);
            localparam int unsigned BITS  = LEAF_BITS + l;
            for (genvar n = 0; n < NODES; n++) begin : gen_node
                logic [BITS-1:0] value;
                if (l > 0) begin : gen_sum
                    wire [BITS-2:0] a = gen_level[l-1].gen_node[2*n].value;
                    if (2*n + 1 < BELOW) begin : gen_pair
                        wire [BITS-2:0] b = gen_level[l-1].gen_node[2*n+1].value;
                        always_ff @(posedge clk) if (en)
                            value <= {NEGATIVE && a[BITS-2], a} + {NEGATIVE && b[BITS-2], b};
                    end else begin : gen_single
                        always_ff @(posedge clk) if (en) value <= {NEGATIVE && a[BITS-2], a};
                    end
                end else if (AGREE) begin : gen_agreements
                    localparam int unsigned COUNT = SIMD - GROUP * n < GROUP ? SIMD - GROUP * n : GROUP;
                    wire [COUNT-1:0] agree = x[GROUP*n +: COUNT] ~^ w[GROUP*n +: COUNT];
                    wire [4:0]       ones;
                    count_ones u_ones (.clk(clk), .en_i(en), .bits_i(18'(agree)), .ones_o(ones));
                    assign value = ones[LEAF_BITS-1:0];
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
                        assign value = ({PAIR_BITS{other}} & differ | {PAIR_BITS{!other}} & same) ^ {PAIR_BITS{!of_a}};
                        wire unused_alone = &{1'b0, a, b};
                    end else begin : gen_taken
                        wire [PAIR_BITS-1:0] taken = {PAIR_BITS{of_a && of_b}} & same
                            | {PAIR_BITS{of_a && !of_b}} & a | {PAIR_BITS{!of_a && of_b}} & b;
                        assign value = LEAF_BITS'(taken ^ {PAIR_BITS{PLANE == PLANES - 1}}) << PLANE;
                        wire unused_differ = &{1'b0, differ};
                    end
                end else begin : gen_plus_or_minus
                    wire [BITS-1:0] weight = {w[n][WEIGHT_BITS-1], w[n]};
                    assign value = x[n][0] ? weight : -weight;
                end
            end
        end

        // START of the row that this PE is at.
        wire [NF-1:0][ACCU_BITS-1:0] starts;
        for (genvar f = 0; f < NF; f++) begin : gen_start
            assign starts[f] = START[(f*PE+p)*ACCU_BITS +: ACCU_BITS];
        end

        wire [SUM_BITS-1:0]   total = gen_level[LEVELS].gen_node[0].value;
        wire [WIDE_BITS-1:0]  wide  = AGREE ? {{WIDE_BITS-SUM_BITS-1{1'b0}}, total, 1'b0}
                                            : {{WIDE_BITS-SUM_BITS{NEGATIVE && total[SUM_BITS-1]}}, total};
        logic [ACCU_BITS-1:0] accu_q;
        wire [ACCU_BITS-1:0]  accu = wide[ACCU_BITS-1:0] + (first_q[STAGES-1] ? starts[row_q[STAGES-1]] : accu_q);
        wire [ACCU_BITS-1:0]  flipped = accu ^ (ACCU_BITS'(SIGN) << (ACCU_BITS - 1)); // the sign bit: y >= 0
        wire unused_sign = &{1'b0, wide[WIDE_BITS-1:ACCU_BITS], flipped};
        always_ff @(posedge clk) begin
            if (en && valid_q[STAGES-1]) accu_q <= accu; // no reset: not looked at before a first beat
            if (en && result) m_data_q[p] <= flipped[ACCU_BITS-1 -: Y_BITS];
        end
    end

    if (S_BITS > SIMD * ACT_BITS) begin : gen_padding
        wire unused_padding = &{1'b0, s_axis_tdata[S_BITS-1:SIMD*ACT_BITS]};
    end
`ifdef FORMAL
    `include "lut_mvu_fv.svh"
`endif
endmodule
`default_nettype wire
