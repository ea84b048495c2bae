// Included by row_thresholds.sv where FORMAL_ROW_THRESHOLDS is defined.
//   The output keeps the rules; it stops only for a result that has nowhere to go; every result is START and the sums that
//   came since a first beat, or whether that is 0 or more.
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);
    wire fv_in  = valid_i && ready_o;
    wire fv_out = m_axis_tvalid && m_axis_tready;

    // A vector begins with a first beat, and every pass has rows.
    logic fv_inside; // a first beat came, and no last one since
    always_ff @(posedge clk) begin
        if (rst) fv_inside <= 1'b0;
        else if (fv_in) fv_inside <= !last_i;
    end
    always_comb if (valid_i) assume ((first_i || fv_inside) && 32'(pass_i) < PASSES);

    // Counted from outside the module: results that are owed.
    logic fv_owed;
    always_ff @(posedge clk) begin
        if (rst) fv_owed <= 1'b0;
        else if (fv_in && last_i) fv_owed <= 1'b1;
        else if (fv_out) fv_owed <= 1'b0;
    end
    always_comb if (fv_started && !rst) begin
        a_a_result_for_every_last_beat: assert (m_axis_tvalid == fv_owed);
        a_stops_only_for_a_result: assert (ready_o == !(valid_i && last_i && m_axis_tvalid && !m_axis_tready));
    end
    for (genvar p = 0; p < PE; p++) begin : gen_fv_lane
        logic [BITS-1:0] fv_sum, fv_y, fv_start;
        always_comb begin
            fv_start = '0;
            for (int unsigned f = 0; f < PASSES; f++) if (32'(pass_i) == f) fv_start = START[(f*PE + p)*BITS +: BITS];
        end
        always_ff @(posedge clk) if (fv_in) begin
            fv_sum <= (first_i ? fv_start : fv_sum) + sums_i[p];
            if (last_i) fv_y <= (first_i ? fv_start : fv_sum) + sums_i[p];
        end
        always_comb if (fv_started && !rst && m_axis_tvalid)
            a_every_result_is_the_sum: assert (
                m_axis_tdata[p*Y_BITS +: Y_BITS] == (SIGN != 0 ? Y_BITS'(!fv_y[BITS-1]) : Y_BITS'(fv_y)));
`ifndef FORMAL_CONTRACT
        always_comb if (fv_started && !rst && fv_inside) a_accu: assert (gen_pe[p].accu_q == fv_sum); // on the way there
`endif
    end

    // The proof is not empty: three results, one of which had to wait while the next was ready.
    logic [1:0] fv_outs;
    logic       fv_was_stalled = 1'b0;
    always_ff @(posedge clk) begin
        fv_outs        <= rst ? '0 : fv_outs + 2'(fv_out);
        fv_was_stalled <= !rst && (fv_was_stalled || !ready_o);
        c_three: cover (!rst && fv_outs == 2'd3 && fv_was_stalled);
    end
