// finn_build/targets/families/gate_cells.v
// SPDX-License-Identifier: Apache-2.0
// Models of the cells that Yosys maps to but has no behaviour for, as far as our netlists use them; whatever else they
// are asked to do stops the simulation. Sources: UG473 and UG573 (block RAM), UG579 (DSP48E2).

// Both block RAMs of both families: a memory of bytes, each with a parity bit, that both ports read, or write where they
// read nothing.
// A port of 9 bits or more moves whole bytes with their parity, a narrower one bits of one byte. A width beyond one
// port's own pins is a simple dual port, whose upper half goes to the pins of the other port. Reading gives the old
// value where the other port writes.
module gate_ramb #(
    parameter integer BYTES = 2048,
    parameter [8*BYTES-1:0] INIT = 0,
    parameter [BYTES-1:0] INITP = 0,
    parameter integer READ_WIDTH_A = 0,
    parameter integer READ_WIDTH_B = 0,
    parameter integer WRITE_WIDTH_A = 0,
    parameter integer WRITE_WIDTH_B = 0,
    parameter [71:0] INIT_A = 0, // {parity, data} of 8 and 64 bits
    parameter [71:0] INIT_B = 0,
    parameter [71:0] SRVAL_A = 0,
    parameter [71:0] SRVAL_B = 0
) (
    input             clk_a, clk_b, en_a, en_b, rst_a, rst_b,
    input      [15:0] addr_a, addr_b, // of a bit
    input      [71:0] data_a, data_b, // {parity, data}
    input      [ 7:0] we_a, we_b,
    output reg [71:0] q_a = INIT_A,
    output reg [71:0] q_b = INIT_B
);
    reg [8:0] memory [0:BYTES-1]; // {parity, data}
    integer i, j, k;
    initial begin
        for (i = 0; i < BYTES; i = i + 1) memory[i] = {INITP[i], INIT[8*i +: 8]};
        if (WRITE_WIDTH_A != 0 && WRITE_WIDTH_A < 9 && READ_WIDTH_A == 0 || WRITE_WIDTH_B != 0 && WRITE_WIDTH_B < 9)
            $fatal(1, "a block RAM that writes single bits has no model");
    end

    // The address without the bits inside one word of `width`.
    function [31:0] word_of(input [15:0] addr, input integer width);
        word_of = width < 9 ? {16'b0, addr} & ~(width - 1) : {16'b0, addr} >> 3 & ~(width / 9 - 1);
    endfunction

    reg [71:0] read_a, read_b;
    reg [31:0] at_a, at_b, at_v, at_w;
    always @* begin
        read_a = 0;
        at_a = word_of(addr_a, READ_WIDTH_A);
        if (READ_WIDTH_A >= 9)
            for (j = 0; j < READ_WIDTH_A / 9; j = j + 1)
                {read_a[64+j], read_a[8*j +: 8]} = memory[(at_a + j) % BYTES];
        else
            for (j = 0; j < READ_WIDTH_A; j = j + 1) read_a[j] = memory[(at_a >> 3) % BYTES][(at_a + j) & 7];
    end
    always @* begin
        read_b = 0;
        at_b = word_of(addr_b, READ_WIDTH_B);
        if (READ_WIDTH_B >= 9)
            for (k = 0; k < READ_WIDTH_B / 9; k = k + 1)
                {read_b[64+k], read_b[8*k +: 8]} = memory[(at_b + k) % BYTES];
        else
            for (k = 0; k < READ_WIDTH_B; k = k + 1) read_b[k] = memory[(at_b >> 3) % BYTES][(at_b + k) & 7];
    end
    integer v, w;
    always @(posedge clk_a) if (en_a) begin
        q_a <= rst_a ? SRVAL_A : read_a;
        if (WRITE_WIDTH_A != 0 && READ_WIDTH_A != 0 && we_a != 0)
            $fatal(1, "a block RAM whose port A writes and reads has no model");
        at_v = word_of(addr_a, WRITE_WIDTH_A);
        for (v = 0; v < WRITE_WIDTH_A / 9; v = v + 1)
            if (we_a[v]) memory[(at_v + v) % BYTES] <= {data_a[64+v], data_a[8*v +: 8]};
    end
    always @(posedge clk_b) if (en_b) begin
        if (WRITE_WIDTH_B != 0 && READ_WIDTH_B != 0 && we_b != 0)
            $fatal(1, "a block RAM whose port B writes and reads has no model");
        q_b <= rst_b ? SRVAL_B : read_b;
        at_w = word_of(addr_b, WRITE_WIDTH_B);
        for (w = 0; w < WRITE_WIDTH_B / 9; w = w + 1)
            if (we_b[w]) memory[(at_w + w) % BYTES] <= {data_b[64+w], data_b[8*w +: 8]};
    end
endmodule

// P <= D - A times B, alone or added to P, with the registers that finn-rtllib's mvu.sv sets.
module DSP48E2 #(
    parameter AMULTSEL = "A", A_INPUT = "DIRECT", BMULTSEL = "B", B_INPUT = "DIRECT", PREADDINSEL = "A",
    parameter USE_MULT = "MULTIPLY", USE_SIMD = "ONE48", USE_WIDEXOR = "FALSE", XORSIMD = "XOR24_48_96",
    parameter AUTORESET_PATDET = "NO_RESET", AUTORESET_PRIORITY = "RESET", SEL_MASK = "MASK",
    parameter SEL_PATTERN = "PATTERN", USE_PATTERN_DETECT = "NO_PATDET",
    parameter [47:0] MASK = 0, PATTERN = 0, RND = 0,
    parameter [3:0] IS_ALUMODE_INVERTED = 0,
    parameter [4:0] IS_INMODE_INVERTED = 0,
    parameter [8:0] IS_OPMODE_INVERTED = 0,
    parameter [0:0] IS_CARRYIN_INVERTED = 0, IS_CLK_INVERTED = 0, IS_RSTALLCARRYIN_INVERTED = 0,
    parameter [0:0] IS_RSTALUMODE_INVERTED = 0, IS_RSTA_INVERTED = 0, IS_RSTB_INVERTED = 0, IS_RSTCTRL_INVERTED = 0,
    parameter [0:0] IS_RSTC_INVERTED = 0, IS_RSTD_INVERTED = 0, IS_RSTINMODE_INVERTED = 0, IS_RSTM_INVERTED = 0,
    parameter [0:0] IS_RSTP_INVERTED = 0,
    parameter integer ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1
) (
    output [29:0] ACOUT, output [17:0] BCOUT, output CARRYCASCOUT, MULTSIGNOUT, output [47:0] PCOUT,
    output OVERFLOW, PATTERNBDETECT, PATTERNDETECT, UNDERFLOW, output [3:0] CARRYOUT, output [7:0] XOROUT,
    output reg signed [47:0] P,
    input [29:0] ACIN, input [17:0] BCIN, input CARRYCASCIN, MULTSIGNIN, input [47:0] PCIN,
    input CLK, input [3:0] ALUMODE, input [2:0] CARRYINSEL, input [4:0] INMODE, input [8:0] OPMODE,
    input [29:0] A, input signed [17:0] B, input [47:0] C, input CARRYIN, input signed [26:0] D,
    input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
    input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP
);
    localparam [3:0] INVERTED = {IS_RSTB_INVERTED, IS_RSTD_INVERTED, IS_RSTM_INVERTED, IS_RSTP_INVERTED};
    reg signed [17:0] b2 = 0;
    reg signed [26:0] ad = 0;
    reg signed [44:0] m = 0;
    reg [8:0] opmode = 0;
    initial begin
        P = 0;
        if (AMULTSEL != "AD" || BMULTSEL != "B" || A_INPUT != "DIRECT" || B_INPUT != "DIRECT" || PREADDINSEL != "A")
            $fatal(1, "this DSP48E2 data path has no model");
        if (USE_MULT != "MULTIPLY" || USE_SIMD != "ONE48" || USE_PATTERN_DETECT != "NO_PATDET" || RND != 0)
            $fatal(1, "this DSP48E2 mode has no model");
        if (AREG != 0 || DREG != 0 || BREG != 1 || ADREG != 1 || MREG != 1 || PREG != 1 || OPMODEREG != 1)
            $fatal(1, "these DSP48E2 registers have no model");
        if (INMODEREG != 0 || ALUMODEREG != 0 || INVERTED != 0 || IS_CLK_INVERTED != 0 || IS_ALUMODE_INVERTED != 0)
            $fatal(1, "these DSP48E2 controls have no model");
    end
    always @(posedge CLK) begin
        if (RSTB) b2 <= 0;
        else if (CEB2) b2 <= B;
        if (RSTD) ad <= 0;
        else if (CEAD) ad <= D - $signed(A[26:0]);
        if (RSTM) m <= 0;
        else if (CEM) m <= ad * b2;
        if (RSTCTRL) opmode <= 0;
        else if (CECTRL) opmode <= OPMODE ^ IS_OPMODE_INVERTED;
        if (RSTP) P <= 0;
        else if (CEP) P <= (opmode[6:4] == 3'b010 ? P : 48'sd0) + 48'(m);
        // INMODE: B2, D - A. OPMODE: X and Y are the product, Z is 0 or P, W is 0. ALUMODE: their sum.
        if ((INMODE ^ IS_INMODE_INVERTED) != 5'b01100 || ALUMODE != 0)
            $fatal(1, "a DSP48E2 with INMODE %b has no model", INMODE);
        if ({opmode[8:7], opmode[3:0]} != 6'b00_0101 && opmode != 0 || !(opmode[6:4] inside {3'b000, 3'b010}))
            $fatal(1, "a DSP48E2 with OPMODE %b has no model", opmode);
    end
    assign {ACOUT, BCOUT, CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, PATTERNBDETECT, PATTERNDETECT, UNDERFLOW} = 0;
    assign {CARRYOUT, XOROUT} = 0;
    assign PCOUT = P;
endmodule
