// The fuzzer's work without libFuzzer: every file of a folder, and changed copies of it, are
// decoded and make a round trip.  Prints a digest of all that was decoded: builds by any
// compiler must print the same.
//
//     replay FOLDER [COPIES]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "decoders.hpp"

int main(int count, char **arguments) {
    if (count < 2) return 2;
    const int copies = count > 2 ? std::atoi(arguments[2]) : 0;
    std::vector<std::filesystem::path> paths;
    for (const auto &entry : std::filesystem::directory_iterator(arguments[1]))
        if (entry.is_regular_file()) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    uint64_t digest = 0, dice = 88172645463325252;
    const auto roll = [&dice] {  // xorshift64
        dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
        return dice;
    };
    for (const auto &path : paths) {
        std::ifstream file(path, std::ios::binary);
        const std::vector<uint8_t> original(std::istreambuf_iterator<char>(file), {});
        for (int copy = 0; copy <= copies; ++copy) {
            std::vector<uint8_t> data = original;
            for (int change = 0; copy && change < 1 + copy % 3 && !data.empty(); ++change) {
                const uint64_t at = roll() % data.size();
                if (roll() % 4 == 0)
                    data.resize(at);
                else
                    data[at] = static_cast<uint8_t>(roll());
            }
            if (data.empty()) continue;
            digest = digest * 31 + decode_anything(data.data() + 1, data.size() - 1);
            if (!(data[0] & 1)) round_trip(data.data() + 1, data.size() - 1);
        }
    }
    std::printf("%zu files, digest %016llx\n", paths.size(),
                static_cast<unsigned long long>(digest));
    return 0;
}
