// finn_build/rtl/formal/symbol.sv
// SPDX-License-Identifier: Apache-2.0
// A constant that the solver chooses: what is proven for it is proven for every value.
`default_nettype none
module symbol #(
    parameter int unsigned BITS = 8
) (
    input  wire logic            clk,
    output wire logic [BITS-1:0] value
);
    logic [BITS-1:0] was_value;
    logic            started = 1'b0;
    always_ff @(posedge clk) begin
        was_value <= value; // nothing drives it: the proof's script lets it take any value (setundef -anyseq)
        started   <= 1'b1;
    end
    always_comb assume (!started || value == was_value);
endmodule
`default_nettype wire
