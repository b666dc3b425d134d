/// Builds GGUF files byte by byte, sound or broken, for tests.
package struct GGUFBuilder {
    /// The first four bytes.
    package var magic = Array("GGUF".utf8)
    /// The format's version.
    package var version: UInt32 = 3
    /// The counts that the header states; nil is the true ones.
    package var statedTensorCount: UInt64?
    package var statedPairCount: UInt64?
    /// The alignment of the data, in bytes.
    package var alignment = 32
    private var pairs: [UInt8] = []
    private var pairCount = 0
    private var entries: [UInt8] = []
    private var entryCount = 0
    private var data: [UInt8] = []

    /// An empty file.
    package init() {}

    /// Little-endian bytes of an integer.
    package static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    /// A string as GGUF stores it.
    package static func string(_ text: String) -> [UInt8] { bytes(UInt64(text.utf8.count)) + Array(text.utf8) }

    /// Adds a metadata pair with a value of GGUF's type number `type`.
    package mutating func add(_ key: String, type: UInt32, value: [UInt8]) {
        pairs += Self.string(key) + Self.bytes(type) + value
        pairCount += 1
    }

    /// Adds a 32-bit unsigned integer.
    package mutating func add(_ key: String, integer value: UInt32) { add(key, type: 4, value: Self.bytes(value)) }

    /// Adds a 32-bit float.
    package mutating func add(_ key: String, float value: Float) {
        add(key, type: 6, value: Self.bytes(value.bitPattern))
    }

    /// Adds a string.
    package mutating func add(_ key: String, text value: String) { add(key, type: 8, value: Self.string(value)) }

    /// Adds a tensor's entry alone. `extents` are GGUF's, innermost first.
    package mutating func addEntry(_ name: String, extents: [UInt64], type: UInt32, offset: UInt64) {
        entries += Self.string(name) + Self.bytes(UInt32(extents.count)) + extents.flatMap(Self.bytes)
        entries += Self.bytes(type) + Self.bytes(offset)
        entryCount += 1
    }

    /// Adds a tensor with its data, aligned. `extents` are GGUF's, innermost first.
    package mutating func addTensor(_ name: String, extents: [UInt64], type: UInt32, data bytes: [UInt8]) {
        data += [UInt8](repeating: 0, count: (alignment - data.count % alignment) % alignment)
        addEntry(name, extents: extents, type: type, offset: UInt64(data.count))
        data += bytes
    }

    /// Adds bytes to the data that no entry speaks of yet.
    package mutating func addData(_ bytes: [UInt8]) { data += bytes }

    /// Adds an F32 tensor. `shape` is row-major, outermost first.
    package mutating func addTensor(_ name: String, shape: [Int], floats: [Float]) {
        addTensor(
            name, extents: shape.reversed().map(UInt64.init), type: 0,
            data: floats.flatMap { Self.bytes($0.bitPattern) })
    }

    /// The file's bytes.
    package var file: [UInt8] {
        var out = magic + Self.bytes(version)
        out += Self.bytes(statedTensorCount ?? UInt64(entryCount)) + Self.bytes(statedPairCount ?? UInt64(pairCount))
        out += pairs + entries
        out += [UInt8](repeating: 0, count: (alignment - out.count % alignment) % alignment)
        return out + data
    }
}

/// A safetensors file with this header text and data, whatever they are.
package func safetensorsFile(header: String, data: [UInt8] = []) -> [UInt8] {
    GGUFBuilder.bytes(UInt64(header.utf8.count)) + Array(header.utf8) + data
}
