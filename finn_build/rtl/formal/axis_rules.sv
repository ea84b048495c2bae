// finn_build/rtl/formal/axis_rules.sv
// SPDX-License-Identifier: Apache-2.0
// What any AXI-Stream source promises. ASSUME=1 on our inputs, ASSUME=0 on our outputs.
`default_nettype none
module axis_rules #(
    parameter int unsigned BITS   = 8, // all that a beat carries: TDATA and TLAST [bit]
    parameter bit          ASSUME = 1'b0
) (
    input wire logic            clk, rst, tvalid, tready,
    input wire logic [BITS-1:0] payload
);
    logic            was_rst = 1'b0, was_refused = 1'b0;
    logic [BITS-1:0] was_payload;
    always_ff @(posedge clk) begin
        was_rst     <= rst;
        was_refused <= !rst && tvalid && !tready;
        was_payload <= payload;
    end
    wire quiet = !was_rst || !tvalid;                                       // nothing right after reset
    wire held  = !was_refused || rst || (tvalid && payload == was_payload); // a refused beat stays
    if (ASSUME) begin : gen_assume
        always_comb assume (quiet && held);
    end else begin : gen_assert
        always_comb begin
            a_quiet: assert (quiet);
            a_held:  assert (held);
        end
    end
endmodule
`default_nettype wire
