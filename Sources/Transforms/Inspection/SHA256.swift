import CKernels

/// The hash SHA-256 (FIPS 180-4) of bytes that come in pieces.
package struct SHA256: Sendable {
    private static let blockSize = 64

    /// The first 32 bits of the fractions of the square roots of the first eight primes.
    private var state: [UInt32] = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
    /// Bytes that do not fill a block yet.
    private var rest: [UInt8] = []
    private var byteCount: UInt64 = 0

    /// The hash of nothing.
    package init() {}

    /// Adds bytes.
    package mutating func add(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        byteCount += UInt64(bytes.count)
        var first = 0
        if !rest.isEmpty {
            first = min(Self.blockSize - rest.count, bytes.count)
            rest.append(contentsOf: bytes[..<first])
            guard rest.count == Self.blockSize else { return }
            tspeft_sha256_blocks(&state, rest, 1)
            rest.removeAll(keepingCapacity: true)
        }
        let blocks = (bytes.count - first) / Self.blockSize
        tspeft_sha256_blocks(&state, bytes.baseAddress! + first, blocks)
        rest.append(contentsOf: bytes[(first + blocks * Self.blockSize)...])
    }

    /// Adds a text in UTF-8.
    package mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { add(UnsafeRawBufferPointer($0)) }
    }

    /// The hash of what was added, 64 hexadecimal digits.
    package func finished() -> String {
        var hash = self
        // A one bit, zeros, and the length in bits as the last eight bytes of a block.
        var padding: [UInt8] = [0x80]
        while (rest.count + padding.count + 8) % Self.blockSize != 0 { padding.append(0) }
        padding += withUnsafeBytes(of: (byteCount * 8).bigEndian) { Array($0) }
        padding.withUnsafeBytes { hash.add($0) }
        return hash.state.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }
}
