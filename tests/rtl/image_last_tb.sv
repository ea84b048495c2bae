// tests/rtl/image_last_tb.sv
// SPDX-License-Identifier: Apache-2.0
// axis_image_last around a core that swallows whole images and answers each with OUT_BEATS beats.
//   Beat b of a result is the sum of the image's beats plus b. The core can hold more images than axis_image_last lets
//   in, so that it is axis_image_last's own limit that shows. The core's pauses come from go_in and go_out.
`default_nettype none
module image_last_tb #(
    parameter int unsigned IN_BEATS   = 5,
    parameter int unsigned OUT_BEATS  = 1,
    parameter int unsigned MAX_IMAGES = 2,
    parameter int unsigned IN_BITS    = 8,
    parameter int unsigned OUT_BITS   = 32
) (
    input  wire logic                clk,
    input  wire logic                rst,
    input  wire logic                go_in,
    input  wire logic                go_out,
    input  wire logic [IN_BITS-1:0]  s_axis_tdata,
    input  wire logic                s_axis_tvalid,
    input  wire logic                s_axis_tlast,
    output wire logic                s_axis_tready,
    output wire logic [OUT_BITS-1:0] m_axis_tdata,
    output wire logic                m_axis_tvalid,
    output wire logic                m_axis_tlast,
    input  wire logic                m_axis_tready
);
    logic [IN_BITS-1:0]  in_tdata;
    logic [OUT_BITS-1:0] out_tdata;
    logic                in_tvalid, in_tready, out_tvalid, out_tready;

    axis_image_last #(
        .IN_BEATS(IN_BEATS), .OUT_BEATS(OUT_BEATS), .MAX_IMAGES(MAX_IMAGES), .IN_BITS(IN_BITS), .OUT_BITS(OUT_BITS)
    ) u_dut (
        .clk(clk), .rst(rst),
        .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tlast(s_axis_tlast),
        .s_axis_tready(s_axis_tready),
        .m_axis_core_tdata(in_tdata), .m_axis_core_tvalid(in_tvalid), .m_axis_core_tready(in_tready),
        .s_axis_core_tdata(out_tdata), .s_axis_core_tvalid(out_tvalid), .s_axis_core_tready(out_tready),
        .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tlast(m_axis_tlast),
        .m_axis_tready(m_axis_tready)
    );

    logic [OUT_BITS-1:0] results[$];
    logic [OUT_BITS-1:0] sum_q;
    int unsigned         in_q, out_q, held; // beats of the image, beats of the result, images in the core
    logic                waiting_q;         // a refused result beat stays offered

    assign in_tready  = go_in;
    assign out_tvalid = held != 0 && (go_out || waiting_q);
    always_ff @(posedge clk) begin
        if (rst) begin
            results.delete();
            sum_q     <= '0;
            in_q      <= 0;
            out_q     <= 0;
            held      <= 0;
            waiting_q <= 1'b0;
            out_tdata <= '0;
        end else begin
            if (in_tvalid && in_tready) begin
                in_q  <= in_q == IN_BEATS - 1 ? 0 : in_q + 1;
                sum_q <= in_q == IN_BEATS - 1 ? '0 : sum_q + OUT_BITS'(in_tdata);
                if (in_q == IN_BEATS - 1) results.push_back(sum_q + OUT_BITS'(in_tdata));
            end
            waiting_q <= out_tvalid && !out_tready;
            if (out_tvalid && out_tready) begin
                out_q <= out_q == OUT_BEATS - 1 ? 0 : out_q + 1;
                if (out_q == OUT_BEATS - 1) void'(results.pop_front());
            end
            held      <= 32'(results.size());
            out_tdata <= results.size() == 0 ? '0
                : results[0] + (out_tvalid && out_tready ? (out_q == OUT_BEATS - 1 ? '0 : OUT_BITS'(out_q + 1))
                                                         : OUT_BITS'(out_q));
        end
    end
endmodule
`default_nettype wire
