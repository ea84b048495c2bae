// Included by axis_image_last.sv where FORMAL is defined.
//   Both pairs of ports keep the rules; a beat that enters leaves in the same cycle, unchanged; the TLAST of every image
//   leaves on the last beat of its result and nowhere else; nobody waits without a reason.
    axis_rules #(.BITS(IN_BITS + 1), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload({s_axis_tlast, s_axis_tdata})
    );
    axis_rules #(.BITS(IN_BITS)) u_rules_m_core (
        .clk(clk), .rst(rst), .tvalid(m_axis_core_tvalid), .tready(m_axis_core_tready), .payload(m_axis_core_tdata)
    );
    axis_rules #(.BITS(OUT_BITS), .ASSUME(1'b1)) u_rules_s_core (
        .clk(clk), .rst(rst), .tvalid(s_axis_core_tvalid), .tready(s_axis_core_tready), .payload(s_axis_core_tdata)
    );
    axis_rules #(.BITS(OUT_BITS + 1)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload({m_axis_tlast, m_axis_tdata})
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // What went through, counted from outside the module. Images are numbered modulo 16, more than it ever holds.
    logic [3:0]              fv_in_image, fv_out_image, fv_tracked;
    logic [IN_CNT_BITS-1:0]  fv_in_beat;
    logic [OUT_CNT_BITS-1:0] fv_out_beat;
    logic                    fv_flag; // TLAST of the last beat of the latest image with the tracked number
    symbol #(.BITS(4)) u_tracked (.clk(clk), .value(fv_tracked));
    wire       fv_in       = s_axis_tvalid && s_axis_tready;
    wire       fv_out      = m_axis_tvalid && m_axis_tready;
    wire       fv_in_last  = 32'(fv_in_beat) == IN_BEATS - 1;
    wire       fv_out_last = 32'(fv_out_beat) == OUT_BEATS - 1;
    wire [3:0] fv_inside   = fv_in_image - fv_out_image;
    wire [3:0] fv_age      = fv_in_image - fv_tracked - 4'd1; // images that entered after the tracked one
    always_ff @(posedge clk) begin
        if (rst) {fv_in_image, fv_out_image, fv_in_beat, fv_out_beat} <= '0;
        else begin
            if (fv_in) fv_in_beat <= fv_in_last ? '0 : fv_in_beat + 1'b1;
            if (fv_out) fv_out_beat <= fv_out_last ? '0 : fv_out_beat + 1'b1;
            if (fv_in && fv_in_last) fv_in_image <= fv_in_image + 4'd1;
            if (fv_out && fv_out_last) fv_out_image <= fv_out_image + 4'd1;
            if (fv_in && fv_in_last && fv_in_image == fv_tracked) fv_flag <= s_axis_tlast;
        end
    end
    always_comb if (fv_started && !rst) begin
        a_same_beat_in:  assert (fv_in == (m_axis_core_tvalid && m_axis_core_tready) && m_axis_core_tdata == s_axis_tdata);
        a_same_beat_out: assert (fv_out == (s_axis_core_tvalid && s_axis_core_tready) && m_axis_tdata == s_axis_core_tdata);
        a_no_result_before_its_image: assert (!m_axis_tvalid || fv_inside != 0);
        a_never_too_many: assert (32'(fv_inside) <= MAX_IMAGES);
        a_last_only_at_the_end: assert (!m_axis_tvalid || !m_axis_tlast || fv_out_last);
        if (m_axis_tvalid && fv_out_last && fv_out_image == fv_tracked)
            a_the_tracked_image_keeps_its_last: assert (m_axis_tlast == fv_flag);
        // Nobody waits without a reason: only an image too many, and only a result before its image.
        if (fv_in_last && 32'(fv_inside) == MAX_IMAGES) a_in_waits: assert (!s_axis_tready && !m_axis_core_tvalid);
        else a_in_moves: assert (s_axis_tready == m_axis_core_tready && m_axis_core_tvalid == s_axis_tvalid);
        if (fv_inside == 0) a_out_waits: assert (!s_axis_core_tready && !m_axis_tvalid);
        else a_out_moves: assert (s_axis_core_tready == m_axis_tready && m_axis_tvalid == s_axis_core_tvalid);
`ifndef FORMAL_CONTRACT
        // What the registers mean, without which induction would start from states that never are.
        a_registers: assert (
            32'(fill_q) == 32'(fv_inside) && in_beat_q == fv_in_beat && out_beat_q == fv_out_beat
            && 32'(fv_in_beat) < IN_BEATS && 32'(fv_out_beat) < OUT_BEATS);
        if (fv_age < fv_inside) a_queue: assert (flags_q[fv_age] == fv_flag);
`endif
    end
    always_comb if (rst) a_reset: assert (!s_axis_tready && !s_axis_core_tready && !m_axis_tvalid && !m_axis_core_tvalid);

    // The proof is not empty: three results with TLAST on the second only, and a full queue that a result relieves.
    logic [1:0] fv_marks;
    logic       fv_was_full = 1'b0;
    always_ff @(posedge clk) begin
        if (rst) fv_marks <= '0;
        else if (fv_out && fv_out_last) fv_marks <= {fv_marks[0], m_axis_tlast};
        fv_was_full <= !rst && (fv_was_full || (s_axis_tvalid && full && in_end));
        c_marked_in_the_middle: cover (!rst && fv_out_image == 4'd3 && fv_marks == 2'b10);
        c_full_and_on: cover (!rst && fv_was_full && 32'(fv_out_image) == MAX_IMAGES + 1);
    end
