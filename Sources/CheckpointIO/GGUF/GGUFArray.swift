import Glibc

/// An array of numbers or truth values inside a mapped GGUF file, read on demand: an array costs nothing until it is
/// used, however long it is.
package struct GGUFArray: Sendable, RandomAccessCollection {
    /// The type of all elements; one of known size.
    let elementType: GGUFValueType
    private let file: MappedFile
    /// Where the elements lie, `count` times the type's bytes.
    private let range: Range<Int>
    private let elementSize: Int

    /// The elements of a type of known size that lie in `range` of `file`.
    init(file: MappedFile, elementType: GGUFValueType, range: Range<Int>) {
        self.file = file
        self.elementType = elementType
        self.range = range
        elementSize = elementType.byteCount ?? 1
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { range.count / elementSize }

    /// Element `position`.
    package subscript(position: Int) -> GGUFValue {
        precondition(indices.contains(position), "no element \(position) of \(count)")
        return file.withBytes {
            elementType.scalar($0.baseAddress! + range.lowerBound + position * elementSize) ?? .bool(false)
        }
    }

    /// The elements, where they are 32-bit floats.
    var floats: [Float]? {
        guard elementType == .float32 else { return nil }
        return [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            if count > 0 {
                file.withBytes {
                    _ = memcpy(
                        buffer.baseAddress!, $0.baseAddress! + range.lowerBound, count * MemoryLayout<Float>.size)
                }
            }
            filled = count
        }
    }

    /// The elements, where they are truth values.
    var booleans: [Bool]? {
        guard elementType == .bool else { return nil }
        return map { $0.boolValue ?? false }
    }

    /// The elements, where they are integers of a type that 64 bits with a sign always hold, and all in `range`. They are
    /// held once.
    func integers(in range: ClosedRange<Int>) -> [Int]? {
        switch elementType {
        case .uint8, .int8, .uint16, .int16, .uint32, .int32, .int64: break
        default: return nil
        }
        var integers: [Int] = []
        integers.reserveCapacity(count)
        for element in self {
            guard let integer = element.intValue, range.contains(integer) else { return nil }
            integers.append(integer)
        }
        return integers
    }
}

/// An array of strings inside a mapped GGUF file, read on demand: a vocabulary of hundreds of thousands costs little
/// until it is used.
package struct GGUFStringArray: Sendable, RandomAccessCollection {
    /// The place of every string whose number is a multiple of this is kept; the others are found from there, by the
    /// lengths before each string.
    private static let stride = 16

    private let file: MappedFile
    /// Where the strings lie, each with its length before it.
    private let range: Range<Int>
    package let endIndex: Int
    private let marks: [Int]

    /// The `count` strings that were found in `range` of `file`.
    init(file: MappedFile, range: Range<Int>, count: Int) {
        self.file = file
        self.range = range
        endIndex = count
        marks = file.withBytes { bytes in
            var marks: [Int] = []
            marks.reserveCapacity(count / Self.stride + 1)
            var place = range.lowerBound
            for index in 0..<count {
                if index % Self.stride == 0 { marks.append(place) }
                place = Self.text(at: place, in: bytes, before: range.upperBound).upperBound
            }
            return marks
        }
    }

    package var startIndex: Int { 0 }

    /// Bytes of all strings together, without their lengths.
    package var byteCount: Int { range.count - 8 * count }

    /// Where the string with its length at `place` lies. A file that another program changes meanwhile gives another
    /// place, never one outside the array.
    private static func text(at place: Int, in bytes: UnsafeRawBufferPointer, before end: Int) -> Range<Int> {
        guard end - place >= 8 else { return end..<end }
        let length = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
        let start = place + 8
        return start..<start + Int(Swift.min(length, UInt64(end - start)))
    }

    private func text(_ position: Int, in bytes: UnsafeRawBufferPointer) -> Range<Int> {
        precondition(indices.contains(position), "no string \(position) of \(count)")
        var text = Self.text(at: marks[position / Self.stride], in: bytes, before: range.upperBound)
        for _ in 0..<position % Self.stride {
            text = Self.text(at: text.upperBound, in: bytes, before: range.upperBound)
        }
        return text
    }

    /// String `position`; invalid UTF-8 is repaired with replacement characters (see `bytes(at:)`).
    package subscript(position: Int) -> String {
        file.withBytes { String(decoding: $0[text(position, in: $0)], as: UTF8.self) }
    }

    /// The bytes of string `position` as they are.
    package func bytes(at position: Int) -> [UInt8] {
        file.withBytes { Array($0[text(position, in: $0)]) }
    }
}
