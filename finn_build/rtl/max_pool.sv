// finn_build/rtl/max_pool.sv
// SPDX-License-Identifier: Apache-2.0
// The largest of each window, channel by channel: WINDOW beats of PE channels in, one out.
//   It stands behind a window generator that gives all places of a window for one group of channels, then for the next.
//   Numbers are unsigned, or signed with SIGNED; of 1 bit they are bipolar, where 0 is -1 and 1 is +1.
//   A beat per cycle. s_axis_tready follows m_axis_tready combinationally, and is low only where the last beat of a
//   window would make a result while the one before has nowhere to go.
`default_nettype none
module max_pool #(
    parameter int unsigned WINDOW = 4, // beats per result
    parameter int unsigned PE     = 2, // channels at a time
    parameter int unsigned BITS   = 4, // of a number [bit]
    parameter int unsigned SIGNED = 0, // 1: numbers wider than 1 bit are signed
    localparam int unsigned S_BITS = (PE * BITS + 7) / 8 * 8 // TDATA is whole bytes, zero-padded
) (
    input  wire logic              clk,
    input  wire logic              rst, // synchronous, active high
    input  wire logic [S_BITS-1:0] s_axis_tdata,
    input  wire logic              s_axis_tvalid,
    output wire logic              s_axis_tready,
    output wire logic [S_BITS-1:0] m_axis_tdata,
    output wire logic              m_axis_tvalid,
    input  wire logic              m_axis_tready
);
    if (WINDOW < 1 || WINDOW > 2**12) begin : gen_check_window
        $fatal(1, "max_pool: WINDOW=%0d is outside 1..2**12", WINDOW);
    end
    if (PE < 1 || PE > 2**14) begin : gen_check_pe
        $fatal(1, "max_pool: PE=%0d is outside 1..2**14", PE);
    end
    if (BITS < 1 || BITS > 32) begin : gen_check_bits
        $fatal(1, "max_pool: BITS=%0d is outside 1..32", BITS);
    end
    if (SIGNED > 1) begin : gen_check_signed
        $fatal(1, "max_pool: SIGNED=%0d is neither 0 nor 1", SIGNED);
    end

    localparam int unsigned BEAT_BITS = WINDOW > 1 ? $clog2(WINDOW) : 1;
    localparam int unsigned LANES     = PE > 2**14 ? 1 : PE; // or a tool's own limit would end it, before our words
    logic [BEAT_BITS-1:0]    beat_q; // of the window
    logic                    m_valid_q;
    logic [PE-1:0][BITS-1:0] best_q, m_data_q;
    wire first = beat_q == '0;
    wire last  = beat_q == BEAT_BITS'(WINDOW - 1);
    wire take  = s_axis_tvalid && s_axis_tready;
    assign s_axis_tready = !rst && !(last && m_valid_q && !m_axis_tready); // low in reset, see PG085
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = S_BITS'(m_data_q);
    always_ff @(posedge clk) begin
        if (rst) {beat_q, m_valid_q} <= '0;
        else begin
            if (take) beat_q <= last ? '0 : beat_q + 1'b1;
            m_valid_q <= (take && last) || (m_valid_q && !m_axis_tready);
        end
    end

    localparam bit INVERT = SIGNED != 0 && BITS > 1; // the sign bit, which makes an unsigned comparison of it
    for (genvar p = 0; p < LANES; p++) begin : gen_lane
        wire [BITS-1:0] x      = s_axis_tdata[p*BITS +: BITS];
        wire [BITS-1:0] as_new = x ^ (BITS'(INVERT) << (BITS - 1));
        wire [BITS-1:0] as_old = best_q[p] ^ (BITS'(INVERT) << (BITS - 1));
        wire [BITS-1:0] best   = first || as_new > as_old ? x : best_q[p];
        always_ff @(posedge clk) begin
            if (take) best_q[p] <= best; // no reset: not looked at before a first beat
            if (take && last) m_data_q[p] <= best;
        end
    end
    wire unused_padding = &{1'b0, s_axis_tdata};
`ifdef FORMAL
    `include "max_pool_fv.svh"
`endif
endmodule
`default_nettype wire
