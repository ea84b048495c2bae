// finn_build/rtl/count_ones.sv
// SPDX-License-Identifier: Apache-2.0
// How many of 18 bits are 1, three registers later.
//   Groups of three give a sum and a carry, two LUTs of 6 inputs even when each bit is itself a function of two; six sums
//   and six carries are counted by three LUTs each. The registers keep these steps apart, and it is written as logic,
//   because synthesis makes an adder with a carry chain of every `+`: more LUTs for numbers of 1 to 3 bits.
`default_nettype none
module count_ones (
    input  wire logic        clk,
    input  wire logic        en_i,
    input  wire logic [17:0] bits_i,
    output wire logic [4:0]  ones_o
);
    // Count of three bits.
    function automatic logic [1:0] of_three(input logic [2:0] three);
        return {(three[0] & three[1]) | (three[2] & (three[0] | three[1])), ^three};
    endfunction

    // Count of six bits.
    function automatic logic [2:0] of_six(input logic [5:0] six);
        automatic logic [1:0] low    = of_three(six[2:0]);
        automatic logic [1:0] high   = of_three(six[5:3]);
        automatic logic [1:0] middle = of_three({low[1], high[1], low[0] & high[0]});
        return {middle, low[0] ^ high[0]};
    endfunction

    logic [5:0] sums_q, carries_q;
    logic [2:0] low_q, high_q;
    logic [4:0] ones_q;
    for (genvar i = 0; i < 6; i++) begin : gen_three
        always_ff @(posedge clk) if (en_i) {carries_q[i], sums_q[i]} <= of_three(bits_i[3*i +: 3]);
    end
    always_ff @(posedge clk) begin
        if (en_i) {high_q, low_q} <= {of_six(carries_q), of_six(sums_q)};
        if (en_i) ones_q <= {2'b0, low_q} + {1'b0, high_q, 1'b0};
    end
    assign ones_o = ones_q;
`ifdef FORMAL
    `include "count_ones_fv.svh"
`endif
endmodule
`default_nettype wire
