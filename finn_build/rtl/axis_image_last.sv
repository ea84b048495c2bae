// finn_build/rtl/axis_image_last.sv
// SPDX-License-Identifier: Apache-2.0
// Carry TLAST around a core that has none: from the last beat of an image to the last beat of its result.
//   FINN's layers have no TLAST, and a DMA that receives a stream without TLAST never completes. The input passes
//   unchanged to the core. When the last of an image's IN_BEATS beats passes, its TLAST is queued; when the last of
//   that image's OUT_BEATS result beats leaves the core, TLAST is taken from the queue. So a transfer of any number of
//   whole images, marked once at its end, gives one marked transfer of results. TLAST elsewhere in an image is ignored.
//   Data and handshakes pass combinationally. An image's last beat waits while MAX_IMAGES results are outstanding.
`default_nettype none
module axis_image_last #(
    parameter int unsigned IN_BEATS   = 784, // beats per image
    parameter int unsigned OUT_BEATS  = 1,   // beats per result
    parameter int unsigned MAX_IMAGES = 32,  // images inside the core at a time, at most
    parameter int unsigned IN_BITS    = 8,   // width of the input stream [bit]
    parameter int unsigned OUT_BITS   = 32   // width of the output stream [bit]
) (
    input  wire logic                clk,
    input  wire logic                rst, // synchronous, active high
    // From the outside and on into the core
    input  wire logic [IN_BITS-1:0]  s_axis_tdata,
    input  wire logic                s_axis_tvalid,
    input  wire logic                s_axis_tlast,
    output wire logic                s_axis_tready,
    output wire logic [IN_BITS-1:0]  m_axis_core_tdata,
    output wire logic                m_axis_core_tvalid,
    input  wire logic                m_axis_core_tready,
    // From the core and on to the outside
    input  wire logic [OUT_BITS-1:0] s_axis_core_tdata,
    input  wire logic                s_axis_core_tvalid,
    output wire logic                s_axis_core_tready,
    output wire logic [OUT_BITS-1:0] m_axis_tdata,
    output wire logic                m_axis_tvalid,
    output wire logic                m_axis_tlast,
    input  wire logic                m_axis_tready
);
    if (IN_BEATS < 1 || IN_BEATS > 2**24) begin : gen_check_in_beats
        $fatal(1, "axis_image_last: IN_BEATS=%0d is outside 1..2**24", IN_BEATS);
    end
    if (OUT_BEATS < 1 || OUT_BEATS > 2**24) begin : gen_check_out_beats
        $fatal(1, "axis_image_last: OUT_BEATS=%0d is outside 1..2**24", OUT_BEATS);
    end
    if (MAX_IMAGES < 1 || MAX_IMAGES > 4096) begin : gen_check_max_images
        $fatal(1, "axis_image_last: MAX_IMAGES=%0d is outside 1..4096", MAX_IMAGES);
    end
    if (IN_BITS < 8 || IN_BITS > 4096 || IN_BITS % 8 != 0) begin : gen_check_in_bits
        $fatal(1, "axis_image_last: IN_BITS=%0d is not whole bytes, 8..4096", IN_BITS);
    end
    if (OUT_BITS < 8 || OUT_BITS > 4096 || OUT_BITS % 8 != 0) begin : gen_check_out_bits
        $fatal(1, "axis_image_last: OUT_BITS=%0d is not whole bytes, 8..4096", OUT_BITS);
    end

    localparam int unsigned IN_CNT_BITS  = IN_BEATS > 1 ? $clog2(IN_BEATS) : 1;
    localparam int unsigned OUT_CNT_BITS = OUT_BEATS > 1 ? $clog2(OUT_BEATS) : 1;
    localparam int unsigned FILL_BITS    = $clog2(MAX_IMAGES + 1);

    // The queue is a shift register: new flags enter at index 0, the oldest is at index fill_q - 1.
    logic [MAX_IMAGES-1:0]   flags_q;
    logic [FILL_BITS-1:0]    fill_q;
    logic [IN_CNT_BITS-1:0]  in_beat_q;
    logic [OUT_CNT_BITS-1:0] out_beat_q;

    wire full    = fill_q == FILL_BITS'(MAX_IMAGES);
    wire empty   = fill_q == '0;
    wire in_end  = in_beat_q == IN_CNT_BITS'(IN_BEATS - 1);
    wire out_end = out_beat_q == OUT_CNT_BITS'(OUT_BEATS - 1);
    wire pass    = !rst && !(in_end && full); // low in reset, see PG085

    assign m_axis_core_tdata  = s_axis_tdata;
    assign m_axis_core_tvalid = s_axis_tvalid && pass;
    assign s_axis_tready      = m_axis_core_tready && pass;

    // A result can't be there before its image's last beat; waiting for the queue says so instead of trusting it.
    assign m_axis_tdata       = s_axis_core_tdata;
    assign m_axis_tvalid      = s_axis_core_tvalid && !empty && !rst;
    assign s_axis_core_tready = m_axis_tready && !empty && !rst;
    logic oldest;
    always_comb begin
        oldest = 1'b0;
        for (int unsigned i = 0; i < MAX_IMAGES; i++)
            if (fill_q == FILL_BITS'(i + 1)) oldest = flags_q[i];
    end
    assign m_axis_tlast = out_end && oldest;

    wire in_beat  = s_axis_tvalid && s_axis_tready;
    wire out_beat = m_axis_tvalid && m_axis_tready;
    wire push     = in_beat && in_end;
    wire pop      = out_beat && out_end;
    always_ff @(posedge clk) begin
        if (rst) begin
            fill_q     <= '0;
            in_beat_q  <= '0;
            out_beat_q <= '0;
        end else begin
            if (in_beat) in_beat_q <= in_end ? '0 : in_beat_q + 1'b1;
            if (out_beat) out_beat_q <= out_end ? '0 : out_beat_q + 1'b1;
            if (push && !pop) fill_q <= fill_q + 1'b1;
            if (pop && !push) fill_q <= fill_q - 1'b1;
        end
        if (push) flags_q <= MAX_IMAGES'({flags_q, s_axis_tlast}); // no reset: not looked at while fill_q is 0
    end
`ifdef FORMAL
    `include "axis_image_last_fv.svh"
`endif
endmodule
`default_nettype wire
