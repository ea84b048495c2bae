// finn_build/harness.cpp
// SPDX-License-Identifier: Apache-2.0
// Streams images through the Verilated accelerator and records every logit and what every stream did.
//   harness IMAGES LOGITS COUNT BEATS BYTES [--stall SEED] [--wave FILE]
//   IMAGES: COUNT * BEATS * BYTES bytes, in stream order. LOGITS: written, per image: int32 logit, uint64 cycle.
//   --stall: with probability 1/2 each, the source pauses before a beat and the sink refuses one.
//   Lines on standard output: "progress N", then one "stream I transfers N stalled N starved N" per stream,
//   "peak FIFO N", and "done CYCLES FIRST_IN". Exit 3: nothing moves any more; 4: TLAST is wrong.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "Vsim_top.h"
#include "verilated.h"
#ifdef WAVE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr uint64_t kQuiet = 1'000'000;  // cycles with no transfer on any stream: it will never finish

struct StreamCount {
    uint64_t transfers = 0, stalled = 0, starved = 0;
};

std::vector<uint8_t> read_file(const char* path, size_t bytes) {
    std::vector<uint8_t> data(bytes);
    std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "rb"), std::fclose);
    if (!file || std::fread(data.data(), 1, bytes, file.get()) != bytes) {
        std::fprintf(stderr, "cannot read %zu bytes from %s\n", bytes, path);
        std::exit(2);
    }
    return data;
}

// A Verilator signal is an integer up to 64 bits and an array of 32-bit words beyond: both are plain little-endian here.
template <typename Signal>
void set_bytes(Signal& signal, const uint8_t* bytes, size_t count) {
    std::memset(&signal, 0, sizeof signal);
    std::memcpy(&signal, bytes, count);
}
template <typename Signal>
bool bit(const Signal& signal, size_t i) {
    return reinterpret_cast<const uint8_t*>(&signal)[i / 8] >> (i % 8) & 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6) return 2;
    const size_t count = std::strtoull(argv[3], nullptr, 10), beats = std::strtoull(argv[4], nullptr, 10),
                 bytes = std::strtoull(argv[5], nullptr, 10);
    bool stall = false;
    uint64_t seed = 0;
    const char* wave = nullptr;
    for (int i = 6; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        if (option == "--stall") stall = true, seed = std::strtoull(argv[i + 1], nullptr, 10);
        if (option == "--wave") wave = argv[i + 1];
    }
    const std::vector<uint8_t> images = read_file(argv[1], count * beats * bytes);

    const auto context = std::make_unique<VerilatedContext>();
    const auto top = std::make_unique<Vsim_top>(context.get());
#ifdef WAVE
    VerilatedVcdC trace;
    if (wave) {
        context->traceEverOn(true);
        top->trace(&trace, 99);
        trace.open(wave);
    }
#else
    if (wave) return 2;
#endif
    std::mt19937_64 random(seed);
    std::vector<StreamCount> streams(STREAMS);
    struct Result {
        int32_t logit;
        uint64_t cycle;
    };
    std::vector<Result> results;
    results.reserve(count);

    const size_t total_beats = count * beats;
    size_t sent = 0;
    uint64_t cycle = 0, first_in = 0, last_move = 0;
    bool tlast_wrong = false;
    top->ap_rst_n = 0;
    top->s_axis_tvalid = 0;
    top->m_axis_tready = 0;
    const auto clock = [&](bool high) {
        top->ap_clk = high;
        top->eval();
#ifdef WAVE
        if (wave) trace.dump(context->time());
#endif
        context->timeInc(5);
    };
    for (int i = 0; i < 16; i++) clock(true), clock(false);
    top->ap_rst_n = 1;

    bool offered = false;
    while (results.size() < count) {
        // Inputs change while the clock is low; a refused beat stays offered.
        if (!offered) offered = sent < total_beats && (!stall || (random() & 1));
        top->s_axis_tvalid = offered;
        top->s_axis_tlast = offered && sent + 1 == total_beats;
        if (offered) set_bytes(top->s_axis_tdata, &images[sent * bytes], bytes);
        top->m_axis_tready = !stall || (random() & 1);
        clock(false);

        bool moved = false;
        for (size_t i = 0; i < STREAMS; i++) {
            const bool valid = bit(top->probe_tvalid, i), ready = bit(top->probe_tready, i);
            streams[i].transfers += valid && ready;
            streams[i].stalled += valid && !ready;
            streams[i].starved += ready && !valid;
            moved |= valid && ready;
        }
        if (offered && top->s_axis_tready) {
            if (!sent++) first_in = cycle;
            offered = false;
        }
        if (top->m_axis_tvalid && top->m_axis_tready) {
            results.push_back({static_cast<int32_t>(top->m_axis_tdata), cycle});
            tlast_wrong |= top->m_axis_tlast != (results.size() == count);
            if (results.size() % 64 == 0) std::printf("progress %zu\n", results.size()), std::fflush(stdout);
        }
        if (moved) last_move = cycle;
        if (cycle - last_move > kQuiet) {
            std::printf("stuck %zu %zu %llu\n", results.size(), sent / beats, static_cast<unsigned long long>(cycle));
            return 3;
        }
        clock(true);
        cycle++;
    }
#ifdef WAVE
    if (wave) trace.close();
#endif
    std::unique_ptr<FILE, int (*)(FILE*)> out(std::fopen(argv[2], "wb"), std::fclose);
    for (const Result& r : results) {
        if (!out || std::fwrite(&r.logit, 4, 1, out.get()) != 1 || std::fwrite(&r.cycle, 8, 1, out.get()) != 1) {
            std::fprintf(stderr, "cannot write %s\n", argv[2]);
            return 2;
        }
    }
    for (size_t i = 0; i < STREAMS; i++)
        std::printf("stream %zu transfers %llu stalled %llu starved %llu\n", i,
                    static_cast<unsigned long long>(streams[i].transfers),
                    static_cast<unsigned long long>(streams[i].stalled),
                    static_cast<unsigned long long>(streams[i].starved));
    for (size_t i = 0; i < FIFOS; i++)
        std::printf("peak %zu %u\n", i, reinterpret_cast<const uint32_t*>(&top->probe_peaks)[i]);
    std::printf("done %llu %llu\n", static_cast<unsigned long long>(cycle), static_cast<unsigned long long>(first_in));
    return tlast_wrong ? 4 : 0;
}
