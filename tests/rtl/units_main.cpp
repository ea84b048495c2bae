// tests/rtl/units_main.cpp
// SPDX-License-Identifier: Apache-2.0
// Clocks units_tb through stalls of every kind: units_main SEED DEEPEST CYCLES.
// First, the handshakes are written to trace.txt. Then every pair of a run of cycles in which the sink takes and a run in which it does not, up to DEEPEST + 3 and twice that,
// with a source that never pauses; then the same of the source; then CYCLES of random pauses, in stretches of every density.
// After that every unit must come to rest with nothing left inside: the lines "UNIT TAKEN GIVEN".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>

#include "Vunits_tb.h"
#include "verilated.h"

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    std::mt19937_64 random(std::strtoull(argv[1], nullptr, 10));
    const unsigned deepest = std::strtoul(argv[2], nullptr, 10), cycles = std::strtoul(argv[3], nullptr, 10);
    const auto context = std::make_unique<VerilatedContext>();
    const auto top = std::make_unique<Vunits_tb>(context.get());
    const auto cycle = [&](bool source, bool sink) {
        top->source_go = source;
        top->sink_go = sink;
        for (const bool high : {false, true}) {
            top->clk = high;
            top->eval();
            context->timeInc(5);
        }
    };
    const auto rest = [&] {
        for (unsigned i = 0; i < 200 + 40 * deepest; i++) cycle(false, true);
    };
    top->rst = 1;
    for (int i = 0; i < 16; i++) cycle(false, false);
    top->rst = 0;
    rest();
    top->tracing = 1;
    for (unsigned i = 0; i < 1000; i++) cycle(true, true);
    for (unsigned i = 0; i < 3000; i++) cycle(random() % 8 < i / 300 + 1, random() % 8 < random() % 8 + 1);
    top->tracing = 0;
    rest();
    for (unsigned on = 1; on <= deepest + 3; on++) {
        for (unsigned off = 1; off <= 2 * deepest + 6; off++)
            for (unsigned times = 0; times < 4; times++) {
                for (unsigned i = 0; i < off; i++) cycle(true, false);
                for (unsigned i = 0; i < on; i++) cycle(true, true);
            }
        for (unsigned off = 1; off <= deepest; off++)
            for (unsigned times = 0; times < 4; times++) {
                for (unsigned i = 0; i < off; i++) cycle(false, true);
                for (unsigned i = 0; i < on; i++) cycle(true, true);
            }
    }
    rest();
    for (unsigned done = 0; done < cycles;) {
        const unsigned source = random() % 9, sink = random() % 9, length = 50 + random() % (40 * deepest);
        for (unsigned i = 0; i < length; i++) cycle(random() % 8 < source, random() % 8 < sink);
        done += length;
        if (random() % 8 == 0) rest();
    }
    rest();
    top->report = 1;
    cycle(false, true);
    return context->gotError();
}
