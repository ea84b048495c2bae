// finn_build/rtl/pixel_window.sv
// SPDX-License-Identifier: Apache-2.0
// The windows of an image of one channel of which several pixels come at a time: WIDTH / PIXELS beats a row, row by row.
//   A beat out is a whole window, its first row in the low bits, and of a row its first pixel.
//   A beat in completes a column of KERNEL_H rows and PIXELS wide, with what the rows above it left in `lines`. Columns
//   that windows end in wait in `queue`, as many as a row has, so that windows leave while the rows between them come.
//   From there they go into a register that moves by SHIFT pixels, the windows' way to the right or a part of it; the
//   window is what stands at its low end.
//   A beat per cycle, and a step of the register per cycle, also from one row and one image to the next. Neither
//   s_axis_tready nor m_axis_tvalid follows the other side combinationally.
`default_nettype none
module pixel_window #(
    parameter int unsigned HEIGHT   = 6, // of an image [pixels]
    parameter int unsigned WIDTH    = 8,
    parameter int unsigned KERNEL_H = 3, // of a window
    parameter int unsigned KERNEL_W = 3,
    parameter int unsigned STRIDE_H = 2, // from a window to the one below
    parameter int unsigned STRIDE_W = 2, // and to the one beside it
    parameter int unsigned PIXELS   = 4, // at a time: 2, 4 or 8
    parameter int unsigned BITS     = 8, // of a pixel [bit]
    localparam int unsigned S_BITS = (PIXELS * BITS + 7) / 8 * 8, // TDATA is whole bytes, zero-padded
    localparam int unsigned M_BITS = (KERNEL_H * KERNEL_W * BITS + 7) / 8 * 8
) (
    input  wire logic              clk,
    input  wire logic              rst, // synchronous, active high
    input  wire logic [S_BITS-1:0] s_axis_tdata,
    input  wire logic              s_axis_tvalid,
    output wire logic              s_axis_tready,
    output wire logic [M_BITS-1:0] m_axis_tdata,
    output wire logic              m_axis_tvalid,
    input  wire logic              m_axis_tready
);
    if (HEIGHT < 1 || HEIGHT > 2**14) begin : gen_check_height
        $fatal(1, "pixel_window: HEIGHT=%0d is outside 1..2**14", HEIGHT);
    end
    if (WIDTH < 1 || WIDTH > 2**14) begin : gen_check_width
        $fatal(1, "pixel_window: WIDTH=%0d is outside 1..2**14", WIDTH);
    end
    if (KERNEL_H < 1 || KERNEL_H > HEIGHT) begin : gen_check_kernel_h
        $fatal(1, "pixel_window: KERNEL_H=%0d is outside 1..HEIGHT=%0d", KERNEL_H, HEIGHT);
    end
    if (KERNEL_W < 1 || KERNEL_W > WIDTH) begin : gen_check_kernel_w
        $fatal(1, "pixel_window: KERNEL_W=%0d is outside 1..WIDTH=%0d", KERNEL_W, WIDTH);
    end
    if (STRIDE_H < 1 || STRIDE_H > HEIGHT) begin : gen_check_stride_h
        $fatal(1, "pixel_window: STRIDE_H=%0d is outside 1..HEIGHT=%0d", STRIDE_H, HEIGHT);
    end
    if (STRIDE_W < 1 || STRIDE_W > WIDTH) begin : gen_check_stride_w
        $fatal(1, "pixel_window: STRIDE_W=%0d is outside 1..WIDTH=%0d", STRIDE_W, WIDTH);
    end
    localparam bit LEGAL = PIXELS == 2 || PIXELS == 4 || PIXELS == 8;
    if (!LEGAL || WIDTH % (LEGAL ? PIXELS : 2) != 0) begin : gen_check_pixels
        $fatal(1, "pixel_window: PIXELS=%0d must be 2, 4 or 8 and divide WIDTH=%0d", PIXELS, WIDTH);
    end
    if (BITS < 1 || BITS > 32) begin : gen_check_bits
        $fatal(1, "pixel_window: BITS=%0d is outside 1..32", BITS);
    end

    // What is not legal is 1 here, or a tool's own limit would end it, before our words.
    localparam int unsigned LANES   = LEGAL ? PIXELS : 2;
    localparam int unsigned RIGHT   = STRIDE_W < 1 || STRIDE_W > WIDTH ? 1 : STRIDE_W;
    localparam int unsigned ACROSS  = KERNEL_W < 1 || KERNEL_W > WIDTH ? 1 : KERNEL_W;
    localparam int unsigned ROWS    = KERNEL_H < 1 || KERNEL_H > HEIGHT ? 1 : KERNEL_H;
    localparam int unsigned WORDS   = WIDTH / LANES > 0 ? WIDTH / LANES : 1; // of a row
    localparam int unsigned SHIFT   = RIGHT % LANES == 0 ? LANES : RIGHT % (LANES / 2) == 0 ? LANES / 2
                                    : RIGHT % 2 == 0 ? 2 : 1; // what divides both
    localparam int unsigned PHASES  = LANES / SHIFT; // steps from one word to the next
    localparam int unsigned BEHIND  = (ACROSS - 1) / SHIFT * SHIFT; // pixels of earlier words in front of a new one
    localparam int unsigned ACROSS_ALL = BEHIND + LANES; // pixels of the register, across
    localparam int unsigned FIRST   = BEHIND / SHIFT; // the step of a row that makes its first window
    localparam int unsigned EACH    = RIGHT / SHIFT;  // steps from one to the next
    localparam int unsigned STEPS   = FIRST + (WIDTH - ACROSS) / RIGHT * EACH + 1; // of a row
    localparam int unsigned USED    = (STEPS - 1) / PHASES + 1; // words of a row
    localparam int unsigned DEPTH   = WORDS > 1 ? WORDS : 2;

    localparam int unsigned WORD_BITS  = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int unsigned ROW_BITS   = HEIGHT > 1 ? $clog2(HEIGHT) : 1;
    localparam int unsigned FILL_BITS  = $clog2(DEPTH + 1);
    localparam int unsigned PLACE_BITS = $clog2(DEPTH);
    localparam int unsigned STEP_BITS  = STEPS > 1 ? $clog2(STEPS) : 1;
    localparam int unsigned WAIT_BITS  = FIRST > EACH - 1 ? $clog2(FIRST + 1) : EACH > 1 ? $clog2(EACH) : 1;
    typedef logic [ROWS-1:0][LANES-1:0][BITS-1:0] column_t;

    // Beats arrive. `skip_q`: rows until one that windows end in; 0: this one.
    logic [WORD_BITS-1:0] word_q;
    logic [ROW_BITS-1:0]  row_q, skip_q;
    logic [FILL_BITS-1:0] fill_q;
    wire last_word = word_q == WORD_BITS'(WORDS - 1);
    wire last_row  = row_q == ROW_BITS'(HEIGHT - 1);
    wire kept      = skip_q == '0 && 32'(word_q) < USED;
    wire take      = s_axis_tvalid && s_axis_tready;
    wire push      = take && kept;
    assign s_axis_tready = !rst && !(kept && fill_q == FILL_BITS'(DEPTH)); // low in reset, see PG085
    always_ff @(posedge clk) begin
        if (rst) begin
            {word_q, row_q} <= '0;
            skip_q          <= ROW_BITS'(ROWS - 1);
        end else if (take) begin
            word_q <= last_word ? '0 : word_q + 1'b1;
            if (last_word) begin
                row_q  <= last_row ? '0 : row_q + 1'b1;
                skip_q <= last_row ? ROW_BITS'(ROWS - 1) : skip_q == '0 ? ROW_BITS'(STRIDE_H - 1) : skip_q - 1'b1;
            end
        end
    end

    column_t arrived;
    assign arrived[ROWS-1] = s_axis_tdata[LANES*BITS-1:0];
    if (ROWS > 1) begin : gen_lines
        logic [ROWS-2:0][LANES-1:0][BITS-1:0] lines [WORDS];
        assign arrived[ROWS-2:0] = lines[word_q];
        always_ff @(posedge clk) if (take) lines[word_q] <= arrived[ROWS-1:1]; // not looked at before rows came
    end

    // Columns wait.
    column_t               queue [DEPTH];
    logic [PLACE_BITS-1:0] write_q, read_q;
    logic [STEP_BITS-1:0]  step_q; // that comes next
    logic [WAIT_BITS-1:0]  wait_q; // steps until one makes a window; 0: this one
    logic                  m_valid_q;
    wire load   = (32'(step_q) & (PHASES - 1)) == 0;
    wire go     = (!m_valid_q || m_axis_tready) && (!load || fill_q != '0);
    wire pop    = go && load;
    wire window = wait_q == '0;
    wire last   = step_q == STEP_BITS'(STEPS - 1);
    wire column_t waited = queue[read_q];
    always_ff @(posedge clk) begin
        if (rst) begin
            {fill_q, write_q, read_q, step_q, m_valid_q} <= '0;
            wait_q <= WAIT_BITS'(FIRST);
        end else begin
            fill_q <= fill_q + FILL_BITS'(push) - FILL_BITS'(pop);
            if (push) write_q <= write_q == PLACE_BITS'(DEPTH - 1) ? '0 : write_q + 1'b1;
            if (pop) read_q <= read_q == PLACE_BITS'(DEPTH - 1) ? '0 : read_q + 1'b1;
            if (go) step_q <= last ? '0 : step_q + 1'b1;
            if (go) wait_q <= last ? WAIT_BITS'(FIRST) : window ? WAIT_BITS'(EACH - 1) : wait_q - 1'b1;
            m_valid_q <= go ? window : m_valid_q && !m_axis_tready;
        end
        if (push) queue[write_q] <= arrived;
    end

    // The register: a word comes in behind what is kept, and is moved on until the next one does.
    logic [ROWS-1:0][ACROSS_ALL-1:0][BITS-1:0] seen_q; // no reset: not looked at before it is full
    for (genvar r = 0; r < ROWS; r++) begin : gen_row
        for (genvar c = 0; c < ACROSS_ALL; c++) begin : gen_pixel
            if (c < BEHIND) begin : gen_kept
                always_ff @(posedge clk) if (go) seen_q[r][c] <= seen_q[r][c+SHIFT];
            end else if (c + SHIFT < ACROSS_ALL) begin : gen_either
                always_ff @(posedge clk) if (go) seen_q[r][c] <= load ? waited[r][c-BEHIND] : seen_q[r][c+SHIFT];
            end else begin : gen_new
                always_ff @(posedge clk) if (go) seen_q[r][c] <= waited[r][c-BEHIND];
            end
        end
    end

    logic [ROWS-1:0][ACROSS-1:0][BITS-1:0] front;
    always_comb for (int unsigned r = 0; r < ROWS; r++) front[r] = seen_q[r][ACROSS-1:0];
    assign m_axis_tvalid = m_valid_q;
    assign m_axis_tdata  = M_BITS'(front);
    wire unused_padding = &{1'b0, s_axis_tdata};
`ifdef FORMAL
    `include "pixel_window_fv.svh"
`endif
endmodule
`default_nettype wire
