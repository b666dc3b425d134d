import CKernels
import Foundation

/// A block format: its name, ggml's number, and elements of a block.
struct Format {
    let name: String
    let number: UInt32
    let elements: Int

    static let all = [
        ("Q4_0", 2, 32), ("Q4_1", 3, 32), ("Q5_0", 6, 32), ("Q5_1", 7, 32), ("Q8_0", 8, 32), ("Q2_K", 10, 256),
        ("Q3_K", 11, 256), ("Q4_K", 12, 256), ("Q5_K", 13, 256), ("Q6_K", 14, 256), ("IQ1_S", 19, 256),
        ("IQ1_M", 29, 256), ("IQ2_XXS", 16, 256), ("IQ2_XS", 17, 256), ("IQ2_S", 22, 256), ("IQ3_XXS", 18, 256),
        ("IQ3_S", 21, 256), ("IQ4_NL", 20, 32), ("IQ4_XS", 23, 256), ("TQ1_0", 34, 256), ("TQ2_0", 35, 256),
        ("MXFP4", 39, 32), ("NVFP4", 40, 64), ("Q1_0", 41, 128), ("Q2_0", 42, 64),
    ].map { Format(name: $0.0, number: $0.1, elements: $0.2) }
}

/// The best rate of many runs, in 10^9 bytes of floats a second of processor time, which other programs' load disturbs
/// least.
func rate(_ count: Int, repeats: Int, _ body: () -> Void) -> Double {
    func processorSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
    }
    var best = Double.infinity
    for _ in 0..<repeats {
        let start = processorSeconds()
        body()
        best = min(best, processorSeconds() - start)
    }
    return Double(count) * 4 / best / 1e9
}

/// Prints a table of the rates of every format's kernels at every level that the processor has.
func printRates() {
    // Floats that fit the second-level cache with their blocks: the kernels are timed, not the memory.
    let count = 1 << 16
    var random = SystemRandomNumberGenerator()
    let floats = (0..<count).map { _ in Float.random(in: -1...1, using: &random) }
    // Bytes below 0x78, so that no half-precision scale is infinite.
    let stored = (0..<count * 2).map { _ in UInt8.random(in: 0..<0x78, using: &random) }
    var output = [Float](repeating: 0, count: count)
    var bytes = [UInt8](repeating: 0, count: count * 2)

    let copied = rate(count, repeats: 200) {
        output.withUnsafeMutableBytes { target in floats.withUnsafeBytes { target.copyMemory(from: $0) } }
    }
    print("GB/s of floats, one core; memcpy: \(String(format: "%.0f", copied))\n")
    let levels = Array(["plain", "AVX2", "AVX-512"].prefix(Int(tspeft_cpu_level()) + 1))
    let heads = levels.map { "decode, \($0)" } + levels.map { "encode, \($0)" }
    print("| format | " + heads.joined(separator: " | ") + " |")
    print("| --- |" + String(repeating: " ---: |", count: heads.count))
    for format in Format.all {
        let blocks = count / format.elements
        let decoding = levels.indices.map { level in
            let decoder = tspeft_block_decoder_at(Int32(level), format.number)!
            return String(format: "%.1f", rate(count, repeats: 200) { decoder(stored, &output, blocks) })
        }
        let encoding = levels.indices.map { level in
            guard let encoder = tspeft_block_encoder_at(Int32(level), format.number) else { return "" }
            return String(format: "%.2f", rate(count, repeats: 30) { _ = encoder(floats, &bytes, blocks) })
        }
        print("| \(format.name) | " + (decoding + encoding).joined(separator: " | ") + " |")
    }
}

printRates()
