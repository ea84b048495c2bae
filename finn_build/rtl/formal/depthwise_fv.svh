// Included by depthwise.sv where FORMAL is defined.
//   Both ports keep the rules; a beat waits only for a result that has nowhere to go; every TAPS beats give one result,
//   none lost, none twice, within a bound while the sink takes; for the group of channels of the window that the solver
//   picks, every result is START and the terms, or whether that is 0 or more, for any weights.
    localparam int unsigned PLANES  = ACT_BITS > 1 ? WEIGHT_BITS : 1;
    localparam int unsigned STAGES  = DSP != 0 ? 2 : (ACT_BITS > 1 ? 2 : WEIGHT_BITS == 1 ? 4 : 1) + $clog2(PLANES);
    localparam int unsigned FV_BITS = WEIGHT_BITS + ACT_BITS + 2; // holds every term
    typedef logic signed [FV_BITS-1:0] fv_number;
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Counted from outside the module, modulo 256: beats that came, and those of which a result left. TAPS and the groups
    // of channels are powers of two. Windows' groups are numbered as they come.
    localparam logic [7:0] FV_TAPS = 8'(TAPS), FV_WORDS = 8'(WORDS), FV_RESULTS = 8'(256 / TAPS - 1);
    logic [7:0] fv_in_pos, fv_out_pos, fv_out_wait, fv_tracked;
    symbol #(.BITS(8)) u_tracked (.clk(clk), .value(fv_tracked));
    wire       fv_in   = s_axis_tvalid && s_axis_tready;
    wire       fv_out  = m_axis_tvalid && m_axis_tready;
    wire [7:0] fv_held = fv_in_pos - fv_out_pos; // beats inside, those of a result that waits included
    wire       fv_owed = fv_held >= FV_TAPS;
    logic [TAPS-1:0][PE*ACT_BITS-1:0] fv_x; // what the tracked group is made of
    always_ff @(posedge clk) begin
        if (rst) {fv_in_pos, fv_out_pos, fv_out_wait} <= '0;
        else begin
            if (fv_in) fv_in_pos <= fv_in_pos + 8'd1;
            if (fv_out) fv_out_pos <= fv_out_pos + FV_TAPS;
            fv_out_wait <= m_axis_tvalid || !m_axis_tready || !fv_owed ? '0 : fv_out_wait + 8'd1;
        end
        for (int unsigned j = 0; j < TAPS; j++)
            if (fv_in && fv_in_pos / FV_TAPS == fv_tracked && fv_in_pos % FV_TAPS == 8'(j))
                fv_x[j] <= s_axis_tdata[PE*ACT_BITS-1:0];
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready);
    always_comb if (fv_started && !rst) begin
        a_no_result_too_many:      assert (!m_axis_tvalid || fv_owed);
        a_waits_only_for_a_result: assert (s_axis_tready || (m_axis_tvalid && !m_axis_tready));
        a_results_come:            assert (32'(fv_out_wait) <= STAGES);
    end

    // Weight times activation of a lane, and in LUTs what lut_products.sv has too much.
    function automatic fv_number fv_term(
        input logic [PE*ACT_BITS-1:0] beat, input logic [WEIGHT_BITS-1:0] weight, input int unsigned lane
    );
        logic [ACT_BITS-1:0] x;
        fv_number            value, act, unsigned_act;
        x     = beat[lane*ACT_BITS +: ACT_BITS];
        value = fv_number'($signed(weight));
        act   = fv_number'($signed({ACT_SIGNED != 0 && x[ACT_BITS-1], x}));
        unsigned_act = act + (ACT_SIGNED != 0 ? fv_number'(2**(ACT_BITS-1)) : '0);
        if (DSP != 0) fv_term = value * act;
        else if (WEIGHT_BITS == 1 && ACT_BITS == 1) fv_term = x == weight ? fv_number'(2) : '0;
        else if (ACT_BITS == 1) fv_term = x[0] ? value : -value;
        else if (WEIGHT_BITS == 1) fv_term = weight[0] ? unsigned_act : fv_number'(2**ACT_BITS - 1) - unsigned_act;
        else fv_term = value * unsigned_act + (fv_number'(2**ACT_BITS - 1) << (WEIGHT_BITS - 1));
    endfunction
    wire [WORDS-1:0][PE*WEIGHT_BITS-1:0] fv_weights;
    for (genvar p = 0; p < PE; p++) begin : gen_fv_weights
        for (genvar f = 0; f < WORDS; f++) begin : gen_fv_word
            if (DSP != 0) begin : gen_fv_dsps
                assign fv_weights[f][p*WEIGHT_BITS +: WEIGHT_BITS] = gen_dsps.gen_lane[p].weights[f];
            end else begin : gen_fv_luts
                assign fv_weights[f][p*WEIGHT_BITS +: WEIGHT_BITS] = gen_luts.gen_lane[p].u_products.weights[f];
            end
        end
    end
    // START and the terms of the tracked group's first `beats` beats, whose first one has the position `pos`.
    function automatic logic [ACCU_BITS-1:0] fv_sum(
        input logic [7:0] pos, input int unsigned beats, input int unsigned lane
    );
        fv_sum = '0;
        for (int unsigned f = 0; f < FOLDS; f++)
            if (8'(f) == pos / FV_TAPS % 8'(FOLDS)) fv_sum = START[(f*PE + lane)*ACCU_BITS +: ACCU_BITS];
        for (int unsigned j = 0; j < TAPS; j++) if (j < beats)
            fv_sum = fv_sum + ACCU_BITS'(fv_term(
                fv_x[j], fv_weights[WORD_BITS'((pos / FV_TAPS * FV_TAPS + 8'(j)) % FV_WORDS)][lane*WEIGHT_BITS +: WEIGHT_BITS],
                lane));
    endfunction
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        wire [ACCU_BITS-1:0] y = fv_sum(fv_out_pos, TAPS, p);
        always_comb if (fv_started && !rst && m_axis_tvalid && fv_out_pos / FV_TAPS == fv_tracked)
            a_every_result_is_the_sum: assert (
                m_axis_tdata[p*Y_BITS +: Y_BITS] == (SIGN != 0 ? Y_BITS'(!y[ACCU_BITS-1]) : Y_BITS'(y)));
    end

`ifndef FORMAL_CONTRACT
    // What the registers mean, without which induction would start from states that never are.
    wire [STAGES-1:0]                  fv_valid; // bit i: a beat is behind register i
    wire [STAGES-1:0][MARK_BITS-1:0]   fv_mark;
    logic [STAGES-1:0][7:0]            fv_pos;
    logic [STAGES:0][7:0]              fv_younger; // beats before register i
    logic [7:0]                        fv_accu, fv_to_result; // the position that the sum takes next; cycles to a result
    if (DSP != 0) begin : gen_fv_dsp_marks
        assign fv_valid = gen_dsps.valid_q;
        assign fv_mark  = gen_dsps.mark_q;
    end else begin : gen_fv_lut_marks
        assign fv_valid = gen_luts.gen_lane[0].u_products.valid_q;
        assign fv_mark  = gen_luts.gen_lane[0].u_products.mark_q;
    end
    always_ff @(posedge clk) if (en) fv_pos <= (STAGES*8)'({fv_pos, fv_in_pos});
    always_comb begin
        fv_younger   = '0;
        fv_to_result = '0;
        for (int unsigned i = 0; i < STAGES; i++) begin
            fv_younger[i+1] = fv_younger[i] + 8'(fv_valid[i]);
            if (fv_valid[i] && fv_mark[i][1]) fv_to_result = 8'(STAGES - i); // the oldest wins
        end
        fv_accu = fv_in_pos - fv_younger[STAGES];
    end
    always_comb if (fv_started && !rst) begin
        a_counters: assert (8'(tap_q) == fv_in_pos % FV_TAPS && 8'(word_q) == fv_in_pos % FV_WORDS
            && 8'(fold_q) == fv_in_pos / FV_TAPS % 8'(FOLDS));
        a_out: assert (fv_out_pos % FV_TAPS == 0
            && fv_out_pos + (u_rows.m_valid_q ? FV_TAPS : 8'd0) == fv_accu / FV_TAPS * FV_TAPS && fv_held < 8'd128);
        a_output_rank: assert (u_rows.m_valid_q || !fv_owed || 32'(fv_out_wait) + 32'(fv_to_result) <= STAGES);
    end
    for (genvar i = 0; i < STAGES; i++) begin : gen_fv_stage
        always_comb if (fv_started && !rst && fv_valid[i])
            a_stage: assert (fv_pos[i] == fv_in_pos - fv_younger[i+1] && fv_mark[i][0] == (fv_pos[i] % FV_TAPS == 0)
                && fv_mark[i][1] == (fv_pos[i] % FV_TAPS == FV_TAPS - 8'd1)
                && 8'(fv_mark[i][2 +: FOLD_BITS]) == fv_pos[i] / FV_TAPS % 8'(FOLDS));
        wire here = fv_started && !rst && fv_valid[i] && fv_pos[i] / FV_TAPS == fv_tracked;
        for (genvar p = 0; p < PE; p++) begin : gen_fv_way
            wire [PE*ACT_BITS-1:0]  beat   = fv_x[TAPS == 1 ? 0 : fv_pos[i] % FV_TAPS];
            wire [ACT_BITS-1:0]     act    = beat[p*ACT_BITS +: ACT_BITS];
            wire [WEIGHT_BITS-1:0]  weight = fv_weights[WORD_BITS'(fv_pos[i] % FV_WORDS)][p*WEIGHT_BITS +: WEIGHT_BITS];
            if (DSP == 0) begin : gen_fv_luts
                always_comb if (here) a_act: assert (gen_luts.gen_lane[p].u_products.act_q[i] == act);
                always_comb if (fv_started && !rst) a_alike: assert (
                    gen_luts.gen_lane[p].u_products.valid_q[i] == fv_valid[i]
                    && (!fv_valid[i] || gen_luts.gen_lane[p].u_products.word_q[i] == WORD_BITS'(fv_pos[i] % FV_WORDS)));
            end else if (i == 0) begin : gen_fv_operands
                always_comb if (here) a_operands: assert (
                    gen_dsps.gen_lane[p].act_q == act && gen_dsps.gen_lane[p].weight_q == weight);
            end else begin : gen_fv_product
                wire fv_number term = fv_term(beat, weight, p);
                always_comb if (here) a_product: assert (fv_number'(gen_dsps.gen_lane[p].product_q) == term);
            end
        end
    end
    for (genvar p = 0; p < PE; p++) begin : gen_fv_row
        wire [ACCU_BITS-1:0] sum = fv_sum(fv_accu, 32'(fv_accu % FV_TAPS), p);
        always_comb if (fv_started && !rst && fv_accu / FV_TAPS == fv_tracked && fv_accu % FV_TAPS != 0)
            a_accu: assert (u_rows.gen_pe[p].accu_q == sum);
    end
`endif

    // The proof is not empty: two whole windows, and a beat that had to wait for a result.
    logic [7:0] fv_outs;
    logic       fv_was_stalled = 1'b0;
    always_ff @(posedge clk) begin
        fv_outs        <= rst ? '0 : fv_outs + 8'(fv_out);
        fv_was_stalled <= !rst && (fv_was_stalled || (s_axis_tvalid && !s_axis_tready));
        c_two_windows: cover (!rst && 32'(fv_outs) == 2 * FOLDS && !fv_owed && fv_was_stalled);
    end
