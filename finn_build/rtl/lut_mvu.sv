// finn_build/rtl/lut_mvu.sv
// SPDX-License-Identifier: Apache-2.0
// Matrix-vector product in LUTs for the layers that FINN's RTL has none for: 1-bit weights or 1-bit activations.
//   y[r] = sum of W[r][c] * x[c] over MW columns, for MH rows: the true signed sum, not a popcount. A width of 1 means
//   bipolar: bit 0 is -1, bit 1 is +1. Wider weights are signed, wider activations unsigned; one of both is bipolar.
//   An input beat carries SIMD columns, an output beat PE rows, the first in the low bits. The vector is kept and
//   replayed MH / PE times while the next one arrives, so vectors follow each other every MW / SIMD * MH / PE cycles.
//   WEIGHT_FILE holds one word of PE * SIMD weights per line, in the order of use: word f * (MW / SIMD) + s has rows
//   f * PE.. and columns s * SIMD.., columns varying fastest. Python reference: contract.network.IntegerNetwork.
//   The adder tree has a register after every second level, so at most three adders in a row lie between registers.
//   A stalled sink stops the unit only when a finished result has nowhere to go.
`default_nettype none
module lut_mvu #(
    parameter int unsigned MW          = 8, // columns, a multiple of SIMD
    parameter int unsigned MH          = 4, // rows, a multiple of PE
    parameter int unsigned PE          = 2, // rows at a time
    parameter int unsigned SIMD        = 4, // columns at a time
    parameter int unsigned WEIGHT_BITS = 1, // of one weight [bit]
    parameter int unsigned ACT_BITS    = 1, // of one activation [bit]
    parameter int unsigned ACCU_BITS   = 8, // of one signed result [bit]; must hold every sum
    parameter              WEIGHT_FILE = "./weights.dat", // read by $readmemh
    // verilator lint_off UNUSEDPARAM
    parameter              RAM_STYLE   = "auto", // of the weights: auto, block or distributed; for synthesis only
    // verilator lint_on UNUSEDPARAM
    localparam int unsigned S_BITS = (SIMD * ACT_BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned M_BITS = (PE * ACCU_BITS + 7) / 8 * 8
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
    if (WEIGHT_BITS != 1 && ACT_BITS != 1) begin : gen_check_bits
        $fatal(1, "lut_mvu: weights of %0d and activations of %0d bits need a multiplier", WEIGHT_BITS, ACT_BITS);
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

    // The pipeline: operands, the adder tree with a register after every second level, the accumulator.
    localparam int unsigned LEVELS = $clog2(SIMD);
    localparam int unsigned STAGES = 1 + (LEVELS + 1) / 2; // registers before the accumulator
    logic [SIMD*ACT_BITS-1:0]       act_q;
    logic [PE*SIMD*WEIGHT_BITS-1:0] weight_q;
    logic [STAGES-1:0]              valid_q, first_q, last_q; // bit i: after register i
    always_ff @(posedge clk) begin
        if (rst) valid_q <= '0;
        else if (en) valid_q <= STAGES'({valid_q, fetch});
        if (en) begin
            act_q    <= kept[read_q];
            weight_q <= weights[word_q];
            first_q  <= STAGES'({first_q, beat_q == '0});
            last_q   <= STAGES'({last_q, end_beat});
        end
    end

    // Two bipolar operands: a term is 1 where they agree, and the sum over a row is 2 * agreements - MW.
    // One: a term is the other operand or its negative, which takes one bit more.
    localparam bit          AGREE      = WEIGHT_BITS == 1 && ACT_BITS == 1;
    localparam int unsigned VALUE_BITS = WEIGHT_BITS > ACT_BITS ? WEIGHT_BITS : ACT_BITS;
    localparam int unsigned TERM_BITS  = AGREE ? 1 : VALUE_BITS + 1;
    localparam int unsigned SUM_BITS   = TERM_BITS + LEVELS;
    localparam int unsigned WIDE_BITS  = (SUM_BITS > ACCU_BITS ? SUM_BITS : ACCU_BITS) + 1;
    localparam logic signed [ACCU_BITS-1:0] START = AGREE ? -ACCU_BITS'(MW) : '0;

    logic                              m_valid_q;
    logic [PE-1:0][ACCU_BITS-1:0]      m_data_q;
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
        for (genvar l = 0; l <= LEVELS; l++) begin : gen_level
            localparam int unsigned NODES = (SIMD + 2**l - 1) / 2**l;
            localparam int unsigned BITS  = TERM_BITS + l;
            logic [NODES-1:0][BITS-1:0] node;
            if (l == 0) begin : gen_terms
                for (genvar s = 0; s < SIMD; s++) begin : gen_term
                    wire [ACT_BITS-1:0]    x = act_q[s*ACT_BITS +: ACT_BITS];
                    wire [WEIGHT_BITS-1:0] w = weight_q[(p*SIMD+s)*WEIGHT_BITS +: WEIGHT_BITS];
                    if (AGREE) begin : gen_agree
                        assign node[s] = x ~^ w;
                    end else if (WEIGHT_BITS == 1) begin : gen_add_or_subtract
                        wire [BITS-1:0] value = {1'b0, x};
                        assign node[s] = w[0] ? value : -value;
                    end else begin : gen_plus_or_minus
                        wire [BITS-1:0] value = {w[WEIGHT_BITS-1], w};
                        assign node[s] = x[0] ? value : -value;
                    end
                end
            end else begin : gen_sums
                localparam int unsigned BELOW = (SIMD + 2**(l-1) - 1) / 2**(l-1);
                logic [NODES-1:0][BITS-1:0] sum;
                for (genvar n = 0; n < NODES; n++) begin : gen_sum
                    wire [BITS-2:0] a = gen_level[l-1].node[2*n];
                    if (2*n + 1 < BELOW) begin : gen_pair
                        wire [BITS-2:0] b = gen_level[l-1].node[2*n+1];
                        assign sum[n] = {!AGREE && a[BITS-2], a} + {!AGREE && b[BITS-2], b};
                    end else begin : gen_single
                        assign sum[n] = {!AGREE && a[BITS-2], a};
                    end
                end
                if (l % 2 == 0 || l == LEVELS) begin : gen_register
                    always_ff @(posedge clk) if (en) node <= sum;
                end else begin : gen_wire
                    assign node = sum;
                end
            end
        end

        // Beyond ACCU_BITS the sum of one beat is only copies of its sign.
        wire [SUM_BITS-1:0]   total = gen_level[LEVELS].node[0];
        wire [WIDE_BITS-1:0]  wide  = AGREE ? {{WIDE_BITS-SUM_BITS-1{1'b0}}, total, 1'b0}
                                            : {{WIDE_BITS-SUM_BITS{total[SUM_BITS-1]}}, total};
        logic [ACCU_BITS-1:0] accu_q;
        wire [ACCU_BITS-1:0]  accu = (first_q[STAGES-1] ? START : accu_q) + wide[ACCU_BITS-1:0];
        wire unused_sign = &{1'b0, wide[WIDE_BITS-1:ACCU_BITS]};
        always_ff @(posedge clk) begin
            if (en && valid_q[STAGES-1]) accu_q <= accu; // no reset: not looked at before a first beat
            if (en && result) m_data_q[p] <= accu;
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
