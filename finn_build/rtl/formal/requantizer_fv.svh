// Included by requantizer.sv where FORMAL is defined.
//   Both ports keep the rules; every beat gives one result, none lost, none twice; a taken beat and a result come within a
//   bound while the sink takes; for the beat that the solver picks, the result is what the definition says.
//   The proof's files are empty, so the constants are any: what is proven is proven for all of them.
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Beats that came and results that left, counted modulo 256 / STEPS from outside the module, and waiting.
    localparam logic [7:0] FV_STEPS = 8'(STEPS), FV_WORDS = 8'(WORDS), FV_BEATS = 8'(256 / STEPS - 1);
    localparam int unsigned OUTPUT_WAIT = STEPS + STAGES + 1;
    logic [7:0] fv_in, fv_out, fv_in_wait, fv_out_wait, fv_tracked;
    logic [PE*ACC_BITS-1:0] fv_acc; // the tracked beat
    symbol #(.BITS(8)) u_tracked (.clk(clk), .value(fv_tracked));
    wire       fv_take = s_axis_tvalid && s_axis_tready;
    wire       fv_give = m_axis_tvalid && m_axis_tready;
    wire [7:0] fv_owed = (fv_in - fv_out) & FV_BEATS;
    always_ff @(posedge clk) begin
        if (rst) {fv_in, fv_out, fv_in_wait, fv_out_wait} <= '0;
        else begin
            if (fv_take) fv_in <= (fv_in + 8'd1) & FV_BEATS;
            if (fv_give) fv_out <= (fv_out + 8'd1) & FV_BEATS;
            fv_in_wait  <= s_axis_tready || !m_axis_tready ? '0 : fv_in_wait + 8'd1;
            fv_out_wait <= m_axis_tvalid || !m_axis_tready || fv_owed == 0 ? '0 : fv_out_wait + 8'd1;
        end
        if (fv_take && fv_in == fv_tracked) fv_acc <= s_axis_tdata[PE*ACC_BITS-1:0];
    end
    always_comb if (fv_started && !rst) begin
        a_no_result_too_many: assert (!m_axis_tvalid || fv_owed != 0);
        a_input_is_taken:     assert (32'(fv_in_wait) < STEPS);
        a_results_come:       assert (32'(fv_out_wait) <= OUTPUT_WAIT);
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready);

    // The definition.
    localparam int unsigned FV_BITS = (ADDEND_BITS > X_BITS + FACTOR_BITS ? ADDEND_BITS : X_BITS + FACTOR_BITS) + 2 + KEPT;
    typedef logic signed [FV_BITS-1:0] fv_number;
    function automatic fv_number fv_x(input int unsigned lane);
        fv_x = $signed({ACC_SIGNED != 0 && fv_acc[lane*ACC_BITS + ACC_BITS - 1], fv_acc[lane*ACC_BITS +: ACC_BITS]});
    endfunction
    function automatic logic [DIGIT-1:0] fv_digit(input logic [7:0] pos, input int unsigned lane);
        fv_digit = factors[WORD_BITS'(pos % FV_WORDS)][lane*DIGIT +: DIGIT];
    endfunction
    // acc * factor + addend with the first `digits` digits of the factor only.
    function automatic fv_number fv_sum(input logic [7:0] beat, input logic [7:0] digits, input int unsigned lane);
        logic [FACTOR_BITS-1:0] factor;
        factor = '0;
        for (int unsigned j = 0; j < STEPS; j++)
            if (8'(j) < digits) factor[j*DIGIT +: DIGIT] = fv_digit(8'(beat * FV_STEPS + 8'(j)), lane);
        fv_sum = fv_x(lane) * fv_number'($signed({1'b0, factor}))
            + fv_number'($signed(addends[ROW_BITS'(beat % 8'(PASSES))][lane*ADDEND_BITS +: ADDEND_BITS]));
    endfunction
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        wire fv_number sum = fv_sum(fv_tracked, FV_STEPS, p);
        wire fv_number y   = sum >>> SHIFT;
        wire [OUT_BITS-1:0] clipped = y < 0 ? '0 : y > fv_number'(LEVELS) ? OUT_BITS'(LEVELS) : OUT_BITS'(y);
        always_comb if (fv_started && !rst && m_axis_tvalid && fv_out == fv_tracked)
            a_every_result_is_the_definition: assert (m_axis_tdata[p*OUT_BITS +: OUT_BITS] == clipped);
    end

`ifndef FORMAL_CONTRACT
    // What the registers mean, without which induction would start from states that never are. A position counts the
    // digits that were fetched before, modulo 256: STEPS to a beat, PASSES beats to an image, so both are powers of two.
    logic [7:0]             fv_fetch, fv_summed, fv_added;
    logic [STAGES:0][7:0]   fv_pos;     // of the digit in each stage
    logic [STAGES+1:0][7:0] fv_younger; // digits in the stages before
    always_comb begin
        fv_younger = '0;
        for (int unsigned i = 0; i <= STAGES; i++) fv_younger[i+1] = fv_younger[i] + 8'(valid[i]);
        fv_summed = fv_fetch - fv_younger[STAGES+1]; // digits that are in the sum
        fv_added  = (fv_fetch - fv_younger[STAGES] + FV_STEPS - 8'd1) / FV_STEPS; // beats whose addend was read
    end
    always_ff @(posedge clk) begin
        if (rst) fv_fetch <= '0;
        else if (fetch) fv_fetch <= fv_fetch + 8'd1;
        if (en) fv_pos <= ((STAGES + 1) * 8)'({fv_pos, fv_fetch});
    end
    for (genvar i = 0; i <= STAGES; i++) begin : gen_fv_stage
        always_comb if (fv_started && !rst && valid[i])
            a_stage: assert (fv_pos[i] == fv_fetch - fv_younger[i+1] && first[i] == (fv_pos[i] % FV_STEPS == 0)
                && last[i] == (fv_pos[i] % FV_STEPS == FV_STEPS - 8'd1));
    end
    function automatic logic [7:0] fv_beat(input logic [7:0] pos);
        fv_beat = pos / FV_STEPS & FV_BEATS;
    endfunction
    logic [7:0] fv_to_result; // cycles until a result is there, if nothing stalls
    always_comb begin
        fv_to_result = 8'(OUTPUT_WAIT);
        for (int unsigned i = 0; i <= STAGES; i++)
            if (valid[i]) fv_to_result = 8'(STAGES - i + 2) + (FV_STEPS - 8'd1 - fv_pos[i] % FV_STEPS); // the oldest wins
        if (done_q) fv_to_result = 8'd1;
    end
    wire fv_middle = fv_summed % FV_STEPS != 0;
    always_comb if (fv_started && !rst) begin
        a_ranges: assert (fv_in <= FV_BEATS && fv_out <= FV_BEATS);
        a_counts: assert (fv_in == ((fv_fetch + FV_STEPS - 8'd1) / FV_STEPS & FV_BEATS)
            && 8'(word_q) == fv_fetch % FV_WORDS && 8'(row_q) == fv_added % 8'(PASSES));
        a_step:   assert (busy_q ? 8'(step_q) == fv_pos[0] % FV_STEPS : fv_fetch % FV_STEPS == 0 && step_q == 0);
        a_done:   assert (!done_q || !fv_middle);
        a_out:    assert (((fv_out + 8'(m_valid_q) + 8'(done_q)) & FV_BEATS) == (fv_summed / FV_STEPS & FV_BEATS));
        a_input_rank: assert (s_axis_tready || 32'(fv_in_wait) + 1 <= 32'(step_q) + (en ? 1 : 0) || fv_in_wait == 0);
        a_output_rank: assert (m_valid_q || fv_owed == 0 || 32'(fv_out_wait) + 32'(fv_to_result) <= OUTPUT_WAIT);
        if (valid[0]) a_digit: assert (digits_q == factors[WORD_BITS'(fv_pos[0] % FV_WORDS)]);
        if (valid[0] && fv_beat(fv_pos[0]) == fv_tracked) a_acc: assert (acc_q == fv_acc);
        if (valid[STAGES])
            a_addend: assert (addends_q == addends[ROW_BITS'(fv_beat(fv_pos[STAGES]) % 8'(PASSES))]);
    end
    // On the way: products, and what the digits so far came to.
    wire [STAGES:0] fv_here;
    for (genvar i = 0; i <= STAGES; i++) begin : gen_fv_here
        assign fv_here[i] = fv_started && !rst && valid[i] && fv_beat(fv_pos[i]) == fv_tracked;
    end
    for (genvar p = 0; p < PE; p++) begin : gen_fv_way
        wire fv_number x    = fv_x(p);
        wire [7:0]     of   = fv_beat(fv_summed - 8'd1);
        wire [7:0]     at   = (fv_summed - 8'd1) % FV_STEPS;
        wire fv_number part = (fv_sum(fv_tracked, at + 8'd1, p) <<< KEPT) >>> (at * 8'(DIGIT));
        always_comb if (fv_started && !rst && of == fv_tracked && (fv_middle || done_q))
            a_sum: assert (gen_lane[p].r_q == R_BITS'(part));
        if (DSP != 0) begin : gen_fv_dsp
            wire [DIGIT-1:0] digit = fv_digit(fv_pos[1], p);
            wire fv_number late    = fv_number'($signed({1'b0, fv_digit(fv_pos[2], p)}));
            wire fv_number product = x * late;
            always_comb if (fv_here[2]) a_product: assert (gen_lane[p].gen_dsp.sum_q == P_BITS'(product));
            for (genvar i = 0; i < (DIGIT + 16) / 17; i++) begin : gen_fv_part
                localparam int unsigned BITS = DIGIT - 17 * i < 17 ? DIGIT - 17 * i : 17;
                wire fv_number part = x * fv_number'($signed({1'b0, digit[17*i +: BITS]}));
                always_comb if (fv_here[1]) a_part: assert (gen_lane[p].gen_dsp.part_q[i] == (X_BITS + 17)'(part));
            end
        end else begin : gen_fv_luts
            if (DIGIT > 1) begin : gen_fv_three
                always_comb if (fv_here[0]) a_three: assert (gen_lane[p].gen_luts.x3_q == (X_BITS + 2)'(3 * x));
            end
            for (genvar l = 0; l < STAGES; l++) begin : gen_fv_level
                for (genvar n = 0; n < (PAIRS + 2**l - 1) / 2**l; n++) begin : gen_fv_node
                    localparam int unsigned FROM = 2 * n * 2**l, BITS = DIGIT - FROM < 2 * 2**l ? DIGIT - FROM : 2 * 2**l;
                    wire [DIGIT-1:0] digit = fv_digit(fv_pos[l+1], p);
                    wire fv_number value = x * fv_number'($signed({1'b0, digit[FROM +: BITS]}));
                    always_comb if (fv_here[l+1])
                        a_node: assert (gen_lane[p].gen_luts.gen_level[l].gen_node[n].value == (X_BITS + 2 * 2**l)'(value));
                end
            end
        end
    end
`endif

    // The proof is not empty: a stalled result and one more behind it, and results at both ends and between.
    logic [2:0] fv_seen;
    logic       fv_stalled = 1'b0;
    always_ff @(posedge clk) begin
        if (rst) fv_seen <= '0;
        else if (fv_give) fv_seen <= fv_seen | {m_axis_tdata[OUT_BITS-1:0] == OUT_BITS'(LEVELS), m_axis_tdata[OUT_BITS-1:0] == 1, m_axis_tdata[OUT_BITS-1:0] == 0};
        fv_stalled <= !rst && (fv_stalled || !en);
        c_all_answers: cover (!rst && (&fv_seen));
        c_stalled_and_on: cover (!rst && fv_stalled && fv_out == 8'd4);
    end
