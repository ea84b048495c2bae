// SPDX-License-Identifier: Apache-2.0
// timing.py's Chain, for the parts that compiled_chain.py writes of the Python models into parts.h.
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

using i64 = std::int64_t;
static const i64 FOREVER = i64(1) << 62;

[[maybe_unused]] static i64 Mod(i64 a, i64 b) { return (a % b + b) % b; }
[[maybe_unused]] static i64 FloorDiv(i64 a, i64 b) { return (a - Mod(a, b)) / b; }

struct Part {
    virtual ~Part() = default;
    virtual void load(const i64* numbers, const i64* const* lists) = 0;
    virtual void save(std::vector<i64>& state) const = 0;
    virtual bool ready(i64 sink) = 0;
    virtual bool valid() = 0;
    virtual void step(i64 taken, i64 given) = 0;
    virtual i64 quiet() { return FOREVER; }
    virtual void skip(i64) {}
};

#include "parts.h"

namespace {
struct Chain {
    std::vector<std::unique_ptr<Part>> parts;
    std::vector<char> moves;
    i64 cycle = 0, left = 0;

    bool advance(i64 closed) {
        bool ready = true, any = false;
        for (i64 i = static_cast<i64>(parts.size()) - 1; i >= 0; i--) {
            ready = ready && i != closed;
            moves[i + 1] = ready && parts[i]->valid();
            any = any || moves[i + 1];
            ready = parts[i]->ready(ready);
        }
        moves[0] = ready;
        if (!any && !ready) {
            i64 jump = FOREVER;
            for (auto& part : parts) {
                const i64 quiet = part->quiet();
                jump = quiet < jump ? quiet : jump;
            }
            if (jump == FOREVER) return false;
            if (jump > 0) {
                for (auto& part : parts) part->skip(jump);
                cycle += jump;
                return true;
            }
        }
        for (std::size_t i = 0; i < parts.size(); i++) parts[i]->step(moves[i], moves[i + 1]);
        left += moves[parts.size()];
        cycle++;
        return true;
    }
};
} // namespace

// Writes the cycles between two equal states at the end of an image, and the results between them; after `patience` images
// without such states, those of the second half of these. Before, all up to the part `slowest` is filled; -1: nothing is.
// 0: it stops.
extern "C" int interval(i64 count, const i64* kinds, const i64* const* numbers, const i64* const* const* lists,
                        i64 results, i64 slowest, i64 patience, i64* found) {
    Chain chain;
    for (i64 i = 0; i < count; i++) {
        chain.parts.push_back(make(kinds[i]));
        chain.parts.back()->load(numbers[i], lists[i]);
    }
    chain.moves.resize(count + 1);
    while (slowest >= 0 && chain.advance(slowest)) {}
    std::map<std::vector<i64>, std::pair<i64, i64>> seen;
    std::pair<i64, i64> half;
    for (;;) {
        const i64 before = chain.left;
        if (!chain.advance(-1)) return 0;
        if (chain.left == before || chain.left % results) continue;
        std::vector<i64> state;
        for (auto& part : chain.parts) part->save(state);
        const auto at = seen.find(state);
        const i64 known = static_cast<i64>(seen.size());
        if (at != seen.end() || known == patience) {
            const auto [cycle, left] = at != seen.end() ? at->second : half;
            found[0] = chain.cycle - cycle;
            found[1] = chain.left - left;
            return 1;
        }
        seen[state] = {chain.cycle, chain.left};
        if (2 * (known + 1) == patience) half = {chain.cycle, chain.left};
    }
}
