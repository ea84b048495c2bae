// Stream golden images through the accelerator and compare every logit. Plain Verilog; run it with simulate.sh.
//   +stall lets source and sink pause at random. Ends with one line that starts with PASS or FAIL.
`timescale 1ns / 1ps
`default_nettype none
module accelerator_tb;
    localparam integer IMAGES  = @IMAGES@;
    localparam integer RESULTS = IMAGES * @RESULTS@;
    localparam integer BEATS   = @BEATS@; // input beats per image
    localparam integer IN_BITS = @IN_BITS@;
    localparam integer TOTAL   = IMAGES * BEATS;
    localparam integer LIMIT   = 1000 + 20 * (IMAGES + 4) * @CYCLES@; // cycles, far more than it needs

    reg [IN_BITS-1:0] beats[0:TOTAL-1];
    reg [31:0] golden[0:RESULTS-1];
    reg clk = 1'b0;
    reg rst_n = 1'b0;
    always #(@CLK_NS@ / 2.0) clk = !clk;

    reg stall;
    reg [15:0] lfsr = 16'hACE1;
    integer sent = 0, received = 0, wrong = 0, cycle = 0, first_in = -1, first_out = -1;

    // The first beat comes when the weight memories have their first weights; one that was offered stays until taken.
    reg started = 1'b0;
    reg offered = 1'b0;
    reg ready = 1'b0;
    wire s_tready, m_tvalid, m_tlast;
    wire [31:0] m_tdata;
    wire s_tlast = sent == TOTAL - 1;
    wire [IN_BITS-1:0] s_tdata = offered ? beats[sent] : {IN_BITS{1'b0}};
    wire taken = offered && s_tready;
    wire [31:0] next = sent + {31'b0, taken};
    always @(posedge clk) begin
        lfsr <= {lfsr[14:0], lfsr[15] ^ lfsr[13] ^ lfsr[12] ^ lfsr[10]};
        if (!started) begin
            offered <= 1'b0;
            ready <= 1'b0;
        end else begin
            sent <= next;
            offered <= (offered && !s_tready) || (next < TOTAL && !(stall && lfsr[0]));
            ready <= !(stall && lfsr[3]);
        end
    end

    accelerator u_dut (
        .ap_clk(clk), .ap_rst_n(rst_n),
        .s_axis_tdata(s_tdata), .s_axis_tvalid(offered), .s_axis_tlast(s_tlast && offered), .s_axis_tready(s_tready),
        .m_axis_tdata(m_tdata), .m_axis_tvalid(m_tvalid), .m_axis_tlast(m_tlast), .m_axis_tready(ready)
    );

    always @(posedge clk) if (rst_n) begin
        cycle <= cycle + 1;
        if (taken && first_in < 0) first_in <= cycle;
        if (m_tvalid && ready) begin
            if (first_out < 0) first_out <= cycle;
            if (m_tdata !== golden[received]) begin
                wrong <= wrong + 1;
                $display("image %0d: logit %0d, expected %0d", received / @RESULTS@, $signed(m_tdata), $signed(golden[received]));
            end
            if (m_tlast !== (received == RESULTS - 1)) begin
                $display("FAIL: TLAST is %b on result %0d of %0d", m_tlast, received + 1, RESULTS);
                $finish;
            end
            received <= received + 1;
            if (received == RESULTS - 1) finish(first_out < 0 ? cycle : first_out, cycle, wrong + (m_tdata !== golden[received] ? 1 : 0));
        end
        if (cycle == LIMIT) begin
            $display("FAIL: %0d of %0d logits after %0d cycles", received, RESULTS, cycle);
            $finish;
        end
    end

    task finish(input integer first, input integer last, input integer differing);
        begin
            if (differing != 0) $display("FAIL: %0d of %0d logits differ", differing, RESULTS);
            else $display("PASS: %0d of %0d logits equal; the first after %0d cycles, then %0d cycles for %0d images",
                          RESULTS, RESULTS, first - first_in, last - first, IMAGES - 1);
            $finish;
        end
    endtask

    initial begin
        stall = $test$plusargs("stall") != 0;
        $readmemh("golden_beats.hex", beats);
        $readmemh("golden_logits.hex", golden);
        repeat (20) @(posedge clk);
        rst_n <= 1'b1;
        repeat (8) @(posedge clk);
        started <= 1'b1;
    end
endmodule
`default_nettype wire
