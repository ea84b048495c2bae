// finn_build/rtl/global_sum.sv
// SPDX-License-Identifier: Apache-2.0
// The sum of each channel over all places of an image: PLACES * CHANNELS / PE beats in, CHANNELS / PE out.
//   A beat has PE channels of a place, and the groups of channels of a place follow each other. Numbers are unsigned, or
//   signed with SIGNED; of 1 bit they are bipolar, where 0 is -1 and 1 is +1. Sums are as wide as SUM_BITS must hold.
//   A beat per cycle, also from one image to the next: the sums leave while the last place arrives, and the first place
//   of the next image starts them anew. s_axis_tready follows m_axis_tready combinationally, and is low only where a
//   beat would make a result while the one before has nowhere to go.
`default_nettype none
module global_sum #(
    parameter int unsigned PLACES   = 4, // of an image
    parameter int unsigned CHANNELS = 4, // a multiple of PE
    parameter int unsigned PE       = 2, // channels at a time
    parameter int unsigned BITS     = 2, // of a number [bit]
    parameter int unsigned SIGNED   = 0, // 1: numbers wider than 1 bit are signed
    parameter int unsigned SUM_BITS = 4, // of a sum [bit]; must hold every sum, as a signed number where numbers are
    localparam int unsigned S_BITS = (PE * BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned M_BITS = (PE * SUM_BITS + 7) / 8 * 8
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
    if (PLACES < 1 || PLACES > 2**24) begin : gen_check_places
        $fatal(1, "global_sum: PLACES=%0d is outside 1..2**24", PLACES);
    end
    if (CHANNELS < 1 || CHANNELS > 2**14) begin : gen_check_channels
        $fatal(1, "global_sum: CHANNELS=%0d is outside 1..2**14", CHANNELS);
    end
    if (PE < 1 || PE > CHANNELS || CHANNELS % (PE > 0 ? PE : 1) != 0) begin : gen_check_pe
        $fatal(1, "global_sum: PE=%0d must divide CHANNELS=%0d", PE, CHANNELS);
    end
    if (BITS < 1 || BITS > 32) begin : gen_check_bits
        $fatal(1, "global_sum: BITS=%0d is outside 1..32", BITS);
    end
    if (SIGNED > 1) begin : gen_check_signed
        $fatal(1, "global_sum: SIGNED=%0d is neither 0 nor 1", SIGNED);
    end
    if (SUM_BITS < BITS || SUM_BITS > 64) begin : gen_check_sum_bits
        $fatal(1, "global_sum: SUM_BITS=%0d is outside BITS=%0d..64", SUM_BITS, BITS);
    end

    localparam int unsigned LANES      = PE > 2**14 ? 1 : PE; // or a tool's own limit would end it, before our words
    localparam int unsigned FOLDS      = CHANNELS / PE; // groups of channels
    localparam int unsigned FOLD_BITS  = FOLDS > 1 ? $clog2(FOLDS) : 1;
    localparam int unsigned PLACE_BITS = PLACES > 1 ? $clog2(PLACES) : 1;
    logic [PE*SUM_BITS-1:0] sums [FOLDS];
    logic [FOLD_BITS-1:0]   fold_q;
    logic [PLACE_BITS-1:0]  place_q;
    logic                   m_valid_q;
    logic [PE*SUM_BITS-1:0] m_data_q;
    wire first     = place_q == '0;
    wire last      = place_q == PLACE_BITS'(PLACES - 1);
    wire last_fold = fold_q == FOLD_BITS'(FOLDS - 1);
    wire take      = s_axis_tvalid && s_axis_tready;
    assign s_axis_tready = !rst && !(last && m_valid_q && !m_axis_tready); // low in reset, see PG085
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = M_BITS'(m_data_q);

    wire [PE*SUM_BITS-1:0] so_far = sums[fold_q];
    wire [PE*SUM_BITS-1:0] now;
    for (genvar p = 0; p < LANES; p++) begin : gen_lane
        wire [BITS-1:0]     x = s_axis_tdata[p*BITS +: BITS];
        wire [SUM_BITS-1:0] added;
        if (BITS == 1) begin : gen_bipolar
            assign added = {{SUM_BITS{!x}}} | SUM_BITS'(1);
        end else begin : gen_number
            assign added = SUM_BITS'({{SUM_BITS{SIGNED != 0 && x[BITS-1]}}, x});
        end
        assign now[p*SUM_BITS +: SUM_BITS] = (so_far[p*SUM_BITS +: SUM_BITS] & {SUM_BITS{!first}}) + added;
    end

    always_ff @(posedge clk) begin
        if (rst) {fold_q, place_q, m_valid_q} <= '0;
        else begin
            if (take) fold_q <= last_fold ? '0 : fold_q + 1'b1;
            if (take && last_fold) place_q <= last ? '0 : place_q + 1'b1;
            m_valid_q <= (take && last) || (m_valid_q && !m_axis_tready);
        end
        if (take) sums[fold_q] <= now; // no reset: not looked at at the first place
        if (take && last) m_data_q <= now;
    end
    wire unused_padding = &{1'b0, s_axis_tdata};
`ifdef FORMAL
    `include "global_sum_fv.svh"
`endif
endmodule
`default_nettype wire
