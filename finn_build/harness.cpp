// finn_build/harness.cpp
// SPDX-License-Identifier: Apache-2.0
// Drives the Verilated accelerator, in one of two ways.
//
//   harness IMAGES OUTPUTS COUNT BEATS BYTES RESULTS [--stall SEED] [--wave FILE]
// streams COUNT images of BEATS beats of BYTES bytes from the file IMAGES, back to back, and writes for each of the
// RESULTS beats of an image's answer an int32 and a uint64 cycle to the file OUTPUTS. --stall: the source pauses before beats and the sink refuses some, in
// stretches, each of them never, always or with a probability between; it is 1/2 over all. Standard output: "progress N", then per stream "stream I transfers N stalled N starved N"
// and "times I FIRST LAST FIRST LAST ..." with the cycles of the first images' first and last beats, "peak FIFO N", and
// "done CYCLES FIRST_IN SECONDS", these of processor time. Exit 3: nothing moves any more; 4: TLAST is wrong.
//
//   harness --serve BEATS BYTES RESULTS
// is the core of a simulated device: it obeys requests on standard input until that ends, and keeps its state between
// them. 'B', uint32 beats, uint8 last, then beats * BYTES bytes: offer these beats, with TLAST on the final one if last.
// 'R': pulse the reset. The reply on standard output: uint32 n, uint64 cycles since the start, then n results of int32
// and uint8 TLAST: those of all images that were complete, and of a next one as far as they are there. All numbers are little-endian.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
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

constexpr size_t kTimed = 3;  // images whose beats are timed on every stream
constexpr uint64_t kQuiet = 1'000'000;  // cycles with no transfer on any stream: it will never finish

struct StreamCount {
    uint64_t transfers = 0, stalled = 0, starved = 0;
};

// Whether one end of the design goes on in a cycle: stretches of random length and density, from never to always, so that
// queues fill and run empty as well as shake.
class Pauses {
public:
    explicit Pauses(uint64_t seed) : random_(seed) {}
    bool goes() {
        if (!left_--) {
            left_ = random_() % (random_() % 4 ? 24 : 400);  // long ones stop the whole chain, or let it fill
            eighths_ = random_() % 9;
        }
        return random_() % 8 < eighths_;
    }

private:
    std::mt19937_64 random_;
    uint64_t left_ = 0, eighths_ = 0;
};

struct Result {
    int32_t value;
    bool last;
    uint64_t cycle;
};

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

// The design, its clock and the counters of its streams.
class Accelerator {
public:
    explicit Accelerator(const char* wave) {
#ifdef WAVE
        if (wave) {
            context_->traceEverOn(true);
            top_->trace(&trace_, 99);
            trace_.open(wave);
            tracing_ = true;
        }
#else
        if (wave) std::exit(2);
#endif
        reset();
    }
    ~Accelerator() {
#ifdef WAVE
        if (tracing_) trace_.close();
#endif
    }

    void reset() {
        top_->ap_rst_n = 0;
        top_->s_axis_tvalid = 0;
        top_->m_axis_tready = 0;
        for (int i = 0; i < 16; i++) clock(true), clock(false);
        top_->ap_rst_n = 1;
        // FINN's weight memories take five cycles to have the first weights, once.
        for (int i = 0; i < 8; i++) clock(true), clock(false);
    }

    // One cycle. Offers `beat` if it is not null and takes a result if `ready`; returns whether the beat was taken.
    bool cycle(const uint8_t* beat, size_t bytes, bool last, bool ready, std::vector<Result>& results) {
        // Inputs change while the clock is low, outputs are looked at before it rises.
        top_->s_axis_tvalid = beat != nullptr;
        top_->s_axis_tlast = beat && last;
        if (beat) set_bytes(top_->s_axis_tdata, beat, bytes);
        top_->m_axis_tready = ready;
        clock(false);
        for (size_t i = 0; i < STREAMS; i++) {
            const bool tvalid = bit(top_->probe_tvalid, i), tready = bit(top_->probe_tready, i);
            streams[i].transfers += tvalid && tready;
            streams[i].stalled += tvalid && !tready;
            streams[i].starved += tready && !tvalid;
            if (tvalid && tready) {
                last_move_ = cycles;
                if (timing) moves[i].push_back(cycles);
            }
        }
        const bool taken = beat && top_->s_axis_tready;
        if (top_->m_axis_tvalid && ready)
            results.push_back({static_cast<int32_t>(top_->m_axis_tdata), static_cast<bool>(top_->m_axis_tlast), cycles});
        clock(true);
        cycles++;
        return taken;
    }

    bool quiet() const { return cycles - last_move_ > kQuiet; }
    void wake() { last_move_ = cycles; }
    uint32_t peak(size_t fifo) const { return reinterpret_cast<const uint32_t*>(&top_->probe_peaks)[fifo]; }

    std::vector<StreamCount> streams = std::vector<StreamCount>(STREAMS);
    uint64_t cycles = 0;
    bool timing = false;  // keep the cycle of every transfer
    std::vector<std::vector<uint64_t>> moves = std::vector<std::vector<uint64_t>>(STREAMS);

private:
    void clock(bool high) {
        top_->ap_clk = high;
        top_->eval();
#ifdef WAVE
        if (tracing_) trace_.dump(context_->time());
#endif
        context_->timeInc(5);
    }

    std::unique_ptr<VerilatedContext> context_ = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vsim_top> top_ = std::make_unique<Vsim_top>(context_.get());
#ifdef WAVE
    VerilatedVcdC trace_;
    bool tracing_ = false;
#endif
    uint64_t last_move_ = 0;
};

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

std::vector<uint8_t> read_file(const char* path, size_t bytes) {
    std::vector<uint8_t> data(bytes);
    const File file(std::fopen(path, "rb"), std::fclose);
    if (!file || std::fread(data.data(), 1, bytes, file.get()) != bytes) {
        std::fprintf(stderr, "cannot read %zu bytes from %s\n", bytes, path);
        std::exit(2);
    }
    return data;
}

bool write_results(const char* path, const std::vector<Result>& results) {
    const File out(std::fopen(path, "wb"), std::fclose);
    if (!out) return false;
    for (const Result& r : results)
        if (std::fwrite(&r.value, 4, 1, out.get()) != 1 || std::fwrite(&r.cycle, 8, 1, out.get()) != 1) return false;
    return true;
}

void print_counters(const Accelerator& accelerator, uint64_t first_in, size_t count) {
    using ull = unsigned long long;
    for (size_t i = 0; i < STREAMS; i++) {
        const StreamCount& s = accelerator.streams[i];
        std::printf("stream %zu transfers %llu stalled %llu starved %llu\n", i, ull(s.transfers),
                    ull(s.stalled), ull(s.starved));
    }
    for (size_t i = 0; i < STREAMS; i++) {
        const std::vector<uint64_t>& moves = accelerator.moves[i];
        const size_t beats = accelerator.streams[i].transfers / count;  // of an image: every stream has passed all
        std::printf("times %zu", i);
        for (size_t image = 0; image < std::min(count, kTimed) && beats && moves.size() >= (image + 1) * beats; image++)
            std::printf(" %llu %llu", ull(moves[image * beats]), ull(moves[(image + 1) * beats - 1]));
        std::printf("\n");
    }
    for (size_t i = 0; i < FIFOS; i++) std::printf("peak %zu %u\n", i, accelerator.peak(i));
    const double seconds = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    std::printf("done %llu %llu %.6f\n", ull(accelerator.cycles), ull(first_in), seconds);
}

int stream(int argc, char** argv) {
    const size_t count = std::strtoull(argv[3], nullptr, 10), beats = std::strtoull(argv[4], nullptr, 10),
                 bytes = std::strtoull(argv[5], nullptr, 10), per_image = std::strtoull(argv[6], nullptr, 10),
                 total = count * beats, expected = count * per_image;
    bool stall = false;
    uint64_t seed = 0;
    const char* wave = nullptr;
    for (int i = 7; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        if (option == "--stall") stall = true, seed = std::strtoull(argv[i + 1], nullptr, 10);
        if (option == "--wave") wave = argv[i + 1];
    }
    const std::vector<uint8_t> images = read_file(argv[1], total * bytes);
    Accelerator accelerator(wave);
    Pauses source(2 * seed), sink(2 * seed + 1);
    std::vector<Result> results;
    results.reserve(expected);
    size_t sent = 0, reported = 0;
    uint64_t first_in = 0;
    bool offered = false;  // a refused beat stays offered
    while (results.size() < expected) {
        accelerator.timing = results.size() < kTimed * per_image;
        if (!offered) offered = sent < total && (!stall || source.goes());
        const uint8_t* beat = offered ? &images[sent * bytes] : nullptr;
        if (accelerator.cycle(beat, bytes, sent + 1 == total, !stall || sink.goes(), results)) {
            if (!sent++) first_in = accelerator.cycles - 1;
            offered = false;
        }
        if (const size_t done = results.size() / per_image; done >= reported + 64) {
            std::printf("progress %zu\n", reported = done);
            std::fflush(stdout);
        }
        if (accelerator.quiet()) {
            std::printf("stuck %zu %zu %llu\n", results.size() / per_image, sent / beats,
                        static_cast<unsigned long long>(accelerator.cycles));
            return 3;
        }
    }
    if (!write_results(argv[2], results)) {
        std::fprintf(stderr, "cannot write %s\n", argv[2]);
        return 2;
    }
    print_counters(accelerator, first_in, count);
    for (size_t i = 0; i < expected; i++)
        if (results[i].last != (i + 1 == expected)) return 4;
    return 0;
}

void reply(const Accelerator& accelerator, const std::vector<Result>& results) {
    const uint32_t n = static_cast<uint32_t>(results.size());
    std::fwrite(&n, 4, 1, stdout);
    std::fwrite(&accelerator.cycles, 8, 1, stdout);
    for (const Result& r : results) {
        const uint8_t last = r.last;
        std::fwrite(&r.value, 4, 1, stdout);
        std::fwrite(&last, 1, 1, stdout);
    }
    std::fflush(stdout);
}

int serve(size_t beats_per_image, size_t bytes, size_t per_image) {
    Accelerator accelerator(nullptr);
    uint64_t accepted = 0, answered = 0;  // beats and results since the last reset
    std::vector<uint8_t> data;
    std::vector<Result> results;
    for (int command = std::getchar(); command != EOF; command = std::getchar()) {
        results.clear();
        if (command == 'R') {
            accelerator.reset();
            accepted = answered = 0;
        } else if (command == 'B') {
            uint32_t beats;
            uint8_t last;
            if (std::fread(&beats, 4, 1, stdin) != 1 || std::fread(&last, 1, 1, stdin) != 1) return 2;
            data.resize(size_t{beats} * bytes);
            if (std::fread(data.data(), 1, data.size(), stdin) != data.size()) return 2;
            accelerator.wake();
            for (size_t sent = 0; !accelerator.quiet();) {
                const uint8_t* beat = sent < beats ? &data[sent * bytes] : nullptr;
                const bool taken = accelerator.cycle(beat, bytes, last && sent + 1 == beats, true, results);
                sent += taken;
                accepted += taken;
                if (sent == beats && answered + results.size() >= accepted / beats_per_image * per_image) break;
            }
            answered += results.size();
        } else {
            return 2;
        }
        reply(accelerator, results);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 5 && std::string(argv[1]) == "--serve")
        return serve(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10),
                     std::strtoull(argv[4], nullptr, 10));
    return argc >= 7 ? stream(argc, argv) : 2;
}
