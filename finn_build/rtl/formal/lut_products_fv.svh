// Included by lut_products.sv where FORMAL_LUT_PRODUCTS is defined.
//   What leaves is what entered STAGES enabled cycles before: whether it was valid, its mark, and the sums of its terms
//   with the weights of its word, for any weights that need no more bits than NEEDED: the proof's WEIGHT_FILE is empty.
    `include "lut_terms_fv.svh"
    logic [STAGES-1:0][SIMD*ACT_BITS-1:0]   fv_act;          // what entered, the latest first
    logic [STAGES-1:0][WORD_BITS-1:0]       fv_word;
    logic [STAGES-1:0][MARK_BITS-1:0]       fv_mark;
    logic [STAGES-1:0]                      fv_filled = '0;  // whether anything has entered yet
    logic [STAGES-1:0]                      fv_valid;
    logic                                   fv_started = 1'b0;
    always_ff @(posedge clk) begin
        fv_started <= 1'b1;
        if (rst) fv_valid <= '0;
        else if (en_i) fv_valid <= STAGES'({fv_valid, valid_i});
        if (en_i) begin
            fv_act    <= (STAGES*SIMD*ACT_BITS)'({fv_act, acts_i});
            fv_word   <= (STAGES*WORD_BITS)'({fv_word, word_i});
            fv_mark   <= (STAGES*MARK_BITS)'({fv_mark, mark_i});
            fv_filled <= STAGES'({fv_filled, 1'b1});
        end
    end
    always_comb assume ((fv_started || rst) && 32'(word_i) < WORDS);
    for (genvar i = 0; i < PE*SIMD; i++) begin : gen_fv_needed
        localparam int unsigned ABOVE = WEIGHT_BITS - 32'(NEEDED[i*8 +: 8]); // these bits are the sign
        for (genvar f = 0; f < WORDS; f++) begin : gen_fv_word
            wire signed [WEIGHT_BITS-1:0] weight = weights[f][i*WEIGHT_BITS +: WEIGHT_BITS];
            always_comb assume (weight <<< ABOVE >>> ABOVE == weight);
        end
    end

    always_comb begin
        if (fv_started) a_valid: assert (valid_o == fv_valid[STAGES-1]);
        if (fv_filled[STAGES-1]) a_mark: assert (mark_o == fv_mark[STAGES-1]);
    end
    wire [STAGES-1:0][PE*SIMD*WEIGHT_BITS-1:0] fv_weight;
    for (genvar i = 0; i < STAGES; i++) begin : gen_fv_stage
        assign fv_weight[i] = weights[fv_word[i]];
    end
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        wire fv_number terms = fv_columns(fv_act[STAGES-1], fv_weight[STAGES-1], 0, SIMD, p);
        always_comb if (fv_filled[STAGES-1])
            a_every_sum: assert (sums_o[p] == SUM_BITS'(terms) << AGREE); // agreements count double
    end
`ifndef FORMAL_CONTRACT

    // What the registers mean, without which induction would start from states that never are.
    always_comb begin
        if (fv_started) a_valids: assert (valid_q == fv_valid);
        a_filled: assert ((fv_filled & (fv_filled + 1'b1)) == '0);
        if (fv_filled[0]) a_act: assert (acts_q == fv_act[0]);
        if (fv_filled[FV_READ]) a_weight: assert (weight_q == fv_weight[FV_READ]);
    end
    for (genvar i = 0; i < STAGES; i++) begin : gen_fv_mark
        always_comb if (fv_filled[i]) a_marks: assert (mark_q[i] == fv_mark[i]);
    end
    for (genvar p = 0; p < PE; p++) begin : gen_fv_row
        for (genvar l = 0; l <= LEVELS; l++) begin : gen_fv_level
            for (genvar n = 0; n < (LEAVES + 2**l - 1) / 2**l; n++) begin : gen_fv_node
                localparam int unsigned FROM = 2**l * n, TO = 2**l * (n + 1);
                wire fv_number terms = fv_leaves(fv_act[FV_LEAF+l], fv_weight[FV_LEAF+l], FROM, TO, p);
                always_comb if (fv_filled[FV_LEAF+l])
                    a_node: assert (gen_pe[p].u_tree.gen_level[l].gen_node[n].value == (LEAF_BITS+l)'(terms));
            end
        end
        if (AGREE) begin : gen_fv_counts
            for (genvar n = 0; n < LEAVES; n++) begin : gen_fv_count
                localparam int unsigned COUNT = SIMD - GROUP * n < GROUP ? SIMD - GROUP * n : GROUP;
                for (genvar i = 0; i < 3; i++) begin : gen_fv_age
                    wire [COUNT-1:0] agree = fv_act[i+1][GROUP*n +: COUNT] ~^ fv_weight[i+1][p*SIMD + GROUP*n +: COUNT];
                    always_comb if (fv_filled[i+1])
                        a_count: assert (gen_pe[p].gen_leaf[n].gen_agreements.u_ones.fv_filled[i]
                            && gen_pe[p].gen_leaf[n].gen_agreements.u_ones.fv_bits[i] == 18'(agree));
                end
            end
        end
    end
    if (PAIRS) begin : gen_fv_pairs
        always_comb if (fv_filled[0]) a_word_late: assert (gen_pairs.word_late_q == fv_word[0]);
        for (genvar n = 0; n < GROUPS; n++) begin : gen_fv_pair
            localparam int unsigned B = GROUP*n + 32'(GROUP*n + 1 < SIMD);
            wire fv_number a = fv_value(fv_act[1], GROUP*n), b = fv_value(fv_act[1], B);
            always_comb if (fv_filled[1]) begin
                a_alone: assert (gen_pairs.gen_pair[n].a_q == ACT_BITS'(a));
                if (B == GROUP*n) a_one: assert (gen_pairs.gen_pair[n].same_q == PAIR_BITS'(a));
                else begin
                    a_other:  assert (gen_pairs.gen_pair[n].b_q == ACT_BITS'(b));
                    a_same:   assert (gen_pairs.gen_pair[n].same_q == PAIR_BITS'(a + b));
                    a_differ: assert (gen_pairs.gen_pair[n].differ_q == PAIR_BITS'(a + fv_number'(2**ACT_BITS - 1) - b));
                end
            end
        end
    end
`endif

    // The proof is not empty: a valid beat leaves after a pause, with sums that differ.
    logic fv_was_paused = 1'b0;
    always_ff @(posedge clk) begin
        fv_was_paused <= fv_was_paused || (!en_i && valid_i && fv_valid != '0);
        c_leaves: cover (fv_filled[STAGES-1] && valid_o && fv_was_paused && sums_o[0] != sums_o[PE-1]);
    end
