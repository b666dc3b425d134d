import TensorCore

/// The checked header of a safetensors file: names, types, shapes and places of its tensors.
struct SafetensorsHeader {
    /// The largest header that the format allows, in bytes.
    static let byteLimit = 100_000_000

    /// The tensors in the order of their bytes in the file.
    let tensors: [TensorRecord]
    /// The `__metadata__` entries in the header's order.
    let metadata: [(key: String, value: String)]

    /// Where the header of `file` ends, length included, as far as the file goes; what is wrong with it is left to `init`.
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
        let value: JSONValue
        do {
            value = try JSONValue.parse(bytes[range])
        } catch {
            throw .malformed(file: file, problem: "the header is \(error)")
        }
        guard let object = value.objectValue else {
            throw .malformed(file: file, problem: "the header is not a JSON object")
        }
        var metadata: [(key: String, value: String)] = []
        var tensors: [TensorRecord] = []
        for (name, entry) in object.members {
            if name == "__metadata__" {
                metadata = try Self.metadata(entry, file: file)
            } else {
                tensors.append(
                    try Self.record(name, entry, file: file, fileIndex: fileIndex, dataStart: range.upperBound))
            }
        }
        // Empty tensors share their offset with the next one and come before it.
        tensors.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
        try Self.checkContiguous(tensors, file: file, dataStart: range.upperBound, fileEnd: bytes.count)
        self.tensors = tensors
        self.metadata = metadata
    }

    private static func metadata(
        _ value: JSONValue, file: String
    ) throws(CheckpointError) -> [(key: String, value: String)] {
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
        guard let type = DType(rawValue: typeName) else {
            throw .unsupportedEncoding(file: file, tensor: name, encoding: typeName)
        }
        guard let extents = entry["shape"]?.arrayValue else {
            throw failure("an array of integers is needed", "has no shape")
        }
        var shape: [Int] = []
        for extent in extents {
            guard let extent = extent.intValue, extent >= 0 else {
                throw failure("every extent must be a non-negative integer", "has the shape \(entry["shape"]!.text())")
            }
            shape.append(extent)
        }
        guard let offsets = entry["data_offsets"]?.arrayValue, offsets.count == 2,
            let begin = offsets[0].intValue, let end = offsets[1].intValue, begin >= 0, begin <= end
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
