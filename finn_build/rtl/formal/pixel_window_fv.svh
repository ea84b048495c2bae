// Included by pixel_window.sv where FORMAL is defined.
//   Both ports keep the rules; a beat waits only if windows end in it; and of an image that the solver picks, one of its
//   pixels stands at its place in every window of a row of windows: the solver picks these, too.
    axis_rules #(.BITS(S_BITS), .ASSUME(1'b1)) u_rules_s (
        .clk(clk), .rst(rst), .tvalid(s_axis_tvalid), .tready(s_axis_tready), .payload(s_axis_tdata)
    );
    axis_rules #(.BITS(M_BITS)) u_rules_m (
        .clk(clk), .rst(rst), .tvalid(m_axis_tvalid), .tready(m_axis_tready), .payload(m_axis_tdata)
    );

    logic fv_started = 1'b0;
    always_ff @(posedge clk) fv_started <= 1'b1;
    always_comb assume (fv_started || rst);

    typedef logic signed [9:0] fv_int;
    localparam fv_int FV_DOWN = fv_int'((HEIGHT - ROWS) / STRIDE_H + 1); // rows of windows
    localparam fv_int FV_OVER = fv_int'((WIDTH - ACROSS) / RIGHT + 1);   // windows of a row
    localparam fv_int FV_USED = fv_int'(USED);
    localparam fv_int FV_ALL  = FV_DOWN * FV_USED;                       // columns of an image
    localparam fv_int FV_ROWS = fv_int'(ROWS), FV_LANES = fv_int'(LANES), FV_STRIDE = fv_int'(STRIDE_H);
    localparam fv_int FV_FIRST = fv_int'(FIRST), FV_EACH = fv_int'(EACH), FV_PHASES = fv_int'(PHASES);

    // What the solver picks: a row of windows, a pixel that they see if any does, and when to pick an image.
    fv_int fv_row, fv_y, fv_x;
    logic  fv_pick;
    logic [2:0][9:0] fv_picked;
    symbol #(.BITS(30)) u_picked (.clk(clk), .value(fv_picked));
    assign {fv_row, fv_y, fv_x} = fv_picked;
    wire fv_int fv_in_row = fv_y - fv_row * FV_STRIDE; // of a window
    wire fv_int fv_word   = fv_x / FV_LANES;
    wire fv_int fv_lane   = fv_x % FV_LANES;
    always_comb assume (fv_row >= 0 && fv_row < FV_DOWN && fv_x >= 0 && fv_x < fv_int'(WIDTH) && fv_in_row >= 0
        && fv_in_row < FV_ROWS && fv_word < FV_USED);

    // Counted from outside the module: the beat that comes next, the window that leaves next, images under way.
    fv_int fv_at_row, fv_at_word, fv_out_row, fv_out, fv_open;
    wire fv_in        = s_axis_tvalid && s_axis_tready;
    wire fv_leaves    = m_axis_tvalid && m_axis_tready;
    wire fv_begins    = fv_in && fv_at_row == 0 && fv_at_word == 0;
    wire fv_row_ends  = fv_at_word == fv_int'(WORDS - 1);
    wire fv_ends      = fv_in && fv_row_ends && fv_at_row == fv_int'(HEIGHT - 1);
    wire fv_out_ends  = fv_leaves && fv_out == FV_OVER - 1 && fv_out_row == FV_DOWN - 1;
    wire fv_row_kept  = fv_at_row >= FV_ROWS - 1 && (fv_at_row - (FV_ROWS - 1)) % FV_STRIDE == 0;
    // The picked image: whether there is one, arrives, has left; images that leave before it; its pixel, if it came.
    logic fv_chosen, fv_arrives, fv_left, fv_came;
    fv_int fv_ahead;
    logic [BITS-1:0] fv_pixel;
    wire fv_choose = fv_begins && fv_pick && !fv_chosen;
    wire fv_now    = fv_in && (fv_arrives || fv_choose) && fv_at_row == fv_y && fv_at_word == fv_word;
    always_ff @(posedge clk) begin
        if (rst) begin
            {fv_at_row, fv_at_word, fv_out_row, fv_out, fv_open} <= '0;
            {fv_chosen, fv_arrives, fv_left, fv_came, fv_ahead}  <= '0;
        end else begin
            if (fv_in) fv_at_word <= fv_row_ends ? '0 : fv_at_word + 1;
            if (fv_in && fv_row_ends) fv_at_row <= fv_ends ? '0 : fv_at_row + 1;
            if (fv_leaves) fv_out <= fv_out == FV_OVER - 1 ? '0 : fv_out + 1;
            if (fv_leaves && fv_out == FV_OVER - 1) fv_out_row <= fv_out_ends ? '0 : fv_out_row + 1;
            fv_open    <= fv_open + fv_int'({1'b0, fv_begins}) - fv_int'({1'b0, fv_out_ends});
            fv_chosen  <= fv_chosen || fv_choose;
            fv_arrives <= (fv_arrives || fv_choose) && !fv_ends;
            fv_came    <= fv_came || fv_now;
            fv_left    <= fv_left || (fv_chosen && fv_ahead == 0 && fv_out_ends);
            if (fv_choose) fv_ahead <= fv_open - fv_int'({1'b0, fv_out_ends});
            else if (fv_out_ends && fv_ahead != 0) fv_ahead <= fv_ahead - 1;
        end
        if (fv_now) fv_pixel <= s_axis_tdata[fv_lane*BITS +: BITS];
    end
    wire fv_tracked = fv_chosen && !fv_left;

    // A window that should have the pixel, and what it has there.
    wire fv_int fv_across = fv_x - fv_out * fv_int'(RIGHT);
    wire fv_sees = m_axis_tvalid && fv_tracked && fv_ahead == 0 && fv_out_row == fv_row && fv_across >= 0
        && fv_across < fv_int'(ACROSS);
    wire [BITS-1:0] fv_seen = m_axis_tdata[(fv_in_row * fv_int'(ACROSS) + fv_across)*BITS +: BITS];
    always_comb if (rst) a_reset: assert (!s_axis_tready);
    always_comb if (fv_started && !rst) begin
        a_waits_only_for_windows:    assert (s_axis_tready || (fv_row_kept && fv_at_word < FV_USED));
        a_no_window_before_its_last: assert (!fv_sees || fv_came);
        a_every_pixel_at_its_place:  assert (!fv_sees || !fv_came || fv_seen == fv_pixel);
    end

`ifndef FORMAL_CONTRACT
    // On the way there. Columns are numbered in an image: those that were kept, those that were taken out; and images:
    // how many more have arrived than steps have begun (-1: all steps of the one that arrives), and since the picked one.
    fv_int fv_steps_row, fv_lag, fv_since;
    wire fv_int fv_step   = fv_int'({1'b0, step_q});
    wire fv_int fv_fill   = fv_int'({1'b0, fill_q});
    wire fv_int fv_kept   = (fv_at_row < FV_ROWS ? '0 : (fv_at_row - FV_ROWS) / FV_STRIDE + 1) * FV_USED
        + (!fv_row_kept ? '0 : fv_at_word < FV_USED ? fv_at_word : FV_USED);
    wire fv_int fv_popped = fv_steps_row * FV_USED + (fv_step + FV_PHASES - 1) / FV_PHASES;
    wire fv_int fv_made   = fv_step <= FV_FIRST ? '0 : (fv_step - 1 - FV_FIRST) / FV_EACH + 1; // windows of this row
    wire        fv_fresh  = fv_step == 0 && fv_steps_row == 0; // the steps of an image begin
    wire        fv_held   = m_valid_q && fv_fresh;             // and the last window of the one before is still here
    wire fv_int fv_images = fv_lag - fv_since;                 // from the one that steps are in to the picked one
    wire fv_int fv_before = fv_images * FV_ALL + fv_row * FV_USED + fv_word - fv_popped; // columns in front of the picked
    always_ff @(posedge clk) begin
        if (rst) {fv_steps_row, fv_lag, fv_since} <= '0;
        else begin
            if (go && last) fv_steps_row <= fv_steps_row == FV_DOWN - 1 ? '0 : fv_steps_row + 1;
            fv_lag <= fv_lag + fv_int'({1'b0, fv_ends})
                - fv_int'({1'b0, go && last && fv_steps_row == FV_DOWN - 1});
            if (fv_tracked && fv_ends) fv_since <= fv_since + 1;
            if (fv_choose) fv_since <= fv_int'({1'b0, fv_ends});
        end
    end
    wire fv_int fv_from = FV_ROWS - 1 > fv_at_row ? FV_ROWS - 1 - fv_at_row
        : (FV_STRIDE - (fv_at_row - (FV_ROWS - 1)) % FV_STRIDE) % FV_STRIDE;
    wire fv_int fv_until = fv_step <= FV_FIRST ? FV_FIRST - fv_step
        : (FV_EACH - (fv_step - FV_FIRST) % FV_EACH) % FV_EACH;
    // The step that was the last, and its row.
    wire fv_int fv_last     = fv_step == 0 ? fv_int'(STEPS - 1) : fv_step - 1;
    wire fv_int fv_last_row = fv_step != 0 ? fv_steps_row : fv_steps_row == 0 ? FV_DOWN - 1 : fv_steps_row - 1;
    always_comb if (fv_started && !rst) begin
        a_beats:  assert (fv_int'({1'b0, word_q}) == fv_at_word && fv_int'({1'b0, row_q}) == fv_at_row
            && fv_at_word < fv_int'(WORDS) && fv_at_row < fv_int'(HEIGHT) && fv_int'({1'b0, skip_q}) == fv_from
            && fv_at_word >= 0 && fv_at_row >= 0);
        a_steps:  assert (fv_step < fv_int'(STEPS) && fv_int'({1'b0, wait_q}) == fv_until && fv_steps_row >= 0
            && fv_steps_row < FV_DOWN);
        a_queue:  assert (fv_fill <= fv_int'(DEPTH) && 32'(read_q) < DEPTH
            && 32'(write_q) == (32'(read_q) + 32'(fill_q)) % DEPTH);
        a_lag:    assert (fv_lag >= -1 && fv_lag < 32 && fv_popped + fv_fill == fv_lag * FV_ALL + fv_kept);
        a_leaves: assert (fv_out >= 0 && fv_out < FV_OVER && fv_out_row >= 0 && fv_out_row < FV_DOWN
            && fv_steps_row * FV_OVER + fv_made + (fv_held ? FV_DOWN * FV_OVER : '0)
                == fv_out_row * FV_OVER + fv_out + fv_int'({1'b0, m_valid_q}));
        a_open:   assert (fv_open == fv_lag + fv_int'({1'b0, fv_held})
            + fv_int'({1'b0, fv_at_row != 0 || fv_at_word != 0}));
        a_last:   assert (!m_valid_q || (fv_last == FV_FIRST + fv_out * FV_EACH && fv_last_row == fv_out_row));
        a_chosen: assert (!fv_arrives || fv_chosen);
        if (fv_tracked) begin
            a_ahead: assert (fv_ahead >= 0 && fv_ahead == fv_images + fv_int'({1'b0, fv_held}));
            a_since: assert (fv_since >= 0 && fv_arrives == (fv_since == 0));
            a_came:  assert (fv_came == (!fv_arrives || fv_at_row > fv_y || (fv_at_row == fv_y && fv_at_word > fv_word)));
        end
        if (!fv_chosen) a_not_yet: assert (!fv_came && !fv_left && !fv_arrives);
        if (fv_left) a_gone: assert (fv_chosen);
    end
    // The pixel itself: in the lines, then in the queue, then in the register.
    if (ROWS > 1) begin : gen_fv_lines
        wire fv_int fv_age = fv_at_row + fv_int'({1'b0, fv_at_word > fv_word}) - 1 - fv_y; // rows since
        wire [ROWS-2:0][LANES-1:0][BITS-1:0] fv_line = gen_lines.lines[WORD_BITS'(fv_word)];
        wire [LANES-1:0][BITS-1:0] fv_part = fv_line[FV_ROWS - 2 - fv_age];
        always_comb if (fv_started && !rst && fv_tracked && fv_arrives && fv_came && fv_age <= FV_ROWS - 2)
            a_in_the_lines: assert (fv_part[fv_lane] == fv_pixel);
    end
    wire column_t fv_waits = queue[PLACE_BITS'((32'(read_q) + 32'(fv_before)) % DEPTH)];
    wire [LANES-1:0][BITS-1:0] fv_waits_row = fv_waits[fv_in_row];
    wire fv_int fv_moved = fv_int'(BEHIND) + fv_lane - (fv_last - fv_word * FV_PHASES) * fv_int'(SHIFT);
    wire [ACROSS_ALL-1:0][BITS-1:0] fv_register = seen_q[fv_in_row];
    always_comb if (fv_started && !rst && fv_tracked) begin
        if (fv_before >= 0 && fv_before < fv_fill) a_in_the_queue: assert (fv_waits_row[fv_lane] == fv_pixel);
        if (fv_before < 0 && fv_images == -fv_int'({1'b0, fv_fresh}) && fv_last_row == fv_row
            && fv_last >= fv_word * FV_PHASES && fv_moved >= 0)
            a_in_the_register: assert (fv_register[fv_moved] == fv_pixel);
    end
`endif

    // The proof is not empty: a window of a second image, the picked one, after a beat and a window had to wait.
    logic fv_was_stalled = 1'b0, fv_was_refused = 1'b0, fv_was_another = 1'b0;
    always_ff @(posedge clk) begin
        fv_was_stalled <= !rst && (fv_was_stalled || (s_axis_tvalid && !s_axis_tready));
        fv_was_refused <= !rst && (fv_was_refused || (m_axis_tvalid && !m_axis_tready));
        fv_was_another <= !rst && (fv_was_another || fv_out_ends);
        c_second: cover (!rst && fv_sees && fv_leaves && fv_was_stalled && fv_was_refused && fv_was_another);
    end
