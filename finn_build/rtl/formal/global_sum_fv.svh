// Included by global_sum.sv where FORMAL is defined.
//   Both ports keep the rules; a beat waits only for a result that has nowhere to go; a result is there right behind the
//   beat of the last place, and nowhere else; those of the group of channels that the solver picks are the sums.
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Counted from outside the module: the place and the group that come next, the group whose result is owed.
    logic [7:0] fv_place, fv_fold, fv_of, fv_tracked;
    logic       fv_owed;
    symbol #(.BITS(8)) u_tracked (.clk(clk), .value(fv_tracked));
    wire fv_in  = s_axis_tvalid && s_axis_tready;
    wire fv_out = m_axis_tvalid && m_axis_tready;
    wire fv_end = 32'(fv_place) == PLACES - 1;
    wire fv_row = 32'(fv_fold) == FOLDS - 1;
    always_ff @(posedge clk) begin
        if (rst) {fv_place, fv_fold, fv_owed} <= '0;
        else begin
            if (fv_in) fv_fold <= fv_row ? '0 : fv_fold + 8'd1;
            if (fv_in && fv_row) fv_place <= fv_end ? '0 : fv_place + 8'd1;
            fv_owed <= (fv_in && fv_end) || (fv_owed && !fv_out);
        end
        if (fv_in && fv_end) fv_of <= fv_fold;
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready);
    always_comb if (fv_started && !rst) begin
        a_a_result_for_every_channel: assert (m_axis_tvalid == fv_owed);
        a_waits_only_for_a_result:    assert (s_axis_tready == !(fv_end && fv_owed && !m_axis_tready));
    end

    // The sums of the tracked group, straight from the definition: so far, and of the last whole image.
    localparam int unsigned FV_BITS = BITS + $clog2(PLACES) + 2; // holds every sum
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        logic signed [FV_BITS-1:0] fv_sum, fv_whole, fv_value;
        wire [BITS-1:0] number = s_axis_tdata[p*BITS +: BITS];
        always_comb begin
            fv_value = FV_BITS'($signed({SIGNED != 0 && number[BITS-1], number}));
            if (BITS == 1) fv_value = number[0] ? FV_BITS'(1) : -FV_BITS'(1);
        end
        wire signed [FV_BITS-1:0] fv_next = (fv_place == 0 ? '0 : fv_sum) + fv_value;
        always_ff @(posedge clk) if (fv_in && fv_fold == fv_tracked) begin
            fv_sum <= fv_next;
            if (fv_end) fv_whole <= fv_next;
        end
        always_comb if (fv_started && !rst && m_axis_tvalid && fv_of == fv_tracked)
            a_every_result_is_the_sum: assert (m_axis_tdata[p*SUM_BITS +: SUM_BITS] == SUM_BITS'(fv_whole));
`ifndef FORMAL_CONTRACT
        // On the way there: the tracked group has been added to at this place already, or not.
        wire [SUM_BITS-1:0] kept = sums[FOLD_BITS'(fv_tracked)][p*SUM_BITS +: SUM_BITS];
        always_comb if (fv_started && !rst && 32'(fv_tracked) < FOLDS && (fv_place != 0 || fv_fold > fv_tracked))
            a_kept: assert (kept == SUM_BITS'(fv_sum));
`endif
    end
`ifndef FORMAL_CONTRACT
    always_comb if (fv_started && !rst) a_counters: assert (
        32'(place_q) == 32'(fv_place) && 32'(fold_q) == 32'(fv_fold) && 32'(fv_place) < PLACES && 32'(fv_fold) < FOLDS);
`endif

    // The proof is not empty: two images, and a beat that had to wait for a result.
    logic [7:0] fv_outs;
    logic       fv_was_stalled = 1'b0;
    always_ff @(posedge clk) begin
        fv_outs        <= rst ? '0 : fv_outs + 8'(fv_out);
        fv_was_stalled <= !rst && (fv_was_stalled || (s_axis_tvalid && !s_axis_tready));
        c_two_images: cover (!rst && 32'(fv_outs) == 2 * FOLDS && fv_was_stalled);
    end
