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
    /// Arrays of arrays may be nested this deep; files seen have none at all.
    private static let nestingLimit = 4
    /// Where the metadata say what tensors' offsets are multiples of (bytes), and what they are where it does not.
    static let alignmentKey = "general.alignment"
    static let defaultAlignment = 32
    private static let magic: UInt32 = 0x4655_4747  // "GGUF"

    /// Reads and checks the header of `file`. Afterwards every tensor's bytes lie inside the file, aligned, and none
    /// overlap.
    init(file: MappedFile) throws(CheckpointError) {
        let parsed = file.withBytes { bytes in
            Result { () throws(CheckpointError) in try Self.parse(file, bytes) }
        }
        self = try parsed.get()
    }

    private init(version: UInt32, metadata: GGUFMetadata, tensors: [TensorRecord]) {
        self.version = version
        self.metadata = metadata
        self.tensors = tensors
    }

    private static func parse(_ file: MappedFile, _ bytes: UnsafeRawBufferPointer) throws(CheckpointError) -> GGUFHeader
    {
        var reader = ByteReader(file: file.path, bytes: bytes)
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
        let metadata = try readMetadata(file, &reader, count: pairCount)
        try refuseSplit(file.path, metadata)
        var entries: [Entry] = []
        entries.reserveCapacity(tensorCount)
        for index in 0..<tensorCount { entries.append(try readEntry(&reader, index: index)) }
        let tensors = try place(
            entries, file: file.path, headerEnd: reader.position, fileEnd: bytes.count,
            alignment: try alignment(file.path, metadata))
        return GGUFHeader(version: version, metadata: metadata, tensors: tensors)
    }

    private static func readMetadata(
        _ file: MappedFile, _ reader: inout ByteReader, count: Int
    ) throws(CheckpointError) -> GGUFMetadata {
        var keys: [String] = []
        var values: [String: GGUFValue] = [:]
        var places: [String: GGUFMetadata.Place] = [:]
        for index in 0..<count {
            let key = try reader.readString("metadata key \(index)")
            let type = try reader.read(UInt32.self, "the type of metadata key '\(key)'")
            let start = reader.position
            let value = try readValue(file, &reader, type: type, key: key, depth: 0)
            guard values.updateValue(value, forKey: key) == nil else {
                throw .malformed(file: file.path, problem: "the metadata key '\(key)' stands there twice")
            }
            keys.append(key)
            places[key] = GGUFMetadata.Place(type: type, range: start..<reader.position)
        }
        return GGUFMetadata(keys: keys, values: values, file: file, places: places)
    }

    private static func readValue(
        _ file: MappedFile, _ reader: inout ByteReader, type: UInt32, key: String, depth: Int
    ) throws(CheckpointError) -> GGUFValue {
        let what = "the value of metadata key '\(key)'"
        switch type {
        case 0: return .uint8(try reader.read(UInt8.self, what))
        case 1: return .int8(try reader.read(Int8.self, what))
        case 2: return .uint16(try reader.read(UInt16.self, what))
        case 3: return .int16(try reader.read(Int16.self, what))
        case 4: return .uint32(try reader.read(UInt32.self, what))
        case 5: return .int32(try reader.read(Int32.self, what))
        case 6: return .float32(Float(bitPattern: try reader.read(UInt32.self, what)))
        case 7:
            let byte = try reader.read(UInt8.self, what)
            guard byte <= 1 else {
                throw .malformed(file: file.path, problem: "\(what) is the byte \(byte), not a truth value")
            }
            return .bool(byte == 1)
        case 8: return .string(try reader.readString(what))
        case 9: return try readArray(file, &reader, key: key, depth: depth)
        case 10: return .uint64(try reader.read(UInt64.self, what))
        case 11: return .int64(try reader.read(Int64.self, what))
        case 12: return .float64(Double(bitPattern: try reader.read(UInt64.self, what)))
        default: throw .malformed(file: file.path, problem: "\(what) has the unknown type \(type)")
        }
    }

    private static func readArray(
        _ file: MappedFile, _ reader: inout ByteReader, key: String, depth: Int
    ) throws(CheckpointError) -> GGUFValue {
        let what = "the array of metadata key '\(key)'"
        guard depth < nestingLimit else {
            throw .malformed(file: file.path, problem: "\(what) is nested deeper than \(nestingLimit) levels")
        }
        let type = try reader.read(UInt32.self, what)
        // Even an empty string takes 8 bytes and an empty array 12.
        let smallest =
            switch type {
            case 8: 8
            case 9: 12
            case 2, 3: 2
            case 4, 5, 6: 4
            case 10, 11, 12: 8
            default: 1
            }
        let count = try reader.readCount("the length of \(what)", limit: reader.remaining / smallest)
        switch type {
        case 8:
            var ranges: [Range<Int>] = []
            ranges.reserveCapacity(count)
            for _ in 0..<count {
                let length = try reader.readCount("the length of a string in \(what)", limit: reader.remaining)
                ranges.append(try reader.skip(length, what))
            }
            return .strings(GGUFStringArray(file: file, ranges: ranges))
        case 6:
            var values: [Float] = []
            values.reserveCapacity(count)
            for _ in 0..<count { values.append(Float(bitPattern: try reader.read(UInt32.self, what))) }
            return .floats(values)
        case 0: return .integers(try readIntegers(UInt8.self, &reader, count, what))
        case 1: return .integers(try readIntegers(Int8.self, &reader, count, what))
        case 2: return .integers(try readIntegers(UInt16.self, &reader, count, what))
        case 3: return .integers(try readIntegers(Int16.self, &reader, count, what))
        case 4: return .integers(try readIntegers(UInt32.self, &reader, count, what))
        case 5: return .integers(try readIntegers(Int32.self, &reader, count, what))
        case 11: return .integers(try readIntegers(Int64.self, &reader, count, what))
        default:
            var values: [GGUFValue] = []
            for _ in 0..<count {
                values.append(try readValue(file, &reader, type: type, key: key, depth: depth + 1))
            }
            return .array(values)
        }
    }

    private static func readIntegers<T: FixedWidthInteger>(
        _ type: T.Type, _ reader: inout ByteReader, _ count: Int, _ what: String
    ) throws(CheckpointError) -> [Int64] {
        var values: [Int64] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(Int64(try reader.read(type, what))) }
        return values
    }

    private static func alignment(_ file: String, _ metadata: GGUFMetadata) throws(CheckpointError) -> Int {
        guard let value = metadata[alignmentKey] else { return defaultAlignment }
        guard let alignment = value.intValue, alignment > 0, alignment & (alignment - 1) == 0,
            alignment <= Int(Int32.max)
        else { throw .malformed(file: file, problem: "'\(alignmentKey)' is not a power of two") }
        return alignment
    }

    private static func refuseSplit(_ file: String, _ metadata: GGUFMetadata) throws(CheckpointError) {
        if let count = metadata["split.count"]?.intValue, count > 1 {
            throw .unsupported(
                file: file,
                problem: "is one of \(count) parts of a split model; join them first (llama-gguf-split --merge)")
        }
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
        let name = try reader.readString("the name of tensor \(index)")
        func failure(_ expected: String, _ found: String) -> CheckpointError {
            .badTensor(file: file, tensor: name, expected: expected, found: found)
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
        _ entries: [Entry], file: String, headerEnd: Int, fileEnd: Int, alignment: Int
    ) throws(CheckpointError) -> [TensorRecord] {
        let dataStart = (headerEnd + alignment - 1) / alignment * alignment
        var names = Set<String>()
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
                    name: entry.name, shape: entry.shape, encoding: entry.encoding, fileIndex: 0, offset: start,
                    byteCount: entry.byteCount))
        }
        var position = dataStart
        for tensor in tensors.sorted(by: { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }) {
            guard tensor.offset >= position else {
                throw .badTensor(
                    file: file, tensor: tensor.name, expected: "tensors must not share bytes",
                    found: "overlaps the one before it")
            }
            position = tensor.offset + tensor.byteCount
        }
        return tensors
    }
}
