import Adapters
import TensorCore
import Threads

extension AdapterDirectory {
    /// What digests begin with, which tells them from former ones.
    static let digestMark = "2-"
    /// Tensors that a thread takes at a time.
    private static let tensorsOfAPart = 64

    /// `2-` and 16 hexadecimal digits that tell this adapter's tensors, factors and thresholds from others'; made to catch
    /// mistakes, not forgery. Each tensor's values are hashed by themselves, on several threads.
    package var digest: String {
        let tensors = allTensors
        let hashes = ThreadTeam.whole.map(tensors.count, grain: Self.tensorsOfAPart) { place in
            var hash = ValueHash()
            tensors[place].forEachStrip { hash.add($0) }
            return hash.value
        }
        return Self.digestMark
            + digest { tensor, hash in
                hash = RandomStream.mix(hash ^ hashes[tensor])
            }
    }

    /// The digest of versions before 2.2, 16 hexadecimal digits: one chain over all numbers.
    var formerDigest: String {
        let tensors = allTensors
        return digest { tensor, hash in
            tensors[tensor].forEachStrip { values in
                for value in values { hash = RandomStream.mix(hash ^ UInt64(value.bitPattern)) }
            }
        }
    }

    /// - Parameter addValues: adds the values of the tensor at a place of `allTensors`.
    private func digest(_ addValues: (_ tensor: Int, _ hash: inout UInt64) -> Void) -> String {
        var hash: UInt64 = 0
        func add(_ word: UInt64) { hash = RandomStream.mix(hash ^ word) }
        for (place, tensor) in allTensors.enumerated() {
            for byte in tensor.name.utf8 { add(UInt64(byte)) }
            for extent in tensor.shape { add(UInt64(extent)) }
            addValues(place, &hash)
        }
        for integers in extras.integers where !integers.areOriginal {
            for byte in Array(integers.tensor.name.utf8) + integers.tensor.content { add(UInt64(byte)) }
        }
        for module in modules {
            add(UInt64(configuration.scaling(for: module).bitPattern))
            add(UInt64(threshold(module)?.bitPattern ?? .max))
        }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// A hash of numbers: four lanes, each of every fourth pair of them as 64 bits, h <- (h xor pair) p with the prime p of
/// FNV-1a and a turn of the bits, so that the lanes' products overlap. Bits are what is told apart: -0 is not 0.
struct ValueHash {
    private var lanes: (UInt64, UInt64, UInt64, UInt64) = (1, 2, 3, 4)
    private var count: UInt64 = 0

    /// The hash of what was added.
    var value: UInt64 {
        [lanes.0, lanes.1, lanes.2, lanes.3, count].reduce(0) { RandomStream.mix($0 ^ $1) }
    }

    /// Adds numbers; all but the last call with a multiple of 8 of them.
    mutating func add(_ values: UnsafeBufferPointer<Float>) {
        precondition(count % 8 == 0, "whole rounds come before the last numbers")
        count += UInt64(values.count)
        let bytes = UnsafeRawBufferPointer(values)
        let whole = values.count / 8 * 32
        var (a, b, c, d) = lanes
        for start in stride(from: 0, to: whole, by: 32) {
            a = Self.next(a, bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))
            b = Self.next(b, bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt64.self))
            c = Self.next(c, bytes.loadUnaligned(fromByteOffset: start + 16, as: UInt64.self))
            d = Self.next(d, bytes.loadUnaligned(fromByteOffset: start + 24, as: UInt64.self))
        }
        for value in values[(values.count / 8 * 8)...] { a = Self.next(a, UInt64(value.bitPattern)) }
        lanes = (a, b, c, d)
    }

    private static func next(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0x0000_0100_0000_01B3
        return product << 23 | product >> 41
    }
}
