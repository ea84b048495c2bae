// Included by count_ones.sv where FORMAL is defined.
//   What leaves is the number of ones that entered three enabled cycles before, and it stays while en_i is low.
    logic [2:0][17:0] fv_bits;          // what entered, the latest first
    logic [2:0]       fv_filled = 3'b0; // whether anything has entered yet
    always_ff @(posedge clk) if (en_i) begin
        fv_bits   <= 54'({fv_bits, bits_i});
        fv_filled <= 3'({fv_filled, 1'b1});
    end

    // Count of 18 bits, one after the other.
    function automatic logic [4:0] fv_count(input logic [17:0] bits);
        fv_count = '0;
        for (int unsigned i = 0; i < 18; i++) fv_count = fv_count + 5'(bits[i]);
    endfunction
    wire [4:0] fv_ones = fv_count(fv_bits[2]);
    always_comb if (fv_filled[2]) a_ones: assert (ones_o == fv_ones);
`ifndef FORMAL_CONTRACT

    // On the way there.
    logic [5:0] fv_odd; // of each three that entered two cycles before
    logic [5:0] fv_two;
    for (genvar i = 0; i < 6; i++) begin : gen_fv_three
        wire [1:0] first  = 2'(fv_bits[0][3*i]) + 2'(fv_bits[0][3*i+1]) + 2'(fv_bits[0][3*i+2]);
        wire [1:0] second = 2'(fv_bits[1][3*i]) + 2'(fv_bits[1][3*i+1]) + 2'(fv_bits[1][3*i+2]);
        assign {fv_two[i], fv_odd[i]} = second;
        always_comb if (fv_filled[0]) a_threes: assert ({carries_q[i], sums_q[i]} == first);
    end
    wire [4:0] fv_low = fv_count(18'(fv_odd)), fv_high = fv_count(18'(fv_two));
    always_comb if (fv_filled[1]) a_sixes: assert (5'(low_q) == fv_low && 5'(high_q) == fv_high);
`endif

`ifdef FORMAL_ALONE // inside another module not everything may be reached
    // The proof is not empty.
    always_comb begin
        c_all:  cover (fv_filled[2] && ones_o == 5'd18);
        c_none: cover (fv_filled[2] && ones_o == 5'd0 && fv_bits[1] == '1);
    end
`endif
