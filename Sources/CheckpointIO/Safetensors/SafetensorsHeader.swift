import TensorCore

/// The checked header of a safetensors file: names, types, shapes and places of its tensors.
struct SafetensorsHeader {
    /// The largest header that the format allows, in bytes.
    static let byteLimit = 100_000_000
    /// Tensors in one file that are taken, and bytes of all their names: the largest mixtures of experts have about as
    /// many in all their shards together.
    static let tensorLimit = 1 << 17
    private static let namesByteLimit = 16 << 20
    /// JSON values in all: half as many again as the entries of so many matrices have. The metadata's are counted for
    /// themselves.
    private static let valueLimit = 12 * tensorLimit + JSONValue.valueLimit
    /// Bytes of the text of `__metadata__` that are taken: a hundred times what trainers put there.
    private static let metadataByteLimit = 16 << 20
    /// Bytes of a tensor's name, and of the rest of its entry.
    private static let nameByteLimit = 1 << 20
    private static let entryByteLimit = 1 << 16
    /// Values that the entry of one tensor may have; PyTorch and numpy know at most 64 axes.
    private static let entryValueLimit = 256
    private static let axisLimit = 64
    /// Characters of a value from the file that a message shows.
    private static let shownLimit = 200

    /// The tensors in the order of their bytes in the file.
    let tensors: [TensorRecord]
    /// The `__metadata__` entries in the header's order.
    let metadata: [(key: String, value: String)]

    /// Where the header of `file` ends, length included, as far as the file goes; what is wrong with it is left to
    /// `init`.
    static func end(in file: MappedFile) throws(CheckpointError) -> Int {
        let lengthRange = 0..<min(8, file.byteCount)
        try file.hold(lengthRange)
        defer { file.release(lengthRange) }
        guard lengthRange.count == 8 else { return file.byteCount }
        let length = file.withBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        guard length <= UInt64(byteLimit) else { return 8 }
        return min(file.byteCount, 8 + Int(length))
    }

    /// Reads and checks the header of `file`, whose whole contents are `bytes`.
    ///
    /// Every rule of the format holds afterwards: data runs from the header's end to the file's end without holes or
    /// overlaps, and each tensor's bytes fit its shape and type.
    init(file: String, fileIndex: Int, bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        var reader = ByteReader(file: file, bytes: bytes)
        let length = try reader.read(UInt64.self, "the length of its header")
        guard length <= UInt64(Self.byteLimit) else {
            throw .malformed(
                file: file,
                problem: "the header's length is \(length) bytes; safetensors allows at most \(Self.byteLimit) "
                    + "(is it a safetensors file?)")
        }
        let range = try reader.skip(Int(length), "its header of \(length) bytes")
        guard let first = bytes[range].first, first == UInt8(ascii: "{") else {
            throw .malformed(file: file, problem: "the header does not start with '{'")
        }
        var (metadata, tensors) = try Self.entries(
            bytes[range], file: file, fileIndex: fileIndex, dataStart: range.upperBound)
        // Empty tensors share their offset with the next one and come before it.
        tensors.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
        try Self.checkContiguous(tensors, file: file, dataStart: range.upperBound, fileEnd: bytes.count)
        self.tensors = tensors
        self.metadata = metadata
    }

    /// Reads the header's members one by one, so that memory holds the result and little else.
    private static func entries(
        _ header: Slice<UnsafeRawBufferPointer>, file: String, fileIndex: Int, dataStart: Int
    ) throws(CheckpointError) -> (metadata: [(key: String, value: String)], tensors: [TensorRecord]) {
        var metadata: [(key: String, value: String)] = []
        var tensors: [TensorRecord] = []
        var names: NameSet = []
        var namesByteCount = 0
        // The parser's closures may throw its own errors only; one of these is carried past them.
        var failure: CheckpointError?
        do {
            try JSONParser.read(UnsafeRawBufferPointer(rebasing: header), what: "object") {
                (parser) throws(JSONError) in
                parser.stringLimit = nameByteLimit
                try parser.parseMembers { (name, start, parser) throws(JSONError) in
                    guard names.insert(name).inserted else { throw parser.failure(duplicate: name, at: start) }
                    namesByteCount += name.utf8.count
                    guard names.count <= tensorLimit else { throw parser.failure("more than \(tensorLimit) tensors") }
                    guard namesByteCount <= namesByteLimit else {
                        throw parser.failure("names of more than \(namesByteLimit) bytes together")
                    }
                    let isMetadata = name == "__metadata__"
                    let entry = try value(of: name, isMetadata, &parser)
                    do throws(CheckpointError) {
                        if isMetadata {
                            metadata = try Self.metadata(entry, file: file)
                        } else {
                            tensors.append(
                                try record(name, entry, file: file, fileIndex: fileIndex, dataStart: dataStart))
                        }
                    } catch {
                        failure = error
                        throw parser.failure("an entry is refused")
                    }
                }
            }
        } catch {
            throw failure ?? .malformed(file: file, problem: "the header is \(error)")
        }
        return (metadata, tensors)
    }

    /// Reads a member's value, of bounded size.
    private static func value(
        of name: String, _ isMetadata: Bool, _ parser: inout JSONParser
    ) throws(JSONError) -> JSONValue {
        let limit = isMetadata ? metadataByteLimit : entryByteLimit
        var part = JSONParser(
            bytes: UnsafeBufferPointer(rebasing: parser.bytes.prefix(parser.position + limit)),
            position: parser.position,
            valueLimit: isMetadata ? JSONValue.valueLimit : entryValueLimit)
        do throws(JSONError) {
            let value = try part.parseValue(depth: 1)
            parser.position = part.position
            parser.valueCount += part.valueCount
            guard isMetadata || parser.valueCount <= valueLimit else {
                throw parser.failure("more than \(valueLimit) values in all")
            }
            return value
        } catch {
            // The cut may lie within a word or an escape.
            let isCut = part.bytes.count < parser.bytes.count && error.offset + 16 > part.bytes.count
            guard isCut else { throw error }
            throw parser.failure("a value of more than \(limit) bytes, which are all that '\(shown(name))' may have")
        }
    }

    private static func metadata(
        _ value: JSONValue, file: String
    ) throws(CheckpointError) -> [(key: String, value: String)] {
        // safetensors takes null for none.
        if value.isNull { return [] }
        guard let object = value.objectValue else {
            throw .malformed(file: file, problem: "'__metadata__' is not a JSON object")
        }
        var entries: [(key: String, value: String)] = []
        for (key, value) in object.members {
            guard let text = value.stringValue else {
                throw .malformed(file: file, problem: "'__metadata__' key '\(key)' is not a string")
            }
            entries.append((key, text))
        }
        return entries
    }

    /// Bits of an element, for types of safetensors with fewer than 8.
    private static let subByteBits = ["F4": 4, "F6_E2M3": 6, "F6_E3M2": 6]

    private static func record(
        _ name: String, _ entry: JSONValue, file: String, fileIndex: Int, dataStart: Int
    ) throws(CheckpointError) -> TensorRecord {
        func failure(_ expected: String, _ found: String) -> CheckpointError {
            .badTensor(file: file, tensor: name, expected: expected, found: found)
        }
        guard entry.objectValue != nil else {
            throw failure(
                "an object with dtype, shape and data_offsets is needed", "has a header entry of another kind")
        }
        guard let typeName = entry["dtype"]?.stringValue else {
            throw failure("a string is needed", "has no dtype")
        }
        guard let extents = entry["shape"]?.arrayValue else {
            throw failure("an array of integers is needed", "has no shape")
        }
        guard extents.count <= axisLimit else {
            throw failure("at most \(axisLimit) are known to any program", "has \(extents.count) extents")
        }
        var shape: [Int] = []
        for extent in extents {
            guard let extent = extent.unsignedValue else {
                throw failure(
                    "every extent must be a non-negative integer",
                    "has the shape \(shown(entry["shape"]?.text() ?? ""))")
            }
            shape.append(extent)
        }
        guard let type = DType(rawValue: typeName) else {
            // Newer types whose elements are no whole bytes: known well enough to say what is wrong with a file.
            if let bits = subByteBits[typeName], let count = elementCount(shape: shape),
                count.multipliedReportingOverflow(by: bits).partialValue % 8 != 0
            {
                throw failure("\(bits) bits each must fill whole bytes", "has the shape \(shape) of \(typeName)")
            }
            throw .unsupportedEncoding(file: file, tensor: name, encoding: shown(typeName))
        }
        guard let offsets = entry["data_offsets"]?.arrayValue, offsets.count == 2,
            let begin = offsets[0].unsignedValue, let end = offsets[1].unsignedValue, begin <= end
        else {
            throw failure("two rising integers are needed", "has no sound data_offsets")
        }
        guard let needed = TensorEncoding.plain(type).byteCount(shape: shape) else {
            throw failure("that overflows", "has the shape \(shape) of \(typeName)")
        }
        guard needed == end - begin else {
            throw failure("shape \(shape) of \(typeName) needs \(needed)", "has \(end - begin) bytes")
        }
        let (offset, overflow) = begin.addingReportingOverflow(dataStart)
        guard !overflow else { throw failure("the file is not so large", "starts at byte \(begin)") }
        return TensorRecord(
            name: name, shape: shape, encoding: .plain(type), fileIndex: fileIndex, offset: offset, byteCount: needed)
    }

    private static func shown(_ text: String) -> String {
        text.count <= shownLimit ? text : text.prefix(shownLimit) + "..."
    }

    private static func checkContiguous(
        _ tensors: [TensorRecord], file: String, dataStart: Int, fileEnd: Int
    ) throws(CheckpointError) {
        var position = dataStart
        for tensor in tensors {
            guard tensor.offset == position else {
                let problem = tensor.offset < position ? "overlaps the one before it" : "leaves a hole before it"
                throw .badTensor(
                    file: file, tensor: tensor.name, expected: "it must start at \(position - dataStart)",
                    found: "starts at byte \(tensor.offset - dataStart) of the data and \(problem)")
            }
            let (end, overflow) = position.addingReportingOverflow(tensor.byteCount)
            guard !overflow, end <= fileEnd else {
                throw .badTensor(
                    file: file, tensor: tensor.name, expected: "the file ends after \(fileEnd); it is truncated",
                    found: "needs the bytes up to \(overflow ? Int.max : end)")
            }
            position = end
        }
        guard position == fileEnd else {
            throw .malformed(
                file: file, problem: "the tensors end at byte \(position), but the file has \(fileEnd) bytes")
        }
    }
}

extension JSONValue {
    /// The number, where it is written in digits alone, as safetensors needs it, and an `Int` holds it.
    fileprivate var unsignedValue: Int? {
        guard case .number(let text) = self, !text.hasPrefix("-") else { return nil }
        return Int(text)
    }
}
