import TensorCore

/// The checked header of a GGUF file: metadata, and type, shape and place of each tensor.
struct GGUFHeader {
    /// The format's version, 2 or 3; their layouts are the same.
    let version: UInt32
    let metadata: GGUFMetadata
    /// The tensors in the order of their entries, shapes outermost first.
    let tensors: [TensorRecord]

    /// Extents that a tensor may have; ggml's own limit.
    static let dimensionLimit = 4
    /// Where the metadata say what tensors' offsets are multiples of (bytes), and what they are where it does not.
    static let alignmentKey = "general.alignment"
    static let defaultAlignment = 32
    /// The largest alignment: that of the largest pages. A copy has as many bytes of padding before each tensor.
    private static let alignmentLimit: UInt32 = 1 << 16
    /// Bytes that a header may have, and all its keys together, pairs and tensors that it may state: so that what a
    /// file claims cannot cost more memory or time than it is worth. The headers of the largest vocabularies have 30
    /// MB, the models of the most experts 50,000 tensors, and nobody's keys a hundred thousand bytes.
    private static let byteLimit = 64 << 20
    private static let keysByteLimit = 4 << 20
    private static let pairLimit = 1 << 16
    private static let tensorLimit = 1 << 16
    /// Bytes of a key, by the specification.
    private static let keyByteLimit = Int(UInt16.max)
    private static let magic: UInt32 = 0x4655_4747  // "GGUF"

    /// Reads and checks the header of `file`. Afterwards every tensor's bytes lie inside the file, aligned, and none
    /// overlap.
    ///
    /// Refused is what ggml's loader refuses and what the specification of the format forbids, arrays of arrays among
    /// the former. But tensors may lie in another order than their entries, which the specification allows. Tensors are
    /// given `fileIndex`, the number of this file among those of a split model.
    init(file: MappedFile, fileIndex: Int = 0) throws(CheckpointError) {
        let parsed = file.withBytes { bytes in
            Result { () throws(CheckpointError) in try Self.parse(file, bytes, fileIndex: fileIndex) }
        }
        self = try parsed.get()
    }

    private init(version: UInt32, metadata: GGUFMetadata, tensors: [TensorRecord]) {
        self.version = version
        self.metadata = metadata
        self.tensors = tensors
    }

    private static func parse(
        _ file: MappedFile, _ bytes: UnsafeRawBufferPointer, fileIndex: Int
    ) throws(CheckpointError) -> GGUFHeader {
        var reader = ByteReader(file: file.path, bytes: bytes, limit: byteLimit)
        guard try reader.read(UInt32.self, "its magic number") == magic else {
            throw .malformed(file: file.path, problem: "does not start with 'GGUF'")
        }
        let version = try reader.read(UInt32.self, "its version")
        guard version == 2 || version == 3 else {
            let isBigEndian = version.byteSwapped == 2 || version.byteSwapped == 3
            throw .unsupported(
                file: file.path,
                problem: isBigEndian
                    ? "is a big-endian GGUF file, which tspeft cannot read"
                    : "has GGUF version \(version); versions 2 and 3 are known")
        }
        // A tensor entry takes at least 24 bytes and a metadata pair at least 13.
        let tensorCount = try reader.readCount("the number of tensors", limit: bytes.count / 24)
        let pairCount = try reader.readCount("the number of metadata pairs", limit: bytes.count / 13)
        for (count, what, limit) in [(tensorCount, "tensors", tensorLimit), (pairCount, "metadata pairs", pairLimit)]
        where count > limit {
            throw .malformed(
                file: file.path, problem: "states \(count) \(what), more than the \(limit) that tspeft reads")
        }
        let metadata = try readMetadata(file, &reader, count: pairCount)
        var entries: [Entry] = []
        entries.reserveCapacity(tensorCount)
        for index in 0..<tensorCount { entries.append(try readEntry(&reader, index: index)) }
        let tensors = try place(
            entries, file: file.path, fileIndex: fileIndex, headerEnd: reader.position, fileEnd: bytes.count,
            alignment: try alignment(file.path, metadata))
        return GGUFHeader(version: version, metadata: metadata, tensors: tensors)
    }

    private static func readMetadata(
        _ file: MappedFile, _ reader: inout ByteReader, count: Int
    ) throws(CheckpointError) -> GGUFMetadata {
        var keys: [String] = []
        var places: NameTable<GGUFMetadata.Place> = [:]
        var keysByteCount = 0
        for index in 0..<count {
            let key = try reader.readString("metadata key \(index)", limit: keyByteLimit)
            guard !key.isEmpty, key.utf8.allSatisfy({ $0 < 0x80 }) else {
                throw .malformed(
                    file: file.path,
                    problem: key.isEmpty ? "metadata key \(index) is empty" : "the metadata key '\(key)' is not ASCII")
            }
            keysByteCount += key.utf8.count
            guard keysByteCount <= keysByteLimit else {
                throw .malformed(
                    file: file.path,
                    problem: "its metadata keys have more than \(keysByteLimit) bytes, which are all that tspeft reads")
            }
            let number = try reader.read(UInt32.self, "the type of metadata key '\(key)'")
            let start = reader.position
            guard let type = GGUFValueType(rawValue: number) else {
                throw .malformed(
                    file: file.path, problem: "the value of metadata key '\(key)' has the unknown type \(number)")
            }
            try skipValue(&reader, type: type, key: key)
            let place = GGUFMetadata.Place(type: type, range: start..<reader.position)
            guard places.updateValue(place, forKey: key) == nil else {
                throw .malformed(file: file.path, problem: "the metadata key '\(key)' stands there twice")
            }
            keys.append(key)
        }
        return GGUFMetadata(keys: keys, file: file, places: places)
    }

    /// Checks a value without keeping it.
    private static func skipValue(
        _ reader: inout ByteReader, type: GGUFValueType, key: String
    ) throws(CheckpointError) {
        // Formed only where something is wrong: a key may be long.
        func what() -> String { "the value of metadata key '\(key)'" }
        switch type {
        case .array: try skipArray(&reader, key: key)
        case .string:
            let range = try reader.skipString(what())
            guard isUTF8(reader.bytes(at: range)) else {
                throw .malformed(file: reader.file, problem: "\(what()) is not valid UTF-8")
            }
        default:
            let range = try reader.skip(type.byteCount ?? 0, what())
            if type == .bool { try checkTruthValues(reader, at: range, what()) }
        }
    }

    private static func skipArray(_ reader: inout ByteReader, key: String) throws(CheckpointError) {
        func what() -> String { "the array of metadata key '\(key)'" }
        let number = try reader.read(UInt32.self, what())
        guard let type = GGUFValueType(rawValue: number), type != .array else {
            let found =
                number == GGUFValueType.array.rawValue
                ? "holds arrays, which ggml does not read" : "has elements of the unknown type \(number)"
            throw .malformed(file: reader.file, problem: "\(what()) \(found)")
        }
        // Even an empty string takes the 8 bytes of its length.
        let size = type.byteCount ?? 8
        let count = try reader.readCount("the length of \(what())", limit: reader.remaining / size)
        guard type == .string else {
            let range = try reader.skip(count * size, what())
            if type == .bool { try checkTruthValues(reader, at: range, what()) }
            return
        }
        // Not checked to be UTF-8: the pieces of some vocabularies are not.
        try reader.skipStrings(count, "a string in \(what())")
    }

    private static func checkTruthValues(
        _ reader: ByteReader, at range: Range<Int>, _ what: @autoclosure () -> String
    ) throws(CheckpointError) {
        let bytes = reader.bytes(at: range)
        // Eight at a time as long as they are sound: an array of them may fill the file.
        var place = 0
        while place + 8 <= bytes.count {
            let eight = bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
            guard eight & ~0x0101_0101_0101_0101 == 0 else { break }
            place += 8
        }
        while place < bytes.count {
            guard bytes[place] <= 1 else {
                throw .malformed(
                    file: reader.file, problem: "\(what()) has the byte \(bytes[place]), not a truth value")
            }
            place += 1
        }
    }

    private static func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.withMemoryRebound(to: UInt8.self) { (try? UTF8Span(validating: $0.span)) != nil }
    }

    private static func alignment(_ file: String, _ metadata: GGUFMetadata) throws(CheckpointError) -> Int {
        guard let value = metadata[alignmentKey] else { return defaultAlignment }
        guard case .uint32(let alignment) = value, alignment > 0, alignment & (alignment - 1) == 0 else {
            let found = value.integer(in: .anything).map { "\($0)" } ?? "no number"
            throw .malformed(
                file: file, problem: "'\(alignmentKey)' is \(found); it must be a power of two, and its type UINT32")
        }
        guard alignment <= alignmentLimit else {
            throw .malformed(
                file: file,
                problem: "'\(alignmentKey)' is \(alignment) bytes, which would stand before each tensor; at most "
                    + "\(alignmentLimit) are taken")
        }
        return Int(alignment)
    }
}

extension GGUFHeader {
    /// A tensor's entry before its place is known.
    private struct Entry {
        let name: String
        let shape: [Int]
        let encoding: TensorEncoding
        let byteCount: Int
        /// Relative to the start of the data.
        let offset: Int
    }

    private static func readEntry(_ reader: inout ByteReader, index: Int) throws(CheckpointError) -> Entry {
        let file = reader.file
        let name = try reader.readString("the name of tensor \(index)", limit: GGUFWriter.nameLimit)
        func failure(_ expected: String, _ found: String) -> CheckpointError {
            .badTensor(file: file, tensor: name, expected: expected, found: found)
        }
        guard !name.isEmpty else {
            throw .malformed(file: file, problem: "tensor \(index) has an empty name")
        }
        let what = "the entry of tensor '\(name)'"
        let dimensionCount = try reader.read(UInt32.self, what)
        guard dimensionCount <= UInt32(dimensionLimit) else {
            throw failure("at most \(dimensionLimit) are allowed", "has \(dimensionCount) dimensions")
        }
        var shape: [Int] = []
        for _ in 0..<dimensionCount {
            let raw = try reader.read(UInt64.self, what)
            guard let extent = Int(exactly: raw) else { throw failure("that overflows", "has an extent of \(raw)") }
            shape.insert(extent, at: 0)  // stored innermost first
        }
        let type = try reader.read(UInt32.self, what)
        guard let encoding = TensorEncoding(ggmlType: type) else {
            throw .unsupportedEncoding(file: file, tensor: name, encoding: "ggml type \(type)")
        }
        guard let byteCount = encoding.byteCount(shape: shape) else {
            throw failure(
                "rows must be whole blocks of \(encoding.group.elements) elements and sizes must not overflow",
                "has the shape \(shape) of \(encoding)")
        }
        let rawOffset = try reader.read(UInt64.self, what)
        guard let offset = Int(exactly: rawOffset) else {
            throw failure("the file is not so large", "starts at byte \(rawOffset) of the data")
        }
        return Entry(name: name, shape: shape, encoding: encoding, byteCount: byteCount, offset: offset)
    }

    /// Turns offsets relative to the data into places in the file, and checks them.
    private static func place(
        _ entries: [Entry], file: String, fileIndex: Int, headerEnd: Int, fileEnd: Int, alignment: Int
    ) throws(CheckpointError) -> [TensorRecord] {
        let dataStart = (headerEnd + alignment - 1) / alignment * alignment
        var names = NameSet()
        var tensors: [TensorRecord] = []
        for entry in entries {
            func failure(_ expected: String, _ found: String) -> CheckpointError {
                .badTensor(file: file, tensor: entry.name, expected: expected, found: found)
            }
            guard names.insert(entry.name).inserted else { throw failure("names must differ", "stands there twice") }
            guard entry.offset % alignment == 0 else {
                throw failure("that must be a multiple of \(alignment)", "starts at byte \(entry.offset) of the data")
            }
            let (start, overflow) = dataStart.addingReportingOverflow(entry.offset)
            let (end, endOverflow) = start.addingReportingOverflow(entry.byteCount)
            guard !overflow, !endOverflow, end <= fileEnd else {
                throw failure(
                    "the file ends after \(fileEnd); it is truncated",
                    "needs \(entry.byteCount) bytes from byte \(overflow ? Int.max : start)")
            }
            tensors.append(
                TensorRecord(
                    name: entry.name, shape: entry.shape, encoding: entry.encoding, fileIndex: fileIndex, offset: start,
                    byteCount: entry.byteCount))
        }
        // As ggml demands: each begins where the one before it ends, but for the padding.
        var position = dataStart
        for tensor in tensors.sorted(by: { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }) {
            guard tensor.offset == position else {
                throw .badTensor(
                    file: file, tensor: tensor.name,
                    expected: "tensors must lie behind each other, from the data's start on",
                    found: tensor.offset < position
                        ? "overlaps the one before it" : "begins \(tensor.offset - position) bytes too late")
            }
            // Both terms are at most the file's size or 2^32.
            position = (tensor.offset + tensor.byteCount + alignment - 1) / alignment * alignment
        }
        return tensors
    }
}
