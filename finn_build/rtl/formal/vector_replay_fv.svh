// Included by vector_replay.sv where FORMAL_VECTOR_REPLAY is defined.
//   Both ports keep the rules; a beat leaves as soon as it is there, and comes in as soon as there is room; what stands
//   beside it is what was counted outside; the beats of the vector that the solver picks leave as they came, every time.
    axis_rules #(.BITS(BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    // Counted from outside the module: the beat that comes next, the one that leaves next, and the whole vectors between.
    // Vectors are numbered modulo 16.
    logic [7:0] fv_in_beat, fv_out_beat, fv_out_pass, fv_vectors;
    logic [3:0] fv_in_vector, fv_tracked;
    wire fv_in      = s_axis_tvalid && s_axis_tready;
    wire fv_out     = m_axis_tvalid && m_axis_tready;
    wire fv_in_end  = 32'(fv_in_beat) == BEATS - 1;
    wire fv_out_end = 32'(fv_out_beat) == BEATS - 1;
    wire fv_again   = 32'(fv_out_pass) < PASSES - 1;
    wire fv_gone    = fv_out && fv_out_end && !fv_again;
    always_ff @(posedge clk) begin
        if (rst) {fv_in_beat, fv_out_beat, fv_out_pass, fv_vectors, fv_in_vector} <= '0;
        else begin
            if (fv_in) fv_in_beat <= fv_in_end ? '0 : fv_in_beat + 8'd1;
            if (fv_in && fv_in_end) fv_in_vector <= fv_in_vector + 4'd1;
            if (fv_out) fv_out_beat <= fv_out_end ? '0 : fv_out_beat + 8'd1;
            if (fv_out && fv_out_end) fv_out_pass <= fv_again ? fv_out_pass + 8'd1 : '0;
            fv_vectors <= fv_vectors + 8'(fv_in && fv_in_end) - 8'(fv_gone);
        end
    end
    wire [31:0] fv_kept = 32'(fv_vectors) * BEATS + 32'(fv_in_beat) - (fv_again ? 0 : 32'(fv_out_beat));
    symbol #(.BITS(4)) u_tracked (.clk(clk), .value(fv_tracked));
    logic [BEATS-1:0][BITS-1:0] fv_x; // the tracked vector
    always_ff @(posedge clk)
        if (fv_in && fv_in_vector == fv_tracked) fv_x[BEATS == 1 ? 0 : fv_in_beat] <= s_axis_tdata;
    wire [3:0] fv_out_vector = fv_in_vector - 4'(fv_vectors);

    always_comb if (rst) a_reset: assert (!s_axis_tready);
    always_comb if (fv_started && !rst) begin
        a_comes_where_there_is_room: assert (s_axis_tready == (fv_kept != DEPTH));
        a_leaves_as_soon_as_it_is_there:
            assert (m_axis_tvalid == (fv_vectors != 0 || (fv_out_pass == 0 && fv_out_beat < fv_in_beat)));
        a_place: assert (first_o == (fv_out_beat == 0) && last_o == fv_out_end && 8'(pass_o) == fv_out_pass
            && 32'(word_o) == 32'(fv_out_pass) * BEATS + 32'(fv_out_beat));
        if (m_axis_tvalid && fv_out_vector == fv_tracked)
            a_every_beat_is_as_it_came: assert (m_axis_tdata == fv_x[BEATS == 1 ? 0 : fv_out_beat]);
    end
`ifndef FORMAL_CONTRACT

    // What the registers mean, without which induction would start from states that never are.
    always_comb if (fv_started && !rst) begin
        a_ranges: assert (32'(fv_in_beat) < BEATS && 32'(fv_out_beat) < BEATS && 32'(fv_out_pass) < PASSES
            && 32'(fv_vectors) <= DEPTH && 32'(read_q) < DEPTH && 32'(write_q) < DEPTH && 32'(fill_q) <= DEPTH);
        a_fill:  assert (32'(fill_q) == fv_kept);
        a_ahead: assert (32'(ahead_q) == 32'(fv_vectors) * BEATS + 32'(fv_in_beat) - 32'(fv_out_beat));
        a_order: assert (fv_vectors != 0 || (fv_out_pass == 0 && fv_out_beat <= fv_in_beat));
        a_beat:  assert (8'(beat_q) == fv_out_beat);
        a_read:  assert (PASSES == 1 || 32'(read_q) % BEATS == 32'(fv_out_beat)); // a vector never wraps around the end
        a_write: assert (32'(write_q) == (32'(read_q) + 32'(ahead_q)) % DEPTH);
    end
    for (genvar j = 0; j < BEATS; j++) begin : gen_fv_kept
        // Words from the one that leaves next to word j of the tracked vector; negative if it left before.
        wire [3:0] vectors = fv_tracked - fv_out_vector;
        wire signed [15:0] offset = 16'(vectors) * 16'(BEATS) + 16'(j) - 16'(fv_out_beat);
        wire here = offset < signed'(16'(ahead_q)) && (offset >= 0 || fv_again);
        always_comb if (fv_started && !rst && here)
            a_kept: assert (kept[PTR_BITS'((32'(read_q) + 32'(offset) + 2 * DEPTH) % DEPTH)] == fv_x[j]);
    end
`endif

    // The proof is not empty: a third vector leaves for the last time, after a full buffer.
    logic [7:0] fv_gones;
    logic       fv_was_full = 1'b0;
    always_ff @(posedge clk) begin
        fv_gones    <= rst ? '0 : fv_gones + 8'(fv_gone);
        fv_was_full <= !rst && (fv_was_full || (s_axis_tvalid && !s_axis_tready));
        c_third: cover (!rst && fv_gones == 8'd3 && fv_was_full);
    end
