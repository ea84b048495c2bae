// finn_build/rtl/vector_replay.sv
// SPDX-License-Identifier: Apache-2.0
// Keep a vector of beats and give it several times, while the next one arrives.
//   The sink takes a beat where m_axis_tvalid and m_axis_tready meet; beside it stands which beat it is. Two vectors are
//   kept, or two beats if a vector leaves once. A beat can leave in the cycle after it came.
`default_nettype none
module vector_replay #(
    parameter int unsigned BITS   = 8, // of a beat [bit]
    parameter int unsigned BEATS  = 2, // per vector
    parameter int unsigned PASSES = 2, // how often a vector leaves
    localparam int unsigned PASS_BITS = PASSES > 1 ? $clog2(PASSES) : 1,
    localparam int unsigned WORD_BITS = BEATS * PASSES > 1 ? $clog2(BEATS * PASSES) : 1
) (
    input  wire logic                 clk,
    input  wire logic                 rst, // synchronous, active high
    input  wire logic [BITS-1:0]      s_axis_tdata,
    input  wire logic                 s_axis_tvalid,
    output wire logic                 s_axis_tready,
    output wire logic [BITS-1:0]      m_axis_tdata,
    output wire logic                 m_axis_tvalid,
    input  wire logic                 m_axis_tready,
    output wire logic                 first_o, // the beat is the first of its vector
    output wire logic                 last_o,  // or the last
    output wire logic [PASS_BITS-1:0] pass_o,  // passes of this vector before this one
    output wire logic [WORD_BITS-1:0] word_o   // beats of this vector before this one, in all passes
);
    if (BITS < 1 || BITS > 2**20) begin : gen_check_bits
        $fatal(1, "vector_replay: BITS=%0d is outside 1..2**20", BITS);
    end
    if (BEATS < 1 || BEATS > 2**24) begin : gen_check_beats
        $fatal(1, "vector_replay: BEATS=%0d is outside 1..2**24", BEATS);
    end
    if (PASSES < 1 || PASSES > 2**24) begin : gen_check_passes
        $fatal(1, "vector_replay: PASSES=%0d is outside 1..2**24", PASSES);
    end

    localparam int unsigned WORDS     = BEATS * PASSES;
    localparam int unsigned DEPTH     = PASSES == 1 ? 2 : 2 * BEATS;
    localparam int unsigned BEAT_BITS = BEATS > 1 ? $clog2(BEATS) : 1;
    localparam int unsigned PTR_BITS  = $clog2(DEPTH);
    localparam int unsigned FILL_BITS = $clog2(DEPTH + 1);

    // A word is free again when the last pass has read it; `ahead_q` words are still to be read in this pass, of
    // `fill_q` words kept.
    logic [BITS-1:0]      kept [DEPTH];
    logic [PTR_BITS-1:0]  write_q, read_q;
    logic [FILL_BITS-1:0] fill_q, ahead_q;
    logic [BEAT_BITS-1:0] beat_q;
    logic [PASS_BITS-1:0] pass_q;
    logic [WORD_BITS-1:0] word_q;
    assign s_axis_tready = !rst && fill_q != FILL_BITS'(DEPTH); // low in reset, see PG085
    assign m_axis_tvalid = ahead_q != '0;
    assign m_axis_tdata  = kept[read_q];
    wire push      = s_axis_tvalid && s_axis_tready;
    wire fetch     = m_axis_tvalid && m_axis_tready;
    wire end_beat  = beat_q == BEAT_BITS'(BEATS - 1);
    wire last_pass = pass_q == PASS_BITS'(PASSES - 1);
    wire free      = fetch && last_pass;
    wire rewind    = fetch && end_beat && !last_pass;
    assign first_o = beat_q == '0;
    assign last_o  = end_beat;
    assign pass_o  = pass_q;
    assign word_o  = word_q;

    always_ff @(posedge clk) begin
        if (rst) begin
            {write_q, read_q, fill_q, ahead_q, beat_q, pass_q, word_q} <= '0;
        end else begin
            fill_q  <= fill_q + FILL_BITS'(push) - FILL_BITS'(free);
            ahead_q <= ahead_q + FILL_BITS'(push) - FILL_BITS'(fetch) + (rewind ? FILL_BITS'(BEATS) : '0);
            if (push) write_q <= write_q == PTR_BITS'(DEPTH - 1) ? '0 : write_q + 1'b1;
            if (fetch) begin
                beat_q <= end_beat ? '0 : beat_q + 1'b1;
                word_q <= word_q == WORD_BITS'(WORDS - 1) ? '0 : word_q + 1'b1;
                if (end_beat) pass_q <= last_pass ? '0 : pass_q + 1'b1;
                if (rewind) read_q <= read_q - PTR_BITS'(BEATS - 1);
                else        read_q <= read_q == PTR_BITS'(DEPTH - 1) ? '0 : read_q + 1'b1;
            end
        end
        if (push) kept[write_q] <= s_axis_tdata;
    end
`ifdef FORMAL_VECTOR_REPLAY
    `include "vector_replay_fv.svh"
`endif
endmodule
`default_nettype wire
