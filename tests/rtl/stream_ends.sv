// tests/rtl/stream_ends.sv
// SPDX-License-Identifier: Apache-2.0
// Source and sink of a unit under test: beats come from a file, again and again, and must leave as a second file says.
`default_nettype none
module stream_source #(
    parameter int unsigned BITS  = 8,
    parameter int unsigned BEATS = 1, // lines of FILE
    parameter              FILE  = ""
) (
    input  wire logic            clk, rst,
    input  wire logic            go, // may start to offer a beat; an offered one stays until it is taken
    output wire logic [BITS-1:0] tdata,
    output wire logic            tvalid,
    input  wire logic            tready,
    output      logic     [31:0] moved
);
    logic [BITS-1:0] beats [BEATS];
    initial $readmemh(FILE, beats);
    logic        waits;
    logic [31:0] at;
    assign tvalid = !rst && (go || waits);
    assign tdata  = tvalid ? beats[at] : ~beats[at]; // nothing may be read from a stream that offers nothing
    always_ff @(posedge clk) begin
        if (rst) {waits, at, moved} <= '0;
        else begin
            waits <= tvalid && !tready;
            if (tvalid && tready) begin
                moved <= moved + 1;
                at    <= at == BEATS - 1 ? 0 : at + 1;
            end
        end
    end
endmodule

module stream_sink #(
    parameter int unsigned BITS  = 8,
    parameter int unsigned BEATS = 1,
    parameter              FILE  = "",
    parameter logic [BITS-1:0] CARE = '1 // bits that are compared; padding may be anything
) (
    input  wire logic            clk, rst,
    input  wire logic            go,
    input  wire logic [BITS-1:0] tdata,
    input  wire logic            tvalid,
    output wire logic            tready,
    output      logic     [31:0] moved
);
    logic [BITS-1:0] beats [BEATS];
    initial $readmemh(FILE, beats);
    logic            refused;
    logic [31:0]     at;
    logic [BITS-1:0] was;
    assign tready = go;
    always_ff @(posedge clk) begin
        if (rst) {refused, at, moved} <= '0;
        else begin
            refused <= tvalid && !tready;
            was     <= tdata;
            if (refused && (!tvalid || (tdata & CARE) != (was & CARE))) $fatal(1, "%m: a beat that waits must stay");
            if (tvalid && tready) begin
                if ((tdata & CARE) != beats[at]) $fatal(1, "%m: beat %0d is %h, expected %h", moved, tdata, beats[at]);
                moved <= moved + 1;
                at    <= at == BEATS - 1 ? 0 : at + 1;
            end
        end
    end
endmodule
`default_nettype wire
