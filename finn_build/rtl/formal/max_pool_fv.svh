// Included by max_pool.sv where FORMAL is defined.
//   Both ports keep the rules; a beat waits only for a result that has nowhere to go; a result is there right behind the
//   last beat of its window, and nowhere else; no number of its window is larger, and it is one of them.
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(S_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Counted from outside the module: beats of the window that arrives, and whether a result is owed.
    logic [7:0] fv_beat;
    logic       fv_owed;
    wire fv_in  = s_axis_tvalid && s_axis_tready;
    wire fv_out = m_axis_tvalid && m_axis_tready;
    wire fv_end = 32'(fv_beat) == WINDOW - 1;
    always_ff @(posedge clk) begin
        if (rst) {fv_beat, fv_owed} <= '0;
        else begin
            if (fv_in) fv_beat <= fv_end ? '0 : fv_beat + 8'd1;
            fv_owed <= (fv_in && fv_end) || (fv_owed && !fv_out);
        end
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready);
    always_comb if (fv_started && !rst) begin
        a_a_result_for_every_window: assert (m_axis_tvalid == fv_owed);
        a_waits_only_for_a_result:   assert (s_axis_tready == !(fv_end && fv_owed && !m_axis_tready));
    end

    // The numbers of the window that arrives, and of the last whole one, as signed numbers.
    typedef logic signed [BITS:0] fv_number;
    logic [WINDOW-1:0][PE*BITS-1:0] fv_window, fv_arriving, fv_whole;
    always_comb begin
        fv_window = fv_arriving;
        for (int unsigned i = 0; i < WINDOW; i++) if (32'(fv_beat) == i) fv_window[i] = s_axis_tdata[PE*BITS-1:0];
    end
    always_ff @(posedge clk) begin
        if (fv_in) fv_arriving <= fv_window;
        if (fv_in && fv_end) fv_whole <= fv_window;
    end
    function automatic fv_number fv_value(input logic [PE*BITS-1:0] beat, input int unsigned lane);
        fv_value = {SIGNED != 0 && BITS > 1 && beat[lane*BITS + BITS - 1], beat[lane*BITS +: BITS]};
    endfunction
    // Whether `best` is the largest number of a lane in the first `beats` beats.
    function automatic logic fv_largest(
        input logic [WINDOW-1:0][PE*BITS-1:0] beats_of, input int unsigned beats, input int unsigned lane,
        input logic [PE*BITS-1:0] best
    );
        logic found, beaten;
        {found, beaten} = '0;
        for (int unsigned i = 0; i < WINDOW; i++) if (i < beats) begin
            found  = found || fv_value(beats_of[i], lane) == fv_value(best, lane);
            beaten = beaten || fv_value(beats_of[i], lane) > fv_value(best, lane);
        end
        fv_largest = found && !beaten;
    endfunction
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        wire largest = fv_largest(fv_whole, WINDOW, p, m_axis_tdata[PE*BITS-1:0]);
        always_comb if (fv_started && !rst && m_axis_tvalid) a_every_result_is_the_largest: assert (largest);
`ifndef FORMAL_CONTRACT
        wire so_far = fv_largest(fv_arriving, 32'(fv_beat), p, best_q);
        always_comb if (fv_started && !rst && fv_beat != 0) a_best: assert (so_far); // on the way there
`endif
    end
`ifndef FORMAL_CONTRACT
    always_comb if (fv_started && !rst) a_beat: assert (8'(beat_q) == fv_beat && 32'(fv_beat) < WINDOW);
`endif

    // The proof is not empty: three results, one of which had to wait, and so the beat that ends the next window.
    logic [1:0] fv_outs;
    logic       fv_was_stalled = 1'b0;
    always_ff @(posedge clk) begin
        fv_outs        <= rst ? '0 : fv_outs + 2'(fv_out);
        fv_was_stalled <= !rst && (fv_was_stalled || (s_axis_tvalid && !s_axis_tready));
        c_three: cover (!rst && fv_outs == 2'd3 && fv_was_stalled);
    end
