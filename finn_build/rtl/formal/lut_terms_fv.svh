// Included by lut_products_fv.svh and lut_mvu_fv.svh: what a term is, straight from the definition.
    localparam int unsigned FV_BITS = WIDE_BITS + 1; // holds every sum of a beat
    localparam int unsigned FV_LEAF = AGREE ? 3 : PAIRS ? 1 : 0; // the stage of the leaves,
    localparam int unsigned FV_READ = PAIRS ? 1 : 0;              // and of the u_products.weights
    typedef logic signed [FV_BITS-1:0] fv_number;

    // Activation s as the unsigned number that it counts as.
    function automatic fv_number fv_value(input logic [SIMD*ACT_BITS-1:0] x, input int unsigned s);
        logic [ACT_BITS-1:0] x_bits;
        x_bits   = x[s*ACT_BITS +: ACT_BITS];
        fv_value = ACT_SIGNED ? fv_number'(signed'(x_bits)) + fv_number'(2**(ACT_BITS-1)) : fv_number'(x_bits);
    endfunction
    // Bits that the weights of the pair of column s need.
    function automatic int unsigned fv_needed(input int unsigned s, input int unsigned lane);
        int unsigned a, b;
        a = s / GROUP * GROUP;
        b = a + 1 < SIMD && GROUP > 1 ? a + 1 : a;
        a = 32'(NEEDED[(lane*SIMD + a)*8 +: 8]);
        b = 32'(NEEDED[(lane*SIMD + b)*8 +: 8]);
        fv_needed = a > b ? a : b;
    endfunction
    // Weight times activation of column s, and what the unit has too much: see finn_build.ops.lut_mvau.row_starts.
    function automatic fv_number fv_term(
        input logic [SIMD*ACT_BITS-1:0] x, input logic [PE*SIMD*WEIGHT_BITS-1:0] w, input int unsigned s,
        input int unsigned lane
    );
        logic [ACT_BITS-1:0]    x_bits;
        logic [WEIGHT_BITS-1:0] w_bits;
        fv_number               value; // of the operand that may have more than 1 bit
        x_bits = x[s*ACT_BITS +: ACT_BITS];
        w_bits = w[(lane*SIMD + s)*WEIGHT_BITS +: WEIGHT_BITS];
        if (WEIGHT_BITS > 1) begin
            value   = fv_number'(signed'(w_bits));
            fv_term = x_bits[0] ? value : -value;
            if (PAIRS) begin
                fv_term = value * fv_value(x, s);
                if (s % GROUP == 0) fv_term = fv_term + (fv_number'(2**PAIR_BITS - 1) << (fv_needed(s, lane) - 1));
            end
        end else if (ACT_BITS == 1) begin
            fv_term = fv_number'(x_bits[0] == w_bits[0]); // counts double in the end
        end else begin
            value = fv_value(x, s);
            if (w_bits[0]) fv_term = value;
            else begin
                fv_term = fv_number'(2**ACT_BITS - 1) - value;
                if (s % 2 == 0 && s + 1 < SIMD) fv_term = fv_term + fv_number'(1);
                if (SIMD > 1 && s % 2 == 0 && s + 1 == SIMD) fv_term = fv_term + fv_number'(2**ACT_BITS);
            end
        end
    endfunction
    // Sum over the columns from `from` to before `to`, no further than SIMD.
    function automatic fv_number fv_columns(
        input logic [SIMD*ACT_BITS-1:0] x, input logic [PE*SIMD*WEIGHT_BITS-1:0] w, input int unsigned from,
        input int unsigned to, input int unsigned lane
    );
        fv_columns = '0;
        for (int unsigned s = 0; s < SIMD; s++)
            if (s >= from && s < to) fv_columns = fv_columns + fv_term(x, w, s, lane);
    endfunction
    // Sum over the leaves from `from` to before `to`, no further than LEAVES.
    function automatic fv_number fv_leaves(
        input logic [SIMD*ACT_BITS-1:0] x, input logic [PE*SIMD*WEIGHT_BITS-1:0] w, input int unsigned from,
        input int unsigned to, input int unsigned lane
    );
        int unsigned s, plane;
        fv_number    taken;
        fv_leaves = PLANES > 1 ? '0 : fv_columns(x, w, GROUP * from, GROUP * to, lane);
        for (int unsigned n = 0; n < LEAVES; n++) if (PLANES > 1 && n >= from && n < to) begin
            plane = n / GROUPS;
            s     = n % GROUPS * GROUP;
            taken = w[(lane*SIMD + s)*WEIGHT_BITS + plane] ? fv_value(x, s) : '0;
            if (s + 1 < SIMD && w[(lane*SIMD + s + 32'(s + 1 < SIMD))*WEIGHT_BITS + plane])
                taken = taken + fv_value(x, s + 32'(s + 1 < SIMD));
            if (plane == fv_needed(s, lane) - 1) taken = fv_number'(2**PAIR_BITS - 1) - taken;
            if (plane < fv_needed(s, lane)) fv_leaves = fv_leaves + (taken << plane);
        end
    endfunction
