// Included by lut_mvu.sv where FORMAL is defined.
//   Both ports keep the rules; every vector of SF beats gives NF results, none lost, none twice; a taken beat and a
//   result come within a bound while the sink takes; for the vector that the solver picks, every result is the sum.
//   The proof's WEIGHT_FILE is empty, so the u_products.weights are any: what is proven is proven for all of them.
    // What is looked at inside the modules.
    localparam bit          AGREE     = WEIGHT_BITS == 1 && ACT_BITS == 1;
    localparam bit          PAIRS     = ACT_BITS > 1;
    localparam int unsigned PLANES    = PAIRS ? WEIGHT_BITS : 1;
    localparam int unsigned GROUP     = AGREE ? (SIMD < 18 ? SIMD : 18) : PAIRS && SIMD > 1 ? 2 : 1;
    localparam int unsigned GROUPS    = (SIMD + GROUP - 1) / GROUP;
    localparam int unsigned LEAVES    = GROUPS * PLANES;
    localparam int unsigned PAIR_BITS = ACT_BITS + GROUP - 1;
    localparam int unsigned LEAF_BITS = AGREE ? $clog2(GROUP + 1) : PAIRS ? PAIR_BITS + PLANES - 1 : WEIGHT_BITS + 1;
    localparam int unsigned LEVELS    = $clog2(LEAVES);
    localparam int unsigned STAGES    = (AGREE ? 4 : PAIRS ? 2 : 1) + LEVELS;
    localparam int unsigned WIDE_BITS = (LEAF_BITS + LEVELS > ACCU_BITS ? LEAF_BITS + LEVELS : ACCU_BITS) + 1;
    localparam int unsigned DEPTH     = NF == 1 ? 2 : 2 * SF;
    localparam int unsigned PTR_BITS  = $clog2(DEPTH);
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Counted from outside the module: beats of the vector that is arriving, results that are owed, and waiting.
    localparam int unsigned INPUT_WAIT  = (NF - 1) * SF + 1;
    localparam int unsigned OUTPUT_WAIT = SF + STAGES;
    logic [7:0] fv_beat, fv_owed, fv_in_wait, fv_out_wait;
    wire fv_in   = s_axis_tvalid && s_axis_tready;
    wire fv_out  = m_axis_tvalid && m_axis_tready;
    wire fv_full = fv_in && 32'(fv_beat) == SF - 1;
    always_ff @(posedge clk) begin
        if (rst) {fv_beat, fv_owed, fv_in_wait, fv_out_wait} <= '0;
        else begin
            if (fv_in) fv_beat <= fv_full ? '0 : fv_beat + 8'd1;
            fv_owed     <= fv_owed + (fv_full ? 8'(NF) : 8'd0) - 8'(fv_out);
            fv_in_wait  <= s_axis_tready || !m_axis_tready ? '0 : fv_in_wait + 8'd1;
            fv_out_wait <= m_axis_tvalid || !m_axis_tready || fv_owed == 0 ? '0 : fv_out_wait + 8'd1;
        end
    end
    always_comb if (fv_started && !rst) begin
        a_no_result_too_many: assert (!m_axis_tvalid || fv_owed != 0);
        a_input_is_taken:     assert (32'(fv_in_wait) <= INPUT_WAIT);
        a_results_come:       assert (32'(fv_out_wait) <= OUTPUT_WAIT);
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready);

`ifndef FORMAL_CONTRACT
    // What the registers mean, without which induction would start from states that never are. `fv_ahead` whole
    // vectors have arrived from the one that is being fetched on.
    logic [7:0] fv_ahead, fv_results, fv_to_result, fv_to_free;
    always_ff @(posedge clk) begin
        if (rst) fv_ahead <= '0;
        else fv_ahead <= fv_ahead + 8'(fv_full) - 8'(u_replay.fetch && u_replay.end_beat && u_replay.last_pass);
    end
    always_comb begin
        fv_results   = 8'(u_rows.m_valid_q);
        fv_to_result = 8'(SF + STAGES) - 8'(u_replay.beat_q); // cycles until a result, if nothing stalls
        for (int unsigned i = 0; i < STAGES; i++)
            if (u_products.valid_q[i] && u_products.mark_q[i][1]) begin
                fv_results   = fv_results + 8'd1;
                fv_to_result = 8'(STAGES - i); // the oldest wins
            end
        fv_to_free = u_replay.last_pass ? 8'd1 : 8'((NF - 1 - 32'(u_replay.pass_q)) * SF + 1) - 8'(u_replay.beat_q);
    end
    always_comb if (fv_started && !rst) begin
        a_ranges: assert (32'(fv_beat) < SF && 32'(u_replay.beat_q) < SF && 32'(u_replay.pass_q) < NF && 32'(u_replay.write_q) < DEPTH
            && 32'(u_replay.read_q) < DEPTH && 32'(u_replay.fill_q) <= DEPTH && 32'(fv_ahead) <= DEPTH);
        a_fill:   assert (32'(u_replay.fill_q) == 32'(fv_ahead) * SF + 32'(fv_beat) - (u_replay.last_pass ? 32'(u_replay.beat_q) : 0));
        a_ahead:  assert (32'(u_replay.ahead_q) == 32'(fv_ahead) * SF + 32'(fv_beat) - 32'(u_replay.beat_q));
        a_order:  assert (fv_ahead != 0 || (u_replay.pass_q == 0 && 32'(u_replay.beat_q) <= 32'(fv_beat)));
        a_word:   assert (32'(u_replay.word_q) == 32'(u_replay.pass_q) * SF + 32'(u_replay.beat_q));
        a_read:   assert (NF == 1 || 32'(u_replay.read_q) % SF == 32'(u_replay.beat_q)); // a vector never wraps around the end
        a_write:  assert (32'(u_replay.write_q) == (32'(u_replay.read_q) + 32'(u_replay.ahead_q)) % DEPTH);
        a_owed:   assert (32'(fv_owed) == 32'(fv_ahead) * NF - 32'(u_replay.pass_q) + 32'(fv_results));
        a_input_rank:  assert (s_axis_tready || 32'(fv_in_wait) + 32'(fv_to_free) <= INPUT_WAIT);
        a_output_rank: assert (u_rows.m_valid_q || fv_owed == 0 || 32'(fv_out_wait) + 32'(fv_to_result) <= OUTPUT_WAIT);
    end
`endif

`ifdef FORMAL_VALUES
    // The sums, straight from the definition, for one vector of the solver's choice and any weights. A position counts the
    // words that were fetched before: SF to a pass, NF passes to a vector, modulo 256, so both are powers of two.
    logic [7:0]                       fv_fetch, fv_arrived, fv_tracked, fv_accu, fv_out_pos;
    logic [STAGES-1:0][7:0]           fv_pos; // of the word in each stage
    logic [SF-1:0][SIMD*ACT_BITS-1:0] fv_x;   // the tracked vector
    symbol #(.BITS(8)) u_tracked (.clk(clk), .value(fv_tracked));
    localparam logic [7:0] FV_SF = 8'(SF), FV_WORDS = 8'(WORDS), FV_VECTORS = 8'(256 / WORDS - 1);
    always_ff @(posedge clk) begin
        if (rst) {fv_fetch, fv_arrived, fv_out_pos} <= '0;
        else begin
            if (u_replay.fetch) fv_fetch <= fv_fetch + 8'd1;
            if (fv_full) fv_arrived <= (fv_arrived + 8'd1) & FV_VECTORS;
            if (fv_out) fv_out_pos <= fv_out_pos + FV_SF;
        end
        if (en) fv_pos <= (STAGES*8)'({fv_pos, fv_fetch});
        if (fv_in && fv_arrived == fv_tracked) fv_x[SF == 1 ? 0 : fv_beat] <= s_axis_tdata[SIMD*ACT_BITS-1:0];
    end

    `include "lut_terms_fv.svh"
    // START and the sum over the first `beats` beats, of the row that lane `lane` has in the pass of position `pos`.
    function automatic logic [ACCU_BITS-1:0] fv_sum(
        input logic [7:0] pos, input int unsigned beats, input int unsigned lane
    );
        logic [7:0] pass;
        fv_number   terms;
        pass   = pos / FV_SF % 8'(NF);
        fv_sum = '0;
        for (int unsigned f = 0; f < NF; f++) if (8'(f) == pass) fv_sum = START[(f*PE + lane)*ACCU_BITS +: ACCU_BITS];
        for (int unsigned j = 0; j < SF; j++) begin
            terms = fv_columns(fv_x[j], u_products.weights[WORD_BITS'(pass*FV_SF + 8'(j))], 0, SIMD, lane);
            if (j < beats) fv_sum = fv_sum + (ACCU_BITS'(terms) << AGREE); // agreements count double
        end
    endfunction

    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        wire [ACCU_BITS-1:0] y = fv_sum(fv_out_pos, SF, p);
        always_comb if (fv_started && !rst && m_axis_tvalid && fv_out_pos / FV_WORDS == fv_tracked)
            a_every_result_is_the_sum: assert (
                m_axis_tdata[p*Y_BITS +: Y_BITS] == (SIGN ? Y_BITS'(!y[ACCU_BITS-1]) : Y_BITS'(y)));
    end
`ifndef FORMAL_CONTRACT

    // The word in each stage: its activations and weights, if it belongs to the tracked vector.
    wire [STAGES-1:0]                            fv_here;
    wire [STAGES-1:0][SIMD*ACT_BITS-1:0]         fv_act;
    wire [STAGES-1:0][PE*SIMD*WEIGHT_BITS-1:0]   fv_weight;
    for (genvar i = 0; i < STAGES; i++) begin : gen_fv_stage
        assign fv_here[i]   = fv_started && !rst && u_products.valid_q[i] && fv_pos[i] / FV_WORDS == fv_tracked;
        assign fv_act[i]    = fv_x[SF == 1 ? 0 : fv_pos[i] % FV_SF];
        assign fv_weight[i] = u_products.weights[WORD_BITS'(fv_pos[i] % FV_WORDS)];
        logic [7:0] younger;
        always_comb begin
            younger = '0;
            for (int unsigned k = 0; k <= i; k++) younger = younger + 8'(u_products.valid_q[k]);
        end
        always_comb if (fv_started && !rst && u_products.valid_q[i])
            a_stage: assert (fv_pos[i] == fv_fetch - younger && u_products.mark_q[i][0] == (fv_pos[i] % FV_SF == 0)
                && u_products.mark_q[i][1] == (fv_pos[i] % FV_SF == FV_SF - 8'd1)
                && 8'(u_products.mark_q[i][2 +: NF_BITS]) == fv_pos[i] / FV_SF % 8'(NF));
    end

    // On the way there: what the beats so far came to,
    for (genvar p = 0; p < PE; p++) begin : gen_fv_row
        wire [ACCU_BITS-1:0] sum = fv_sum(fv_accu, 32'(fv_accu % FV_SF), p);
        always_comb if (fv_started && !rst && fv_accu / FV_WORDS == fv_tracked && fv_accu % FV_SF != 0)
            a_accu: assert (u_rows.gen_pe[p].accu_q == sum);
        // what every node of the adder tree comes to,
        for (genvar l = 0; l <= LEVELS; l++) begin : gen_fv_level
            for (genvar n = 0; n < (LEAVES + 2**l - 1) / 2**l; n++) begin : gen_fv_node
                localparam int unsigned FROM = 2**l * n, TO = 2**l * (n + 1);
                wire fv_number terms = fv_leaves(fv_act[FV_LEAF+l], fv_weight[FV_LEAF+l], FROM, TO, p);
                always_comb if (fv_here[FV_LEAF+l])
                    a_node: assert (u_products.gen_pe[p].u_tree.gen_level[l].gen_node[n].value == (LEAF_BITS+l)'(terms));
            end
        end
        // and which bits each count is of.
        if (AGREE) begin : gen_fv_counts
            for (genvar n = 0; n < LEAVES; n++) begin : gen_fv_count
                localparam int unsigned COUNT = SIMD - GROUP * n < GROUP ? SIMD - GROUP * n : GROUP;
                for (genvar i = 0; i < 3; i++) begin : gen_fv_age
                    wire [COUNT-1:0] agree = fv_act[i+1][GROUP*n +: COUNT] ~^ fv_weight[i+1][p*SIMD + GROUP*n +: COUNT];
                    always_comb if (fv_here[i+1])
                        a_count: assert (u_products.gen_pe[p].gen_leaf[n].gen_agreements.u_ones.fv_filled[i]
                            && u_products.gen_pe[p].gen_leaf[n].gen_agreements.u_ones.fv_bits[i] == 18'(agree));
                end
            end
        end
    end
    if (PAIRS) begin : gen_fv_pairs
        always_comb if (fv_started && !rst && u_products.valid_q[0])
            a_word_late: assert (u_products.gen_pairs.word_late_q == WORD_BITS'(fv_pos[0] % FV_WORDS));
        for (genvar n = 0; n < GROUPS; n++) begin : gen_fv_pair
            localparam int unsigned B = GROUP*n + 32'(GROUP*n + 1 < SIMD);
            wire fv_number a = fv_value(fv_act[1], GROUP*n), b = fv_value(fv_act[1], B);
            always_comb if (fv_here[1]) begin
                a_alone: assert (u_products.gen_pairs.gen_pair[n].a_q == ACT_BITS'(a));
                if (B == GROUP*n) a_one: assert (u_products.gen_pairs.gen_pair[n].same_q == PAIR_BITS'(a));
                else begin
                    a_other:  assert (u_products.gen_pairs.gen_pair[n].b_q == ACT_BITS'(b));
                    a_same:   assert (u_products.gen_pairs.gen_pair[n].same_q == PAIR_BITS'(a + b));
                    a_differ: assert (u_products.gen_pairs.gen_pair[n].differ_q == PAIR_BITS'(a + fv_number'(2**ACT_BITS - 1) - b));
                end
            end
        end
    end

    // Where everything is.
    logic [7:0] fv_count;
    always_comb begin
        fv_count = '0;
        for (int unsigned i = 0; i < STAGES; i++) fv_count = fv_count + 8'(u_products.valid_q[i]);
        fv_accu = fv_fetch - fv_count; // the position that the accumulator takes next
    end
    always_comb if (fv_started && !rst) begin
        a_fetch: assert (8'(u_replay.beat_q) == fv_fetch % FV_SF && 8'(u_replay.pass_q) == fv_fetch / FV_SF % 8'(NF));
        a_arrived: assert (fv_arrived == ((fv_fetch / FV_WORDS + fv_ahead) & FV_VECTORS));
        a_out: assert (fv_out_pos % FV_SF == 0 && fv_out_pos + (u_rows.m_valid_q ? FV_SF : 8'd0) == fv_accu / FV_SF * FV_SF);
        if (fv_here[0]) a_act: assert (u_products.acts_q == fv_act[0]);
        if (fv_here[FV_READ]) a_weight: assert (u_products.weight_q == fv_weight[FV_READ]);
    end
    for (genvar j = 0; j < SF; j++) begin : gen_fv_kept
        // Words from the one that is fetched next to word j of the tracked vector; negative if it was fetched before.
        wire [7:0] vectors = (fv_tracked - fv_fetch / FV_WORDS) & FV_VECTORS;
        wire signed [15:0] offset = 16'(vectors) * 16'(SF) + 16'(j) - 16'(u_replay.beat_q);
        wire here = fv_tracked <= FV_VECTORS && offset < signed'(16'(u_replay.ahead_q)) && (offset >= 0 || !u_replay.last_pass);
        always_comb if (fv_started && !rst && here)
            a_kept: assert (u_replay.kept[PTR_BITS'((32'(u_replay.read_q) + 32'(offset) + 2 * DEPTH) % DEPTH)] == fv_x[j]);
    end
`endif
`endif

    // The proof is not empty: three whole vectors, with a stalled result and a full buffer on the way.
    logic [7:0] fv_outs;
    logic       fv_was_stalled = 1'b0, fv_was_full = 1'b0;
    always_ff @(posedge clk) begin
        fv_outs        <= rst ? '0 : fv_outs + 8'(fv_out);
        fv_was_stalled <= !rst && (fv_was_stalled || !en);
        fv_was_full    <= !rst && (fv_was_full || (s_axis_tvalid && !s_axis_tready));
        c_three_vectors: cover (!rst && 32'(fv_outs) == 3 * NF && fv_owed == 0);
        c_stalled:       cover (!rst && 32'(fv_outs) == 3 * NF && fv_owed == 0 && fv_was_stalled && fv_was_full);
    end
