// Included by adder_tree.sv where FORMAL_ADDER_TREE is defined.
//   What leaves is the sum of what entered LEVELS enabled cycles before, and it stays while en_i is low.
    typedef logic signed [SUM_BITS:0] fv_number;
    logic [LEVELS:0][TERMS-1:0][BITS-1:0] fv_terms;  // what is there (0) and what entered, the latest first
    logic [LEVELS:0]                      fv_filled; // whether that has entered yet
    logic [LEVELS:0][TERMS-1:0][BITS-1:0] fv_terms_q;
    logic [LEVELS:0]                      fv_filled_q = '0;
    assign fv_terms  = ((LEVELS+1)*TERMS*BITS)'({fv_terms_q, terms_i});
    assign fv_filled = (LEVELS+1)'({fv_filled_q, 1'b1});
    always_ff @(posedge clk) if (en_i) begin
        fv_terms_q  <= fv_terms;
        fv_filled_q <= fv_filled;
    end

    // Sum of the terms from `from` to before `to`, one after the other.
    function automatic fv_number fv_sum(
        input logic [TERMS-1:0][BITS-1:0] terms, input int unsigned from, input int unsigned to
    );
        fv_sum = '0;
        for (int unsigned i = 0; i < TERMS; i++) if (i >= from && i < to)
            fv_sum = fv_sum + (SIGNED != 0 ? fv_number'(signed'(terms[i])) : fv_number'(terms[i]));
    endfunction
    wire fv_number fv_total = fv_sum(fv_terms[LEVELS], 0, TERMS);
    always_comb if (fv_filled[LEVELS]) a_sum: assert (sum_o == SUM_BITS'(fv_total));
`ifndef FORMAL_CONTRACT

    // On the way there.
    for (genvar l = 0; l <= LEVELS; l++) begin : gen_fv_level
        for (genvar n = 0; n < (TERMS + 2**l - 1) / 2**l; n++) begin : gen_fv_node
            wire fv_number part = fv_sum(fv_terms[l], 2**l * n, 2**l * (n + 1));
            always_comb if (fv_filled[l]) a_node: assert (gen_level[l].gen_node[n].value == (BITS+l)'(part));
        end
    end
`endif

    // The proof is not empty.
    always_ff @(posedge clk) c_moves: cover (fv_filled[LEVELS] && en_i && sum_o != '0 && fv_total < 0 == (SIGNED != 0));
